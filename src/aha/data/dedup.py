"""Removes repeated rows: equal texts, and near copies found by MinHash. Deterministic, in the order given.

MinHash estimates the Jaccard similarity of the sets of word n-grams of two texts; bands of its values find the
candidates (Broder, 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.4). Every candidate is
then compared exactly, so that nothing is dropped on an estimate; and a near copy has the same numbers, signs and
names of variables in the same order, because another one is another problem (``words.signs``).

Texts are read once, one after another. What is kept of each is small: its bands' values in memory, the hashes of
its n-grams in a temporary file.
"""

from __future__ import annotations

import hashlib
import itertools
import tempfile
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aha.data.words import signs, tokens
from aha.types import AhaError

if TYPE_CHECKING:
    import numpy as np

PERMUTATIONS = 128
SHINGLE = 5
THRESHOLD = 0.8
LARGEST_BUCKET = 200
"""Kept rows that are compared of those that share a band's value: a value of more is a common phrase."""
_BATCH = 512
_KNOWN_WORDS = 1 << 20


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
    texts: Iterable[str],
    *,
    threshold: float | None = THRESHOLD,
    shingle: int = SHINGLE,
    seed: int = 0,
    prose: bool = False,
    workers: int = 1,
) -> tuple[list[int], DedupReport]:
    """Indices of the texts to keep, the first of each kind, and the report.

    Texts are equal if their words and signs are (case, spaces and punctuation do not count; a text without words
    counts by its characters). ``threshold``: the similarity from which a text is a near copy; None: equal ones
    only. ``prose``: near copies may differ in numbers and signs. ``workers``: processes that read the texts; they
    change nothing in the result.
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise AhaError(f"A similarity threshold lies above 0 and is at most 1, not {threshold}.")
    report = DedupReport()
    seen: dict[bytes, int] = {}
    unequal = array("Q")
    with tempfile.TemporaryFile() as spilled:
        kept = Sketches(threshold or 1.0, spilled)
        for batch in _sketched(texts, Sketcher(threshold, shingle, seed, prose), workers):
            fresh = []
            for i, digest in enumerate(batch.digests):
                first = seen.setdefault(digest, report.rows)
                if first == report.rows:
                    fresh.append(i)
                    unequal.append(first)
                else:
                    report.copies.append(Copy(report.rows, first, 1.0))
                report.rows += 1
            kept.add(batch, fresh)
        report.exact = len(report.copies)
        seen.clear()
        near = dict(kept.copies()) if threshold is not None else {}
    return _settled(unequal, near, report), report


def _settled(unequal: Sequence[int], near: dict[int, tuple[int, float]], report: DedupReport) -> list[int]:
    """The kept rows; near copies go into the report, and equal texts that repeat a dropped one repeat what it
    repeats."""
    dropped = {unequal[i]: (unequal[of], similarity) for i, (of, similarity) in near.items()}
    report.near = len(dropped)
    report.copies = [
        Copy(c.index, dropped[c.of][0], dropped[c.of][1]) if c.of in dropped else c for c in report.copies
    ] + [Copy(index, of, similarity) for index, (of, similarity) in dropped.items()]
    report.copies.sort(key=lambda copy: copy.index)
    return [index for index in unequal if index not in dropped]


# --- reading texts -------------------------------------------------------------------------------------


@dataclass(slots=True)
class TextBatch:
    """What is kept of some texts: digests of their words, hashes of their signs [texts], their sets of n-grams one
    after another (uint32) with the ends of each [texts], and their bands' values [texts, bands]."""

    digests: list[bytes]
    signs: list[int]
    grams: np.ndarray
    ends: list[int]
    bands: np.ndarray


