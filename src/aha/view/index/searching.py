"""Finds rollouts: one page of them within a bounded time, and where to go on.

In the order of the files an index is gone through piece by piece, so that a rare find in millions of rows answers in
time with what there is so far. By a figure, an index of that figure is walked.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aha.types import AhaError
from aha.view.index.asked import SORTS, RolloutQuery
from aha.view.index.tables import open_to_read

PATIENCE = 0.8
"""Seconds for one page in the order of the files, after which it says how far it came."""
PATIENCE_SORTED = 8.0
"""Seconds for one page by a figure, which is whole or nothing."""
PIECE, LARGEST_PIECE = 50_000, 1_600_000
"""Rows of the index that are gone through at a time."""
COLUMNS = "r.id, r.file, r.at, r.size, r.step, r.problem, r.member, r.right, r.reward, r.advantage, r.finish, r.tokens"

Row = tuple[Any, ...]
Fits = Callable[[Row], bool]
"""Whether a row's text fits, where the index cannot say."""


@dataclass(slots=True)
class RolloutPage:
    """Rows of ``COLUMNS``; ``next``: where to go on, None at the end; ``searched``: the share that was gone through."""

    rows: list[Row] = field(default_factory=list)
    next: str | None = None
    searched: float = 1.0


class IndexReader:
    """One run's index, for one question at a time."""

    def __init__(self, path: Path):
        self.db = open_to_read(path)
        self._end: float | None = None
        self.db.set_progress_handler(self._late, 20_000)

    def __enter__(self) -> IndexReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.db.close()

    def _late(self) -> int:
        return int(self._end is not None and time.monotonic() > self._end)

    # --- pages ---

    def page(self, asked: RolloutQuery, after: str = "", fits: Fits | None = None) -> RolloutPage:
        """One page behind ``after`` (a page's ``next``). Raises AhaError for a place that is none."""
        if SORTS[asked.sort][0] != "id":
            return self._sorted(asked, after, fits)
        page, start = RolloutPage(), time.monotonic()
        low, high = self._bounds()
        up = asked.sort == "first"
        at = _whole(after) if after else (low - 1 if up else high + 1)
        size = PIECE
        while (at < high) if up else (at > low):
            begun = time.monotonic()
            first, last = (at + 1, min(high, at + size)) if up else (max(low, at - size), at - 1)
            for row in self._piece(asked, first, last, not up):
                if fits is None or fits(row):
                    page.rows.append(row)
                if len(page.rows) == asked.limit:
                    at = row[0]
                    break
                if fits is not None and time.monotonic() - start > PATIENCE:
                    at = row[0]
                    break
            else:
                at = last if up else first
                size = _next_size(size, time.monotonic() - begun)
            if len(page.rows) == asked.limit or time.monotonic() - start > PATIENCE:
                break
        more = (at < high) if up else (at > low)
        page.next = str(at) if more else None
        page.searched = (at - low + 1 if up else high - at + 1) / max(1, high - low + 1) if more else 1.0
        return page

    def _bounds(self) -> tuple[int, int]:
        """The first and last id; (1, 0) where there is none. Asked for together, SQLite would read the whole table."""
        low, high = (
            self.db.execute(f"SELECT {end}(id) FROM rollout").fetchone()[0] for end in ("min", "max")
        )
        return (1, 0) if low is None else (low, high)

    def _piece(self, asked: RolloutQuery, first: int, last: int, down: bool) -> Iterator[Row]:
        said, values = self._select(asked, f"{COLUMNS}")
        key = "w.rowid" if asked.words() else "r.id"
        order = f" ORDER BY {key} {'DESC' if down else 'ASC'}"
        yield from self.db.execute(f"{said} AND {key} BETWEEN ? AND ?{order}", [*values, first, last])

    def _select(self, asked: RolloutQuery, columns: str) -> tuple[str, list[Any]]:
        said, values = asked.conditions()
        rest = "".join(f" AND r.{condition}" for condition in said)
        wanted = asked.words()
        if wanted is None:
            return f"SELECT {columns} FROM rollout r WHERE 1{rest}", values
        # the words lead: CROSS JOIN keeps SQLite from asking for each row of a filter whether the words stand in it
        source = "words w CROSS JOIN rollout r ON r.id = w.rowid"
        return f"SELECT {columns} FROM {source} WHERE w.text MATCH ?{rest}", [wanted.expression(), *values]

    def _sorted(self, asked: RolloutQuery, after: str, fits: Fits | None) -> RolloutPage:
        column, direction = SORTS[asked.sort]
        said, values = self._select(asked, COLUMNS)
        if after:
            value, _, id_ = after.partition(";")
            said += f" AND (r.{column}, r.id) {'>' if direction == 'ASC' else '<'} (?, ?)"
            values += [_figure(value), _whole(id_)]
        order = f" ORDER BY r.{column} {direction}, r.id {direction}"
        limit = f" LIMIT {asked.limit}" if fits is None else ""
        page, place = RolloutPage(), list(map(str, COLUMNS.split(", "))).index(f"r.{column}")
        self._end = time.monotonic() + PATIENCE_SORTED
        try:
            for row in self.db.execute(said + order + limit, values):
                if fits is None or fits(row):
                    page.rows.append(row)
                if len(page.rows) == asked.limit or (fits is not None and self._late()):
                    page.next = f"{row[place]!r};{row[0]}"
                    break
        except sqlite3.OperationalError as error:
            raise AhaError(
                "So many rollouts fit that sorting them takes too long. Narrow the filters, or take them in the order "
                "of the steps."
            ) from error
        finally:
            self._end = None
        return page

    # --- numbers ---

    def count(self, asked: RolloutQuery, patience: float = PATIENCE) -> tuple[int, bool]:
        """(how many fit, whether that is all of them): within about ``patience`` seconds, by the index alone."""
        if asked == RolloutQuery(sort=asked.sort, limit=asked.limit) and SORTS[asked.sort][0] == "id":
            return self.db.execute("SELECT coalesce(sum(rows), 0) FROM file").fetchone()[0], True
        low, high = self._bounds()
        total, at, size, start = 0, low - 1, PIECE, time.monotonic()
        said, values = self._select(asked, "count(*)")
        key = "w.rowid" if asked.words() else "r.id"
        if asked.words() and not asked.conditions()[0] and not self._dead():  # the words alone say it
            said, values = "SELECT count(*) FROM words w WHERE w.text MATCH ?", values[:1]
        while at < high and time.monotonic() - start < patience:
            begun, last = time.monotonic(), min(high, at + size)
            total += self.db.execute(f"{said} AND {key} BETWEEN ? AND ?", [*values, at + 1, last]).fetchone()[
                0
            ]
            at, size = last, _next_size(size, time.monotonic() - begun)
        return total, at >= high

    def _dead(self) -> int:
        """How many rows were in the index whose words are in it still."""
        return (self.db.execute("SELECT value FROM about WHERE key = 'dead'").fetchone() or [0])[0]

    def group(self, row: int) -> list[Row]:
        """All rows of the group that a row belongs to: of one problem, step and file."""
        found = self.one(row)
        where = "r.problem = ? AND r.step IS ? AND r.file = ?"
        said = f"SELECT {COLUMNS} FROM rollout r WHERE {where} ORDER BY r.id LIMIT 1000"
        return list(self.db.execute(said, (found[5], found[4], found[1])))

    def one(self, row: int) -> Row:
        """One row. Raises AhaError where there is none."""
        found = self.db.execute(f"SELECT {COLUMNS} FROM rollout r WHERE r.id = ?", (row,)).fetchone()
        if found is None:
            raise AhaError(f"There is no rollout {row} here (any more). Search again.")
        return found

    def groups(self, stage: str, part: str, step: int) -> list[dict[str, Any]]:
        """The groups of one step: sizes, outcomes, rewards, lengths, and their first row."""
        said = (
            "SELECT r.problem, r.file, min(r.id), count(*), sum(r.right = 1), sum(r.right = 0), sum(r.right IS NULL), "
            "min(r.reward), max(r.reward), avg(r.reward), avg(r.tokens), count(DISTINCT r.reward), sum(r.finish = 1) "
            "FROM rollout r WHERE r.step = ? AND r.source IN (SELECT id FROM source WHERE stage = ? AND part = ?) "
            "GROUP BY r.problem, r.file ORDER BY min(r.id) LIMIT 5000"
        )
        names = (
            "problem", "file", "row", "members", "right", "wrong", "ungraded", "lowest", "highest", "mean", "tokens",
            "rewards", "cut",
        )  # fmt: skip
        found = [dict(zip(names, row, strict=True)) for row in self.db.execute(said, (step, stage, part))]
        known = self.problems([group["problem"] for group in found])
        return [{**g, **known.get(g["problem"], {}), "signal": g["rewards"] > 1} for g in found]

    def problems(self, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Name, task and question of problems."""
        found: dict[int, dict[str, Any]] = {}
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]
            marks = ",".join("?" * len(part))
            for id_, *rest in self.db.execute(
                f"SELECT id, name, task, question FROM problem WHERE id IN ({marks})", part
            ):
                found[id_] = dict(zip(("name", "task", "question"), rest, strict=True))
        return found

    def files(self) -> dict[int, str]:
        """Names of the files by their number."""
        return dict(self.db.execute("SELECT id, name FROM file"))

    def overview(self) -> dict[str, Any]:
        """What there is to filter by: sources with their steps, tasks, and what could not be read."""
        said = (
            "SELECT s.stage, s.part, sum(f.rows), sum(f.broken) FROM file f JOIN source s ON s.id = f.source "
            "GROUP BY s.id"
        )
        names: tuple[str, ...] = ("stage", "part", "rows", "broken")
        sources: list[dict[str, Any]] = [dict(zip(names, r, strict=True)) for r in self.db.execute(said)]
        for source in sources:
            where = "WHERE source = (SELECT id FROM source WHERE stage = ? AND part = ?)"
            which = (source["stage"], source["part"])
            source["steps"] = self._steps(where, which)
        tasks = [t for (t,) in self.db.execute("SELECT DISTINCT task FROM problem LIMIT 50") if t]
        broken = "SELECT name, broken, first_broken FROM file WHERE broken > 0 ORDER BY name LIMIT 50"
        return {
            "sources": sources, "tasks": tasks,
            "broken": [dict(zip(("file", "lines", "at"), r, strict=True)) for r in self.db.execute(broken)],
        }  # fmt: skip

    def _steps(self, where: str, which: tuple[str, str]) -> list[int] | None:
        """The first and last step of a source, by its first and last file."""
        rows = self.db.execute(f"SELECT min(first), max(last) FROM file {where}", which).fetchone()
        if rows[0] is None:
            return None
        ends = [self.db.execute("SELECT step FROM rollout WHERE id = ?", (at,)).fetchone() for at in rows]
        known = [e[0] for e in ends if e and e[0] is not None]
        return [min(known), max(known)] if known else None


def _next_size(size: int, took: float) -> int:
    """How many rows to go through next, so that each piece takes a small part of the time there is."""
    if took < PATIENCE / 20:
        return min(LARGEST_PIECE, size * 4)
    return max(2_000, size // 2) if took > PATIENCE / 4 else size


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise AhaError(f"{text[:40]!r} is no place to go on from. Search again.") from None


def _figure(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise AhaError(f"{text[:40]!r} is no place to go on from. Search again.") from None
