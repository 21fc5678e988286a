"""Which run is which: model, task, algorithm, steps, best figure, state and date of each run in a folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.files import newest
from aha.hints import nearest
from aha.runs.charts import number
from aha.runs.locks import held
from aha.runs.report.data import StageData, read_run
from aha.runs.state import State, state
from aha.types import AhaError

TRUTH = "pass@1"


@dataclass(frozen=True, slots=True)
class RunOverview:
    """One run in a few words. ``best`` is the highest pass@1 of its evaluations and ``best_step`` where it was;
    ``time`` is when its files were last written, in seconds since 1970; ``fault``: why the rest is empty."""

    name: str
    folder: Path
    state: str
    recipe: str = ""
    model: str = ""
    task: str = ""
    algorithm: str = ""
    step: int = 0
    steps: int | None = None
    best: float | None = None
    best_step: int | None = None
    time: float = 0.0
    running: bool = False
    fault: str = ""

    def words(self) -> str:
        """All but name and state, in one line."""
        of = f" of {self.steps}" if self.steps else ""
        at = f" at step {self.best_step}" if self.best_step else ""
        parts = [
            self.recipe,
            self.model,
            self.task,
            self.algorithm,
            f"step {self.step}{of}" if self.step else "",
            f"best pass@1 {self.best:.1%}{at}" if self.best is not None else "",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(self.time)) if self.time else "",
        ]
        return ", ".join(part for part in parts if part)


def run_folder(named: Path, runs: Path) -> Path:
    """The folder itself, or the run of that name in the folder ``runs``. Raises AhaError for neither, with the nearest
    name that there is."""
    for place in (named, runs / named):
        if place.is_dir():
            return place
    known = sorted(file.parent.name for file in runs.glob("*/config.json"))
    hint = nearest(str(named), known, "Give a run's folder, such as runs/zero; `aha list` names them.")
    what = "is a file" if named.is_file() else "is not a folder"
    raise AhaError(f"'{named}' {what}, and {runs} has no run of that name. {hint}")


def overviews(folder: Path) -> list[RunOverview]:
    """Of every run in a folder, by name."""
    return [overview(file.parent) for file in sorted(folder.glob("*/config.json"))]


def overview(run: Path) -> RunOverview:
    """Of one run; where its files are damaged, why."""
    try:
        run_state, data = state(run), read_run(run)
    except AhaError as error:
        return RunOverview(run.name, run, f"damaged: {error}", fault=str(error), time=_written(run))
    running = is_running(run)
    stage = _shown(data.stages, run_state)
    settings = stage.settings if stage else {}
    evals = [
        (v, e.get("step")) for s in data.stages for e in s.evals if (v := number(e.get(TRUTH))) is not None
    ]
    best, at = max(evals, key=lambda pair: pair[0], default=(None, None))
    algorithm = settings.get("algorithm")
    steps = settings.get("steps")
    return RunOverview(
        run.name,
        run,
        _words(run_state, stage, running),
        str(data.config.get("recipe", "")),
        _model(data.config, settings),
        str(settings.get("task", "")),
        str(algorithm.get("preset", "")) if isinstance(algorithm, Mapping) else "",
        int(stage.last_step) if stage else 0,
        steps if isinstance(steps, int) else None,
        best,
        int(at) if isinstance(at, int | float) else None,
        _written(run),
        running,
    )


def is_running(run: Path) -> bool:
    """Whether a process works in the folder: it holds the folder's lock. Always False on systems without locks."""
    if (seen := held(run / ".lock")) is not None:
        return seen
    try:
        import fcntl

        with open(run / ".lock", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False
    return False


def _words(run_state: State, stage: StageData | None, running: bool) -> str:
    if not running or run_state.summary:
        return run_state.words()
    where = f"{stage.name} at step {stage.last_step:.0f}" if stage else "at its beginning"
    return f"running, {where}"


def _shown(stages: list[StageData], run_state: State) -> StageData | None:
    """The stage that is worked on, else the last one that trained by rewards, else the last."""
    under_way = [s for s in stages if s.name == run_state.under_way]
    trained = [s for s in stages if any("reward" in row for row in s.metrics[:1])]
    return next(iter(under_way), None) or next(reversed(trained or stages), None)


def _model(config: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The model that the run began with: a stage's own where it is a name, else the first one named at all."""
    stages = config.get("stages")
    every = [settings, *(stages.values() if isinstance(stages, Mapping) else ())]
    named = [s["model"] for s in every if isinstance(s, Mapping) and isinstance(s.get("model"), str)]
    names = set(stages) if isinstance(stages, Mapping) else set()
    return next((name for name in named if name not in names), "")


def _written(run: Path) -> float:
    """When the run's newest figures or results were written."""
    return newest([*run.glob("*.json"), *run.glob("*/*.json*")])
