"""What a stage died of, kept in its folder until it goes on: `aha diagnose` reads it."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aha import ranks
from aha.files import read_json, write_json
from aha.types import AhaError

FILE = "error.json"
LINES = 12
"""Of the traceback: where it was raised."""


@contextlib.contextmanager
def kept(place: Path) -> Iterator[None]:
    """While a stage works in ``place``: the error that ends it is written down; an older one is gone once the stage has
    ended well. Interrupts are no errors."""
    try:
        yield
    except Exception as error:
        if ranks.is_main():
            _write(place, error)
        raise
    if ranks.is_main():
        with contextlib.suppress(OSError):
            (place / FILE).unlink(missing_ok=True)


def _write(place: Path, error: Exception) -> None:
    where = [] if isinstance(error, AhaError) else traceback.format_exception(error)[-LINES:]
    said = {"error": type(error).__name__, "text": str(error)[:4000], "where": where, "time": time.time()}
    with contextlib.suppress(OSError, AhaError):  # the disk may be what failed
        write_json(place / FILE, said)


def read(place: Path) -> dict[str, Any]:
    """What the last process in a stage's folder died of: ``error``, ``text``, ``where``, ``time``; empty for none, and
    where the stage has taken steps since, however those ended."""
    with contextlib.suppress(OSError, AhaError, ValueError):
        record = read_json(place / FILE) if (place / FILE).exists() else {}
        return record if isinstance(record, dict) and not _went_on(place, record.get("time")) else {}
    return {}


def _went_on(place: Path, since: Any) -> bool:
    steps = place / "metrics.jsonl"  # the last step's line is written before its error
    return isinstance(since, (int, float)) and steps.exists() and steps.stat().st_mtime > since + 1
