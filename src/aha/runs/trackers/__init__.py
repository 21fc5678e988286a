"""Trackers: TensorBoard, Weights & Biases, trackio and MLflow as sinks of what a run writes anyway.

A tracker is a file of this folder and an entry in ``TRACKERS``; its package is imported in that file alone, when a run
starts that asks for it. ``follower`` reads the run's own files and feeds them, in a thread of its own: no stage
knows of trackers, a slow one slows nothing down, and a failing one ends nothing.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from aha.hints import nearest
from aha.types import AhaError

FOLDER = "trackers"
"""In a stage's folder: what its trackers keep."""

TRACKERS: dict[str, tuple[str, str]] = {
    "tensorboard": ("tensorboard", "tensorboard"),
    "wandb": ("wandb", "wandb"),
    "trackio": ("trackio", "trackio"),
    "mlflow": ("mlflow", "mlflow"),
}
"""Each tracker's module, and the package that brings it."""


@dataclass(frozen=True, slots=True)
class About:
    """What a tracker is told of the stage that it follows."""

    run: str
    stage: str
    folder: Path
    """Where it may keep files."""
    settings: Mapping[str, Any]
    known: dict[str, Any]
    """What it noted of itself (``id``) when the stage was followed before; it may change this."""

    @property
    def name(self) -> str:
        """What the stage is called among others of its project."""
        return f"{self.run}/{self.stage}"


class Tracker(Protocol):
    """A sink: made with an ``About``, then called from one thread. Whatever it raises is told once and forgiven."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Figures of a step, by their names in TRL."""
        ...

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Some samples of a step."""
        ...

    def note(self, step: int, text: str) -> None:
        """A warning of the run."""
        ...

    def close(self, failed: bool) -> None:
        """The stage has ended."""
        ...


def read(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """The trackers that ``tensorboard,wandb``, or a list, names. Raises AhaError for one that is unknown."""
    if not isinstance(value, (str, list, tuple, type(None))):
        raise AhaError(f'trackers cannot be {value!r}: give names, as in trackers = ["tensorboard"].')
    values = value.split(",") if isinstance(value, str) else value or ()
    names = tuple(dict.fromkeys(str(name).strip() for name in values if str(name).strip()))
    for name in names:
        if name not in TRACKERS:
            raise AhaError(f"Unknown tracker '{name}'. {nearest(name, TRACKERS)}")
    return names


def check(names: str | Sequence[str] | None) -> None:
    """Raise AhaError where a tracker's package is not installed."""
    for name in read(names):
        module, package = TRACKERS[name]
        if find_spec(module) is None:
            raise AhaError(
                f"The tracker {name} needs the package {package}: pip install {package}, or leave {name} out "
                "of --trackers."
            )


def written(names: Sequence[str]) -> str:
    """The setting as TOML, as it stands before the tables of the stages."""
    about = f"# where figures go besides the run's folder: {', '.join(TRACKERS)}"
    return f"{about}\ntrackers = {json.dumps(list(names))}\n\n"


def make(name: str, about: About) -> Tracker:
    """The tracker of that name, begun. Raises what its package raises."""
    module = importlib.import_module(f"aha.runs.trackers.{name}")
    return module.opened(about)
