"""From the rewards of a group to the advantage of each member. Pure functions on numpy arrays.

An ungradable member (reward NaN) leaves the group's baseline and gets advantage NaN; a group with fewer
than two graded members gives no signal at all.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

STD_EPS = 1e-6
Advantage = Callable[[np.ndarray], np.ndarray]
"""Rewards [G] of one problem's rollouts, NaN = could not be graded -> advantages [G], NaN = drop."""


def _centred(rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(reward - mean, which are graded); exactly 0 where all are equal, however the mean rounds."""
    rewards = np.asarray(rewards, dtype=np.float64)
    graded = ~np.isnan(rewards)
    if graded.sum() < 2:
        return None
    values = rewards[graded]
    if values.min() == values.max():
        return np.where(graded, 0.0, np.nan), graded
    return rewards - values.mean(), graded


def group_std(rewards: np.ndarray) -> np.ndarray:
    """GRPO (arXiv 2402.03300, section 4.1.2): (r - mean) / std over the group, population std.

    Exactly 0, not 0/0, where all graded rewards are equal.
    """
    found = _centred(rewards)
    if found is None:
        return np.full(len(rewards), np.nan)
    values, graded = found
    return values / (values[graded].std() + STD_EPS)


def group_mean(rewards: np.ndarray) -> np.ndarray:
    """Dr. GRPO (arXiv 2503.20783): r - mean over the group, without the standard deviation."""
    found = _centred(rewards)
    return np.full(len(rewards), np.nan) if found is None else found[0]


ADVANTAGES: dict[str, Advantage] = {"group_std": group_std, "group_mean": group_mean}
