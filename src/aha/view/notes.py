"""All that the page writes: tags and notes on runs, and graders' mistakes, in a folder of its own beside the runs.

Nothing in a run's own folder is ever changed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aha.files import append_jsonl, read_json, read_jsonl, write_json, write_jsonl
from aha.runs.report.data import as_dict
from aha.types import AhaError

FOLDER = ".aha-view"
NOTES = "notes.json"
MATH, OTHERS = "grader_mistakes.jsonl", "grader_mistakes_other.jsonl"
"""Graders' mistakes: of the math verifier, which ``aha grade`` takes, and of all others."""
MOST_TAGS, TAG_LENGTH, NOTE_LENGTH = 20, 40, 4000
VERDICTS = ("correct", "wrong", "no_answer", "unknown")


class ViewNotes:
    """The viewer's files beside the runs of ``root``."""

    def __init__(self, root: Path):
        self.folder = root / FOLDER
        self._lock = threading.Lock()

    # --- tags and notes ---

    def all(self) -> dict[str, Any]:
        """Tags and notes by run."""
        file = self.folder / NOTES
        return as_dict(read_json(file)) if file.exists() else {}

    def keep(self, run: str, tags: Sequence[Any], note: Any) -> dict[str, Any]:
        """Set a run's tags and note. Raises AhaError for what is no text, or too long."""
        said = {"tags": _tags(tags), "note": _text(note, NOTE_LENGTH, "note")}
        with self._lock:
            notes = self.all()
            notes[run] = said
            if not said["tags"] and not said["note"]:
                del notes[run]
            write_json(self.folder / NOTES, notes)
        return said

    # --- graders' mistakes ---

    def flags(self) -> list[dict[str, Any]]:
        """The graders' mistakes that were noted, oldest first; ``kept_in`` names the file of each."""
        listed = [
            {**row, "kept_in": name} for name in (MATH, OTHERS) for row in read_jsonl(self.folder / name)
        ]
        return sorted(listed, key=lambda row: str(row.get("time", "")))

    def flag(self, row: dict[str, Any], math: bool) -> dict[str, Any]:
        """Note a mistake: ``gold`` and ``prediction`` as ``aha grade`` reads them, ``expected`` what the verdict should
        be, and where it was seen; ``math``: of the math verifier. Noted again, it takes the place of what was said
        before."""
        if row.get("expected") not in VERDICTS:
            raise AhaError(
                f"The verdict should be one of {', '.join(VERDICTS)}, not {row.get('expected')!r}."
            )
        row = {**row, "comment": _text(row.get("comment", ""), NOTE_LENGTH, "comment"), "time": _now()}
        name = MATH if math else OTHERS
        with self._lock:
            self._without(row)
            append_jsonl(self.folder / name, [row])
        return {**row, "kept_in": name}

    def unflag(self, place: dict[str, Any]) -> bool:
        """Take a mistake back. Whether there was one."""
        with self._lock:
            return self._without(place)

    def _without(self, place: dict[str, Any]) -> bool:
        changed = False
        for file in (self.folder / MATH, self.folder / OTHERS):
            lines = read_jsonl(file)
            kept = [row for row in lines if _place(row) != _place(place)]
            if len(kept) < len(lines):
                changed = True
                write_jsonl(file, kept)
        return changed


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(key) for key in ("run", "file", "at"))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _tags(tags: Any) -> list[str]:
    if not isinstance(tags, list) or len(tags) > MOST_TAGS:
        raise AhaError(f"Tags are a list of at most {MOST_TAGS} words.")
    return list(dict.fromkeys(t for tag in tags if (t := _text(tag, TAG_LENGTH, "tag"))))


def _text(value: Any, most: int, what: str) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise AhaError(f"A {what} is text of at most {most:,} characters.")
    return value.strip()
