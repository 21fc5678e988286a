"""The figures of runs in memory, read as they grow."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aha.runs.growing import GrowingRows
from aha.runs.report.data import RunData, StageData, as_dict, read_object, stage_data

KEPT = 24
"""Runs whose figures stay in memory."""
FILES = ("metrics", "evals", "warnings")


class _StageFiles:
    """A stage's three files."""

    def __init__(self, place: Path):
        self.place = place
        self.files = [GrowingRows(place / f"{name}.jsonl") for name in FILES]
        self.settings: object = None
        self.data: StageData | None = None
        self.drawn: dict[str, Any] = {}

    def read(self, settings: object) -> StageData:
        """The stage as it is now, made anew only where a file changed."""
        grown = [file.refresh() for file in self.files]
        if self.data is None or any(grown) or settings != self.settings:
            self.settings, self.drawn = settings, {}
            self.data = stage_data(self.place, as_dict(settings), *(file.rows for file in self.files))
        return self.data

    @property
    def broken(self) -> int:
        return sum(file.broken for file in self.files)


class RunFiguresCache:
    """Stages of the runs that were looked at last. Safe to ask from several threads."""

    def __init__(self) -> None:
        self._runs: OrderedDict[Path, dict[str, _StageFiles]] = OrderedDict()
        self._lock = threading.Lock()

    def run(self, folder: Path) -> RunData:
        """A run as the report reads it, with what could not be read in words."""
        with self._lock:
            known = self._runs.setdefault(folder, {})
            self._runs.move_to_end(folder)
            while len(self._runs) > KEPT:
                self._runs.popitem(last=False)
            return self._read(folder, known)

    def stages(self, folder: Path) -> list[StageData]:
        """Its stages that have figures, in order."""
        return self.run(folder).stages

    def drawn(self, folder: Path, make: Callable[[StageData], dict[str, Any]]) -> list[dict[str, Any]]:
        """What ``make`` makes of each stage that has figures: again only of those that have grown."""
        stages = self.run(folder).stages
        with self._lock:
            known = self._runs.get(folder, {})
            charts = []
            for stage in stages:
                files = known.get(stage.name)
                if files is None or files.data is not stage:  # it grew meanwhile
                    charts.append(make(stage))
                else:
                    files.drawn = files.drawn or make(stage)
                    charts.append(files.drawn)
            return charts

    def _read(self, folder: Path, known: dict[str, _StageFiles]) -> RunData:
        faults: list[str] = []
        config = read_object(folder / "config.json", faults)
        summary = read_object(folder / "summary.json", faults)
        planned = as_dict(config.get("stages"))
        stages = []
        for name in _in_order(folder, list(planned)):
            stage = known.setdefault(name, _StageFiles(folder / name))
            stages.append(stage.read(planned.get(name)))
            if stage.broken:
                faults.append(f"{name}: {stage.broken} lines of its figures could not be read.")
        return RunData(folder, config, summary, stages, faults)


def _in_order(folder: Path, order: list[str]) -> list[str]:
    files = [path for name in FILES[:2] for path in folder.glob(f"*/{name}.jsonl")]
    names = {path.parent.name for path in files if not path.parent.name.endswith(".old")}
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))
