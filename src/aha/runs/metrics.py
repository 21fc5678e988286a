"""The figures of one step of reinforcement learning, under the names dashboards know from TRL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aha.types import Group


def rl_metrics(
    step: int,
    groups: Sequence[Group],
    advantages: Sequence[np.ndarray],
    totals: Mapping[str, float],
    mismatch: np.ndarray,
) -> dict[str, Any]:
    """Metrics of one step. ``totals`` are the update's weighted sums; ``mismatch`` [n] is policy minus
    sampler logprob of each token of the first update, before the policy moved."""
    members = [m for g in groups for m in g.members]
    rewards = np.array([np.nan if m.reward is None else m.reward for m in members], dtype=np.float64)
    lengths = np.array([len(m.rollout.completion_ids) for m in members])
    result: dict[str, Any] = {"step": step, "reward": _mean(rewards), "reward_std": _group_std(groups)}
    for name in members[0].scores:
        values = [m.scores[name].value for m in members if not m.scores[name].silent]
        graded = np.array([np.nan if v is None else v for v in values], float)
        result |= {f"rewards/{name}/mean": _mean(graded), f"rewards/{name}/std": _std(graded)}
    result |= {
        "completions/mean_length": float(lengths.mean()),
        "completions/min_length": int(lengths.min()),
        "completions/max_length": int(lengths.max()),
        "ungradable": float(np.isnan(rewards).mean()),
        "frac_reward_zero_std": float(np.mean([not g.has_signal for g in groups])),
        "sampler_mismatch/mean": float(np.abs(mismatch).mean()) if len(mismatch) else 0.0,
        "sampler_mismatch/max": float(np.abs(mismatch).max()) if len(mismatch) else 0.0,
        "sampler_ratio/mean": float(np.exp(mismatch).mean()) if len(mismatch) else 1.0,
        "sampler_ratio/max": float(np.exp(mismatch).max()) if len(mismatch) else 1.0,
        "sampler_ratio/min": float(np.exp(mismatch).min()) if len(mismatch) else 1.0,
        "groups": len(groups),
        "groups_trained": int(sum(bool((~np.isnan(a)).any()) for a in advantages)),
    }
    return result | {name: round(float(value), 6) for name, value in totals.items()}


def _mean(values: np.ndarray) -> float:
    graded = values[~np.isnan(values)]
    return float(graded.mean()) if len(graded) else float("nan")


def _std(values: np.ndarray) -> float:
    graded = values[~np.isnan(values)]
    return float(graded.std(ddof=1)) if len(graded) > 1 else 0.0


def _group_std(groups: Sequence[Group]) -> float:
    stds = []
    for group in groups:
        values = [m.reward for m in group.members if m.reward is not None]
        if len(values) > 1:
            stds.append(float(np.std(values)))
    return float(np.mean(stds)) if stds else 0.0
