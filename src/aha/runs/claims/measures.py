"""Figures of one run, as functions from a run to a number or None where it was not measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from aha.runs.charts import number
from aha.runs.claims.data import PROXY, TRUE, Json, Measure, RunFigures, smallest_rate

ACCURACY, LENGTH, WORDS = "rewards/accuracy/mean", "completions/mean_length", "reflections/mean"
WINDOW = 5
"""Steps whose mean is the last figure of a curve; a quarter of the curve at most."""


def window(steps: int) -> int:
    """How many of ``steps`` the end of a curve is."""
    return max(1, min(WINDOW, steps // 4))


def minus(one: Measure, other: Measure) -> Measure:
    """The difference of two figures."""

    def measure(run: RunFigures) -> float | None:
        a, b = one(run), other(run)
        return None if a is None or b is None else a - b

    return measure


def over(one: Measure, other: Measure) -> Measure:
    """The quotient of two figures; None where the divisor is 0."""

    def measure(run: RunFigures) -> float | None:
        a, b = one(run), other(run)
        return None if a is None or not b else a / b

    return measure


# --- of the comparison -------------------------------------------------------------------------------------


def reasoning(name: str, key: str) -> Measure:
    """A checkpoint's mean over the reasoning tasks."""
    return lambda run: run.reasoning(name, key)


def general(name: str, key: str) -> Measure:
    """A checkpoint's mean over the tasks with a rubric."""
    return lambda run: run.general(name, key)


def every(name: str, key: str) -> Measure:
    """A checkpoint's mean over all tasks."""
    return lambda run: run.every(name, key)


def of_base(key: str) -> Measure:
    """The base's mean over the reasoning tasks."""
    return lambda run: run.reasoning(run.base, key)


def lift(run: RunFigures) -> float | None:
    """Zero's pass@1 over the base's; a base without a right answer counts as half a right answer."""
    before, after = run.reasoning(run.base, "pass@1"), run.reasoning("zero", "pass@1")
    least = smallest_rate(run, run.base)
    return None if before is None or after is None or least is None else after / max(before, least)


# --- of one stage ------------------------------------------------------------------------------------------


def evaluated(stage: str, name: str, key: str) -> Measure:
    """A figure of a stage's own test evaluation, ``before`` or ``after``."""
    return lambda run: number(run.stages[stage].evaluation(name).get(key)) if stage in run.stages else None


def first(stage: str, key: str) -> Measure:
    """A metric at the first step, whose samples are those of the untrained model."""
    return _of_curve(stage, key, lambda values: values[0])


def last(stage: str, key: str) -> Measure:
    """A metric's mean over the last steps."""
    return _of_curve(stage, key, lambda values: statistics.fmean(values[-window(len(values)) :]))


def final(stage: str, key: str) -> Measure:
    """A metric at the last step."""
    return _of_curve(stage, key, lambda values: values[-1])


def peak(stage: str, key: str) -> Measure:
    """A metric's highest step."""
    return _of_curve(stage, key, max)


def _of_curve(stage: str, key: str, pick: Callable[[list[float]], float]) -> Measure:
    def measure(run: RunFigures) -> float | None:
        values = run.stages[stage].curve(key) if stage in run.stages else []
        return pick(values) if values else None

    return measure


def at_equal_steps(stage: str, other: str, key: str = ACCURACY) -> Measure:
    """A metric of ``stage`` over the last steps that both it and ``other`` took."""

    def measure(run: RunFigures) -> float | None:
        if stage not in run.stages or other not in run.stages:
            return None
        values = run.stages[stage].curve(key)
        n = min(len(values), len(run.stages[other].curve(key)))
        return statistics.fmean(values[n - window(n) : n]) if n else None

    return measure


def state(stage: str) -> Measure:
    """Bytes of a stage's training state, from its newest checkpoint."""
    return lambda run: run.stages[stage].state_bytes if stage in run.stages else None


def said(stage: str, key: str) -> Measure:
    """A number of what a stage said at its end."""
    return lambda run: number(run.stages[stage].summary.get(key)) if stage in run.stages else None


def seconds(stage: str) -> Measure:
    """A stage's time: that of its training over all processes, else of the process that finished it."""

    def measure(run: RunFigures) -> float | None:
        if stage not in run.stages:
            return None
        figures = run.stages[stage]
        known = (number(figures.summary.get(key)) for key in ("rl_seconds", "seconds"))
        return next((value for value in known if value), figures.seconds)

    return measure


# --- proxy and truth ---------------------------------------------------------------------------------------


def change(stage: str, key: str) -> Measure:
    """What a figure of the stage's test evaluation gained from before to after."""
    return minus(evaluated(stage, "after", key), evaluated(stage, "before", key))


def since_best(stage: str, key: str) -> Measure:
    """What a figure gained on the validation split from the evaluation whose true score was best to the last
    one; None with fewer than two evaluations."""

    def measure(run: RunFigures) -> float | None:
        rows = _validation(run, stage)
        if len(rows) < 2:
            return None
        best = max(rows, key=lambda row: row[TRUE])
        return float(rows[-1][key]) - float(best[key])

    return measure


def _validation(run: RunFigures, stage: str) -> list[Json]:
    rows = run.stages[stage].evals if stage in run.stages else []
    return [
        r
        for r in rows
        if r.get("name") == "step" and all(number(r.get(k)) is not None for k in (PROXY, TRUE))
    ]


def gap(stage: str) -> Measure:
    """How much more the reward model's score gained than the true one, from before to after."""
    return minus(change(stage, PROXY), change(stage, TRUE))


def rule_gap(stage: str) -> Measure:
    """How much more the accuracy reward gained in training than pass@1 on held-out problems."""
    reward = minus(last(stage, ACCURACY), first(stage, ACCURACY))
    return minus(reward, change(stage, "pass@1"))
