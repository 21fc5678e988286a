"""Accuracy over the compute of training: what a run's evaluations found, over 6 N D floating-point operations.

N parameters that a token is multiplied with, D trained tokens (Kaplan et al., arXiv 2001.08361). Sampling during
reinforcement learning, about 2 N more for each token, is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.runs import headers
from aha.runs.charts import interval, number
from aha.runs.report.data import StageData, read_run
from aha.sampling.engine import Engine
from aha.sampling.local.engine import LocalEngine


@dataclass(frozen=True, slots=True)
class TrainedPoint:
    """pass@1 of a stage on a split after ``step`` steps, whose training took ``flop`` operations."""

    stage: str
    split: str
    step: int
    flop: float
    accuracy: float
    low: float
    high: float


def run_of(model: str) -> Path | None:
    """The folder of the run that a checkpoint belongs to, or that is named itself; None where it is none."""
    path = Path(model).expanduser()
    if not path.is_dir():
        return None
    places = (path, *path.resolve().parents[:3])
    return next((p for p in places if (p / "config.json").is_file() and _has_stages(p)), None)


def _has_stages(folder: Path) -> bool:
    return any(folder.glob("*/metrics.jsonl"))


def parameters(model: Any) -> int:
    """Parameters that each token is multiplied with: all but an input embedding that is not the head's as well."""
    total = sum(p.numel() for p in model.parameters())
    inside, outside = model.get_input_embeddings(), model.get_output_embeddings()
    tied = outside is None or inside.weight is outside.weight
    return total if tied else total - inside.weight.numel()


def beside(model: str, engine: Engine) -> list[TrainedPoint]:
    """The training curve of the run that a checkpoint belongs to; empty where it belongs to none."""
    run = run_of(model)
    return curve(run, parameters(engine.model)) if run is not None and isinstance(engine, LocalEngine) else []


def curve(run: Path, n: int) -> list[TrainedPoint]:
    """Every evaluation of the run's stages that counted tokens, in order. A stage begins with the compute of the stage
    whose model it starts from, and with none where it starts from a base. ``n``: parameters of stages whose own
    checkpoint does not tell."""
    points_of: list[TrainedPoint] = []
    ends: dict[str, float] = {}
    last = 0.0
    for stage in read_run(run).stages:
        size = stored_parameters(stage.folder / "final") or n
        before = _begun_with(stage, ends, last)
        tokens = stage.curve("num_tokens")
        points = (_point(stage, row, tokens, before, size) for row in stage.evals)
        points_of += [point for point in points if point is not None]
        last = ends[stage.name] = before + 6.0 * size * (tokens[-1][1] if tokens else 0.0)
    return points_of


def _begun_with(stage: StageData, ends: Mapping[str, float], last: float) -> float:
    """The compute in the weights that a stage starts from: of the stage that its settings name, in the recipe or by
    its folder; none of a base. Stages that say nothing follow the one before."""
    known = [stage.settings[key] for key in ("model", "init_from") if key in stage.settings]
    if not known:
        return last
    source = str(known[0] or "")
    named = source.strip("<>") if source.startswith("<") else _stage_at(source, stage.folder.parent)
    return ends.get(named, 0.0)


def _stage_at(source: str, run: Path) -> str:
    """The name of the run's stage that a path lies in; "" where it lies in none."""
    parts = Path(source).expanduser().resolve()
    return parts.relative_to(run.resolve()).parts[0] if source and run.resolve() in parts.parents else ""


def stored_parameters(folder: Path) -> int:
    """Parameters that each token is multiplied with, by the headers of a checkpoint's safetensors files; 0 where there
    are none that can be read. A tied head is not stored, so an embedding beside a head is only read."""
    shapes: dict[str, list[int]] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        shapes |= headers.shapes(file)
    has_head = any(name.endswith("lm_head.weight") for name in shapes)
    counted = (name for name in shapes if not (has_head and name.endswith("embed_tokens.weight")))
    return sum(math.prod(shapes[name]) for name in counted)


def _point(
    stage: StageData, row: dict[str, Any], tokens: list[tuple[float, float]], before: float, n: int
) -> TrainedPoint | None:
    accuracy, bounds = number(row.get("pass@1")), interval(row, "pass@1")
    if accuracy is None or not tokens:
        return None
    step = number(row.get("step")) or 0.0
    trained = max((count for at, count in tokens if at <= step), default=0.0)
    low, high = bounds or (accuracy, accuracy)
    return TrainedPoint(
        stage.name, str(row.get("split", "")), int(step), before + 6.0 * n * trained, accuracy, low, high
    )
