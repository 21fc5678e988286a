"""The stages of a run as a graph: what is made from what, how far each is, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aha.files import newest
from aha.runs.charts import number
from aha.runs.pipeline import has_work
from aha.runs.report.data import RunData, StageData, as_dict
from aha.runs.report.recipe_data import StageNode, stage_nodes
from aha.runs.state import reached


def stage_graph(run: RunData, running: bool) -> dict[str, Any]:
    """Its stages in the order of the recipe, those that wait among them, with what each is made from."""
    faults: list[str] = []
    figures = {stage.name: stage for stage in run.stages}
    nodes = stage_nodes(run, faults, waiting=True)
    at_work = _at_work(nodes) if running else None
    return {
        "stages": [_node(node, figures.get(node.stage.name), node is at_work) for node in nodes],
        "seconds": sum(_seconds(node, figures.get(node.stage.name)) for node in nodes),
        "faults": [*run.faults, *faults],
    }


def _at_work(nodes: Sequence[StageNode]) -> StageNode | None:
    """The stage that a run is at: of those that were begun and are not done, the one that was written to last."""
    started = [n for n in nodes if not n.finished and (n.stage.final.parent / "settings.json").exists()]
    return max(started, key=lambda n: _written(n.stage.final.parent), default=None)


def _written(place: Path) -> float:
    return newest((*place.glob("*"), *place.glob("rollouts/*")))


def _node(node: StageNode, figures: StageData | None, running: bool) -> dict[str, Any]:
    stage = node.stage
    steps = number(stage.settings.get("steps"))
    base = stage.settings.get("model")
    return {
        "name": stage.name, "kind": node.kind, "state": _state(node, running), "depth": node.depth,
        "inputs": list(node.inputs), "fingerprint": node.fingerprint, "data_hash": node.data_hash,
        "model": base if isinstance(base, str) and not base.startswith("<") else "",
        "step": int(figures.last_step) if figures and figures.metrics else reached(stage.final.parent),
        "steps": None if steps is None else int(steps),
        "seconds": _seconds(node, figures), "tokens": _tokens(figures),
        "checkpoint": (stage.final / "config.json").exists(), "summary": _summary(stage.summary),
        "settings": {key: value for key, value in stage.settings.items() if not isinstance(value, Mapping)},
    }  # fmt: skip


def _state(node: StageNode, running: bool) -> str:
    """done, running, stopped (begun, and nobody works on it) or waiting."""
    if node.finished:
        return "done"
    place = node.stage.final.parent
    if not (place / "settings.json").exists():
        return "waiting"
    if running:
        return "running"
    return "stopped" if has_work(place) else "waiting"


def _seconds(node: StageNode, figures: StageData | None) -> float:
    """Of a finished stage what it took; of one that was begun, what its steps took so far."""
    if node.finished:
        return node.stage.seconds
    return sum(y for _, y in figures.curve("step_time")) if figures else 0.0


def _tokens(figures: StageData | None) -> float | None:
    points = figures.curve("num_tokens") if figures else []
    return points[-1][1] if points else None


def _summary(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Its plain figures."""
    after = as_dict(summary.get("after"))
    plain = {key: value for key, value in summary.items() if isinstance(value, (str, int, float, bool))}
    return {**plain, **({"pass@1": after["pass@1"]} if "pass@1" in after else {})}
