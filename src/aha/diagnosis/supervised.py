"""Stages that learn from rows (fine-tuning, preferences, reward models, pretraining): what their figures speak for.

Curves are compared by the means of their fifths or thirds, against the scatter of the steps within them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from aha.diagnosis.causes import CAUSES
from aha.diagnosis.findings import Illness
from aha.runs.charts import number

Row = Mapping[str, Any]
LEAST = 10
"""Steps below which a curve says nothing."""
RISE = 0.25
"""A loss that ends by so much of its least fifth above it, and more than scatter, has risen."""
UNLEARNED = 0.05
"""A held-out loss that ends by so much above its least, while the loss in training fell, is no chance."""
THROWN = 2.0
"""A loss of so many times that of the untrained model, and a half, in three steps: updates are too large."""
STILL = 0.02
"""A loss that has moved by less than this share of itself, and by less than scatter, has not moved."""
LOST = 0.5
"""The share of rows that may be left out before it is named."""
CERTAIN = 3.3
"""Standard errors that are no chance, as in ``motion``."""


def found(stage: str, metrics: Sequence[Row], summary: Row, settings: Row) -> list[Illness]:
    """What the figures of such a stage speak for, without its rows, in the order of ``CAUSES``."""
    taken = [row for row in metrics if (number(row.get("step")) or 0) > 0]
    last = int(number(taken[-1].get("step")) or 0) if taken else 0
    words = {
        "rows_lost": rows_lost(summary),
        "nothing_to_learn": nothing_to_learn(taken),
        "lr_high": loss_rises(taken),
        "overfit": overfit(metrics),
        "preferences_unlearned": preferences_unlearned(taken, metrics),
        "lr_low": unmoved(taken, int(number(settings.get("steps")) or 0)),
    }
    illnesses = [Illness(cause, stage, last, (words[cause],)) for cause in CAUSES if words.get(cause)]
    names = {illness.cause for illness in illnesses}
    return [
        replace(i, explained_by=tuple(c for c in CAUSES[i.cause].explained_by if c in names))
        for i in illnesses
    ]


def is_supervised(metrics: Sequence[Row]) -> bool:
    """Whether these are figures of a stage that learns from rows."""
    return any("loss" in row for row in metrics) and not any("reward" in row for row in metrics)


def loss_rises(rows: Sequence[Row]) -> str:
    """In words, that the loss is no number, or ends well above where it was."""
    raw = [row.get("loss") for row in rows if "loss" in row]
    broken = sum(value is not None and number(value) is None for value in raw)
    if broken:
        return f"loss is no finite number in {broken} of {len(raw)} steps"
    if thrown := _thrown(values(rows, "loss")):
        return thrown
    fifths = _parts(values(rows, "loss"), 5)
    if not fifths:
        return ""
    means = [statistics.fmean(part) for part in fifths]
    least = min(range(5), key=lambda i: means[i])
    rise, error = means[-1] - means[least], _error(fifths[least], fifths[-1])
    first = means[0] if least == 0 else means[least]
    if rise <= RISE * abs(first) + 0.02 or rise <= CERTAIN * error:
        return ""
    return (
        f"loss rose from {means[least]:.3g} to {means[-1]:.3g} (means of fifths of {len(rows)} steps), at lr "
        f"{max(values(rows, 'lr'), default=math.nan):.2g}"
    )


def _thrown(losses: Sequence[float]) -> str:
    """In words, that updates have thrown the model far behind where it began: its first loss is that of no update."""
    if len(losses) < LEAST:
        return ""
    bound = THROWN * abs(losses[0]) + 0.5
    far = [i for i, loss in enumerate(losses, 1) if loss > bound]
    if len(far) < 3:
        return ""
    return (
        f"loss was {losses[0]:.3g} before the first update, and above {bound:.3g} in {len(far)} steps from step "
        f"{far[0]} on, at worst {max(losses):.3g}"
    )


def overfit(metrics: Sequence[Row]) -> str:
    """In words, that the held-out loss ends above its least while the loss in training went on falling."""
    losses = [
        (step, v)
        for row in metrics
        if (v := number(row.get("validation_loss"))) is not None
        and (step := number(row.get("step"))) is not None
    ]
    if len(losses) < 2:
        return ""
    (at, least), (end, last) = min(losses, key=lambda pair: pair[1]), losses[-1]
    if end <= at or last <= least * (1 + UNLEARNED) + 0.005:
        return ""
    taken = [row for row in metrics if (number(row.get("step")) or 0) > 0]
    then = values([r for r in taken if r["step"] <= max(at, taken[0]["step"])][-5:], "loss")
    now = values(taken[-5:], "loss")
    if not then or not now or statistics.fmean(now) >= statistics.fmean(then):
        return ""
    return (
        f"validation_loss rose from {least:.3g} at step {at:g} to {last:.3g} at step {end:g}, while loss fell from "
        f"{statistics.fmean(then):.3g} to {statistics.fmean(now):.3g}"
    )


def nothing_to_learn(rows: Sequence[Row]) -> str:
    """In words, that the loss is zero from the first steps on: no token is learned from, or all are known by heart."""
    first = values(rows, "loss")[:5]
    norms = values(rows, "grad_norm")[:5]
    if len(first) < 3 or max(map(abs, first)) > 0.01 or max(norms, default=0.0) > 0.05:
        return ""
    mean, norm = statistics.fmean(first), max(norms, default=0.0)
    return f"loss is {mean:.2g} from the first step on, with gradients of {norm:.2g}"


def unmoved(rows: Sequence[Row], planned: int) -> str:
    """In words, that the loss did not move, nor what is preferred."""
    thirds = _parts(values(rows, "loss"), 3)
    if not thirds or len(rows) < planned / 2 or max(map(abs, thirds[0])) <= 0.01:
        return ""
    first, last = statistics.fmean(thirds[0]), statistics.fmean(thirds[-1])
    if abs(last - first) > max(STILL * abs(first), CERTAIN * _error(thirds[0], thirds[-1])):
        return ""
    if abs(last - first) > 0.1 * abs(first) or _rewarded(rows):
        return ""
    lr = max(values(rows, "lr"), default=math.nan)
    return f"in {len(rows)} steps at lr {lr:.2g} loss went from {first:.4g} to {last:.4g}, which is no more than chance"


def preferences_unlearned(rows: Sequence[Row], metrics: Sequence[Row]) -> str:
    """In words, that the rejected completion is preferred as often as the chosen one: at the end of training, or of
    held-out pairs."""
    thirds = _parts(values(rows, "rewards/accuracies"), 3)
    margins = values(rows, "rewards/margins")
    if not thirds or not margins or not _rewarded(rows):
        return ""
    right, error = statistics.fmean(thirds[-1]), statistics.stdev(thirds[-1]) / math.sqrt(len(thirds[-1]))
    margin = statistics.fmean(margins[-len(thirds[-1]) :])
    if right <= 0.5 + 2 * max(error, 0.01) or margin < 0:
        return (
            f"rewards/accuracies is {right:.1%} in the last third of the steps, with margins of {margin:.3g}"
        )
    unseen = values(metrics, "validation_rewards/accuracies")
    if len(unseen) >= 2 and unseen[-1] < 0.5 and right > 0.8:
        return (
            f"rewards/accuracies is {right:.1%} in training and {unseen[-1]:.1%} of held-out pairs: what is "
            "preferred is not what the rows have in common"
        )
    return ""


def rows_lost(summary: Row) -> str:
    """In words, that more rows were left out than trained on."""
    dropped = summary.get("dropped")
    if not isinstance(dropped, Mapping):
        return ""
    counts = {str(name): int(number(n) or 0) for name, n in dropped.items()}
    kept = int(number(summary.get("rows")) or 0) + int(number(summary.get("held_out")) or 0)
    lost = sum(counts.values())
    if lost < 2 or lost <= LOST * (kept + lost):
        return ""
    reasons = ", ".join(f"{name}: {n}" for name, n in sorted(counts.items(), key=lambda item: -item[1])[:3])
    return f"{lost} of {kept + lost} rows were left out ({reasons})"


# --- curves --------------------------------------------------------------------------------------------------------


def values(rows: Sequence[Row], key: str) -> list[float]:
    """A figure's finite values."""
    return [v for row in rows if (v := number(row.get(key))) is not None]


def _parts(series: Sequence[float], n: int) -> list[list[float]]:
    """A curve in ``n`` parts of equal length, of which the last is whole; none where it is too short."""
    size = len(series) // n
    if len(series) < LEAST or size < 2:
        return []
    end = len(series)
    return [list(series[end - (n - i) * size : end - (n - i - 1) * size]) for i in range(n)]


def _error(a: Sequence[float], b: Sequence[float]) -> float:
    """The standard error of the difference of two means."""
    return math.sqrt(statistics.variance(a) / len(a) + statistics.variance(b) / len(b))


def _rewarded(rows: Sequence[Row]) -> bool:
    """Whether completions have an implicit reward at the end: the policy has left its reference."""
    last = [abs(v) for key in ("rewards/chosen", "rewards/rejected") for v in values(rows, key)[-5:]]
    return bool(last) and statistics.fmean(last) > 0.01
