"""What a finished run of the whole recipe left, as the figures that claims are judged by. Reads files alone.

Only finished stages count: a stage without ``done.json`` is a stage that was not measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aha.files import read_json, read_jsonl
from aha.runs.charts import number
from aha.settings import former
from aha.types import AhaError

Json = dict[str, Any]
PROXY, TRUE = "preference/proxy", "preference/true"
COMPARED = "compare.json"


@dataclass(frozen=True, slots=True)
class StageFigures:
    """One finished stage: its settings, what it said at its end, its steps and evaluations."""

    settings: Json
    summary: Json
    seconds: float
    metrics: list[Json] = field(default_factory=list)
    evals: list[Json] = field(default_factory=list)
    state_bytes: int | None = None  # of the newest checkpoint's training state

    def evaluation(self, name: str) -> Json:
        """The first evaluation of that name (before, after), or an empty row."""
        return next((row for row in self.evals if row.get("name") == name), {})

    def curve(self, key: str) -> list[float]:
        """A metric by step, where it was finite."""
        return [value for row in self.metrics if (value := number(row.get(key))) is not None]


@dataclass(frozen=True, slots=True)
class RunFigures:
    """One run: its seed, its stages, and every compared checkpoint's figures by task."""

    folder: Path
    seed: int
    stages: Mapping[str, StageFigures]
    compared: Mapping[str, Mapping[str, Json]]

    @property
    def base(self) -> str:
        """What the comparison calls the base: the model that ``zero`` started from."""
        return str(self.stages["zero"].settings.get("model", "")) if "zero" in self.stages else ""

    def reasoning(self, name: str, key: str) -> float | None:
        """A checkpoint's figure as the mean over the reasoning tasks; None where one is missing.

        Tasks with a rubric are the general ones; all others are reasoning.
        """
        return self._mean(name, key, general=False)

    def general(self, name: str, key: str) -> float | None:
        """The same over the tasks with a rubric."""
        return self._mean(name, key, general=True)

    def every(self, name: str, key: str) -> float | None:
        """The same over all tasks."""
        return self._mean(name, key, general=None)

    def _mean(self, name: str, key: str, general: bool | None) -> float | None:
        tasks = [t for t in self.compared.values() if general is None or _has_rubric(t) == general]
        values = [_figure(task.get(name, {}), key) for task in tasks]
        known = [value for value in values if value is not None]
        return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _has_rubric(task: Mapping[str, Json]) -> bool:
    return any("general" in figures for figures in task.values())


def _figure(figures: Json, key: str) -> float | None:
    """A figure by its key; ``maj`` is that of all samples, where there are at least two."""
    if key != "maj":
        return number(figures.get(key))
    n = number(figures.get("n_samples")) or 0
    return number(figures.get(f"maj@{n:.0f}")) if n > 1 else None


def smallest_rate(run: RunFigures, name: str) -> float | None:
    """Half a right answer among all that a checkpoint gave to a reasoning task: what a rate of 0 is taken
    for in a ratio."""
    tasks = [t[name] for t in run.compared.values() if name in t and not _has_rubric(t)]
    answers = [(number(f.get("n_problems")) or 0) * (number(f.get("n_samples")) or 0) for f in tasks]
    return 0.5 / max(answers) if answers and max(answers) > 0 else None


# --- reading -----------------------------------------------------------------------------------------------


def read_figures(folder: Path) -> RunFigures:
    """A run's figures. Raises AhaError for what is no run with finished stages."""
    if not folder.is_dir():
        raise AhaError(f"{folder} is not a folder. Give runs of the recipe r1, such as runs/r1.")
    stages = {place.name: _stage(place) for place in finished(folder)}
    if not stages:
        raise AhaError(f"No stage of {folder} has finished (no done.json): continue it with aha r1.")
    return RunFigures(folder, _seed(stages), stages, compared(folder))


