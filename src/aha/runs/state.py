"""How far a run has come, and which model came of it, as its folder says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.files import read_json
from aha.runs.pipeline import DONE, SUMMARY, has_work, reached


@dataclass(frozen=True, slots=True)
class State:
    """Of a run: its stages in order, those that finished, and its summary once all did."""

    stages: tuple[str, ...]
    done: tuple[str, ...]
    summary: Mapping[str, Any]
    under_way: str = ""  # the stage that was worked on
    step: int = 0  # of its newest checkpoint
    steps: int | None = None  # that it is to take

    def words(self) -> str:
        """In one line."""
        if self.summary:
            after = self.summary.get("after")
            known = isinstance(after, Mapping) and isinstance(after.get("pass@1"), (int, float))
            return f"finished, pass@1 {after['pass@1']:.1%}" if known else "finished"  # type: ignore[index]
        parts = [f"{len(self.done)} of {len(self.stages)} stages"] if len(self.stages) > 1 else []
        if self.under_way:
            of = f" of {self.steps}" if self.steps else ""
            name = f"{self.under_way} " if len(self.stages) > 1 else ""
            parts.append(f"{name}saved at step {self.step}{of}")
        said = f" ({', '.join(parts)})" if parts else ""
        return f"unfinished{said}; the command that started it continues it"


def state(run: Path) -> State:
    """Of the run in a folder. Raises AhaError where its files are damaged."""
    settings = _mapping(_read(run / "config.json").get("stages"))
    done = tuple(name for name in settings if (run / name / DONE).exists())
    summary = _read(run / SUMMARY) if len(done) == len(settings) else {}
    if not settings:  # of another program's, or by hand: what it says of itself
        return State((), (), _read(run / SUMMARY))
    started = [name for name in settings if name not in done and has_work(run / name)]
    if not started:
        return State(tuple(settings), done, summary)
    steps = _mapping(settings[started[0]]).get("steps")
    total = steps if isinstance(steps, int) else None
    return State(tuple(settings), done, summary, started[0], reached(run / started[0]), total)


def result(run: Path) -> Path | None:
    """The final checkpoint that the run was for: of the stage that its recipe names, else of the last one made."""
    named = _read(run / "config.json").get("makes")
    if isinstance(named, str) and (run / named / "final" / "config.json").exists():
        return run / named / "final"
    finals = [place.parent for place in run.glob("*/final/config.json") if ".old" not in place.parts[-3]]
    return max(finals, key=lambda place: place.stat().st_mtime_ns, default=None)


def _read(file: Path) -> Mapping[str, Any]:
    return _mapping(read_json(file)) if file.exists() else {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
