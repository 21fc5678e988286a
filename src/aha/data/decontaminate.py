"""Finds training rows that share a run of words with an evaluation set: the paper's 10-gram rule.

Words are compared in one case and without punctuation; Chinese characters one by one. (DeepSeek-R1, arXiv
2501.12948: data that holds a 10-gram of an evaluation question is removed.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aha.data.dedup import hash_of
from aha.data.words import ngrams, tokens
from aha.types import AhaError

N = 10
WHOLE = 0.5
"""The share of a question's runs of words that are the question itself, however many texts have them."""
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
    hits: list[Contaminated] = field(default_factory=list)
    evaluation_rows: int = 0
    too_short: int = 0  # evaluation texts that cannot be recognised

    def by_source(self) -> dict[str, int]:
        """How many rows each evaluation set takes away."""
        counts: dict[str, int] = {}
        for hit in self.hits:
            counts[hit.source] = counts.get(hit.source, 0) + 1
        return counts


def decontaminate(
    texts: Iterable[str], evaluation: Mapping[str, Sequence[str]], *, n: int = N, common: int | None = None
) -> tuple[list[int], ContaminationReport]:
    """Indices of the texts to keep, and what each of the others shares with which evaluation text.

    ``evaluation``: texts by the name of their set. A text with fewer than ``n`` words, but ``SHORTEST`` at
    least, is recognised where it stands whole. ``common``: runs of words that more texts than this share, of one
    set or of those given, are wording ("where m and n are relatively prime positive integers") and tell nothing
    by themselves; a text that has ``WHOLE`` of a question is found all the same. None: every run counts. Raises
    AhaError if there is nothing to compare with.
    """
    if n < 2:
        raise AhaError(f"n-grams of {n} words would remove nearly everything: use 5 to 13.")
    report = ContaminationReport()
    index = _index(evaluation, n, report)
    if common is not None:
        _forget_wording(index, evaluation, n, common)
    if not index:
        raise AhaError("The evaluation sets hold no text to compare with: give rows with questions.")
    hits: dict[int, _Hits] = {}
    sizes = sorted(index, reverse=True)  # the longest run first: it says the most
    for i, text in enumerate(texts):
        report.rows += 1
        if matched := _hits(tokens(text), index, sizes):
            hits[i] = matched
    wording = _wording(hits, common) if common is not None else frozenset()
    sizes_of = Counter(place for matched in index.values() for place in matched.values())
    for i, matched in hits.items():
        if hit := _counted(matched, wording, sizes_of):
            report.hits.append(Contaminated(i, *hit))
    gone = {hit.index for hit in report.hits}
    return [i for i in range(report.rows) if i not in gone], report


_Place = tuple[str, int]
"""(set, row) of an evaluation text."""
_Hits = dict[_Place, dict[int, str]]
"""Of each evaluation text the runs that a text shares with it, by their hashes."""


def _hits(words: Sequence[str], index: _Index, sizes: Sequence[int]) -> _Hits:
    hits: _Hits = {}
    for size in sizes:
        if len(words) < size:
            continue
        known = index[size]
        for gram in ngrams(words, size):
            key = hash_of(gram)
            if key in known:
                hits.setdefault(known[key], {})[key] = gram
    return hits


def _wording(hits: Mapping[int, _Hits], common: int) -> frozenset[int]:
    """Runs that more than ``common`` of the texts share."""
    counts = Counter(key for matched in hits.values() for keys in matched.values() for key in keys)
    return frozenset(key for key, n in counts.items() if n > common)


def _counted(
    matched: _Hits, wording: frozenset[int], sizes: Mapping[_Place, int]
) -> tuple[str, int, str] | None:
    """(set, row, words) of the first evaluation text that a text shares more with than wording."""
    for place, runs in matched.items():
        own = next((gram for key, gram in runs.items() if key not in wording), "")
        if own or len(runs) >= WHOLE * sizes[place]:
            return *place, own or next(iter(runs.values()))
    return None


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
            of_size = index.setdefault(min(n, len(words)), {})
            for gram in ngrams(words, n):
                of_size.setdefault(hash_of(gram), (source, number))
    return index


def _forget_wording(index: _Index, evaluation: Mapping[str, Sequence[str]], n: int, common: int) -> None:
    """Take out the n-grams that more than ``common`` different texts of one set share."""
    for rows in evaluation.values():
        counts: Counter[int] = Counter()
        for words in {tuple(tokens(text)) for text in rows}:
            counts.update({hash_of(gram) for gram in ngrams(words, n)})
        for of_size in index.values():
            for gram in [g for g, k in counts.items() if k > common]:
                of_size.pop(gram, None)
