"""The runs in the folders that were given: what each is, how far it has come, and how well it did."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aha.files import oldest, read_json
from aha.runs import state as run_state
from aha.runs.charts import number
from aha.runs.locks import held
from aha.runs.pipeline import SUMMARY
from aha.runs.report.data import Json, StageData, as_dict
from aha.settings import former
from aha.types import AhaError
from aha.view.figures import RunFiguresCache

FRESH = 30.0
"""Seconds since a file changed for which a run counts as running where no lock can be seen."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One line of the table."""

    id: str
    path: str
    recipe: str
    model: str
    task: str
    algorithm: str
    seed: int | None
    kin: str  # equal for runs that differ in their seed alone
    stages: int
    stages_done: int
    stage: str  # that is worked on
    step: int
    steps: int | None
    state: str  # running | finished | stopped | damaged
    words: str
    best: float | None
    best_name: str
    best_kind: str
    began: float
    changed: float
    seconds: float


class RunShelf:
    """Finds runs below ``roots``: in them, or one folder further down. An ``id`` is looked up and never a path."""

    def __init__(self, roots: Sequence[Path]):
        self.roots = list(dict.fromkeys(root.resolve() for root in roots))
        self.figures = RunFiguresCache()
        self._rows: dict[str, tuple[tuple[Any, ...], RunRow]] = {}
        self._lock = threading.Lock()

    def runs(self) -> dict[str, Path]:
        """Every run's folder by its id: its name within the folder that was given."""
        folders: dict[str, Path] = {}
        for root in self.roots:
            for place in _run_folders(root):
                if place in folders.values():  # one root may lie in another
                    continue
                name = place.name if place == root else place.relative_to(root).as_posix()
                while name in folders:
                    name = f"{place.parent.name}/{name}"
                folders[name] = place
        return folders

    def folder(self, run: str) -> Path:
        """The folder of a run. Raises AhaError for an id that is none."""
        place = self.runs().get(run)
        if place is None:
            raise AhaError(f"There is no run '{run}' here (any more). Reload the table of runs.")
        return place

    def stage_folder(self, run: str, stage: str) -> Path:
        """A stage's folder within a run. Raises AhaError for what is none."""
        place = self.folder(run) / stage
        if stage in ("", ".", "..") or Path(stage).name != stage or not place.is_dir():
            raise AhaError(f"The run '{run}' has no stage '{stage}'.")
        return place

    def rows(self) -> list[RunRow]:
        """The table, newest first. What has not changed since is not read again."""
        with self._lock:
            folders = self.runs()
            self._rows = {run: self._row(run, place) for run, place in folders.items()}
            return sorted((row for _, row in self._rows.values()), key=lambda row: -row.began)

    def row(self, run: str) -> RunRow:
        """One run's line."""
        return self._row(run, self.folder(run))[1]

    def _row(self, run: str, place: Path) -> tuple[tuple[Any, ...], RunRow]:
        signs = (held(place / ".lock"), *changes(place))
        known = self._rows.get(run)
        if known and known[0] == signs and known[1].state != "running":
            return known
        return signs, self._read(run, place, signs)

    def _read(self, run: str, place: Path, signs: tuple[Any, ...]) -> RunRow:
        changed = max((mark[1] for mark in signs[1:]), default=0) / 1e9
        try:
            known, config = run_state.state(place), as_dict(read_json(place / "config.json"))
        except AhaError as error:
            return _damaged(run, place, str(error), changed)
        stages = {
            name: former.stored(as_dict(value)) for name, value in as_dict(config.get("stages")).items()
        }
        figures = self.figures.stages(place)
        best, name, kind = best_figure(figures)
        under_way, step, total = _progress(known, figures, stages)
        return RunRow(
            id=run, path=str(place), recipe=str(config.get("recipe", "")), **_asked(stages),
            seed=_seed(stages), kin=_kin(config, stages), stages=len(known.stages), stages_done=len(known.done),
            stage=under_way, step=step, steps=total, state=_state(known, signs[0], changed), words=known.words(),
            best=best, best_name=name, best_kind=kind, began=_began(place), changed=changed,
            seconds=_seconds(place, known, figures),
        )  # fmt: skip


def _damaged(run: str, place: Path, why: str, changed: float) -> RunRow:
    return RunRow(
        run, str(place), "", "", "", "", None, run, 0, 0, "", 0, None, "damaged", why, None, "", "number",
        _began(place), changed, 0.0,
    )  # fmt: skip


def as_json(row: RunRow) -> dict[str, Any]:
    """A line as the page gets it."""
    return asdict(row)


def beside_runs(root: Path) -> Path:
    """The folder that a root's runs lie in: itself, or that of the one run that it is."""
    return root.parent if _is_one_run(root) else root


def _is_one_run(root: Path) -> bool:
    return (root / "config.json").is_file() or any(root.glob("*/metrics.jsonl"))


def _run_folders(root: Path) -> list[Path]:
    if _is_one_run(root):
        return [root]
    deep = [*root.glob("*/config.json"), *root.glob("*/*/config.json")]
    return sorted({file.parent for file in deep if _is_run(file)})


