"""A run's folder where a model is named: the model that the run made last; what a stage says of its checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

from aha.types import AhaError

FINAL, STEPS = "final", "checkpoints"
SCORES = "value_head.safetensors"
"""What a reward model has besides."""
_TEMPLATE = "template"
"""What version 0.1.0 called the setting ``prompt``."""


def stages_of(folder: Path) -> list[Path] | None:
    """The folders of a run's stages in their order, or a stage's own alone; None for what is neither."""
    if (folder / "settings.json").is_file() and not (folder / "config.json").exists():
        return [folder]
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(config, dict) or "model_type" in config or not isinstance(config.get("stages"), dict):
        return None
    return [folder / name for name in config["stages"]]


def model_of(name: str) -> str:
    """The model that a run made last where its folder, or a stage's, is named; else the name as it is. Raises AhaError
    where no stage has ended."""
    path = Path(name).expanduser()
    stages = stages_of(path) if name.strip() and path.is_dir() else None
    return name if stages is None else str(last_model(name, path, stages))


def last_model(name: str, folder: Path, stages: list[Path]) -> Path:
    """The final language model of the last stage that has one.

    Raises AhaError where no stage has ended; the newest checkpoint is named.
    """
    for stage in reversed(stages):
        if (stage / FINAL / "config.json").is_file() and not (stage / FINAL / SCORES).exists():
            return stage / FINAL
    steps = [step for stage in stages for step in (stage / STEPS).glob("step-*/config.json")]
    newest = max(steps, key=lambda file: file.stat().st_mtime, default=None)
    newest_checkpoint = f" Its newest checkpoint is '{newest.parent}'." if newest is not None else ""
    raise AhaError(f"'{name}' is a run in which no stage has made a model yet.{newest_checkpoint}")


def former_prompt(checkpoint: Path) -> str:
    """The setting ``template`` of the stage that a checkpoint of version 0.1.0 is of: auto, r1_zero, chat or none.
    "" for all others, which say themselves what they were trained with."""
    stage = checkpoint.parent.parent if checkpoint.parent.name == STEPS else checkpoint.parent
    try:
        kept = json.loads((stage / "settings.json").read_text(encoding="utf-8"))["settings"][_TEMPLATE]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return str(kept) if checkpoint.name == FINAL or checkpoint.parent.name == STEPS else ""
