"""Reads what is new in a run's rollout files into its index, in memory for a few thousand rows."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.runs.charts import number
from aha.runs.growing import as_row, whole_lines
from aha.runs.report.data import as_dict, is_right
from aha.view.index.tables import FINISHES, INDEXES, forget, index_path, open_to_write
from aha.view.index.words import words

ROWS, BYTES = 4_000, 16 << 20
"""Of rollouts that are written at once, whichever is fewer."""
MOST_DEAD = 0.3
"""Share of the index that may belong to rows that are gone; beyond it is made anew."""
QUESTION = 2_000
"""Characters of a question that the index keeps."""
_NUMBER = re.compile(r"[_.-]?\d+$")
_ADD = "INSERT INTO rollout VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)"


@dataclass(frozen=True, slots=True)
class RolloutFile:
    """A file of rollouts: its name within the run, its stage, which part of it (``steps``, ``before``, ...)."""

    path: Path
    name: str
    stage: str
    part: str


def rollout_files(run: Path) -> list[RolloutFile]:
    """All of a run's, in the order in which they were written where their names say so."""
    files = []
    for place in sorted(run.glob("*/rollouts")):
        if place.parent.name.startswith(".") or place.parent.name.endswith(".old"):
            continue
        for path in place.rglob("*.jsonl"):
            if not path.name.startswith("."):
                stage = place.parent.name
                files.append(RolloutFile(path, path.relative_to(run).as_posix(), stage, _part(path, place)))
    return sorted(files, key=_order)


def _part(path: Path, place: Path) -> str:
    name = _NUMBER.sub("", path.stem) or path.stem
    name = {"step": "steps", "part": "parts"}.get(name, name)
    return name if path.parent == place else f"{path.parent.relative_to(place).as_posix()}/{name}"


def _order(file: RolloutFile) -> tuple[Any, ...]:
    place = {"before": 0, "after": 2}.get(file.part, 1)
    digits = re.search(r"(\d+)$", file.path.stem)
    return file.stage, place, file.part, int(digits[1]) if digits else 0, file.name


@dataclass(frozen=True, slots=True)
class FileStand:
    """What the index knows of a file, and what there is."""

    file: RolloutFile
    inode: int
    changed: int
    size: int
    id: int | None = None
    at: int = 0  # bytes that are indexed
    replaced: bool = False

    @property
    def missing(self) -> int:
        """Bytes that are to be read."""
        return self.size - self.at


