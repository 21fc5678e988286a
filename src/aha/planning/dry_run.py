"""What a run would do, before it does it: stages, what is finished, inputs, settings, time, memory and disk.

Parameters are counted in files' headers; times are those of ``plan_time``.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aha.planning import throughput as plan_time
from aha.planning.throughput import Speeds, parameters_of
from aha.runs.pipeline import Stage, is_done, ordered
from aha.types import AhaError

TRAINING_BYTES = 20
"""A parameter under training: weights, float32 master, gradient sum and AdamW's two moments."""
CHECKPOINT_BYTES = 16
"""A parameter in a checkpoint: weights, master and moments."""
UNREADABLE = (AhaError, OSError, ValueError, KeyError, TypeError)
"""What damaged files of others may raise; a run is not stopped for want of a plan."""


def plan(
    stages: Sequence[Stage],
    folder: Path,
    paper: Mapping[str, Mapping[str, Any]] | None = None,
    taken: Mapping[str, Path] | None = None,
) -> str:
    """The plan in words, one paragraph a stage, and sums. ``paper``: settings to compare with, by stage. ``taken``:
    stages that would be taken over, with the runs that they come from."""
    lines, total, unknown, disk = [], (0.0, 0.0), 0, 0.0
    known = plan_time.known(folder.parent, ordered(stages))
    done: set[str] = set()
    for stage in ordered(stages):
        source = (taken or {}).get(stage.name)
        if source or is_done(folder / stage.name, stage):
            done.add(stage.name)
        state = "finished, will not run again" if stage.name in done else "will run"
        state += f", taken over from {source}" if source else ""
        lines.append(f"{stage.name} ({type(stage).__name__}): {state}")
        if stage.inputs():
            lines.append(f"  inputs   {', '.join(dict.fromkeys(s.name for s in stage.inputs()))}")
        changed = differing(stage, (paper or {}).get(stage.name, {}))
        lines += [f"  setting  {text}" for text in changed]
        if stage.name in done:
            continue
        work = plan_time.work_of(stage, folder, known.filled)
        seconds = known.seconds(work, parameters_of(getattr(stage, "model", None))) if work else None
        if seconds is not None:
            total = total[0] + seconds[0], total[1] + seconds[1]
        unknown += bool(work) and seconds is None
        memory, written = bytes_of(stage)
        disk += written
        lines.append(f"  needs    {_needs(work, seconds, memory, written)}")
    lines += ["", _sum(len(ordered(stages)), len(done), total, unknown, disk, known)]
    return "\n".join(lines)


def foreseen(stages: Sequence[Stage], folder: Path) -> dict[str, dict[str, Any]]:
    """What each stage is expected to need, before it runs, for a page that puts it beside what came: ``seconds``
    [about, at most] by the speeds of earlier runs in the same folder, and ``memory_bytes`` without activations; None
    where that is not known. Nothing is tried out for it, and earlier runs that cannot be read tell nothing."""
    try:
        known = plan_time.of_runs(folder.parent)
    except UNREADABLE:
        known = Speeds(None, None)
    return {stage.name: _foreseen(stage, folder, known) for stage in ordered(stages)}


def _foreseen(stage: Stage, folder: Path, known: Speeds) -> dict[str, Any]:
    seconds, memory = None, None
    with contextlib.suppress(*UNREADABLE):  # the stage itself says what is wrong with its model or its data
        memory = bytes_of(stage)[0]
        if work := plan_time.work_of(stage, folder, known.filled):
            seconds = known.seconds(work, parameters_of(getattr(stage, "model", None)))
    return {"seconds": seconds and [round(part, 1) for part in seconds], "memory_bytes": memory}


