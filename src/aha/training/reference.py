"""What the reference says of completions, computed once and kept in a file: a run that goes on needs no reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from aha import ranks
from aha.files import append_jsonl, read_jsonl, write_jsonl
from aha.training.batching import pack, sequence_mean, unpack
from aha.types import Batch, Example

PART = 256
"""Rows computed, and written, at once."""


class Scoring(Protocol):
    """A policy, for its log probabilities."""

    def logprobs(self, batch: Batch, temperature: float = 1.0) -> np.ndarray:
        """Of every token of a batch [T]."""
        ...

    def map_microbatches(
        self, batches: Sequence[Batch], work: Callable[[Batch], Any], *, trains: bool = True
    ) -> list[Any]:
        """``work`` of every batch, on every rank."""
        ...


def sequence_logprobs(policy: Scoring, examples: Sequence[Example], max_tokens: int) -> np.ndarray:
    """The log probability of each example's learned tokens, summed [N], float64; all ranks do it together."""
    batches = pack(examples, sequence_mean, max_tokens)
    values = policy.map_microbatches(batches, policy.logprobs, trains=False)
    logprobs = unpack(examples, batches, values)
    return np.array(
        [float(v[e.mask].astype(np.float64).sum()) for v, e in zip(logprobs, examples, strict=True)]
    )


class ReferenceRow(Protocol):
    """A row's completions of which the reference is asked, and a number that other tokens have not."""

    @property
    def asked(self) -> tuple[Example, ...]: ...

    @property
    def checksum(self) -> int: ...


def kept_logprobs(
    file: Path,
    rows: Sequence[ReferenceRow],
    policy: Callable[[], Scoring],
    max_tokens: int,
    tick: Callable[[int], None] = lambda done: None,
) -> list[list[float]]:
    """The reference's log probability of each row's completions. What ``file`` has of these very rows is read; the
    rest is computed with ``policy()``, which is not called where nothing is missing, and written part by part."""
    kept = ranks.broadcast_object(lambda: _read(file, rows))
    if len(kept) == len(rows):
        return kept
    scoring = policy()
    while len(kept) < len(rows):
        part = rows[len(kept) : len(kept) + PART]
        values = iter(sequence_logprobs(scoring, [e for row in part for e in row.asked], max_tokens))
        sums = [[float(next(values)) for _ in row.asked] for row in part]
        append_jsonl(
            file, [{"checksum": row.checksum, "logps": own} for row, own in zip(part, sums, strict=True)]
        )
        kept += sums
        tick(len(part))
    return kept


def _read(file: Path, rows: Sequence[ReferenceRow]) -> list[list[float]]:
    """Whole parts of these rows that the file begins with; what follows them is taken out of it."""
    lines = read_jsonl(file)
    same = 0
    for line, row in zip(lines, rows, strict=False):
        if line.get("checksum") != row.checksum or len(line.get("logps", ())) != len(row.asked):
            break
        same += 1
    same = same if same == len(rows) else same - same % PART
    if len(lines) != same:
        write_jsonl(file, lines[:same])
    return [list(line["logps"]) for line in lines[:same]]
