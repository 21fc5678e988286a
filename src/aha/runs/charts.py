"""How the figures of a run are written and drawn: safe text, numbers, the before/after rows, SVG charts.

Pure functions from data to text, so that the report needs no drawing library and the console and the report
write a number the same way. Charts carry their data for the hover read-out, but read without any script.
"""

from __future__ import annotations

import html
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, cast

FigureKind = Literal["rate", "number", "tokens"]
Point = tuple[float, float]
_Numbers = TypeVar("_Numbers", bound=tuple[float, ...])

# ------------------------------------------------------------------------------------------ safe text

_PICTURES = {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)}
_PICTURES |= {0x7F: 0x2421}
_HIDDEN = (*range(0x80, 0xA0), 0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_SAFE = _PICTURES | dict.fromkeys(_HIDDEN, 0xFFFD) | dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)


def clean(text: object, limit: int = 0) -> str:
    """``text`` without anything that could steer a terminal or reorder a line: control characters become
    their visible pictures, direction overrides and lone surrogates the replacement mark. New lines and tabs
    stay. With ``limit`` the middle of a longer text is left out, and the gap says how much."""
    shown = text if isinstance(text, str) else str(text)
    if limit and len(shown) > limit:
        head, tail = limit * 2 // 3, limit // 3
        gap = f"\n[... {len(shown) - head - tail:,} characters left out ...]\n" if limit >= 200 else " ... "
        shown = shown[:head] + gap + shown[len(shown) - tail :]
    return shown.replace("\r\n", "\n").translate(_SAFE)


def escape(text: object, limit: int = 0) -> str:
    """``clean`` text that is safe inside HTML, in an attribute too."""
    return html.escape(clean(text, limit), quote=True)


# ------------------------------------------------------------------------------------------ numbers


