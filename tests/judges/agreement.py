"""The made world's rubric, judges that know it and err by a known noise, and what the noise allows, computed exactly.

A judge of pairs sees the difference in worth of two answers with a normal deviation added, and says one of five words;
four words, half of them in each order, are averaged. So how often a verdict goes the rubric's way follows from the
difference by the normal distribution, and nothing that reads the verdicts can do better.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aha.data.pairs import CALLS, THRESHOLD
from aha.judges import programs
from aha.tasks import general
from aha.tasks.general_answers import MANNERS, write
from aha.types import Problem


@dataclass(frozen=True)
class Duel:
    """Two answers to a question, the first worth ``gap`` more by the rubric."""

    problem: Problem
    better: str
    worse: str
    gap: float

    @property
    def question(self) -> str:
        return str(self.problem.messages[-1]["content"])


def duels(splits: Sequence[str], each: int, seed: int) -> list[Duel]:
    """Pairs of answers of every manner to the questions of these splits, ``each`` of a question, no two worth the
    same."""
    pairs = []
    for split in splits:
        for problem in general.task().load(split, 2000, 0):
            rng = random.Random(f"{seed}:{problem.id}")
            question = str(problem.messages[-1]["content"])
            worth = {
                text: programs.utility(question, text) for text in (write(problem, m, rng) for m in MANNERS)
            }
            unequal = [
                (a, b) for a, b in itertools.permutations(worth, 2) if worth[a] - worth[b] > programs.WEAK
            ]
            for a, b in rng.sample(unequal, min(each, len(unequal))):
                pairs.append(Duel(problem, a, b, worth[a] - worth[b]))
    return pairs


def below(x: float) -> float:
    """The normal distribution."""
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def words(gap: float, level: float) -> dict[float, float]:
    """What a judge says of two answers and how probably: -3, -1, 0, 1 or 3 for the first one."""
    if not level:
        size = 3.0 if abs(gap) > programs.STRONG else 1.0 if abs(gap) > programs.WEAK else 0.0
        return {math.copysign(size, gap) + 0.0: 1.0}
    edges = (-math.inf, -programs.STRONG, -programs.WEAK, programs.WEAK, programs.STRONG, math.inf)
    under = [below((edge - gap) / level) for edge in edges]
    return {
        word: high - low
        for word, low, high in zip((-3.0, -1.0, 0.0, 1.0, 3.0), under, under[1:], strict=False)
    }


def margins(
    gap: float, level: float, broken: float = 0.0, calls: int = CALLS
) -> Mapping[float | None, float]:
    """The mean of ``calls`` words and how probably, None where fewer than half could be read."""
    said = {None: broken} | {word: p * (1 - broken) for word, p in words(gap, level).items()}
    sums: dict[tuple[float, int], float] = {(0.0, 0): 1.0}
    for _ in range(calls):
        longer: dict[tuple[float, int], float] = {}
        for (total, read), p in sums.items():
            for word, q in said.items():
                key = (total, read) if word is None else (total + word, read + 1)
                longer[key] = longer.get(key, 0.0) + p * q
        sums = longer
    means: dict[float | None, float] = {}
    for (total, read), p in sums.items():
        mean = total / read if 2 * read >= calls and read else None
        means[mean] = means.get(mean, 0.0) + p
    return means


def kept_and_right(gap: float, level: float, broken: float = 0.0) -> tuple[float, float]:
    """(how probably a pair is kept, how probably it is kept and the better answer is the chosen one)."""
    said = margins(gap, level, broken).items()
    kept = sum(p for mean, p in said if mean is not None and abs(mean) > THRESHOLD)
    return kept, sum(p for mean, p in said if mean is not None and mean > THRESHOLD)


def grades(worth: float, level: float) -> dict[int, float]:
    """The grades 1 to 10 that a judge gives an answer of that worth, and how probably."""
    if not level:
        return {round(1 + 9 * min(1.0, max(0.0, worth))): 1.0}
    cut = {grade: (grade - 1.5) / 9 for grade in range(2, 11)}  # the worth from which it is that grade
    edges = [-math.inf, *cut.values(), math.inf]
    under = [below((edge - worth) / level) for edge in edges]
    return {grade: under[grade] - under[grade - 1] for grade in range(1, 11)}


def ranked_right(better: float, worse: float, level: float) -> float:
    """How probably the better answer's grade is the higher one; an equal grade counts half."""
    high, low = grades(better, level), grades(worse, level)
    return sum(p * q * ((a > b) + 0.5 * (a == b)) for a, p in high.items() for b, q in low.items())
