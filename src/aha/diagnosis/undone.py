"""Stages that did not come to their end, and runs in which there is nothing to look at: why."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

from aha.diagnosis.findings import Illness
from aha.runs import failures
from aha.runs.charts import number
from aha.runs.overview import is_running
from aha.runs.pipeline import DONE, has_work, reached
from aha.runs.report.data import RunData, as_dict, read_lines

SHOWN = 600
"""Characters of an error."""


def died(run: Path, stages: Mapping[str, object]) -> list[Illness]:
    """One illness for each stage whose last process ended with an error, or was ended before its first step."""
    if is_running(run):
        return []
    illnesses = []
    for name in stages:
        place = run / name
        if place.is_dir() and not (place / DONE).exists() and (words := _last_words(place)):
            illnesses.append(Illness("died", name, _steps(place), (words,)))
    return illnesses


def _last_words(place: Path) -> str:
    """What a stage's last process ended with; "" for one that was interrupted after its first step."""
    error, steps = failures.read(place), _steps(place)
    at = f"after step {steps}" if steps else "before its first step"
    if error:
        lines = error.get("where")
        where = " | ".join(str(line).strip() for line in lines[-3:-1]) if isinstance(lines, list) else ""
        told = f"{error.get('error')}: {error.get('text')}"[:SHOWN]
        return f"it ended {at}{_when(error)} with {told}" + (f" ({where[:SHOWN]})" if where else "")
    if steps or has_work(place):
        return ""
    return f"it was ended {at}, and left no error: killed from outside (out of memory, a time limit), or interrupted"


def _when(error: Mapping[str, object]) -> str:
    seconds = number(error.get("time"))
    with contextlib.suppress(OverflowError, ValueError, OSError):  # no time that a calendar has
        return "" if seconds is None else time.strftime(" (%Y-%m-%d %H:%M)", time.localtime(seconds))
    return ""


def _steps(place: Path) -> int:
    """The last step that its figures tell of."""
    rows = list(read_lines(place / "metrics.jsonl", []))
    return max([reached(place), *(int(row["step"]) for row in rows if isinstance(row.get("step"), int))])


def why_nothing(data: RunData) -> str:
    """Why a run shows nothing that could be looked at; "" where a stage has taken a step."""
    if any(row.get("step") for stage in data.stages for row in stage.metrics):
        return ""
    names = list(as_dict(data.config.get("stages")))
    if is_running(data.folder):
        return "it is under way and has not taken a step yet"
    if names and all((data.folder / name / DONE).exists() for name in names):
        return f"none of its stages is trained ({', '.join(names)})"
    started = [name for name in names if (data.folder / name).is_dir()]
    return (
        f"no stage has taken a step ({', '.join(started)} was begun)"
        if started
        else "none of its stages was begun"
    )
