"""What has moved in training: nothing, where a learning rate is too low; or one reward at another's cost."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from aha.runs.charts import number

WATCHED = ("reward", "rewards/accuracy/mean", "rewards/format/mean", "entropy", "completions/mean_length")
LEAST_STEPS = 12
STILL = 3.3
"""Standard errors that a figure's last third may lie from its first and be called unmoved: Student's t at 5% shared
among five figures, with some ten degrees of freedom."""

FALLEN, RISEN = 3.3, 2.5
"""Standard errors by which right answers fall and another reward rises where one is had at the other's cost. Each alone
is seen in healthy runs too: questions differ, and a format is learned."""


def unmoved(metrics: Sequence[Mapping[str, Any]], planned: int) -> str:
    """In words, that no figure has moved since the beginning, in spite of groups with signal; "" where one has, or
    where it is too early to say: before ``LEAST_STEPS`` steps, and before half of the planned ones."""
    if len(metrics) < max(LEAST_STEPS, planned / 2) or not _has_signal(metrics):
        return ""
    moves = {key: move for key in WATCHED if (move := _move(_values(metrics, key))) is not None}
    if len(moves) < 2 or any(abs(z) > STILL for *_, z in moves.values()):
        return ""
    shown = "; ".join(f"{key} from {a:.3g} to {b:.3g}" for key, (a, b, _) in moves.items())
    lr = max(_values(metrics, "lr"), default=math.nan)
    return f"in {len(metrics)} steps at lr {lr:.2g} nothing moved more than chance: {shown}"


def exchanged(metrics: Sequence[Mapping[str, Any]], right: Sequence[str]) -> str:
    """In words, that the share of right answers fell while another paid figure rose, both by more than chance; ""
    where not, or where completions had more room later. ``right``: names of rewards that know what is right."""
    if len({row.get("max_tokens") for row in metrics}) > 1:
        return ""
    paid = {k: m for k in _paid(metrics) if (m := _move(_values(metrics, k))) is not None}
    truth = next((key for name in right if (key := _key(name)) in paid), None)
    if truth is None or paid[truth][2] > -FALLEN:
        return ""
    known = {_key(name) for name in right}
    risen = [
        f"{k} rose from {a:.3g} to {b:.3g}" for k, (a, b, z) in paid.items() if k not in known and z > RISEN
    ]
    a, b, _ = paid[truth]
    return f"in training {truth} fell from {a:.3g} to {b:.3g}, while {', '.join(risen)}" if risen else ""


def _paid(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted(
        {key for row in metrics for key in row if key.startswith("rewards/") and key.endswith("/mean")}
    )


def _key(reward: str) -> str:
    return f"rewards/{reward}/mean"


def _has_signal(metrics: Sequence[Mapping[str, Any]]) -> bool:
    silent = _values(metrics, "frac_reward_zero_std")
    return not silent or statistics.median(silent) < 0.75


def _values(metrics: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [v for row in metrics if (v := number(row.get(key))) is not None]


def _move(values: Sequence[float]) -> tuple[float, float, float] | None:
    """(mean of the first third, mean of the last, their difference in standard errors); None for a constant."""
    third = len(values) // 3
    if third < 3:
        return None
    first, last = values[:third], values[-third:]
    error = math.sqrt((statistics.variance(first) + statistics.variance(last)) / third)
    a, b = statistics.fmean(first), statistics.fmean(last)
    return (a, b, (b - a) / error) if error > 0 else None
