"""What came of a run, from its folder: figures, tables, and the model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha.api.tables import table
from aha.files import read_json, read_jsonl
from aha.runs import state
from aha.types import AhaError

if TYPE_CHECKING:
    from aha.api.models import Model


class Result:
    """A finished run. ``folder`` is where all of it stands; a stage is ``result["rl"]``, itself a ``Result``."""

    def __init__(self, folder: Path, stage: str = ""):
        self.run = Path(folder)
        self.stage = stage
        self.folder = self.run / stage if stage else self.run

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v:.4g}" for k, v in self.figures.items() if isinstance(v, (int, float)))
        return f"Result({str(self.folder)!r}{', ' + shown if shown else ''})"

    @cached_property
    def summary(self) -> dict[str, Any]:
        """All that the run, or the stage, says of itself when it ends."""
        if self.stage:
            return dict(read_json(self.folder / "done.json").get("summary") or {})
        return dict(read_json(self.folder / "summary.json"))

    @property
    def figures(self) -> dict[str, Any]:
        """The figures after training, or else those that the summary has."""
        after = self.summary.get("after")
        values = after if isinstance(after, Mapping) else self.summary
        return {
            k: v for k, v in values.items() if isinstance(v, (int, float, str)) and not isinstance(v, bool)
        }

    @property
    def before(self) -> dict[str, Any]:
        """The same figures before training; empty where nothing was measured."""
        return dict(self.summary.get("before") or {})

    @property
    def stages(self) -> list[str]:
        """The names of its stages, in the order in which they ran."""
        config = read_json(self.run / "config.json") if (self.run / "config.json").exists() else {}
        return list(config.get("stages", {}))

    def __getitem__(self, stage: str) -> Result:
        if stage not in self.stages:
            raise AhaError(f"The run {self.run} has no stage '{stage}'. It has: {', '.join(self.stages)}.")
        return Result(self.run, stage)

    def __iter__(self) -> Iterator[Result]:
        return (self[name] for name in self.stages)

    @property
    def metrics(self) -> Any:
        """One row for each training step."""
        return table(self._rows("metrics.jsonl"))

    @property
    def evals(self) -> Any:
        """One row for each evaluation on the way."""
        return table(self._rows("evals.jsonl"))

    @property
    def warnings(self) -> Any:
        """What left its healthy range, and when."""
        return table(self._rows("warnings.jsonl"))

    def rollouts(self, step: int | str | None = None) -> Any:
        """Every sampled answer with its scores; of one step, or of "before" or "after"."""
        name = "*" if step is None else step if isinstance(step, str) else f"step_{step:05d}"
        files = sorted(self._place().glob(f"rollouts/{name}.jsonl"))
        if not files:
            raise AhaError(f"There are no rollouts {'' if step is None else step} in {self._place()}.")
        return table(row for file in files for row in read_jsonl(file))

    @property
    def checkpoint(self) -> str:
        """The folder of the final model. Raises AhaError where none was made."""
        if self.stage:
            folder = self.folder / "final"
            folder = folder if folder.is_dir() else None
        else:
            folder = state.result(self.run)
        if folder is None:
            raise AhaError(f"{self.folder} made no model.")
        return str(folder)

    @cached_property
    def model(self) -> Model:
        """The final model, loaded when it is first asked for."""
        from aha.api.models import load

        return load(self.checkpoint)

    @property
    def report(self) -> Path:
        """The run's page."""
        return self.run / "report.html"

    def _place(self) -> Path:
        """The stage's folder, or that of the only stage that has metrics."""
        if self.stage:
            return self.folder
        stages = [self.run / name for name in self.stages if (self.run / name / "metrics.jsonl").exists()]
        if len(stages) != 1:
            raise AhaError(
                f"The run has the stages {', '.join(self.stages)}: ask one of them, result['NAME']."
            )
        return stages[0]

    def _rows(self, name: str) -> list[dict[str, Any]]:
        return [dict(row) for row in read_jsonl(self._place() / name)]

    def to_json(self) -> str:
        """The summary as text."""
        return json.dumps(self.summary, indent=1, default=str)
