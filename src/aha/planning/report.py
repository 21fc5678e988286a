"""The plan of a stage on a machine, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aha.planning import advice, colocated, prices, timing
from aha.planning.advice import gigabytes
from aha.planning.fit import changed
from aha.planning.machines import NODE, Machine
from aha.planning.shapes import Shape
from aha.planning.timing import Utilisation
from aha.planning.workload import Workload
from aha.sampling.colocated import Colocated


def figures(
    shape: Shape,
    work: Workload,
    machine: Machine,
    parallel: str | None = None,
    used: Utilisation | None = None,
    costs: prices.Prices = prices.DEFAULT,
) -> dict[str, Any]:
    """Everything that is known of a stage on a machine, as plain data."""
    used = used or Utilisation()
    verdict, problems = advice.judge(shape, work, machine, parallel), advice.refused(shape, work, machine)
    problems += advice.refused_parallel(work, parallel)
    times = timing.estimate(shape, verdict.work, machine, verdict.sharded, used)
    fits = verdict.fits and not problems
    hours = work.steps * times.step / 3600 if work.steps else None
    return {
        "stage": work.name,
        "kind": work.kind,
        "model": shape.name,
        "parameters": shape.parameters,
        "active_parameters": shape.active,
        "machine": machine.describe(),
        "parallel": "sharded" if verdict.sharded else "replicated",
        "fits": fits,
        "refused": problems,
        "taken": changed(work, verdict.work),
        "room_bytes": verdict.room,
        "peak_bytes": verdict.memory.peak,
        "resident_bytes": verdict.memory.resident,
        "training_bytes": verdict.memory.training,
        "sampling_bytes": verdict.memory.sampling,
        "starting_bytes": verdict.memory.starting,
        "engine": work.colocated and work.colocated.title,
        "engine_bytes": verdict.memory.beside,
        "overhead_bytes": verdict.memory.besides,
        "engine_cache": work.colocated and _cache_words(shape, work, work.colocated, machine),
        "host_bytes": host_bytes(shape, work, machine, verdict.sharded),
        "change": [] if verdict.fits else advice.suggestions(shape, work, machine, parallel),
        "longest_sequence": work.longest,
        "step_seconds": times.parts,
        "hours": hours,
        "cost": None if hours is None else costs.of(machine, hours),
        "utilisation": used.describe(work.colocated),
    }


def _cache_words(shape: Shape, work: Workload, engine: Colocated, machine: Machine) -> str:
    """How many completions it decodes at once, and what would make them more."""
    rows, most = colocated.rows(shape, work, engine), min(work.max_num_seqs, work.sequences)
    words, more = f"{rows} completions of full length at once", colocated.room_for_cache(shape, work, machine)
    if rows < most and more > engine.cache / 2**30:
        words += f"; {work.name or 'rl'}.{engine.name}.kv_cache_gib may be up to {more} within its part"
    return words


def host_bytes(shape: Shape, work: Workload, machine: Machine, sharded: bool) -> dict[str, float]:
    """Bytes of the first machine's memory by what they are needed for: every rank there reads the whole model as it
    starts, and an engine's weights pass through it or wait there."""
    whole, here = float(work.number_bytes * shape.parameters), min(NODE, machine.count)
    sizes = {f"{here} ranks reading the model, at the start": here * whole} if here > 1 else {}
    if work.colocated is not None:
        parts = colocated.host_bytes(shape, work, work.colocated, sharded and machine.count > 1)
        sizes |= {", ".join(parts): sum(parts.values())} if parts else {}
    return sizes


def text(plan: dict[str, Any]) -> str:
    """``figures`` for people."""
    name = plan["stage"] or plan["kind"]
    active = plan["active_parameters"]
    sparse = f", {active / 1e9:.3g} active" if active < 0.7 * plan["parameters"] else ""
    lines = [
        f"{name} of {plan['model']} ({plan['parameters'] / 1e9:.3g} billion parameters{sparse}) on "
        f"{plan['machine']}" + (f", {plan['parallel']}" if not plan["machine"].startswith("1 x") else ""),
        f"  {'fits' if plan['fits'] else 'DOES NOT FIT'}: {gigabytes(plan['peak_bytes'])} of "
        f"{gigabytes(plan['room_bytes'])} on the fullest GPU at the peak",
        *(f"  by itself  {words}" for words in plan["taken"] if plan["fits"]),
        *(f"  refused  {problem}" for problem in plan["refused"]),
    ]
    titles = (
        ("always", "resident"),
        ("training", "training"),
        ("sampling", "sampling"),
        ("start", "starting"),
    )
    for title, key in titles:
        lines += _parts(title, plan[f"{key}_bytes"])
    lines += _parts(
        plan["engine"] or "",
        {f"its part while {phase}": size for phase, size in plan["engine_bytes"].items()},
    )
    lines += _parts("besides", {"CUDA context, collectives, allocator": plan["overhead_bytes"]})
    if plan["engine_cache"]:
        lines.append(f"           {plan['engine_cache']}")
    lines += _parts("host", plan["host_bytes"])
    if plan["change"]:
        lines += ["  To make it fit, any one of:", *(f"    {words}" for words in plan["change"])]
    elif not plan["fits"] and not plan["refused"]:
        lines.append("  No setting known here makes it fit on GPUs of this kind.")
    seconds = sum(plan["step_seconds"].values())
    spent = ", ".join(f"{part} {_clock(s)}" for part, s in plan["step_seconds"].items())
    lines.append(f"  time     at most {_clock(seconds)} a step ({spent})")
    if plan["hours"] is not None:
        lines.append(f"           {_clock(3600 * plan['hours'])} for all steps, evaluations not counted")
    if plan["cost"] is not None:
        lines.append(f"  cost     {prices.words(plan['cost'])}")
    lines.append(f"           assuming {plan['utilisation']}")
    return "\n".join(lines)


def _parts(title: str, parts: dict[str, float]) -> list[str]:
    shown = [(name, size) for name, size in parts.items() if size >= 5e6]
    return [f"  {title if not i else '':<9}{gigabytes(s):>10}  {name}" for i, (name, s) in enumerate(shown)]


def _clock(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def checked(rows: Sequence[dict[str, Any]]) -> str:
    """Predicted and measured memory, a line a part."""
    lines = [f"{'case':<32}{'part':<10}{'predicted':>12}{'measured':>12}{'ratio':>8}"]
    for row in rows:
        tags = [row["size"], row["device"], row["dtype"], f"{row['factor']}x"]
        tags += ["recompute"] if row["recompute"] else []
        name = " ".join(tags)
        for part, values in row["parts"].items():
            sizes = "".join(f"{values[k] / 1e6:>9.1f} MB" for k in ("predicted", "measured"))
            lines.append(f"{name:<32}{part:<10}{sizes}{values['ratio']:>8.2f}")
            name = ""
    return "\n".join(lines)
