"""MLflow: a run for each stage, in the experiment ``MLFLOW_EXPERIMENT_NAME`` (else ``aha``).

``MLFLOW_TRACKING_URI`` says where.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from aha.runs.trackers import About

LONGEST = 500
"""Characters of a parameter's value, as MLflow has them."""


class MlflowTracker:
    """A run of MLflow, which a stage that continues takes up again."""

    def __init__(self, about: About):
        os.environ.setdefault(
            "MLFLOW_DISABLE_TELEMETRY", "true"
        )  # before the import: nothing of ours phones home
        mlflow: Any = import_module("mlflow")
        self.client: Any = mlflow.MlflowClient()
        self.entities: Any = import_module("mlflow.entities")
        if "id" not in about.known:
            about.known["id"] = self._create(about)
        self.id = about.known["id"]
        self.client.update_run(self.id, status="RUNNING")

    def _create(self, about: About) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "aha")
        existing = self.client.get_experiment_by_name(name)
        experiment = self.client.create_experiment(name) if existing is None else existing.experiment_id
        tags = {"run": about.run, "stage": about.stage}
        run_id = self.client.create_run(experiment, run_name=about.name, tags=tags).info.run_id
        settings = [self.entities.Param(allowed(k), str(v)[:LONGEST]) for k, v in about.settings.items()]
        self.client.log_batch(run_id, params=settings)
        return run_id

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One batch of figures."""
        now = int(1000 * time.time())
        metrics = [self.entities.Metric(allowed(name), value, now, step) for name, value in values.items()]
        self.client.log_batch(self.id, metrics=metrics)

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """An artifact in the form of MLflow's tables."""
        content = {"columns": list(columns), "data": [list(row) for row in rows]}
        self.client.log_dict(self.id, content, f"{name}/step_{step:05d}.json")

    def note(self, step: int, text: str) -> None:
        """A tag: MLflow has no texts at a step."""
        self.client.set_tag(self.id, f"warning.{step}", text)

    def close(self, failed: bool) -> None:
        """Say how it ended."""
        self.client.set_terminated(self.id, "FAILED" if failed else "FINISHED")


def allowed(name: str) -> str:
    """A name in the characters that MLflow takes: ``pass@1`` is ``pass_at_1``."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"))


opened = MlflowTracker
"""What the table of trackers opens."""
