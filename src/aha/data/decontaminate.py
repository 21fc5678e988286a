"""Finds training rows that share a run of words with an evaluation set: the paper's 10-gram rule.

Words are compared in one case and without punctuation; Chinese characters one by one. (DeepSeek-R1, arXiv
2501.12948: data that holds a 10-gram of an evaluation question is removed.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aha.data.dedup import hash_of
from aha.data.words import ngrams, tokens
from aha.types import AhaError

N = 10
SHORTEST = 5
"""An evaluation text with fewer words than this says too little to be recognised; it is counted."""


@dataclass(frozen=True, slots=True)
class Contaminated:
    """Training row ``index`` shares ``words`` with row ``row`` of the evaluation set ``source``."""

    index: int
    source: str
    row: int
    words: str


@dataclass(slots=True)
class ContaminationReport:
    """What was found; indices and rows count from 0."""

    rows: int = 0
    found: list[Contaminated] = field(default_factory=list)
    evaluation_rows: int = 0
    too_short: int = 0  # evaluation texts that cannot be recognised

    def by_source(self) -> dict[str, int]:
        """How many rows each evaluation set takes away."""
        counts: dict[str, int] = {}
        for hit in self.found:
            counts[hit.source] = counts.get(hit.source, 0) + 1
        return counts


def decontaminate(
    texts: Sequence[str], evaluation: Mapping[str, Sequence[str]], *, n: int = N, common: int | None = None
) -> tuple[list[int], ContaminationReport]:
    """Indices of the texts to keep, and what each of the others shares with which evaluation text.

    ``evaluation``: texts by the name of their set. A text with fewer than ``n`` words, but ``SHORTEST`` at
    least, is recognised where it stands whole. ``common``: runs of words that more texts of one set than this
    share are the set's wording ("Using the numbers ...") and tell nothing; None: every run counts. Raises
    AhaError if there is nothing to compare with.
    """
    if n < 2:
        raise AhaError(f"n-grams of {n} words would remove nearly everything: use 5 to 13.")
    report = ContaminationReport(rows=len(texts))
    index = _index(evaluation, n, report)
    if common is not None:
        _forget_wording(index, evaluation, n, common)
    if not index:
        raise AhaError("The evaluation sets hold no text to compare with: give rows with questions.")
    kept = []
    sizes = sorted(index)
    for i, text in enumerate(texts):
        hit = _first_hit(tokens(text), index, sizes)
        if hit is None:
            kept.append(i)
        else:
            report.found.append(Contaminated(i, *hit))
    return kept, report


_Index = dict[int, dict[int, tuple[str, int]]]


def _index(evaluation: Mapping[str, Sequence[str]], n: int, report: ContaminationReport) -> _Index:
    """Size of the n-gram -> its hash -> (set, row)."""
    index: _Index = {}
    for source, rows in evaluation.items():
        for number, text in enumerate(rows):
            report.evaluation_rows += 1
            words = tokens(text)
            if len(words) < min(n, SHORTEST):
                report.too_short += 1
                continue
            found = index.setdefault(min(n, len(words)), {})
            for gram in ngrams(words, n):
                found.setdefault(hash_of(gram), (source, number))
    return index


def _forget_wording(index: _Index, evaluation: Mapping[str, Sequence[str]], n: int, common: int) -> None:
    """Take out the n-grams that more than ``common`` different texts of one set share."""
    for rows in evaluation.values():
        counts: Counter[int] = Counter()
        for words in {tuple(tokens(text)) for text in rows}:
            counts.update({hash_of(gram) for gram in ngrams(words, n)})
        for found in index.values():
            for gram in [g for g, k in counts.items() if k > common]:
                found.pop(gram, None)


def _first_hit(words: Sequence[str], index: _Index, sizes: Sequence[int]) -> tuple[str, int, str] | None:
    for size in reversed(sizes):  # the longest run first: it says the most
        if len(words) < size:
            continue
        for gram in ngrams(words, size):
            hit = index[size].get(hash_of(gram))
            if hit is not None:
                return *hit, gram
    return None
