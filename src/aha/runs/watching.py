"""The live display of a run, attached from anywhere to its folder: running or finished, of this process or another."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from aha.files import read_jsonl
from aha.runs.console import Console, print_table
from aha.runs.overview import is_running, overview
from aha.runs.report.data import StageData, as_dict, is_right, read_run
from aha.runs.state import state
from aha.runs.trackers.follower import Lines

EVERY = 1.0
"""Seconds between two looks at the files."""
SAMPLES = 4
"""Rollouts of a step that are offered to the display."""


def watch(
    run: Path,
    *,
    stream: TextIO | None = None,
    plain: bool | None = None,
    every: float = EVERY,
    wait: Callable[[float], Any] = time.sleep,
) -> str:
    """Show a run until it is finished or nobody works in it any more; returns how that was in words. Changes nothing.
    Raises AhaError for a folder that is no run."""
    shown: set[str] = set()
    while True:
        running, data = is_running(run), read_run(run)
        stages = [s for s in data.stages if s.metrics or s.evals]
        fresh = [s for s in stages if s.name not in shown]
        for stage in fresh if running else fresh[-1:]:
            shown.add(stage.name)
            AttachedDisplay(run, stage, stream, plain).follow(running and stage is stages[-1], every, wait)
        run_state = state(run)
        if not is_running(run):
            if run_state.summary:
                before, after = (as_dict(run_state.summary.get(key)) for key in ("before", "after"))
                print_table(before, after, stream)
            return overview(run).state
        wait(every)


class AttachedDisplay:
    """One stage on the display."""

    def __init__(self, run: Path, stage: StageData, stream: TextIO | None, plain: bool | None):
        steps = stage.settings.get("steps")
        title = f"{stage.name} of {run}" + (
            f" on {stage.settings['task']}" if "task" in stage.settings else ""
        )
        self.run, self.folder = run, stage.folder
        self.console = Console(title, steps if isinstance(steps, int) else 0, stream=stream, plain=plain)
        self.lines = {
            name: Lines(stage.folder / f"{name}.jsonl") for name in ("metrics", "evals", "warnings")
        }
        self.sampled = 0

    def follow(self, live: bool, every: float, wait: Callable[[float], Any]) -> None:
        """Show what is there; while the stage goes on, also what comes."""
        with self.console:
            self.console.catch_up(self._new("metrics"))
            self._look()
            while live and not (self.folder / "done.json").exists() and is_running(self.run):
                wait(every)
                self._look()
            self._look()

    def _look(self) -> None:
        for row in self._new("metrics"):
            self.console.step(row, row.get("step_time"))
        for row in self._new("evals"):
            self.console.eval(row)
        for row in self._new("warnings"):
            self.console.warn(f"step {row.get('step')}: {row.get('text', '')}")
        self._sample()

    def _new(self, name: str) -> list[dict[str, Any]]:
        try:
            return self.lines[name].new()
        except (OSError, json.JSONDecodeError):  # it is being taken back by a run that resumes
            return []

    def _sample(self) -> None:
        """Offer rollouts of the newest step whose figures are shown."""
        file = self.folder / "rollouts" / f"step_{self.console.done:05d}.jsonl"
        if self.console.done <= self.sampled or not file.exists():
            return
        self.sampled = self.console.done
        rows = read_jsonl(file)
        for row in rows[:: max(1, len(rows) // SAMPLES)]:
            right = is_right(row)
            if right is not None:
                notes = [str(as_dict(score).get("note", "")) for score in as_dict(row.get("scores")).values()]
                note = next(filter(None, notes), "")
                self.console.sample(str(row.get("question", "")), str(row.get("text", "")), right, note)
