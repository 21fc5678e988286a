"""Training reward against held-out truth: whether what is paid rises while what is right falls.

Truth is ``pass@1`` of the evaluations on held-out problems. An evaluation is worse than an earlier one where the
difference is larger than chance makes it at 5%, shared among the earlier ones, since the best of several was partly
lucky (Bonferroni).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aha.runs.charts import interval, number

TRUTH = "pass@1"
AROUND = 5
"""Steps up to an evaluation whose mean is the training reward that stands beside it."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TruthFall:
    """Since the evaluation at step ``best``, truth fell from ``before`` to ``after`` at ``step``; the training reward
    went from ``paid_before`` to ``paid_after``. ``risen``: parts of the reward that rose, by name, from and to."""

    best: int
    step: int
    before: float
    after: float
    paid_before: float
    paid_after: float
    risen: tuple[tuple[str, float, float], ...]

    @property
    def hacked(self) -> bool:
        """Whether the reward did not fall with the truth."""
        return self.paid_after >= self.paid_before

    def words(self) -> str:
        """In one sentence."""
        parts = ", ".join(f"{name} from {a:.3g} to {b:.3g}" for name, a, b in self.risen)
        return (
            f"held-out pass@1 fell from {self.before:.1%} at step {self.best} to {self.after:.1%} at step {self.step}, "
            f"while the training reward went from {self.paid_before:.3g} to {self.paid_after:.3g}"
            + (f" ({parts})" if parts else "")
        )


def truth_fall(metrics: Sequence[Row], evals: Sequence[Row]) -> TruthFall | None:
    """The fall of the last evaluation of a split below the best one before it; None where there is none that is more
    than chance."""
    for split in ("validation", "test"):
        rows = [e for e in evals if e.get("split") == split and number(e.get(TRUTH)) is not None]
        rows.sort(key=lambda e: e["step"])
        if len(rows) >= 2 and (fall := _fall(metrics, rows)) is not None:
            return fall
    return None


def best(evals: Sequence[Row]) -> Row | None:
    """The validation evaluation with the highest truth, of equal ones the earliest; None without any."""
    rows = [e for e in evals if e.get("split") == "validation" and number(e.get(TRUTH)) is not None]
    return max(rows, key=lambda e: (e[TRUTH], -e["step"]), default=None)


def margin(earlier: int) -> float:
    """By how much a fall below the best of ``earlier`` evaluations must exceed the half-width of its 95% interval."""
    normal = statistics.NormalDist()
    return normal.inv_cdf(1 - 0.025 / earlier) / normal.inv_cdf(0.975)


def _fall(metrics: Sequence[Row], rows: Sequence[Row]) -> TruthFall | None:
    last = rows[-1]
    top = max(rows[:-1], key=lambda e: e[TRUTH])
    before, after = float(top[TRUTH]), float(last[TRUTH])
    spans = [_half(top), _half(last)]
    if any(s is None for s in spans) or before - after <= margin(len(rows) - 1) * math.hypot(
        *(s or 0 for s in spans)
    ):
        return None
    a, b = _around(metrics, int(top["step"])), _around(metrics, int(last["step"]))
    parts = [key for key in b if key.startswith("rewards/") and key in a and b[key] > a[key]]
    risen = tuple((key.split("/")[1], a[key], b[key]) for key in parts)
    paid = (a.get("reward", math.nan), b.get("reward", math.nan))
    return TruthFall(int(top["step"]), int(last["step"]), before, after, *paid, risen)


def _half(row: Row) -> float | None:
    """Half of the width of truth's interval."""
    bounds = interval(row, TRUTH)
    return (bounds[1] - bounds[0]) / 2 if bounds else None


def _around(metrics: Sequence[Row], step: int) -> dict[str, float]:
    """Mean rewards of the steps up to one; of the first steps where it is before them all."""
    near = [row for row in metrics if step - AROUND < row.get("step", 0) <= step] or list(metrics[:AROUND])
    keys = {
        k for row in near for k in row if k == "reward" or (k.startswith("rewards/") and k.endswith("/mean"))
    }
    means = {}
    for key in keys:
        values = [v for row in near if (v := number(row.get(key))) is not None]
        if values:
            means[key] = sum(values) / len(values)
    return means