def _is_run(file: Path) -> bool:
    if any(part.startswith(".") for part in file.parts[-3:-1]) or ".old" in file.parent.name:
        return False
    try:  # a model's config.json can be anywhere; a run's names its stages near its beginning
        with open(file, "rb") as f:
            return b'"stages"' in f.read(4096) or (file.parent / SUMMARY).exists()
    except OSError:
        return False


# --- state -------------------------------------------------------------------------------------------------


def changes(place: Path) -> list[tuple[str, int, int]]:
    """(name, time of change in ns, bytes) of the files that a run's line is made from."""
    names = ("config.json", SUMMARY)
    parts = ("metrics.jsonl", "evals.jsonl", "warnings.jsonl", "settings.json", "done.json")
    states = []
    for path in [*(place / name for name in names), *(p for part in parts for p in place.glob(f"*/{part}"))]:
        try:
            there = path.stat()
        except OSError:
            continue
        states.append((path.relative_to(place).as_posix(), there.st_mtime_ns, there.st_size))
    return states


def _state(known: run_state.State, locked: bool | None, changed: float) -> str:
    if locked:
        return "running"
    if known.summary or (known.stages and len(known.done) == len(known.stages)):
        return "finished"
    fresh = time.time() - changed < FRESH
    return "running" if fresh and locked is None else "stopped"


def _progress(
    known: run_state.State, figures: Sequence[StageData], stages: Mapping[str, Json]
) -> tuple[str, int, int | None]:
    """(stage that is worked on, steps done, steps that it is to take): of a finished run its last stage with steps."""
    steps = {stage.name: int(stage.last_step) for stage in figures if stage.metrics}
    name = known.under_way or (list(steps) or [""])[-1]
    total = number(as_dict(stages.get(name)).get("steps"))
    return known.under_way, steps.get(name, 0), None if total is None else int(total)


# --- what a run is -----------------------------------------------------------------------------------------


def _asked(stages: Mapping[str, Json]) -> dict[str, str]:
    models = [m for s in stages.values() if isinstance(m := s.get("model"), str) and not m.startswith("<")]
    tasks = [str(s["task"]) for s in stages.values() if isinstance(s.get("task"), str)]
    presets = [str(as_dict(s.get("algorithm")).get("preset") or "") for s in stages.values()]
    return {
        "model": ", ".join(dict.fromkeys(_short(m) for m in models)),
        "task": ", ".join(dict.fromkeys(tasks)),
        "algorithm": ", ".join(dict.fromkeys(p for p in presets if p)),
    }


def _short(model: str) -> str:
    """A model's name without the folders that it lies in."""
    return "/".join(Path(model).parts[-2:]) if model.startswith(("/", ".", "~")) else model


def _seed(stages: Mapping[str, Json]) -> int | None:
    seeds = [s.get("seed") for s in stages.values() if isinstance(s.get("seed"), int)]
    return seeds[0] if seeds else None


def _kin(config: Json, stages: Mapping[str, Json]) -> str:
    bare = {name: {k: v for k, v in s.items() if k != "seed"} for name, s in stages.items()}
    said = json.dumps([config.get("recipe"), bare], sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _began(place: Path) -> float:
    """When the run was begun: its oldest file (settings are written once)."""
    return oldest([place / "config.json", *place.glob("*/settings.json")])


def _seconds(place: Path, known: run_state.State, figures: Iterable[StageData]) -> float:
    total = 0.0
    for stage in figures:
        marker = stage.folder / "done.json"
        done = as_dict(read_json(marker)) if stage.name in known.done and marker.exists() else {}
        spent = number(done.get("seconds"))
        total += spent if spent is not None else sum(y for _, y in stage.curve("step_time"))
    return total


def best_figure(stages: Sequence[StageData]) -> tuple[float | None, str, str]:
    """(value, what it is, how it is written) of the best that a run reached: pass@1 where it was evaluated, else its
    training accuracy, reward, or loss."""
    figures: list[tuple[float, float, str]] = []
    for stage in stages:
        where = f"{stage.name}, " if len(stages) > 1 else ""
        for row in stage.evals:
            value = number(row.get("pass@1"))
            if value is not None:
                split = f", {row['split']}" if row.get("split") else ""
                said = f"pass@1 ({where}step {row['step']:.0f}{split})"
                figures.append((number(row.get("n_problems")) or 0.0, value, said))
    if figures:
        most = max(n for n, _, _ in figures)  # the best of many small measurements is luck
        return *max((value, said) for n, value, said in figures if n == most), "rate"
    for key, words, kind, better in (
        ("rewards/accuracy/mean", "training accuracy", "rate", max),
        ("reward", "reward", "number", max), ("loss", "loss", "number", min),
    ):  # fmt: skip
        points = [(y, x, stage.name) for stage in stages for x, y in stage.curve(key)]
        if points:
            y, x, _ = better(points)
            return y, f"{words} (step {x:.0f})", kind
    return None, "", "number"
