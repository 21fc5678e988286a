"""What a choice among k of n samples is worth, exactly: the mean over all subsets, not over some that were drawn.

``majority``: the most frequent answer (self-consistency, Wang et al., arXiv 2203.11171), votes by value; of a tie each
answer counts alike. ``best_of``: the answer with the highest score (best-of-n, Cobbe et al., arXiv 2110.14168).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from math import comb

import numpy as np

Votes = Sequence[tuple[str, bool]]
"""(ballot, whether it is right) of each sample; a ballot of "" is no vote, and takes its place among the k."""


def majority(votes: Votes) -> list[float]:
    """How often the most frequent answer of k samples is right, for k = 1..n: a list [n]."""
    counts = Counter(ballot for ballot, _ in votes if ballot)
    right = {ballot for ballot, mark in votes if ballot and mark}
    shape = tuple(sorted((count, ballot in right) for ballot, count in counts.items()))
    return list(_elected(shape, sum(not ballot for ballot, _ in votes)))


@lru_cache(maxsize=4096)
def _elected(shape: tuple[tuple[int, bool], ...], silent: int) -> tuple[float, ...]:
    """``majority`` by how many votes each answer has and whether it is right: many problems are alike in that."""
    n = silent + sum(count for count, _ in shape)
    wins = np.zeros(n + 1)
    for at, (count, is_right) in enumerate(shape):
        if is_right:
            wins += _wins(count, [c for i, (c, _) in enumerate(shape) if i != at], silent, n)
    return tuple(float(wins[k]) / comb(n, k) for k in range(1, n + 1))


def _wins(own: int, others: Sequence[int], silent: int, n: int) -> np.ndarray:
    """Of each k = 0..n the subsets in which an answer with ``own`` votes wins, [n + 1]; a tie of t counts 1 / t."""
    blank = np.array([float(comb(silent, s)) for s in range(silent + 1)])
    total = np.zeros(n + 1)
    for mine in range(1, own + 1):
        tied = _ways(others, mine)
        ways = sum((tied[t] / (t + 1) for t in range(1, len(tied))), tied[0])
        ways = np.convolve(ways, blank)[: n + 1 - mine]
        total[mine : mine + len(ways)] += comb(own, mine) * ways
    return total


def _ways(others: Sequence[int], most: int) -> list[np.ndarray]:
    """[t][m]: ways to draw m votes of the others, none of them with more than ``most`` and t with just as many."""
    tied = [np.ones(1)]
    for count in others:
        below = np.array([float(comb(count, v)) for v in range(min(count, most - 1) + 1)])
        level = np.zeros(most + 1)
        level[most] = float(comb(count, most))
        grown = [np.convolve(ways, below) for ways in tied]
        if count >= most:
            grown = _added(grown, [np.zeros(1), *(np.convolve(ways, level) for ways in tied)])
        tied = grown
    return _padded(tied)


def _added(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> list[np.ndarray]:
    size = max(map(len, [*first, *second]))
    sums = [np.zeros(size) for _ in range(max(len(first), len(second)))]
    for side in (first, second):
        for at, ways in enumerate(side):
            sums[at][: len(ways)] += ways
    return sums


def _padded(ways: Sequence[np.ndarray]) -> list[np.ndarray]:
    size = max(map(len, ways))
    return [np.pad(w, (0, size - len(w))) for w in ways]


def best_of(scores: Sequence[float], right: Sequence[bool]) -> list[float]:
    """How often the answer with the highest score of k samples is right, for k = 1..n: a list [n]. Answers of one score
    are chosen alike."""
    order = sorted(range(len(scores)), key=lambda i: scores[i])
    n, expected = len(scores), [0.0] * len(scores)
    at = 0
    while at < n:
        end = at
        while end < n and scores[order[end]] == scores[order[at]]:
            end += 1
        share = sum(right[i] for i in order[at:end]) / (end - at)
        for k in range(1, n + 1):  # the highest of k lies among these: none above, and not all below
            expected[k - 1] += share * (comb(end, k) - comb(at, k)) / comb(n, k)
        at = end
    return expected
