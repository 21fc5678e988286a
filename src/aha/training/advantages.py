"""From rewards to advantages of whole completions. Pure functions on numpy arrays.

An estimator sees all groups of a step. An ungradable member (reward NaN) leaves the baseline and gets
advantage NaN; a group with fewer than two graded members gives a group baseline no signal at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

STD_EPS = 1e-6
Rewards = Sequence[np.ndarray]
Advantage = Callable[[Rewards, "np.ndarray | None"], list[np.ndarray]]
"""(rewards [G] of each group, NaN = could not be graded; a baseline for each group or None) -> advantages
[G] of each group, NaN = drop."""


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
    centred = _centred(rewards)
    if centred is None:
        return np.full(len(rewards), np.nan)
    values, graded = centred
    return values / (values[graded].std() + STD_EPS)


def group_mean(rewards: np.ndarray) -> np.ndarray:
    """Dr. GRPO (arXiv 2503.20783) and Kimi k1.5: r - mean over the group, without the standard deviation."""
    centred = _centred(rewards)
    return np.full(len(rewards), np.nan) if centred is None else centred[0]


def leave_one_out(rewards: np.ndarray) -> np.ndarray:
    """RLOO (arXiv 2402.14740): r minus the mean of the *other* members, which is G / (G - 1) * (r - mean)."""
    centred = _centred(rewards)
    if centred is None:
        return np.full(len(rewards), np.nan)
    n = centred[1].sum()
    return centred[0] * n / (n - 1)


def group_best(rewards: np.ndarray) -> np.ndarray:
    """RAFT (arXiv 2304.06767): 1 for the best of the group; the rest is dropped.

    The original keeps the best of K under a learned reward. Under a rule reward several may be best, and
    all of them are kept; where the best reward is not above 0 there is no positive (arXiv 2504.11343).
    """
    rewards = np.asarray(rewards, dtype=np.float64)
    graded = ~np.isnan(rewards)
    best = rewards[graded].max() if graded.any() else np.nan
    return np.where(graded & (rewards == best) & (best > 0), 1.0, np.nan)


def raw(rewards: np.ndarray) -> np.ndarray:
    """REINFORCE: the reward itself, no baseline."""
    return np.asarray(rewards, dtype=np.float64).copy()


def each(estimate: Callable[[np.ndarray], np.ndarray]) -> Advantage:
    """An estimator that looks at one group at a time."""

    def all_groups(rewards: Rewards, baselines: np.ndarray | None = None) -> list[np.ndarray]:
        return [estimate(r) for r in rewards]

    return all_groups


def gpg(rewards: Rewards, baselines: np.ndarray | None = None) -> list[np.ndarray]:
    """GPG (arXiv 2504.02546): r - mean, times B / (B - M): M of the B samples are in groups without signal.

    The scale makes up for samples whose gradient is zero. Without the standard deviation, as the original
    and TRL have it; the survey arXiv 2505.00551 prints one.
    """
    centred = each(group_mean)(rewards, None)
    graded = sum(int((~np.isnan(a)).sum()) for a in centred)
    silent = sum(int((a == 0).sum()) for a in centred if not np.nan_to_num(a).any())
    scale = graded / (graded - silent) if graded > silent else 1.0
    return [a * scale for a in centred]


def greedy_baseline(rewards: Rewards, baselines: np.ndarray | None = None) -> list[np.ndarray]:
    """ReMax (arXiv 2310.10505): r minus the reward of the problem's greedy completion. A group whose greedy
    completion could not be graded (baseline NaN) is dropped. Raises ValueError without baselines."""
    if baselines is None or len(baselines) != len(rewards):
        raise ValueError("ReMax needs the reward of one greedy completion for each group.")
    return [np.asarray(r, np.float64) - b for r, b in zip(rewards, baselines, strict=True)]


ADVANTAGES: dict[str, Advantage] = {
    "raw": each(raw),
    "group_std": each(group_std),
    "group_mean": each(group_mean),
    "leave_one_out": each(leave_one_out),
    "group_best": each(group_best),
    "gpg": gpg,
    "greedy_baseline": greedy_baseline,
}
