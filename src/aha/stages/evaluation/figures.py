"""What every evaluation counts with: pass@k, intervals over problems, and for which k."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Z = 1.959964
"""The normal quantile of a two-sided 95% interval."""


def powers(n: int) -> list[int]:
    """1, 2, 4, ... below ``n``, and ``n``."""
    return sorted({1 << i for i in range(n.bit_length()) if 1 << i < n} | {n})


def mean(values: Any) -> float:
    """The mean of the values that are there; NaN of none."""
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    return float(array.mean()) if len(array) else float("nan")


def defined(value: Any) -> Any:
    """Figures with None in place of every NaN, which JSON has not; an interval with one is None."""
    if isinstance(value, Mapping):
        return {key: defined(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return None if any(one != one for one in value) else list(value)
    return None if value != value else value


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The unbiased estimate 1 - C(n - c, k) / C(n, k) (Chen et al., 2021, arXiv 2107.03374); NaN for k above n: so many
    samples tell nothing of it."""
    if k > n:
        return float("nan")
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def interval(per_problem: np.ndarray) -> tuple[float, float]:
    """A 95% interval of the mean of rates in 0..1, one a problem.

    Wilson's (1927), at the number of independent draws that would be spread as the problems' rates are (Kish's
    effective sample size), and at the number of problems where they are all equal. So samples of one problem do not
    count as independent, and a figure of 0% or 100% keeps an interval as wide as its few problems make it.
    """
    n = len(per_problem)
    if n == 0:
        return float("nan"), float("nan")
    rate = float(per_problem.mean())
    spread = float(per_problem.var(ddof=1)) / n if n > 1 else 0.0
    drawn = max(float(n), rate * (1 - rate) / spread) if spread > 0 else float(n)
    centre, z2 = rate + Z**2 / (2 * drawn), Z**2 / drawn
    half = Z * math.sqrt(rate * (1 - rate) / drawn + z2 / (4 * drawn))
    low, high = (centre - half) / (1 + z2), (centre + half) / (1 + z2)
    return max(0.0, low) if rate > 0 else 0.0, min(1.0, high) if rate < 1 else 1.0
