"""Accuracy over the tokens that were spent for it: the mean over problems, with an interval over problems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aha.benchmarks.tables import share
from aha.stages.evaluation.figures import interval
from aha.thinking.methods import SpentPoint, ThinkingRow


@dataclass(frozen=True, slots=True)
class ThinkingFigure:
    """One way under one setting: ``accuracy`` in 0..1 with its 95% interval, ``tokens`` sampled for each problem,
    ``problems`` that could be graded."""

    way: str
    setting: int
    accuracy: float
    low: float
    high: float
    tokens: float
    problems: int


def figures(rows: Sequence[ThinkingRow]) -> list[ThinkingFigure]:
    """Figures in the order in which the points stand in the rows; a setting that no problem could be graded under has
    none."""
    points: dict[tuple[str, int], list[SpentPoint]] = defaultdict(list)
    for row in rows:
        for point in row.points:
            points[point.way, point.setting].append(point)
    return [figure for of_point in points.values() if (figure := _figure(of_point)) is not None]


def _figure(points: Sequence[SpentPoint]) -> ThinkingFigure | None:
    rates = np.array([p.right for p in points if p.right is not None], dtype=np.float64)
    if not len(rates):
        return None
    low, high = interval(rates)
    tokens = float(np.mean([p.tokens for p in points]))
    first = points[0]
    return ThinkingFigure(first.way, first.setting, float(rates.mean()), low, high, tokens, len(rates))


def rows(figures_shown: Sequence[ThinkingFigure]) -> list[dict[str, str]]:
    """The figures as a table's rows: of a curve over k its powers of two and its end."""
    last = {f.way: f.setting for f in figures_shown}
    steps = {f.way for f in figures_shown if f.way.startswith(("majority", "best of"))}
    shown = [
        f
        for f in figures_shown
        if f.way not in steps or f.setting & (f.setting - 1) == 0 or f.setting == last[f.way]
    ]
    return [
        {
            "way": f.way,
            "setting": str(f.setting),
            "tokens": f"{f.tokens:.0f}",
            "accuracy": f"{share(f.accuracy)} [{f.low:.1%}, {f.high:.1%}]",
            "problems": str(f.problems),
        }
        for f in shown
    ]
