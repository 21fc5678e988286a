"""Removes repeated rows: equal texts, and near copies found by MinHash. Deterministic, in the order given.

MinHash estimates the Jaccard similarity of the sets of word n-grams of two texts; bands of its values find the
candidates (Broder, 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.4). Every candidate is
then compared exactly, so that nothing is dropped on an estimate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aha.data.words import ngrams, tokens
from aha.types import AhaError

if TYPE_CHECKING:
    import numpy as np

PERMUTATIONS = 128
SHINGLE = 5
THRESHOLD = 0.8
LARGEST_BUCKET = 200
"""A band's value shared by more kept rows than this is a common phrase: only so many are compared."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Row ``index`` repeats the kept row ``of``, with that similarity (1.0 for an equal text)."""

    index: int
    of: int
    similarity: float


@dataclass(slots=True)
class DedupReport:
    """What was dropped and why; indices count the rows given from 0."""

    rows: int = 0
    exact: int = 0
    near: int = 0
    copies: list[Copy] = field(default_factory=list)

    @property
    def kept(self) -> int:
        """How many rows are left."""
        return self.rows - self.exact - self.near


def deduplicate(
    texts: Sequence[str], *, threshold: float | None = THRESHOLD, shingle: int = SHINGLE, seed: int = 0
) -> tuple[list[int], DedupReport]:
    """Indices of the texts to keep, the first of each kind, and the report.

    Texts are equal if their words are (case, spaces and punctuation do not count; a text without words counts
    by its characters). ``threshold``: the similarity from which a text is a near copy; None: equal ones only.
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise AhaError(f"A similarity threshold lies above 0 and is at most 1, not {threshold}.")
    report = DedupReport(rows=len(texts))
    near = _Near(threshold, shingle, seed) if threshold is not None else None
    seen: dict[bytes, int] = {}
    kept: list[int] = []
    for index, text in enumerate(texts):
        words = tokens(text) or [text.strip()]
        digest = hashlib.blake2b("\0".join(words).encode(), digest_size=16).digest()
        if digest in seen:
            report.exact += 1
            report.copies.append(Copy(index, seen[digest], 1.0))
            continue
        copy = near.find(index, words) if near is not None else None
        if copy is not None:
            report.near += 1
            report.copies.append(copy)
            continue
        seen[digest] = index
        kept.append(index)
    return kept, report


class _Near:
    """The kept texts' signatures, by band."""

    def __init__(self, threshold: float, shingle: int, seed: int):
        import numpy as np

        self.threshold, self.shingle = threshold, shingle
        rng = np.random.default_rng(seed)
        self.multiply = rng.integers(1, 2**63, PERMUTATIONS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        self.add = rng.integers(0, 2**63, PERMUTATIONS, dtype=np.uint64)
        self.rows = band_rows(threshold)
        self.buckets: dict[tuple[int, bytes], list[int]] = {}
        self.shingles: dict[int, frozenset[int]] = {}

    def find(self, index: int, words: Sequence[str]) -> Copy | None:
        """A kept text that this one is a near copy of, the most similar; else None, and it is kept."""
        shingles = frozenset(hash_of(gram) for gram in ngrams(words, self.shingle))
        signature = self.signature(shingles)
        bands = [(i, signature[i : i + self.rows].tobytes()) for i in range(0, PERMUTATIONS, self.rows)]
        candidates = sorted({other for band in bands for other in self.buckets.get(band, ())})
        best = None
        for other in candidates:
            similarity = jaccard(shingles, self.shingles[other])
            if similarity >= self.threshold and (best is None or similarity > best.similarity):
                best = Copy(index, other, similarity)
        if best is None:
            self.shingles[index] = shingles
            for band in bands:
                bucket = self.buckets.setdefault(band, [])
                if len(bucket) < LARGEST_BUCKET:
                    bucket.append(index)
        return best

    def signature(self, shingles: frozenset[int]) -> np.ndarray:
        """The smallest hash of the set under each permutation: uint32 [PERMUTATIONS]."""
        import numpy as np

        values = np.fromiter(shingles, np.uint64, len(shingles))
        least = np.full(PERMUTATIONS, 2**32 - 1, np.uint64)
        with np.errstate(over="ignore"):
            for start in range(0, len(values), 1024):  # long texts in pieces: memory stays small
                hashed = (values[start : start + 1024, None] * self.multiply + self.add) >> np.uint64(32)
                least = np.minimum(least, hashed.min(0))
        return least.astype(np.uint32)


def hash_of(gram: str) -> int:
    """64 bits of a text's hash, the same in every process."""
    return int.from_bytes(hashlib.blake2b(gram.encode(), digest_size=8).digest(), "little")


def jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    """The share of what is in either that is in both; 1 for two empty sets."""
    union = len(a | b)
    return len(a & b) / union if union else 1.0


def band_rows(threshold: float) -> int:
    """Rows of a band such that a pair at the threshold is missed at most once in a thousand."""
    fitting = [r for r in (1, 2, 4, 8, 16) if (1 - threshold**r) ** (PERMUTATIONS // r) <= 1e-3]
    return max(fitting, default=1)
