"""A thread that reads a stage's files as they grow, and tells its trackers."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from aha import ranks
from aha.files import read_json, write_json
from aha.runs.trackers import FOLDER, About, Tracker, make, names, read
from aha.types import AhaError

EVERY = 2.0
"""Seconds between two looks at the files."""
PATIENCE = 60.0
"""Seconds that trackers have to hand on the rest, once a stage has ended."""
FAILURES = 3
"""Failures in a row after which a tracker is left alone."""
SAMPLES = 16
"""Completions of a step that go into its table."""


class Lines:
    """The whole lines that came to a file since the last look."""

    def __init__(self, file: Path):
        self.file, self.at = file, 0

    def new(self) -> list[dict[str, Any]]:
        """Their rows; a line that is still being written waits. A file that is shorter than it was is read anew."""
        if not self.file.exists():
            return []
        with open(self.file, "rb") as f:
            f.seek(0, 2)
            if f.tell() < self.at:
                self.at = 0
            f.seek(self.at)
            text = f.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.at += len(whole)
        return [json.loads(line) for line in whole.splitlines() if line.strip()]


class Sink:
    """One tracker, and how it fares: what it raises is said once, and it is left alone after a few failures."""

    def __init__(self, name: str, about: About):
        self.name, self.about = name, about
        self.tracker: Tracker | None = None
        self.failures, self.gone = 0, False

    def do(self, action: Callable[[Tracker], None]) -> None:
        """Have the tracker do something; it is begun at the first time."""
        if self.gone:
            return
        try:
            if self.tracker is None:
                self.tracker = make(self.name, self.about)
            action(self.tracker)
            self.failures = 0
        except (Exception, SystemExit) as error:  # whatever a stranger's package raises: the run goes on
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self.failures += 1
        self.gone = self.tracker is None or self.failures >= FAILURES
        if self.failures == 1 or self.gone:
            end = "It is left out from here on." if self.gone else "The run goes on."
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            print(f"! The tracker {self.name} failed ({reason}). {end}", file=sys.stderr, flush=True)


class Follower:
    """Trackers of one stage. ``start`` begins to follow, ``end`` waits until the rest was handed on."""

    def __init__(
        self, trackers: Sequence[str], folder: Path, run: str, stage: str, settings: Mapping[str, Any]
    ):
        self.folder, self.place = folder, folder / FOLDER
        self.noted = self._read_notes()
        self.sinks = [
            Sink(name, About(run, stage, self.place / name, settings, self.noted.setdefault(name, {})))
            for name in trackers
        ]
        self.figures = {"metrics": names.train, "evals": names.evaluation}
        self.lines = {name: Lines(folder / f"{name}.jsonl") for name in (*self.figures, "warnings")}
        self.sent: dict[str, int] = self.noted.setdefault("sent", {})
        self.ended, self.failed = threading.Event(), False
        self.thread = threading.Thread(target=self._follow, name="trackers", daemon=True)

    def _read_notes(self) -> dict[str, Any]:
        file = self.place / "state.json"
        try:
            notes = read_json(file) if file.exists() else {}
        except AhaError:
            notes = {}  # a damaged note begins new runs on the trackers
        return notes if isinstance(notes, dict) else {}

    def start(self) -> None:
        """Begin to follow."""
        self.thread.start()

    def end(self, failed: bool) -> None:
        """Hand on what is still to come. A tracker that takes longer than ``PATIENCE`` is left behind."""
        self.failed = failed
        self.ended.set()
        self.thread.join(PATIENCE)
        if self.thread.is_alive():
            busy = ", ".join(sink.name for sink in self.sinks if not sink.gone)
            text = f"! The trackers ({busy}) did not finish within {PATIENCE:.0f} s: they may lack the last steps."
            print(text, file=sys.stderr, flush=True)

    def _follow(self) -> None:
        while not self.ended.wait(EVERY):
            self._look()
        self._look()
        for sink in self.sinks:
            if sink.tracker is not None:
                sink.do(lambda tracker: tracker.close(self.failed))
        self._write_notes()

    def _look(self) -> None:
        """Hand on what is new. Steps that were handed on before a run was killed come again the same, and are
        left out."""
        try:
            before = dict(self.sent)
            self._rows()
            self._tables()
            if self.sent != before:
                self._write_notes()
        except Exception as error:  # a file that cannot be read just now; it is looked at again
            print(f"! Trackers: {type(error).__name__}: {error}", file=sys.stderr, flush=True)

    def _rows(self) -> None:
        for name, lines in self.lines.items():
            for row in lines.new():
                key = f"{name}/{row['name']}" if "name" in row else name
                step = int(row.get("step", 0))
                if step <= self.sent.get(key, -1) and name != "warnings":
                    continue
                self._hand_on(name, step, row)
                self.sent[key] = max(step, self.sent.get(key, -1))

    def _hand_on(self, name: str, step: int, row: Mapping[str, Any]) -> None:
        if name == "warnings":
            text = str(row.get("text", ""))
            self._each(lambda tracker: tracker.note(step, text))
        else:
            values = self.figures[name](row)
            self._each(lambda tracker: tracker.log(step, values))

    def _tables(self) -> None:
        """The first completions of each step whose figures are there, and of the evaluations before and after."""
        for file in sorted((self.folder / "rollouts").glob("step_*.jsonl")):
            step = int(file.stem.rpartition("_")[2])
            if self.sent.get("samples", 0) < step <= self.sent.get("metrics", -1):
                self._table(file, step)
                self.sent["samples"] = step

    def _table(self, file: Path, step: int) -> None:
        with open(file, encoding="utf-8") as lines:
            columns, rows = names.samples([json.loads(line) for line in islice(lines, SAMPLES)])
        self._each(lambda tracker: tracker.table(step, "completions", columns, rows))

    def _each(self, action: Callable[[Tracker], None]) -> None:
        for sink in self.sinks:
            sink.do(action)

    def _write_notes(self) -> None:
        write_json(self.place / "state.json", self.noted | {"time": round(time.time())})


@contextlib.contextmanager
def following(
    names: str | Sequence[str] | None, folder: Path, run: str, stage: str, settings: Mapping[str, Any]
) -> Iterator[None]:
    """Within this, the trackers follow a stage's folder; on one rank only."""
    names = read(names)
    if not names or not ranks.is_main():
        yield
        return
    follower = Follower(names, folder, run, stage, settings)
    follower.start()
    failed = True
    try:
        yield
        failed = False
    finally:
        follower.end(failed)