def stands(db: sqlite3.Connection, run: Path) -> tuple[list[FileStand], list[int]]:
    """(files that have something new, ids of files that are gone)."""
    rows = db.execute("SELECT name, id, inode, changed, size, at FROM file")
    known = {name: rest for name, *rest in rows}
    new, there = [], set()
    for file in rollout_files(run):
        try:
            stat = file.path.stat()
        except OSError:
            continue
        there.add(file.name)
        stand = FileStand(file, stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if file.name not in known:
            new.append(stand)
            continue
        number_, inode, changed, size, at = known[file.name]
        same = inode == stat.st_ino and stat.st_size >= at
        if (inode, changed, size) != (stat.st_ino, stat.st_mtime_ns, stat.st_size):
            new.append(
                FileStand(
                    file, stat.st_ino, stat.st_mtime_ns, stat.st_size, number_, at if same else 0, not same
                )
            )
    return new, [number_ for name, (number_, *_) in known.items() if name not in there]


class IndexBuilder:
    """Brings one run's index up to date. One process at a time: its caller holds the lock."""

    def __init__(self, run: Path, path: Path | None = None):
        self.run, self.path = run, path or index_path(run)
        self.db = open_to_write(self.path, run)
        self.rows: list[tuple[Any, ...]] = []
        self.texts: list[tuple[int, str]] = []
        self.bytes = 0
        self.problems: dict[bytes, int] = {}
        self.next = (self.db.execute("SELECT max(id) FROM rollout").fetchone()[0] or 0) + 1

    def close(self) -> None:
        """Close the index."""
        self.db.close()

    def build(self, most: float = float("inf"), tick: Callable[[], None] = lambda: None) -> int:
        """Read what is new, for at most about ``most`` seconds; returns the bytes that are left."""
        end = time.monotonic() + most
        new, gone = stands(self.db, self.run)
        for number_ in gone:
            self._drop(number_, forget_file=True)
        left = sum(stand.missing for stand in new)
        for stand in new:
            left -= self._read(stand, end, tick)
            if time.monotonic() > end:
                break
        if left <= 0 or time.monotonic() <= end:
            self.db.executescript(INDEXES)
        if self._mostly_dead():
            self._anew()
            return self.build(max(0.0, end - time.monotonic()), tick)
        return max(0, left)

    # --- one file ---

    def _read(self, stand: FileStand, end: float, tick: Callable[[], None]) -> int:
        """Index a file from where it was left; returns how many bytes."""
        number_ = self._file(stand)
        count = [0, 0, 0]  # rows, broken lines, where the first of these begins, from 1
        start = at = stand.at
        for where, at, raw in _lines(stand):
            row = as_row(raw)
            if row is not None and isinstance(row.get("text"), str):
                self._add(row, number_, where, at - where)
                count[0] += 1
            elif raw is None or raw.strip():
                count[1] += 1
                count[2] = count[2] or where + 1
            if len(self.rows) >= ROWS or self.bytes >= BYTES:
                self._write(number_, stand, at, count)
                tick()
                if time.monotonic() > end:
                    return at - start
        self._write(number_, stand, at, count, whole=True)
        return stand.missing

    def _file(self, stand: FileStand) -> int:
        """The file's number; what was known of one that was replaced is dropped."""
        source = self._source(stand.file)
        if stand.id is not None and stand.replaced:
            self._drop(stand.id)
        if stand.id is not None:
            self.source = source
            self.db.execute("UPDATE file SET inode = ? WHERE id = ?", (stand.inode, stand.id))
            return stand.id
        self.source = source
        inserted = self.db.execute(
            "INSERT INTO file VALUES(NULL,?,?,?,0,0,0,0,0,0,?,0)",
            (stand.file.name, source, stand.inode, self.next),
        )
        return inserted.lastrowid or 0

    def _source(self, file: RolloutFile) -> int:
        self.db.execute("INSERT OR IGNORE INTO source VALUES(NULL, ?, ?)", (file.stage, file.part))
        asked = "SELECT id FROM source WHERE stage = ? AND part = ?"
        return self.db.execute(asked, (file.stage, file.part)).fetchone()[0]

    def _drop(self, number_: int, forget_file: bool = False) -> None:
        """Rows of a file that is gone, or another one now. Their words stay, and lead nowhere."""
        first, last = self.db.execute("SELECT first, last FROM file WHERE id = ?", (number_,)).fetchone()
        self._begin()
        inside = (number_, first, last)
        dead = self.db.execute("DELETE FROM rollout WHERE file = ? AND id BETWEEN ? AND ?", inside).rowcount
        self._count("dead", dead)
        if forget_file:
            self.db.execute("DELETE FROM file WHERE id = ?", (number_,))
        else:
            self.db.execute(
                "UPDATE file SET at = 0, rows = 0, broken = 0, first_broken = 0, first = ?, last = 0 WHERE id = ?",
                (self.next, number_),
            )
        self.db.execute("COMMIT")

    def _begin(self) -> None:
        if not self.db.in_transaction:
            self.db.execute("BEGIN")

    # --- rows ---

    def _add(self, row: dict[str, Any], file: int, at: int, size: int) -> None:
        self._begin()
        right, text = is_right(row), row["text"]
        finish = row.get("finish")
        self.rows.append(
            (
                self.next, file, at, size, self.source, _whole(row.get("step")), self._problem(row),
                _whole(row.get("member")), None if right is None else int(right), number(row.get("reward")),
                number(row.get("advantage")), FINISHES.index(finish) if finish in FINISHES else 4,
                _whole(row.get("tokens")),
            )
        )  # fmt: skip
        self.texts.append((self.next, " ".join(words(text))))
        self.bytes += size
        self.next += 1

    def _problem(self, row: dict[str, Any]) -> int:
        name, question = str(row.get("problem_id", "")), str(row.get("question", ""))
        digest = hashlib.blake2b(f"{name}\0{question}".encode("utf-8", "replace"), digest_size=12).digest()
        known = self.problems.get(digest)
        if known is None:
            if len(self.problems) > 50_000:
                self.problems.clear()
            known = self.problems[digest] = self._problem_row(digest, name, question, row)
        return known

    def _problem_row(self, digest: bytes, name: str, question: str, row: dict[str, Any]) -> int:
        known = self.db.execute("SELECT id FROM problem WHERE digest = ?", (digest,)).fetchone()
        if known:
            return known[0]
        task = str(as_dict(row.get("problem")).get("task") or row.get("task") or "")
        inserted = self.db.execute(
            "INSERT INTO problem VALUES(NULL,?,?,?,?)",
            (digest, _well(name), _well(task), _well(question[:QUESTION])),
        )
        return inserted.lastrowid or 0

    def _write(self, file: int, stand: FileStand, at: int, count: list[int], whole: bool = False) -> None:
        """Rows and how far the file was read, together or not at all."""
        self._begin()
        self.db.executemany(_ADD, self.rows)
        self.db.executemany("INSERT INTO words(rowid, text) VALUES(?, ?)", self.texts)
        self._count("rows", len(self.rows))
        changed, size = (stand.changed, stand.size) if whole else (0, 0)
        self.db.execute(
            "UPDATE file SET at = ?, rows = rows + ?, broken = broken + ?, "
            "first_broken = CASE WHEN first_broken = 0 THEN ? ELSE first_broken END, "
            "last = ?, changed = ?, size = ? WHERE id = ?",
            (at, count[0], count[1], count[2], self.next - 1, changed, size, file),
        )
        self.db.execute("COMMIT")
        self.rows.clear()
        self.texts.clear()
        self.bytes = 0
        count[:] = [0, 0, 0]

    # --- the index as a whole ---

    def _count(self, key: str, more: int) -> None:
        self.db.execute(
            "INSERT INTO about VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value = value + excluded.value",
            (key, more),
        )

    def _mostly_dead(self) -> bool:
        about = dict(self.db.execute("SELECT key, value FROM about WHERE key IN ('rows', 'dead')"))
        return about.get("dead", 0) > max(10_000, MOST_DEAD * about.get("rows", 0))

    def _anew(self) -> None:
        self.db.close()
        forget(self.path)
        self.db = open_to_write(self.path, self.run)
        self.problems.clear()
        self.next = 1


def _lines(stand: FileStand) -> Iterator[tuple[int, int, bytes | None]]:
    try:
        yield from whole_lines(stand.file.path, stand.at, stand.size)
    except FileNotFoundError:
        return  # it went meanwhile: the next look drops it


def _whole(value: Any) -> int | None:
    figure = number(value)
    return None if figure is None or abs(figure) >= 2**62 else int(figure)


def _well(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
