"""What more tokens buy: accuracy over the tokens that training sampled, and over the samples drawn for an answer."""

from __future__ import annotations

from collections.abc import Sequence

from aha.runs.charts import Chart, Point, Series, at_k, draw, number
from aha.runs.report.data import Json, StageData

PER_CHART = 5
"""Curves that can be told apart."""


def scaling(stages: Sequence[StageData], before: Json, after: Json) -> str:
    """Both charts as HTML; "" where nothing was measured twice."""
    charts = [*training(stages), *at_test_time(before, after)]
    drawn = "".join(draw(chart) for chart in charts)
    return f'<h3>What more tokens buy</h3><div class="charts large">{drawn}</div>' if drawn else ""


def training(stages: Sequence[StageData]) -> list[Chart]:
    """Held-out accuracy over all tokens sampled so far, a curve for each stage and split that has three
    points: before and after alone are no curve."""
    series = [
        Series(name, points, color, marks=True) for color, (name, points) in enumerate(_curves(stages), 1)
    ]
    words = "Held-out pass@1 over the tokens that the stage had sampled by then."
    return [
        Chart(
            "Accuracy over training tokens",
            words,
            series[at : at + PER_CHART],
            "rate",
            top=1.0,
            axis="tokens",
        )
        for at in range(0, len(series), PER_CHART)
    ]


def _curves(stages: Sequence[StageData]) -> list[tuple[str, list[Point]]]:
    curves = []
    for stage in stages:
        splits = dict.fromkeys(str(row.get("split", "")) for row in stage.evals)
        for split in splits:
            rows = [row for row in stage.evals if str(row.get("split", "")) == split]
            points = [p for row in rows if (p := _point(stage, row)) is not None]
            if len({x for x, _ in points}) > 2:
                curves.append((f"{stage.name}, {split}" if split else stage.name, points))
    return curves


def _point(stage: StageData, row: Json) -> Point | None:
    """(tokens sampled, pass@1) of an evaluation; None where one of them is not known."""
    value, step = number(row.get("pass@1")), row["step"]
    tokens = [y for x, y in stage.curve("num_tokens") if x <= step]
    if value is None or not (tokens or step == 0):
        return None
    return (max(tokens, default=0.0), value)


def at_test_time(before: Json, after: Json) -> list[Chart]:
    """Accuracy over the number of samples: voted, and where any of them counts."""
    series = []
    for color, (name, row, dashed) in enumerate((("before", before, True), ("after", after, False))):
        for prefix, words, shade in (("maj@", "majority vote", 1), ("pass@", "any of them", 2)):
            points = [(1.0, v)] if (v := number(row.get("pass@1"))) is not None else []
            points += [
                (float(k.partition("@")[2]), y)
                for k in at_k(row, prefix)
                if (y := number(row[k])) is not None
            ]
            if len(points) > 1:
                series.append(
                    Series(f"{words}, {name}", points, 2 * color + shade, marks=True, dashed=dashed)
                )
    words = "Accuracy over the samples drawn for each problem (k)."
    return (
        [Chart("Accuracy over samples at test time", words, series, "rate", top=1.0, axis="k")]
        if series
        else []
    )
