"""A run's curves as the page draws them: the report's charts, and what its steps are in tokens, seconds and FLOP."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from aha.runs import headers
from aha.runs.charts import Chart, Series, number, thin
from aha.runs.report.curves import large_charts, small_charts
from aha.runs.report.data import StageData

MOST = 600
"""Points of a curve that are sent; longer ones are means over equal stretches."""
MORE = 60
"""Figures of a stage that the report has no chart for, at most."""


def curves(stage: StageData) -> dict[str, Any]:
    """A stage's charts, in the report's order, then what else it measured; and its axes."""
    return {"stage": stage.name, "axes": axes(stage), "charts": [_chart(c) for c in charts(stage)]}


def charts(stage: StageData) -> list[Chart]:
    """Those of the report, where there is anything in them; then one for each other figure."""
    drawn = [c for c in [*large_charts(stage), *small_charts(stage)] if any(s.points for s in c.series)]
    return [*drawn, *_others(stage)]


_DRAWN = (
    "step", "num_tokens", "reward", "reward_std", "entropy", "kl", "clip_ratio/region_mean", "frac_reward_zero_std",
    "completions/mean_length", "completions/max_length", "completions/clipped_ratio", "sampler_mismatch/mean",
    "sampler_mismatch/max", "language/mixed", "chains/empty", "chains/repeated", "tokens_per_second", "step_time",
    "time/sampling", "time/training", "grad_norm", "loss", "lr", "ungradable", "max_tokens", "reflections/mean",
    "rewards/accuracy/mean", "rewards/format/mean",
)  # fmt: skip
"""Figures that the report's charts show."""


def _others(stage: StageData) -> list[Chart]:
    keys = dict.fromkeys(key for row in stage.metrics for key in row if key not in _DRAWN)
    drawn = []
    for key in list(keys)[:MORE]:
        points = stage.curve(key)
        if len({y for _, y in points}) > 1:
            drawn.append(Chart(key, "", [Series(key, points)]))
    return drawn


def _chart(chart: Chart) -> dict[str, Any]:
    return {
        "title": chart.title, "note": chart.note, "kind": chart.kind, "top": chart.top, "limit": chart.limit,
        "series": [_series(s) for s in chart.series if s.points],
    }  # fmt: skip


def _series(series: Series) -> dict[str, Any]:
    return {
        "name": series.name, "color": series.color, "marks": series.marks, "dashed": series.dashed, "line": series.line,
        "points": _short(thin(series.points, MOST)), "band": _short(thin(series.band, MOST)),
    }  # fmt: skip


def _short(points: Iterable[Sequence[float]]) -> list[list[float]]:
    """To seven digits: what a screen shows is less."""
    return [[float(f"{value:.7g}") for value in point] for point in points]


# --- axes --------------------------------------------------------------------------------------------------


def axes(stage: StageData) -> dict[str, list[float]]:
    """What each step is on the other axes: ``tokens`` sampled so far, ``seconds`` spent so far, and ``flop`` where the
    number of parameters is known; all as long as ``step``, which begins with 0."""
    rows = [row for row in stage.metrics if number(row.get("step")) is not None]
    steps = [float(row["step"]) for row in rows]
    known: dict[str, list[float]] = {"step": [0.0, *steps]}
    tokens = [number(row.get("num_tokens")) for row in rows]
    if rows and None not in tokens:
        known["tokens"] = [0.0, *(t for t in tokens if t is not None)]
    seconds = [number(row.get("step_time")) for row in rows]
    if rows and any(s is not None for s in seconds):
        known["seconds"] = [0.0, *accumulate(s or 0.0 for s in seconds)]
    size = parameters(stage.folder)
    if size and "tokens" in known:
        known["flop"] = [flop(size, t) for t in known["tokens"]]
    kept = thin(list(zip(*known.values(), strict=True)), MOST)
    return {name: [float(f"{p[i]:.7g}") for p in kept] for i, name in enumerate(known)}


def flop(size: int, tokens: float) -> float:
    """Of sampling and learning each of ``tokens`` once: 2 and 6 for each of ``size`` parameters (Kaplan et al., 2020,
    arXiv 2001.08361). Attention, prompts, a reference model and repeated updates are not in it."""
    return 8.0 * size * tokens


def parameters(stage: Path) -> int:
    """How many parameters the stage's newest checkpoint has; 0 where there is none in safetensors."""
    steps = sorted(stage.glob("checkpoints/step-*"))
    for place in [stage / "final", *reversed(steps)]:
        if files := sorted(place.glob("*.safetensors")):
            return sum(math.prod(shape) for file in files for shape in headers.shapes(file).values())
    return 0
