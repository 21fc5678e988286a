"""Files of rows that grow while they are read: what is new, and no line twice."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 4 << 20
"""Bytes read at a time."""
LONGEST = 64 << 20
"""Bytes of a line from which on it is skipped, and counted as one that cannot be read."""


def whole_lines(path: Path, start: int, end: int | None = None) -> Iterator[tuple[int, int, bytes | None]]:
    """(offset, offset of the next line, line without its end) of each whole line from byte ``start`` on, in memory for
    one block and one line. None in place of a line longer than ``LONGEST``. The rest behind the last line end is being
    written: it waits."""
    with open(path, "rb") as file:
        file.seek(start)
        at, rest, skipped = start, b"", 0
        while block := file.read(
            BLOCK if end is None else min(BLOCK, max(0, end - at - len(rest) - skipped))
        ):
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            for line in lines:
                end_of = at + skipped + len(line) + 1
                yield at, end_of, None if skipped else line
                at, skipped = end_of, 0
            if len(rest) > LONGEST:
                skipped, rest = skipped + len(rest), b""


def as_row(line: bytes | None) -> dict[str, Any] | None:
    """A line's object; None for what is none."""
    if line is None:
        return None
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, or a depth that cannot be
        return None
    return row if isinstance(row, dict) else None


class GrowingRows:
    """All rows of a small file such as ``metrics.jsonl``, read as it grows. One that was replaced is read anew."""

    def __init__(self, path: Path):
        self.path = path
        self._forget()

    def _forget(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.broken, self.at, self.file = 0, 0, (0, 0)

    def refresh(self) -> bool:
        """Read what came. Whether anything did, or went."""
        before = (self.file, self.at)
        try:
            there = os.stat(self.path)
        except OSError:
            self._forget()
            return before != (self.file, self.at)
        if (there.st_dev, there.st_ino) != self.file or there.st_size < self.at:
            self._forget()
            self.file = (there.st_dev, there.st_ino)
        if there.st_size > self.at:
            self._read(there.st_size)
        return before != (self.file, self.at)

    def _read(self, end: int) -> None:
        for _, after, line in whole_lines(self.path, self.at, end):
            row = as_row(line)
            if row is not None:
                self.rows.append(row)
            elif line is None or line.strip():
                self.broken += 1
            self.at = after
