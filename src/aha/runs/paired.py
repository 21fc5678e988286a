"""Two checkpoints on the same problems: the difference of their means, its interval, and whether it is chance.

Problems are what is drawn: a bootstrap and a sign-flip test go over problems, never over answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

RESAMPLED = 4000
"""Resamples of a bootstrap and of a permutation test."""
AT_ONCE = 1 << 20
"""Numbers that are drawn at a time: some 20 MB."""
LEVEL = 0.05
"""The largest p at which a difference counts as more than chance."""


def bootstrap(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """A 95% interval of the mean of ``values`` [P], one a problem, by resampling problems."""
    if not len(values):
        return float("nan"), float("nan")
    rng, n = np.random.default_rng(seed), len(values)
    means = [values[rng.integers(0, n, (some, n))].mean(axis=1) for some in _portions(n)]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Paired:
    """Two models on the same problems: ``difference`` is the second's mean rate less the first's, ``p`` the share of
    sign flips that lie as far from zero, ``level`` the largest that counts. ``first_only`` and ``second_only``:
    problems that one gets right more often than not and the other does not; ``unshared``: problems of one side alone,
    which are not compared."""

    problems: int
    difference: float
    low: float
    high: float
    p: float
    first_only: tuple[str, ...]
    second_only: tuple[str, ...]
    level: float = LEVEL
    unshared: int = 0

    @property
    def told_apart(self) -> bool:
        """Whether the difference is more than chance: its interval excludes zero, and so does the test."""
        return self.p < self.level and not self.low <= 0 <= self.high

    def sentence(self, first: str, second: str) -> str:
        """In words, which is better, or that they cannot be told apart."""
        if not self.problems:
            return f"{first} and {second} cannot be told apart: no problem has a figure of both"
        span = f"{self.difference:+.1%} [{self.low:+.1%}, {self.high:+.1%}], p = {self.p:.3f}"
        span += f" ({self.unshared} problems that only one has are left out)" if self.unshared else ""
        if not self.told_apart:
            lucky = self.p < LEVEL and not self.low <= 0 <= self.high
            why = ", as one of so many pairs differs by chance" if lucky else ""
            return f"{first} and {second} cannot be told apart on {self.problems} problems: {span}{why}"
        better, other = (second, first) if self.difference > 0 else (first, second)
        return f"{better} is better than {other} on {self.problems} problems: {span}"


def paired_values(
    first: Mapping[str, float], second: Mapping[str, float], seed: int = 0, pairs: int = 1
) -> Paired:
    """Compare two sides by the values (rates, or anything else that has a mean) of the problems that both have; 5% is
    shared among so many ``pairs`` that are looked at (Bonferroni)."""
    shared = [problem for problem in first if problem in second]
    a, b = (np.array([side[problem] for problem in shared]) for side in (first, second))
    low, high = bootstrap(b - a, seed)
    one, other = (
        tuple(p for p, x, y in zip(shared, left, right, strict=True) if x > 0.5 >= y)
        for left, right in ((a, b), (b, a))
    )
    apart = float((b - a).mean()) if shared else float("nan")
    unshared = len(first) + len(second) - 2 * len(shared)
    p = _sign_flips(b - a, seed)
    return Paired(len(shared), apart, low, high, p, one, other, LEVEL / pairs, unshared)


def _sign_flips(differences: np.ndarray, seed: int) -> float:
    """The share of random signs under which the mean lies at least as far from zero as it does."""
    moved = differences[differences != 0]
    if not len(moved):
        return 1.0
    rng, n = np.random.default_rng(seed), len(moved)
    sums = np.concatenate([rng.choice([-1.0, 1.0], (some, n)) @ moved for some in _portions(n)])
    as_far = np.abs(sums) >= abs(moved.sum()) - 1e-12
    return float((as_far.sum() + 1) / (RESAMPLED + 1))


def _portions(problems: int) -> Iterator[int]:
    """``RESAMPLED`` in parts, so that at most ``AT_ONCE`` numbers are drawn at a time, however many problems."""
    most = max(1, AT_ONCE // max(problems, 1))
    for done in range(0, RESAMPLED, most):
        yield min(most, RESAMPLED - done)