def number(value: object) -> float | None:
    """``value`` as a finite float; None for anything else (text, booleans, NaN, an integer too large)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def show(value: float | None, kind: FigureKind = "number") -> str:
    """A number as people read it: ``94.7%``, ``133``, ``1.76``, ``25.8k``, ``1.2e-4``; a dash for None."""
    if value is None:
        return "-"
    if kind == "rate":
        return f"{100 * value:.1f}%"
    size = abs(value)
    if kind == "tokens" and size >= 10_000:
        return f"{value / 1e6:.2f}M" if size >= 1e6 else f"{value / 1e3:.1f}k"
    if size >= 1e7 or 0 < size < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    if size >= 100:
        return f"{value:,.0f}"
    text = f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"
    return text.rstrip("0").rstrip(".") if float(text).is_integer() else text


def duration(seconds: float) -> str:
    """``206 s``, ``12 min 5 s``, ``3 h 20 min``."""
    whole = max(0, round(seconds))
    if whole < 300:
        return f"{whole} s"
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"


# ------------------------------------------------------------------------------------------ before and after


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """One figure before and after training, each with its interval if one was measured."""

    key: str
    label: str
    kind: FigureKind
    before: float | None
    after: float | None
    before_ci: Point | None = None
    after_ci: Point | None = None

    @property
    def change(self) -> str:
        """``+84.0 points`` for rates, ``x2.2`` for figures that begin above zero."""
        if self.before is None or self.after is None:
            return ""
        if self.kind == "rate":
            return f"{100 * (self.after - self.before):+.1f} points"
        return f"x{self.after / self.before:.2f}" if self.before > 0 else f"{self.after - self.before:+.3g}"


_ROWS: tuple[tuple[str, str, FigureKind], ...] = (
    ("pass@1", "pass@1", "rate"),
    ("maj@*", "", "rate"),
    ("pass@*", "", "rate"),
    ("lenient", "right answer, any format", "rate"),
    ("format", "format kept", "rate"),
    ("mean_length", "mean length, tokens", "number"),
    ("max_length", "longest response, tokens", "number"),
    ("reflections", "reflective words per response", "number"),
    ("truncated", "cut at the length limit", "rate"),
    ("ungradable", "could not be graded", "rate"),
    ("mixed_language", "mixed languages", "rate"),
)
_COUNTS = ("n_problems", "n_samples", "step")


def at_k(result: Mapping[str, Any], prefix: str) -> list[str]:
    """The keys ``maj@k`` or ``pass@k`` (k > 1) of an evaluation, by k."""
    counts = [(int(k[len(prefix) :]), k) for k in result if re.fullmatch(re.escape(prefix) + r"\d{1,6}", k)]
    return [key for k, key in sorted(counts) if k > 1]


def compare(
    before: Mapping[str, Any], after: Mapping[str, Any], *, every_k: bool = False, others: bool = False
) -> list[BeforeAfter]:
    """The figures of two evaluations side by side, in the order of importance. Of ``maj@k`` and ``pass@k``
    the largest k, or ``every_k``; with ``others`` also those numbers that have no place in the order."""
    merged, rows = {**before, **after}, []
    for key, label, kind in _ROWS:
        keys = at_k(merged, key[:-1]) if key.endswith("*") else [key] if key in merged else []
        rows += [_row(k, label or k, kind, before, after) for k in (keys if every_k else keys[-1:])]
    if others:
        known = {row.key for row in rows} | set(_COUNTS) | set(at_k(merged, "maj@") + at_k(merged, "pass@"))
        rest = sorted(k for k in merged if k not in known and number(merged[k]) is not None)
        rows += [_row(k, k, "number", before, after) for k in rest[:40]]
    return [row for row in rows if row.before is not None or row.after is not None]


def _row(
    key: str, label: str, kind: FigureKind, before: Mapping[str, Any], after: Mapping[str, Any]
) -> BeforeAfter:
    sides = (number(before.get(key)), number(after.get(key)))
    return BeforeAfter(key, label, kind, *sides, interval(before, key), interval(after, key))


def interval(result: Mapping[str, Any], key: str) -> Point | None:
    """The interval that belongs to ``key`` in an evaluation, or None."""
    bounds = result.get(f"{key}_ci")
    if not isinstance(bounds, Sequence) or isinstance(bounds, str) or len(bounds) != 2:
        return None
    low, high = number(bounds[0]), number(bounds[1])
    return (low, high) if low is not None and high is not None and low <= high else None


def strip(row: BeforeAfter) -> str:
    """A rate before (hollow) and after (filled) with intervals, on one line from 0 to 100%."""
    if row.kind != "rate":
        return ""
    ends = ((row.before, row.before_ci, "was"), (row.after, row.after_ci, "now"))
    marks = []
    for value, bounds, name in ends:
        if bounds:
            left, right = (_clamp(5 + 150 * x, 3, 157) for x in bounds)
            marks.append(f'<path class="bar {name}" d="M{left:.1f} 10H{right:.1f}"/>')
        if value is not None:
            marks.append(f'<circle class="{name}" cx="{_clamp(5 + 150 * value, 3, 157):.1f}" cy="10" r="4"/>')
    label = f"{show(row.before, 'rate')} before, {show(row.after, 'rate')} after"
    axis = '<path class="axis" d="M5 10H155M5 6v8M80 7v6M155 6v8"/>'
    head = f'<svg class="strip" viewBox="0 0 160 20" role="img" aria-label="{label}">'
    return f"{head}{axis}{''.join(marks)}</svg>"


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


# ------------------------------------------------------------------------------------------ charts

WIDTH, HEIGHT = 420.0, 226.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 10.0, 28.0
MOST_POINTS = 240  # a curve has no room for more; longer ones are averaged in equal stretches


@dataclass(frozen=True, slots=True)
class Series:
    """One curve: (step, value) points, perhaps with a band of (step, low, high)."""

    name: str
    points: Sequence[Point]
    color: int = 1  # 0 is grey, 1 to 5 are the palette
    marks: bool = False  # few, separate measurements: draw each
    dashed: bool = False
    line: bool = True  # False: the points do not belong to one curve
    band: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over steps, or over what ``axis`` names, with one vertical axis that begins at zero (or below, if the data
    do)."""

    title: str
    note: str
    series: Sequence[Series]
    kind: FigureKind = "number"
    top: float | None = None  # the axis reaches at least here
    limit: float | None = None  # the edge of the healthy range, drawn where it is in view
    axis: str = "step"


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where steps and values lie on the drawing."""

    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (step - self.x0) / (self.x1 - self.x0)

    def y(self, value: float) -> float:
        share = (_clamp(value, self.y0, self.y1) - self.y0) / (self.y1 - self.y0)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share


def thin(points: Sequence[_Numbers], most: int = MOST_POINTS) -> list[_Numbers]:
    """At most ``most`` points: means over equal stretches. The last point always stays as it is."""
    if len(points) <= most:
        return list(points)
    body, kept = points[:-1], most - 1
    cuts = [i * len(body) // kept for i in range(kept + 1)]
    means = [_means(body[a:b]) for a, b in itertools.pairwise(cuts)]
    return [*cast("list[_Numbers]", means), points[-1]]


def _means(points: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(math.fsum(column) / len(points) for column in zip(*points, strict=True))


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers that cover ``low`` to ``high``."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    rough = span / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def draw(chart: Chart) -> str:
    """The chart as an HTML figure with inline SVG; "" if it holds no point."""
    series = [s for s in chart.series if s.points]
    if not series:
        return ""
    series = [replace(s, points=thin(s.points), band=thin(s.band)) for s in series]
    frame, levels = _frame(chart, series)
    body = [_grid(frame, levels, chart), _limit(frame, chart.limit), *(_band(frame, s) for s in series)]
    body += [_curve(frame, s) for s in series]
    data = {
        "kind": chart.kind,
        "axis": chart.axis,
        "x": [round(frame.x0, 4), round(frame.x1, 4)],
        "box": [LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM],
        "series": [[clean(s.name), [[_short(x), _short(y)] for x, y in s.points]] for s in series],
    }
    packed = html.escape(json.dumps(data, ensure_ascii=True, separators=(",", ":")), quote=True)
    return (
        f'<figure class="chart"><figcaption><b>{escape(chart.title)}</b> {escape(chart.note)}</figcaption>'
        f"{_legend(chart.kind, series)}"
        f'<div class="plot"><svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" tabindex="0" '
        f'aria-label="{_describe(chart, series)}" data-chart="{packed}">{"".join(body)}</svg></div></figure>'
    )


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _frame(chart: Chart, series: Sequence[Series]) -> tuple[_Frame, list[float]]:
    xs = [x for s in series for x, _ in s.points]
    ys = [y for s in series for _, y in s.points] + [y for s in series for b in s.band for y in b[1:]]
    x0, x1 = min(xs), max(xs)
    if x1 <= x0:
        x0, x1 = x0 - 0.5, x1 + 0.5
    low, high = min(0.0, *ys), max(chart.top or 0.0, *ys)
    if chart.kind == "rate":
        low, high = max(low, 0.0), min(high, 1.0)
    if high <= low:
        high = low + 1.0
    levels = ticks(low, high)
    return _Frame(x0, x1, levels[0], levels[-1]), levels


def _grid(frame: _Frame, levels: Sequence[float], chart: Chart) -> str:
    parts = []
    for level, name in zip(levels, tick_names(levels, chart.kind), strict=True):
        y = frame.y(level)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{name}</text>')
    inside = [t for t in ticks(frame.x0, frame.x1, 6) if frame.x0 <= t <= frame.x1 and t == round(t)]
    for t in inside:
        parts.append(
            f'<text x="{frame.x(t):.1f}" y="{HEIGHT - 10}" text-anchor="middle">{show(t, "tokens")}</text>'
        )
    parts.append(
        f'<text class="unit" x="{WIDTH - RIGHT}" y="{HEIGHT}" text-anchor="end">{escape(chart.axis)}</text>'
    )
    return "".join(parts)


def tick_names(levels: Sequence[float], kind: FigureKind) -> list[str]:
    """The numbers along an axis, all with as many decimals as the finest needs."""
    if kind == "rate":
        return [f"{100 * value:.4g}%" for value in levels]
    top = max(abs(value) for value in levels)
    if top >= 10_000 or top < 0.001:
        return ["0" if value == 0 else show(value, "tokens") for value in levels]
    decimals = max(len(f"{value:.6g}".partition(".")[2]) for value in levels)
    return [f"{value:,.{decimals}f}" for value in levels]


def _limit(frame: _Frame, limit: float | None) -> str:
    if limit is None or not frame.y0 < limit < frame.y1:
        return ""
    y = frame.y(limit)
    label = f'<text class="unit" x="{LEFT + 4}" y="{y - 4:.1f}">healthy up to here</text>'
    return f'<path class="limit" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>{label}'


def _band(frame: _Frame, series: Series) -> str:
    if len(series.band) < 2 or not series.line:
        return "".join(
            f'<path class="whisker c{series.color}" d="M{frame.x(x):.1f} {frame.y(a):.1f}V{frame.y(b):.1f}"/>'
            for x, a, b in series.band
        )
    upper = [f"{frame.x(x):.1f} {frame.y(b):.1f}" for x, _, b in series.band]
    lower = [f"{frame.x(x):.1f} {frame.y(a):.1f}" for x, a, _ in reversed(series.band)]
    return f'<path class="band c{series.color}" d="M{"L".join(upper + lower)}Z"/>'


def _curve(frame: _Frame, series: Series) -> str:
    places = [f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in series.points]
    look = f"c{series.color}{' dashed' if series.dashed else ''}"
    joined = series.line and len(places) > 1
    line = f'<path class="line {look}" d="M{"L".join(places)}"/>' if joined else ""
    dots = places if (series.marks and len(places) <= 60) or not joined else []
    return line + "".join(_dot(place, series) for place in dots)


def _dot(place: str, series: Series) -> str:
    x, y = place.split()
    look, radius = ("dot", 2.8) if series.line else ("dot hollow", 3)
    return f'<circle class="{look} c{series.color}" cx="{x}" cy="{y}" r="{radius}"/>'


def _legend(kind: FigureKind, series: Sequence[Series]) -> str:
    items = []
    for s in series:
        look = f"c{s.color}{' dashed' if s.dashed else ''}"
        mark = f'<path class="line {look}" d="M1 4H21"/>' if s.line else _dot("11 4", replace(s, line=False))
        key = f'<svg viewBox="0 0 22 8" aria-hidden="true">{mark}</svg>'
        items.append(f"<li>{key}{escape(s.name, 60)} <b>{show(s.points[-1][1], kind)}</b></li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def _describe(chart: Chart, series: Sequence[Series]) -> str:
    parts = [
        f"{s.name} from {show(s.points[0][1], chart.kind)} to {show(s.points[-1][1], chart.kind)}"
        for s in series
    ]
    return escape(f"{chart.title}: {'; '.join(parts)}")