def _sketched(texts: Iterable[str], sketcher: Sketcher, workers: int) -> Iterator[TextBatch]:
    """The texts' sketches, a few hundred at a time, in order."""
    batches = _in_batches(texts)
    if workers < 2:
        yield from map(sketcher.sketch, batches)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        ahead: deque[Any] = deque()
        for batch in batches:
            ahead.append(pool.submit(sketcher.sketch, batch))
            if len(ahead) > 3 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _in_batches(texts: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(texts)
    while batch := list(itertools.islice(rest, _BATCH)):
        yield batch


class _Hashes(dict[str, int]):
    """64 bits of each word, computed once."""

    def __missing__(self, word: str) -> int:
        if len(self) > _KNOWN_WORDS:
            self.clear()
        number = self[word] = hash_of(word)
        return number


class Sketcher:
    """Makes a text's sketch. Without a threshold only what equal texts share."""

    def __init__(self, threshold: float | None, shingle: int, seed: int, prose: bool = False):
        import numpy as np

        self.near, self.shingle, self.prose = threshold is not None, shingle, prose
        rng = np.random.default_rng(seed)
        self.multiply, self.places, self.joining = (
            rng.integers(1, 2**63, n, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
            for n in (PERMUTATIONS, shingle, band_rows(threshold or 1.0))
        )
        self.shift = rng.integers(0, 2**63, PERMUTATIONS, dtype=np.uint64)
        self.hashes = _Hashes()

    def sketch(self, texts: Sequence[str]) -> TextBatch:
        """What is kept of these texts."""
        import numpy as np

        digests, signed, ends, grams, signatures = [], [], [0], [np.zeros(0, np.uint32)], []
        for text in texts:
            words = tokens(text) or [text.strip()]
            digests.append(
                hashlib.blake2b("\0".join(words).encode("utf-8", "replace"), digest_size=16).digest()
            )
            if self.near:
                shingles = self.grams(words)
                signatures.append(self.signature(shingles))
                grams.append(_as_set(shingles))
                signed.append(0 if self.prose else hash_of("\0".join(signs(words))))
            ends.append(ends[-1] + len(grams[-1]))
        bands = np.zeros((len(texts), 1), np.uint32)
        if self.near:
            groups = np.stack(signatures).astype(np.uint64).reshape(len(texts), -1, len(self.joining))
            bands = ((groups * self.joining).sum(2) >> np.uint64(32)).astype(np.uint32)
        return TextBatch(digests, signed, np.concatenate(grams), ends[1:], bands)

    def grams(self, words: Sequence[str]) -> np.ndarray:
        """64-bit hashes of the text's runs of words (of the whole where it is shorter): uint64 [runs]."""
        import numpy as np

        each = np.fromiter(map(self.hashes.__getitem__, words), np.uint64, len(words))
        n = min(self.shingle, len(each))
        runs = len(each) - n + 1
        joined = each[:runs] * self.places[0]
        for i in range(1, n):
            joined += each[i : i + runs] * self.places[i]
        return (joined ^ (joined >> np.uint64(29))) * self.places[0]

    def signature(self, grams: np.ndarray) -> np.ndarray:
        """The smallest hash of the set under each permutation: uint32 [PERMUTATIONS]."""
        import numpy as np

        least = np.full(PERMUTATIONS, 2**64 - 1, np.uint64)
        for start in range(0, len(grams), 1024):  # long texts in pieces: memory stays small
            hashed = grams[start : start + 1024, None] * self.multiply + self.shift
            np.minimum(least, hashed.min(0), out=least)
        return (least >> np.uint64(32)).astype(np.uint32)


def _as_set(grams: np.ndarray) -> np.ndarray:
    """The set of the upper halves, in order: uint32."""
    import numpy as np

    small = np.sort((grams >> np.uint64(32)).astype(np.uint32))
    return small[np.concatenate(([True], small[1:] != small[:-1]))]


# --- finding near copies -------------------------------------------------------------------------------


class Sketches:
    """What is kept of all texts that are not equal: bands' values, hashes of signs, and n-grams in a file."""

    def __init__(self, threshold: float, spilled: Any):
        self.threshold, self.spilled = threshold, spilled
        self.chunks: list[np.ndarray] = []
        self.ends = array("Q", [0])
        self.signs = array("Q")

    def add(self, batch: TextBatch, chosen: Sequence[int]) -> None:
        """Keep the sketches of the batch's texts that are chosen."""
        if not batch.signs or not chosen:
            return
        starts = [0, *batch.ends]
        for i in chosen:
            self.spilled.write(batch.grams[starts[i] : starts[i + 1]].tobytes())
            self.ends.append(self.ends[-1] + 4 * (starts[i + 1] - starts[i]))
            self.signs.append(batch.signs[i])
        self.chunks.append(batch.bands[list(chosen)])

    def copies(self) -> Iterator[tuple[int, tuple[int, float]]]:
        """(row, (the kept row that it is a near copy of, the most similar, their similarity)), in order."""
        import numpy as np

        before = self._before()
        dropped: dict[int, int] = {}  # to the row that it repeats
        for row in np.flatnonzero((before >= 0).any(1)).tolist():
            best = self._best(row, _candidates(before, row, dropped))
            if best is not None:
                dropped[row] = best[0]
                yield row, best

    def _before(self) -> np.ndarray:
        """For each row and band the row before it with the same value, -1 for none: int32 [rows, bands]."""
        import numpy as np

        values = np.concatenate(self.chunks) if self.chunks else np.zeros((0, 1), np.uint32)
        self.chunks = []
        earlier = np.full(values.shape, -1, np.int32)
        for band in range(values.shape[1]):
            column = np.ascontiguousarray(values[:, band])
            order = np.argsort(column, kind="stable").astype(np.int32)
            same = column[order[1:]] == column[order[:-1]]
            earlier[order[1:][same], band] = order[:-1][same]
        return earlier

    def _best(self, row: int, candidates: set[int]) -> tuple[int, float] | None:
        own: np.ndarray | None = None
        best: tuple[int, float] | None = None
        for other in sorted(candidates):
            if self.signs[other] != self.signs[row]:
                continue
            own = self._read(row) if own is None else own
            similarity = jaccard(own, self._read(other))
            if similarity >= self.threshold and (best is None or similarity > best[1]):
                best = other, similarity
        return best

    def _read(self, row: int) -> np.ndarray:
        import numpy as np

        start, end = self.ends[row], self.ends[row + 1]
        self.spilled.seek(start)
        return np.frombuffer(self.spilled.read(end - start), np.uint32)


def _candidates(before: np.ndarray, row: int, dropped: dict[int, int]) -> set[int]:
    """Kept rows that share a band's value with a row: the nearest ones, or what those repeat."""
    candidates: set[int] = set()
    for band in range(before.shape[1]):
        other, steps = int(before[row, band]), 0
        while other >= 0 and steps < LARGEST_BUCKET:
            candidates.add(dropped.get(other, other))
            other, steps = int(before[other, band]), steps + 1
    return candidates


def hash_of(gram: str) -> int:
    """64 bits of a text's hash, the same in every process."""
    return int.from_bytes(hashlib.blake2b(gram.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """The share of what is in either of two sorted sets that is in both; 1 for two empty sets."""
    import numpy as np

    both = len(np.intersect1d(a, b, assume_unique=True))
    union = len(a) + len(b) - both
    return both / union if union else 1.0


def band_rows(threshold: float) -> int:
    """Rows of a band such that a pair at the threshold is missed at most once in a thousand."""
    fitting = [r for r in (1, 2, 4, 8, 16) if (1 - threshold**r) ** (PERMUTATIONS // r) <= 1e-3]
    return max(fitting, default=1)