def differing(stage: Stage, paper: Mapping[str, Any]) -> list[str]:
    """Settings that are not the stage's defaults, with the paper's value where it is another."""
    changes = []
    settings, skip = stage.settings(), ["name", *_input_fields(stage)]
    for name, field in type(stage).model_fields.items():
        default = field.get_default(call_default_factory=True)
        if name in skip or getattr(stage, name) == default:
            continue
        value = settings[name]
        if hasattr(default, "model_dump"):
            base = json.loads(default.model_dump_json())
            value = {k: v for k, v in value.items() if base.get(k) != v}
        text = f"{name} = {json.dumps(value, ensure_ascii=False)}"
        theirs = paper.get(name)
        shown = json.loads(json.dumps(theirs))
        if theirs is not None and shown not in (settings[name], value):
            text += f"  (paper: {json.dumps(theirs)}{_ratio(settings[name], theirs)})"
        changes.append(text)
    return changes


def _ratio(ours: Any, theirs: Any) -> str:
    numbers = [v for v in (ours, theirs) if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) < 2 or not ours or not theirs:
        return ""
    factor = theirs / ours
    return f", 1/{factor:.3g} of it" if factor > 1 else f", {1 / factor:.3g} times it"


def _input_fields(stage: Stage) -> list[str]:
    def holds(value: Any) -> bool:
        members = value if isinstance(value, (list, tuple)) else [value]
        return any(isinstance(m, Stage) for m in members)

    return [name for name in type(stage).model_fields if holds(getattr(stage, name))]


# --- estimates -------------------------------------------------------------------------------------------


def bytes_of(stage: Stage) -> tuple[float | None, float]:
    """(memory at its peak without activations, disk) in bytes, by the parameters of the stage's model."""
    parameters = parameters_of(getattr(stage, "model", None))
    if parameters is None:
        return None, 0.0
    if "save_every" not in type(stage).model_fields:  # it only samples
        return 4.0 * parameters, 0.0
    copies = [m for name in ("helpful_model", "safety_model") for m in _several(getattr(stage, name, None))]
    algorithm = getattr(stage, "algorithm", None)
    more = 4 * sum(not _elsewhere(c) for c in copies)
    if getattr(stage, "lora_rank", 0):  # of adapters masters, moments and reference are small
        return parameters * float(4 + more), parameters * float(2 * 4 + 4)
    more += 4 * bool(getattr(algorithm, "needs_reference", False))
    more += TRAINING_BYTES * bool(getattr(algorithm, "critic", False))
    return parameters * float(TRAINING_BYTES + more), parameters * float(2 * CHECKPOINT_BYTES + 4)


def _several(models: Any) -> Sequence[Any]:
    return () if models is None else models if isinstance(models, (list, tuple)) else (models,)


def _elsewhere(model: Any) -> bool:
    """Whether a reward model stands behind an address, in the memory of another process."""
    return isinstance(model, str) and model.startswith(("http://", "https://"))


def _needs(
    work: Mapping[str, float], seconds: tuple[float, float] | None, memory: float | None, disk: float
) -> str:
    parts = [f"at most {n / 1e6:,.3g} million tokens {kind}" for kind, n in work.items()]
    if seconds is None:
        parts.append("time unknown" if work else "little time")
    elif seconds[0] == seconds[1]:
        parts.append(f"about {clock(seconds[0])}")
    else:
        parts.append(f"about {clock(seconds[0])}, at most {clock(seconds[1])}")
    parts.append("memory unknown" if memory is None else f"{size(memory)} of memory and activations")
    parts += [f"{size(disk)} of disk"] if disk else []
    return "; ".join(parts)


def _sum(stages: int, done: int, total: tuple[float, float], unknown: int, disk: float, known: Speeds) -> str:
    text = f"{stages} stages, {done} finished. About {clock(total[0])}, at most {clock(total[1])}"
    text += f", without {unknown} that cannot be estimated" if unknown else ""
    text += f"; about {size(disk)} of checkpoints."
    if known.sampling and known.training:
        text += (
            f" Speeds {known.source}: {known.sampling:,.0f} tokens/s sampled, {known.training:,.0f} trained on; "
            f"completions are taken to fill {known.filled:.0%} of their room."
        )
        if known.parameters:
            text += (
                f" They are of {known.parameters:,.0f} parameters; time is taken to grow with their number."
            )
    else:
        text += " No earlier run here to take a speed from: run the first stage, then ask again."
    return text


def clock(seconds: float) -> str:
    """A duration in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def size(number: float) -> str:
    """Bytes in words."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
