"""Both scaling laws on one page: accuracy over tokens at test time, and over training compute. Needs no network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aha.runs.charts import escape, show, tick_names, ticks
from aha.runs.report.look import STYLE
from aha.thinking.figures import ThinkingFigure, rows
from aha.thinking.training import TrainedPoint

WIDTH, HEIGHT = 620.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 12.0, 42.0
_STYLE = ".plot text{font-size:11px;fill:var(--soft)}.dot:hover{stroke:var(--ink)}"


@dataclass(frozen=True, slots=True)
class LogPoint:
    """A point of a curve: ``x`` above 0, and ``y`` with its interval, in 0..1."""

    x: float
    y: float
    low: float
    high: float
    said: str = ""


Curves = dict[str, list[LogPoint]]


@dataclass(frozen=True, slots=True)
class _LogFrame:
    x0: float
    x1: float
    top: float

    def x(self, value: float) -> float:
        share = (math.log10(value) - self.x0) / (self.x1 - self.x0)
        return LEFT + (WIDTH - LEFT - RIGHT) * share

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value, self.top) / self.top


def plot(title: str, note: str, unit: str, curves: Curves) -> str:
    """Curves over a logarithmic axis, each point with its interval; "" without any point."""
    curves = {name: sorted(points, key=lambda p: p.x) for name, points in curves.items() if points}
    every = [p for points in curves.values() for p in points]
    if not every:
        return ""
    xs = [math.log10(p.x) for p in every]
    room = 0.03 * max(0.3, max(xs) - min(xs))
    levels = ticks(0.0, max(0.02, *(p.high for p in every)))
    frame = _LogFrame(min(xs) - room, max(xs) + room, levels[-1])
    body = [
        _grid(frame, levels, unit),
        *(_curve(frame, i, points) for i, points in enumerate(curves.values())),
    ]
    said = "; ".join(
        f"{name} from {show(p[0].y, 'rate')} to {show(p[-1].y, 'rate')}" for name, p in curves.items()
    )
    return (
        f'<figure class="chart"><figcaption><b>{escape(title)}</b> {escape(note)}</figcaption>{_legend(curves)}'
        f'<div class="plot"><svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" '
        f'aria-label="{escape(f"{title}: {said}")}">{"".join(body)}</svg></div></figure>'
    )


def _grid(frame: _LogFrame, levels: Sequence[float], unit: str) -> str:
    parts = []
    for level, name in zip(levels, tick_names(levels, "rate"), strict=True):
        y = frame.y(level)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{name}</text>')
    for value in log_ticks(frame.x0, frame.x1):
        x = frame.x(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{log_name(value)}</text>'
        )
    parts.append(
        f'<text class="unit" x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(unit)}</text>'
    )
    return "".join(parts)


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between powers of ten ``low`` and ``high``: 1, 2 and 5 of each, powers alone where it is wide."""
    steps = (1, 2, 5) if high - low < 2.5 else (1,)
    powers = range(math.floor(low), math.ceil(high) + 1)
    return [m * 10.0**p for p in powers for m in steps if low <= math.log10(m * 10.0**p) <= high]


def log_name(value: float) -> str:
    """A number of an axis: 500, 2k, 1e12."""
    if value >= 1e6:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def _curve(frame: _LogFrame, color: int, points: Sequence[LogPoint]) -> str:
    look = f"c{color % 6}"
    whiskers = "".join(
        f'<path class="whisker {look}" style="stroke-width:1;opacity:.6" '
        f'd="M{frame.x(p.x):.1f} {frame.y(p.low):.1f}V{frame.y(p.high):.1f}"/>'
        for p in points
    )
    line = "L".join(f"{frame.x(p.x):.1f} {frame.y(p.y):.1f}" for p in points)
    drawn = (
        f'<path class="line {look}{" dashed" if color > 5 else ""}" d="M{line}"/>' if len(points) > 1 else ""
    )
    dots = "".join(
        f'<circle class="dot {look}" cx="{frame.x(p.x):.1f}" cy="{frame.y(p.y):.1f}" r="3.5"><title>{escape(p.said)}'
        "</title></circle>"
        for p in points
    )
    return whiskers + drawn + dots


def _legend(curves: Curves) -> str:
    items = [
        f'<li><svg viewBox="0 0 22 8" aria-hidden="true"><path class="line c{i % 6}{" dashed" if i > 5 else ""}" '
        f'd="M1 4H21"/></svg>{escape(name)}</li>'
        for i, name in enumerate(curves)
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


# --- the page ------------------------------------------------------------------------------------------------


def test_time(shown: Sequence[ThinkingFigure]) -> Curves:
    """Each way's accuracy over its tokens."""
    curves: Curves = {}
    for f in shown:
        if f.tokens > 0:
            said = f"{f.way} {f.setting}: {f.accuracy:.1%} [{f.low:.1%}, {f.high:.1%}], {f.tokens:.0f} tokens"
            curves.setdefault(f.way, []).append(LogPoint(f.tokens, f.accuracy, f.low, f.high, said))
    return curves


def training(points: Sequence[TrainedPoint]) -> Curves:
    """Each stage's accuracy over training compute; what was measured before any training has no place on the axis."""
    curves: Curves = {}
    for p in points:
        if p.flop > 0:
            said = f"step {p.step}: {p.accuracy:.1%} [{p.low:.1%}, {p.high:.1%}], {p.flop:.2e} FLOP"
            curves.setdefault(f"{p.stage}, {p.split}", []).append(
                LogPoint(p.flop, p.accuracy, p.low, p.high, said)
            )
    return curves


def html(
    title: str, shown: Sequence[ThinkingFigure], trained: Sequence[TrainedPoint], said: Sequence[str]
) -> str:
    """The page: both plots beside each other, the table, and sentences."""
    before = [p for p in trained if p.flop == 0]
    note = "6 N D, sampling not counted. " + " ".join(
        f"Before training: {p.accuracy:.1%} ({p.split})." for p in before
    )
    drawn = plot(
        "At test time", "Tokens sampled for one problem.", "tokens for a problem (log)", test_time(shown)
    )
    drawn += plot("In training", note, "training FLOP (log)", training(trained))
    table = _table(rows(shown), ("way", "setting", "tokens", "accuracy", "problems"))
    words = "".join(f"<p>{escape(line)}</p>" for line in said)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width,initial-scale=1"><title>{escape(title)}</title><style>{STYLE}{_STYLE}</style>'
        f'</head><body><main><h1>{escape(title)}</h1><div class="charts large">{drawn}</div>{words}{table}</main>'
        "</body></html>\n"
    )


def _table(lines: Sequence[dict[str, str]], columns: Sequence[str]) -> str:
    cells = ["".join(f"<td>{escape(row[c])}</td>" for c in columns) for row in lines]
    head = "".join(f"<th>{c}</th>" for c in columns)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
