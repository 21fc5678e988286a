"""From a figure per seed to a verdict, by a rule that is fixed here: a 95 % t interval and a bound."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from aha.runs.claims.data import Measure, RunFigures

BoundKind = Literal["rate", "points", "ratio", "number", "seconds", "tokens", "bytes"]
ClaimVerdict = Literal["holds", "does not hold at this scale", "cannot tell", "not measured", ""]
HOLDS: ClaimVerdict = "holds"
FAILS: ClaimVerdict = "does not hold at this scale"
UNSURE: ClaimVerdict = "cannot tell"
MISSING: ClaimVerdict = "not measured"
LEVEL = 0.95
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""The 97.5 % quantiles of Student's t with 1 to 30 degrees of freedom."""


def t_quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's t; beyond the table the first term of its expansion in 1 / degrees."""
    return _T[degrees - 1] if degrees <= len(_T) else 1.95996 + 2.3722 / degrees


def t_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """(mean, low, high) of two or more values: the 95 % interval of Student's t for their mean."""
    mean = statistics.fmean(values)
    half = t_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


@dataclass(frozen=True, slots=True)
class Criterion:
    """A figure of each run and where a claim wants it: ``above`` or ``below`` the ``bound``. Without a bound
    it is only shown. ``exact``: it is no draw (a size), so that one run is enough."""

    text: str
    kind: BoundKind
    measure: Measure
    bound: float | None = None
    side: Literal["above", "below"] = "above"
    exact: bool = False

    def wanted(self, value: float) -> bool:
        """Whether a value lies on the claim's side."""
        assert self.bound is not None
        return value > self.bound if self.side == "above" else value < self.bound


@dataclass(frozen=True, slots=True)
class Claim:
    """One of the paper's claims: every criterion with a bound has to hold."""

    key: str
    title: str
    criteria: tuple[Criterion, ...]


@dataclass(frozen=True, slots=True)
class ClaimFinding:
    """A criterion over the runs: values in their order (None: not measured), mean, interval, verdict."""

    criterion: Criterion
    values: tuple[float | None, ...]
    mean: float | None
    low: float | None
    high: float | None
    verdict: ClaimVerdict
    note: str = ""


def find(criterion: Criterion, runs: Sequence[RunFigures]) -> ClaimFinding:
    """Measure a criterion in every run and judge it."""
    return judged(criterion, [criterion.measure(run) for run in runs])


def judged(criterion: Criterion, values: Sequence[float | None]) -> ClaimFinding:
    """The verdict on values, one a run. A claim holds if the whole interval lies on its side of the bound, it
    does not if the whole interval lies on the other, and else nobody can tell; so too with one seed."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    kept = tuple(v if v is not None and math.isfinite(v) else None for v in values)
    if not known:
        return ClaimFinding(criterion, kept, None, None, None, MISSING if criterion.bound is not None else "")
    mean, low, high = _interval(known, criterion.kind)
    verdict, note = _verdict(criterion, known, low, high)
    if len(known) < len(values):
        note = f"measured in {len(known)} of {len(values)} runs" + (f"; {note}" if note else "")
    return ClaimFinding(criterion, kept, mean, low, high, verdict, note)


def _interval(values: Sequence[float], kind: BoundKind) -> tuple[float, float | None, float | None]:
    """Ratios have a geometric mean, and their interval on the scale of logarithms."""
    logs = kind == "ratio" and min(values) > 0
    scaled = [math.log(v) for v in values] if logs else list(values)
    if len(scaled) < 2:
        return values[0], None, None
    interval = t_interval(scaled)
    mean, low, high = (math.exp(v) for v in interval) if logs else interval
    return mean, low, high


def _verdict(
    criterion: Criterion, values: Sequence[float], low: float | None, high: float | None
) -> tuple[ClaimVerdict, str]:
    if criterion.bound is None:
        return "", ""
    if criterion.exact:
        return (HOLDS if all(map(criterion.wanted, values)) else FAILS), ""
    if low is None or high is None:
        side = "on the claim's side" if criterion.wanted(values[0]) else "not on the claim's side"
        return UNSURE, f"one seed has no interval; its figure is {side}"
    inside = [criterion.wanted(end) for end in (low, high)]
    if all(inside):
        return HOLDS, ""
    # An interval that touches the bound from the wrong side has no point on the claim's.
    touches = high <= criterion.bound if criterion.side == "above" else low >= criterion.bound
    return (FAILS, "") if touches else (UNSURE, "the interval crosses the bound")


def overall(findings: Sequence[ClaimFinding]) -> ClaimVerdict:
    """A claim's verdict: it fails with one criterion; else it is not measured in full, or nobody can tell, if
    that is so of one; it holds if all do."""
    verdicts = {f.verdict for f in findings if f.criterion.bound is not None}
    worst: list[ClaimVerdict] = [v for v in (FAILS, MISSING, UNSURE) if v in verdicts]
    return worst[0] if worst else HOLDS