def finished(folder: Path) -> Iterator[Path]:
    """The folders of a run's finished stages; those set aside are left out."""
    for marker in sorted(folder.glob("*/done.json")):
        if ".old" not in marker.parent.name:
            yield marker.parent


def _stage(place: Path) -> StageFigures:
    done = read_json(place / "done.json")
    file = place / "settings.json"
    states = sorted(place.glob("checkpoints/step-*/state.pt"))
    return StageFigures(
        settings=former.stored(read_json(file).get("settings", {})) if file.exists() else {},
        summary=done.get("summary") or {},
        seconds=number(done.get("seconds")) or 0.0,
        metrics=read_jsonl(place / "metrics.jsonl"),
        evals=read_jsonl(place / "evals.jsonl"),
        state_bytes=states[-1].stat().st_size if states else None,
    )


def _seed(stages: Mapping[str, StageFigures]) -> int:
    """The seed of ``zero``, or of the first stage that has one."""
    order = [stages[name] for name in ("zero", *stages) if name in stages]
    return next((int(s.settings["seed"]) for s in order if isinstance(s.settings.get("seed"), int)), 0)


def compared(folder: Path) -> dict[str, dict[str, Json]]:
    """Figures by task and checkpoint, of all finished comparisons of a run."""
    figures: dict[str, dict[str, Json]] = {}
    for place in finished(folder):
        if (place / COMPARED).exists():
            for task, models in read_json(place / COMPARED).items():
                figures.setdefault(task, {}).update(models)
    return figures


# --- whether runs can be held together ---------------------------------------------------------------------


def check_seeds(runs: list[RunFigures]) -> None:
    """Raises AhaError where two runs have the same seed: they are no two draws."""
    by_seed: dict[int, RunFigures] = {}
    for run in runs:
        if run.seed in by_seed:
            raise AhaError(
                f"{by_seed[run.seed].folder} and {run.folder} have the same seed {run.seed}: an interval over seeds "
                "needs different ones. Leave one of them out, or run one again with --seed."
            )
        by_seed[run.seed] = run


MAY_DIFFER: dict[tuple[str, str], frozenset[str]] = {
    ("dev2", "dev2_no_language"): frozenset({"rewards"}),
    ("zero", "ppo"): frozenset({"algorithm", "steps", "min_lr_ratio"}),
    ("ppo", "ppo_095"): frozenset({"algorithm"}),
}
"""Stages that are compared with each other, and the settings in which alone they should differ."""


def notes(runs: list[RunFigures]) -> list[str]:
    """In words: settings in which runs differ that should differ in their seed alone, and stages that differ
    in more than what they are compared for."""
    lines, first = [], runs[0]
    for run in runs[1:]:
        for name, stage in run.stages.items():
            if name in first.stages and (keys := _differing(first.stages[name], stage)):
                lines.append(
                    f"{name} has other settings in {run.folder.name} than in {first.folder.name}: {keys}."
                )
    for run in runs:
        if "zero" in run.stages:
            more = sorted(set(run.stages["zero"].settings.get("rewards") or ()) - {"accuracy", "format"})
            lines += (
                [f"zero is rewarded for more than accuracy and format: {', '.join(more)}."] if more else []
            )
        for (one, other), allowed in MAY_DIFFER.items():
            if one in run.stages and other in run.stages:
                keys = _differing(run.stages[one], run.stages[other], allowed)
                lines += [f"{other} differs from {one} in more than it is there for: {keys}."] if keys else []
    return list(dict.fromkeys(lines))


def _differing(one: StageFigures, other: StageFigures, allowed: frozenset[str] = frozenset()) -> str:
    skip = allowed | {"seed", "name"}
    keys = sorted(one.settings.keys() & other.settings.keys())  # an older version lacks later settings
    return ", ".join(k for k in keys if k not in skip and one.settings[k] != other.settings[k])


Measure = Callable[[RunFigures], float | None]
"""A figure of a run; None where it was not measured."""
