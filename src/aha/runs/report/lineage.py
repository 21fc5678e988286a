"""The graph of a run's stages as a drawing, and as a table with the hashes that tell them apart."""

from __future__ import annotations

from collections.abc import Sequence

from aha.runs.charts import duration, escape
from aha.runs.report.recipe_data import StageNode

WIDE, HIGH, GAP, ROW = 118.0, 34.0, 24.0, 50.0
COMPARISON = "comparison"
SHOWN = 12  # characters of a hash

STYLE = """
.graph{min-width:760px;width:100%;height:auto;display:block}.graph rect{fill:var(--card);stroke:var(--faint)}
.graph .rl rect{stroke:var(--c1)}.graph .data rect{stroke:var(--c3)}.graph .open rect{stroke-dasharray:4 3}
.graph text{font-size:12px;fill:var(--ink)}.graph text.hash{font-size:9.5px;fill:var(--soft)}
.graph path{fill:none;stroke:var(--c0);stroke-width:1.2;opacity:.6}
.sides.many{grid-template-columns:repeat(auto-fill,minmax(min(100%,310px),1fr))}
td.verdict{white-space:nowrap;font-weight:600}code.hash{font-size:.82em}
"""


def graph(nodes: Sequence[StageNode]) -> str:
    """Stages as boxes, those that a stage needs on its left. Comparisons read every checkpoint, and have no lines."""
    columns: dict[int, list[StageNode]] = {}
    for node in nodes:
        columns.setdefault(node.depth, []).append(node)
    places = {
        node.stage.name: (10 + depth * (WIDE + GAP), 10 + row * ROW)
        for depth, members in columns.items()
        for row, node in enumerate(members)
    }
    if not places:
        return ""
    width = max(x for x, _ in places.values()) + WIDE + 10
    height = max(y for _, y in places.values()) + HIGH + 10
    lines = [
        _edge(places[name], places[node.stage.name])
        for node in nodes
        for name in node.inputs
        if name in places and node.kind != COMPARISON
    ]
    boxes = [_box(node, *places[node.stage.name]) for node in nodes]
    return (
        f'<div class="scroll"><svg class="graph" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="Graph of {len(nodes)} stages; the table below holds the same">'
        f"{''.join(lines)}{''.join(boxes)}</svg></div>"
        '<p class="small soft">Under each name is the hash of its settings and inputs. Blue: reinforcement learning; '
        "green: data; dashed: not finished. Comparisons read every checkpoint and have no lines here.</p>"
    )


def _edge(start: tuple[float, float], end: tuple[float, float]) -> str:
    x0, y0, x1, y1 = start[0] + WIDE, start[1] + HIGH / 2, end[0], end[1] + HIGH / 2
    bend = min(60.0, (x1 - x0) / 2)
    return (
        f'<path d="M{x0:.1f} {y0:.1f}C{x0 + bend:.1f} {y0:.1f} {x1 - bend:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"/>'
    )


def _box(node: StageNode, x: float, y: float) -> str:
    look = "rl" if node.kind == "reinforcement learning" else "data" if node.card else ""
    look += "" if node.finished else " open"
    return (
        f'<g class="{look.strip()}"><title>{escape(node.kind, 60)}</title>'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{WIDE:.0f}" height="{HIGH:.0f}" rx="6"/>'
        f'<text x="{x + 8:.1f}" y="{y + 15:.1f}">{escape(node.stage.name, 16)}</text>'
        f'<text class="hash" x="{x + 8:.1f}" y="{y + 27:.1f}">{escape(node.fingerprint[:SHOWN])}</text></g>'
    )


def table(nodes: Sequence[StageNode]) -> str:
    """Every stage: what it is, what it was made from, the hash of its settings and inputs and of its data."""
    lines = []
    for node in nodes:
        stage = node.stage
        base = stage.settings.get("model")
        named = [str(base)] if isinstance(base, str) and not base.startswith("<") else []
        left = "checkpoint" if (stage.final / "config.json").exists() else ""
        left = f"data <code class='hash'>{node.data_hash[:SHOWN]}</code>" if node.data_hash else left
        lines.append(
            f"<tr><td><b>{escape(stage.name, 60)}</b></td><td>{escape(node.kind, 60)}</td>"
            f"<td>{escape(', '.join([*named, *node.inputs]), 300)}</td>"
            f"<td><code class='hash'>{escape(node.fingerprint, 64)}</code></td><td>{left}</td>"
            f"<td>{duration(stage.seconds) if node.finished else 'not finished'}</td></tr>"
        )
    return (
        '<div class="scroll"><table class="left"><tr><th>stage</th><th>kind</th><th>made from</th>'
        f"<th>settings and inputs</th><th>left</th><th>time</th></tr>{''.join(lines)}</table></div>"
    )
