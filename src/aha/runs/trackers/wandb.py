"""Weights & Biases: a run for each stage, grouped by the run's name.

Its own variables hold: ``WANDB_PROJECT`` (else ``aha``), ``WANDB_ENTITY``, ``WANDB_MODE=offline`` and the others.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from aha.runs.trackers import About
from aha.runs.trackers.names import STEP


class WandbTracker:
    """A run of W&B, which a stage that continues takes up again."""

    def __init__(self, about: About):
        self.wandb: Any = import_module("wandb")
        known = about.known.setdefault("id", secrets.token_hex(8))
        about.folder.mkdir(parents=True, exist_ok=True)
        self.run: Any = self.wandb.init(
            project=os.environ.get("WANDB_PROJECT", "aha"),
            dir=str(about.folder),
            id=known,
            resume="allow",
            name=about.name,
            group=about.run,
            job_type=about.stage,
            config=dict(about.settings),
            settings=self.wandb.Settings(console="off", silent=True, x_disable_stats=True),
        )
        self.run.define_metric(STEP)
        self.run.define_metric("*", step_metric=STEP)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One row; its step is a figure like others, so that W&B takes rows in any order."""
        self.run.log({**values, STEP: step})

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table of W&B."""
        table = self.wandb.Table(
            columns=list(columns), data=[list(row) for row in rows], allow_mixed_types=True
        )
        self.run.log({name: table, STEP: step})

    def note(self, step: int, text: str) -> None:
        """An alert, at a step."""
        self.run.alert(title=f"step {step}", text=text, level="WARN")

    def close(self, failed: bool) -> None:
        """Send what is left."""
        self.run.finish(exit_code=int(failed))


opened = WandbTracker
"""What the table of trackers opens."""
