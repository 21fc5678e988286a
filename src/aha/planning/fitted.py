"""How much a stage does at once: what its settings ask for, as far as the memory that is free here reaches."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from aha import hardware, ranks
from aha.planning import advice, configs, fit
from aha.planning.shapes import Shape
from aha.planning.workload import Workload, from_stage
from aha.runs.console import Console
from aha.runs.pipeline import Context, Stage
from aha.training import sharding
from aha.types import AhaError

S = TypeVar("S", bound=Stage)
CPU_SHARE = 0.9
"""What of the free memory a stage may take on CPUs, where other programs live on what is left."""


def free(device: Any) -> float:
    """Bytes that a stage may take on the device of whichever rank has least. Ask before the model is there."""
    share = CPU_SHARE if device.type == "cpu" else 1.0
    return share * min(ranks.gather(hardware.free_bytes(device)))


def fitted(
    config: S, context: Context, model: Any, room: float, name: str, longest: int | None = None
) -> tuple[S, Callable[[Console], None]]:
    """The settings with passes, rows and recomputation that fit into ``room`` bytes; and what tells of them.
    ``model`` stands as it was loaded; ``longest``: of the sequences there are, if they are known. A model whose
    shape cannot be told keeps the settings that it has."""
    shape, work = configs.shape_of_model(model, name), from_stage(config)
    if shape is None or work is None:
        return config, lambda console: None
    weight = next(model.parameters())
    fields = work.fields if sharding.layers(model) else work.fields - {"gradient_checkpointing"}
    work = replace(work, number_bytes=weight.element_size(), fields=fields)
    if longest is not None:
        work = replace(work, completion=max(1, longest - work.prompt), least_pass=longest)
    fitting = fit.fit(
        shape, work, room, ranks.real_world()[1], sharding.chosen(context.parallel, model),
        whole=hardware.memory_bytes(weight.device), tensors_only=weight.device.type == "cpu",
    )  # fmt: skip
    told = words(work, fitting, room)
    if not fitting.fits:
        _refuse_what_cannot_be(shape, work, fitting, weight.device, room)
        _say_now(f"warning: {told}")  # a system without memory ends a process without a word
    changed = config.model_copy(update=settings(work, fitting.work))
    return changed, lambda console: console.note(told) if fitting.fits else None


def _say_now(text: str) -> None:
    if ranks.is_main():
        print(text, file=sys.stderr, flush=True)


def _refuse_what_cannot_be(shape: Shape, work: Workload, fitting: fit.Fit, device: Any, room: float) -> None:
    """Raise AhaError if what is held for each parameter alone is more than there is, whatever the passes take."""
    state = sum(size for name, size in fitting.memory.resident.items() if name not in _FLEXIBLE)
    left = room / (CPU_SHARE if device.type == "cpu" else 1.0) + hardware.swap_bytes(device)
    if state <= left:
        return
    parts = ", ".join(
        f"{name} {advice.gigabytes(size)}"
        for name, size in fitting.memory.resident.items()
        if name not in _FLEXIBLE
    )
    raise AhaError(
        f"Training this model takes {advice.gigabytes(state)} of memory before the first step ({parts}), and "
        f"{advice.gigabytes(left)} can be had here. {_ways(shape, work, left, device)}"
    )


_FLEXIBLE = frozenset({"sampler's cache"})
"""Of what stays, parts that are as large as there is room."""


def _ways(shape: Shape, work: Workload, room: float, device: Any) -> str:
    """The first changes of settings with which it fits, if any do."""
    name = f"{work.name}." if work.name else ""
    without = [(f"{name}algorithm.kl_coef=0", {"reference": False})] if work.reference else []
    lora = [(f"{name}lora_rank=16", {"lora": 16})] if "lora_rank" in work.fields and not work.lora else []
    for options in filter(None, (without, lora, without + lora)):
        changes = {key: value for _, change in options for key, value in change.items()}
        taken = fit.fit(
            shape, replace(work, **changes), CPU_SHARE * room, whole=hardware.memory_bytes(device),
            tensors_only=device.type == "cpu",
        )  # fmt: skip
        if taken.fits:
            peak = advice.gigabytes(taken.memory.peak)
            return f"With {' '.join(words for words, _ in options)} it takes {peak} at the peak."
    return "Take a smaller model, or a machine with more (aha plan says which)."


def settings(asked: Workload, taken: Workload) -> dict[str, Any]:
    """The stage's settings that the work as it is taken up needs otherwise."""
    values = {
        "max_tokens_per_batch": (asked.batch_tokens, taken.batch_tokens),
        "gradient_checkpointing": (asked.recompute, taken.recompute),
        "max_num_seqs": (asked.max_num_seqs, taken.max_num_seqs),
    }
    return {name: after for name, (before, after) in values.items() if before != after}


def words(asked: Workload, fitting: fit.Fit, room: float) -> str:
    """What the work takes of the room, and what is done otherwise than was asked so that it fits."""
    peak, there = advice.gigabytes(fitting.memory.peak), advice.gigabytes(room)
    how = (
        "; ".join(fit.changed(asked, fitting.work)) or f"passes of up to {fitting.work.batch_tokens:,} tokens"
    )
    if fitting.fits:
        return f"Memory: about {peak} at the peak, of {there} to be had: {how}."
    return (
        f"Memory: about {peak} at the peak, and {there} are to be had, with {how}: the system may end this run. "
        "Shorter completions, adapters (lora_rank=16) or a smaller model need less, and so does no reference "
        "(algorithm.kl_coef=0); aha plan says which is enough."
    )
