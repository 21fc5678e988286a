"""Benchmark questions that a training set holds: by shared runs of words, as training rows are cleaned of them.

The other way round than ``data.decontaminate``: the training set stays as it is, and the figures say what they are
without the questions that it has seen.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aha.benchmarks.records import GradedProblem
from aha.benchmarks.statistics import rates
from aha.data.decontaminate import SHORTEST, N
from aha.data.dedup import hash_of
from aha.data.sources import numbered_rows
from aha.data.words import ngrams, tokens
from aha.stages.evaluation.figures import interval
from aha.types import Problem

WORDING = 3
"""Runs of words that more questions than this have are wording, and tell nothing."""


def texts_of(source: str) -> Iterator[str]:
    """All that each row of a training set says, at any depth."""
    for _, row in numbered_rows(source):
        yield "\n".join(_strings(row))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _strings(inner)


def seen(problems: Sequence[Problem], texts: Iterable[str], n: int = N) -> dict[str, str]:
    """The ids of questions of which a text has a run of ``n`` words, each with that run. A question with fewer words is
    found where it stands whole; one with fewer than ``SHORTEST`` cannot be found."""
    index: dict[int, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for problem in problems:
        words = tokens(str(problem.metadata.get("content") or problem.messages[-1].get("content", "")))
        if len(words) >= min(n, SHORTEST):
            size = min(n, len(words))
            for key in {hash_of(gram) for gram in ngrams(words, size)}:
                index[size][key].append(problem.id)
    overlaps: dict[str, str] = {}
    for text in texts:
        words = tokens(text)
        for size, known in index.items():
            for gram in ngrams(words, size) if len(words) >= size else ():
                ids = known.get(hash_of(gram), ())
                if len(ids) <= WORDING:
                    overlaps |= {name: gram for name in ids if name not in overlaps}
    return overlaps


def figures(records: Sequence[GradedProblem], overlaps: Mapping[str, str]) -> dict[str, Any]:
    """``contaminated``: the share of questions that were seen; ``clean`` and ``seen``: pass@1 of the others and of
    these, each with its interval."""
    share: dict[str, Any] = {
        "contaminated": sum(r.problem in overlaps for r in records) / max(1, len(records))
    }
    for name, own in (
        ("clean", [r for r in records if r.problem not in overlaps]),
        ("seen", [r for r in records if r.problem in overlaps]),
    ):
        graded = rates(own)
        graded = graded[~np.isnan(graded)]
        share |= {name: float(graded.mean()) if len(graded) else None}
        share |= {f"{name}_ci": list(interval(graded)) if len(graded) else None}
    return share


def sentence(benchmark: str, source: str, figures: Mapping[str, Any], overlaps: Mapping[str, str]) -> str:
    """In words, how many questions of a benchmark a training set holds, and what pass@1 is without them."""
    name = Path(source).name
    if not overlaps:
        return f"{benchmark}: none of its questions stands in {name} ({N} words in a row)"
    clean, own = (figures[part] for part in ("clean", "seen"))
    said = " and ".join(
        f"{value:.1%} on the {words}"
        for value, words in ((clean, "others"), (own, "seen"))
        if value is not None
    )
    return f"{benchmark}: {figures['contaminated']:.1%} of its questions stand in {name}; pass@1 is {said}"


def counts(overlaps: Mapping[str, str]) -> Counter[str]:
    """How often each run of words was the one that a question was found by."""
    return Counter(overlaps.values())
