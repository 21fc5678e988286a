"""Splits by content: equal content never stands on both sides, in whatever words or language it is asked."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator

from aha.tasks.base import SPLITS
from aha.types import AhaError, Problem

PARTS = {"test": (0,), "validation": (1,), "train": tuple(range(2, 20))}
"""Twentieths of the contents: 5% test, 5% validation, 90% train."""
PATIENCE = 10_000
"""Draws in a row without a new problem after which a split is taken to be exhausted."""


def part_of(key: str) -> int:
    """Which twentieth a content's key falls into, 0..19."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 20


def split_of(key: str) -> str:
    """Which split a content's key belongs to."""
    part = part_of(key)
    return next(split for split, parts in PARTS.items() if part in parts)


def check_split(task: str, split: str) -> None:
    """Raise AhaError if there is no such split."""
    if split not in SPLITS:
        raise AhaError(f"Task {task} has no split '{split}'. Use one of {', '.join(SPLITS)}.")


def collect(task: str, draws: Iterator[Problem], split: str, n: int) -> list[Problem]:
    """The first ``n`` different problems (by id) of a stream of one split; fewer where it has no more.

    Raises AhaError if it has none at all.
    """
    by_id: dict[str, Problem] = {}
    while len(by_id) < n:
        fresh = next((p for p in itertools.islice(draws, PATIENCE) if p.id not in by_id), None)
        if fresh is None:
            break
        by_id[fresh.id] = fresh
    if n and not by_id:
        raise AhaError(f"The {split} split of {task} is empty at this difficulty: take a wider one.")
    return list(by_id.values())


def short_hash(text: str) -> str:
    """Ten hexadecimal digits that name a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]
