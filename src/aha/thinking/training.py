"""Accuracy over the compute of training: what a run's evaluations found, over 6 N D floating-point operations.

N parameters that a token is multiplied with, D trained tokens (Kaplan et al., arXiv 2001.08361). Sampling during
reinforcement learning, about 2 N more for each token, is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """Every evaluation of the run's stages that counted tokens, in order. A stage begins with what those before it
    had been trained with."""
    found: list[TrainedPoint] = []
    before = 0.0
    for stage in read_run(run).stages:
        tokens = stage.curve("num_tokens")
        found += [
            point for row in stage.evals if (point := _point(stage, row, tokens, before, n)) is not None
        ]
        before += 6.0 * n * (tokens[-1][1] if tokens else 0.0)
    return found


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
