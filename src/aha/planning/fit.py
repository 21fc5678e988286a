"""The largest passes that fit: what a stage does by itself where its settings ask for more memory than there is.

``max_tokens_per_batch`` and ``max_num_seqs`` say how much is done at once at most, so less of it, and layers computed
again, change nothing but the time. A plan, a stage as it starts and its examination all ask here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from aha.planning import memory
from aha.planning.memory import Memory
from aha.planning.shapes import Shape
from aha.planning.workload import Workload

GOOD_PASS = 2048
"""Tokens of a pass that multiply about as fast as more do: rather smaller passes than layers computed again, down
to here."""
FEW_ROWS = 16
"""Completions decoded at once, below which it is not gone."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The work as it will be done, what that takes, and whether there is room for it."""

    work: Workload
    memory: Memory
    fits: bool


def fit(
    shape: Shape,
    work: Workload,
    room: float,
    gpus: int = 1,
    sharded: bool = False,
    *,
    whole: float | None = None,
    tensors_only: bool = False,
) -> Fit:
    """The first of ``choices`` whose peak is within ``room``, or the last, which needs least. ``whole``: the
    device's memory, of which the sampler's cache is a part, where ``room`` is what is free of it."""
    fitting = None
    for choice in choices(work):
        needs = memory.estimate(shape, choice, whole or room, gpus, sharded, tensors_only)
        fitting = Fit(choice, needs, needs.peak <= room)
        if fitting.fits:
            break
    assert fitting is not None
    return fitting


def choices(work: Workload) -> Iterator[Workload]:
    """The work as it is asked for, and then in ways that need less and less memory."""
    can = work.recompute or "gradient_checkpointing" in work.fields
    for rows in halves(work.max_num_seqs, FEW_ROWS):
        for recompute in (False, True) if can and not work.recompute else (work.recompute,):
            least = max(work.least_pass, work.longest, 1 if recompute or not can else GOOD_PASS)
            for tokens in halves(work.batch_tokens, least):
                yield replace(work, max_num_seqs=rows, recompute=recompute, batch_tokens=tokens)


def halves(most: int, least: int) -> Iterator[int]:
    """``most``, half of it and so on, down to ``least``."""
    yield most
    while most > least:
        most = max(least, most // 2)
        yield most


def changed(asked: Workload, taken: Workload) -> list[str]:
    """In words, what is done otherwise than was asked."""
    changes = []
    if taken.batch_tokens != asked.batch_tokens:
        changes.append(f"passes of {taken.batch_tokens:,} tokens (at most {asked.batch_tokens:,} asked for)")
    if taken.recompute and not asked.recompute:
        changes.append("layers computed again going backward")
    if taken.max_num_seqs != asked.max_num_seqs:
        changes.append(f"{taken.max_num_seqs} completions decoded at once ({asked.max_num_seqs} asked for)")
    return changes
