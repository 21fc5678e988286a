"""Finds rollouts: one page of them within a bounded time, and where to go on.

In the order of the files an index is gone through piece by piece, so that a rare find in millions of rows answers in
time with what there is so far. By a figure, an index of that figure (and of the outcome, where one is asked for) is
gone through in the same way; only few texts that have words are sorted as a whole.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aha.types import AhaError
from aha.view.index.asked import SORTS, RolloutQuery
from aha.view.index.tables import open_to_read
from aha.view.index.words import TextQuery

PATIENCE = 0.8
"""Seconds for one page, after which it says how far it came."""
PATIENCE_SORTED = 8.0
"""Seconds for one page of texts that have words by a figure, which is whole or nothing."""
PIECE, LARGEST_PIECE = 50_000, 1_600_000
"""Rows of the index that are gone through at a time."""
COLUMNS = "r.id, r.file, r.at, r.size, r.step, r.problem, r.member, r.right, r.reward, r.advantage, r.finish, r.tokens"

PLACES = {name: at for at, name in enumerate(part.removeprefix("r.") for part in COLUMNS.split(", "))}
FEW, AT_ONCE = 2_000, 0.15
"""Rows that are all taken at once, and the seconds that finding them may take."""

Row = tuple[Any, ...]
_Place = tuple[float, int]
Problems = Sequence[int] | None
TextOf = Callable[[Row], str]
Fits = Callable[[Row], bool]
"""Whether a row's text fits, where the index cannot say."""


@dataclass(slots=True)
class RolloutPage:
    """Rows of ``COLUMNS``; ``next``: where to go on, None at the end; ``searched``: the share that was gone
    through, where the page is not full for want of time."""

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

    def page(
        self, asked: RolloutQuery, after: str = "", fits: Fits | None = None, text_of: TextOf | None = None
    ) -> RolloutPage:
        """One page behind ``after`` (a page's ``next``). ``text_of`` reads a row's text: where few rows fit the other
        filters, or most texts have the words, reading them is the shorter way. Raises AhaError for a place that is
        none."""
        query, problems = asked.words(), self._problems(asked)
        reading = _both(fits, query, text_of) if text_of else None
        if (query is None or reading) and (few := self._few(asked, problems)) is not None:
            return _page_of(few, asked, after, reading if query else fits)
        if SORTS[asked.sort][0] == "id":
            return self._by_id(asked, after, fits, problems)
        if reading and query and self._dense(query):
            asked, fits = replace(asked, text=""), reading
        if not asked.words() and self._has(_index_of(asked)):
            return self._walked(asked, after, fits, problems)
        return self._sorted(asked, after, fits, problems)

    def _by_id(self, asked: RolloutQuery, after: str, fits: Fits | None, problems: Problems) -> RolloutPage:
        page, start = RolloutPage(), time.monotonic()
        low, high = self._bounds(asked)
        up = asked.sort == "first"
        at = _whole(after) if after else (low - 1 if up else high + 1)
        size = PIECE
        while (at < high) if up else (at > low):
            piece_start = time.monotonic()
            first, last = (at + 1, min(high, at + size)) if up else (max(low, at - size), at - 1)
            for row in self._piece(asked, first, last, not up, problems):
                if fits is None or fits(row):
                    page.rows.append(row)
                late = fits is not None and time.monotonic() - start > PATIENCE
                if len(page.rows) == asked.limit or late:
                    at = row[0]
                    break
            else:
                at = last if up else first
                size = _next_size(size, time.monotonic() - piece_start)
            if len(page.rows) == asked.limit or time.monotonic() - start > PATIENCE:
                break
        more = (at < high) if up else (at > low)
        page.next = str(at) if more else None
        page.searched = (at - low + 1 if up else high - at + 1) / max(1, high - low + 1) if more else 1.0
        return page

    def _bounds(self, asked: RolloutQuery | None = None) -> tuple[int, int]:
        """The first and last id that may fit, by steps, stage and part; (1, 0) where there is none."""
        # asked for together, SQLite would read the whole table
        ends = [self.db.execute(f"SELECT {end}(id) FROM rollout").fetchone()[0] for end in ("min", "max")]
        bounds = [(1, 0) if ends[0] is None else (ends[0], ends[1])]
        if asked and (asked.stage or asked.part):
            said = " AND ".join(f"{name} = ?" for name in ("stage", "part") if getattr(asked, name))
            where = f"source IN (SELECT id FROM source WHERE {said}) AND rows > 0"
            said = f"SELECT min(first), max(last) FROM file WHERE {where}"
            row = self.db.execute(said, [value for value in (asked.stage, asked.part) if value]).fetchone()
            bounds.append((1, 0) if row[0] is None else row)
        if asked and (asked.step_from is not None or asked.step_to is not None):
            said = "SELECT min(id), max(id) FROM rollout INDEXED BY by_step WHERE step BETWEEN ? AND ?"
            ends = [
                -(2**62) if asked.step_from is None else asked.step_from,
                2**62 if asked.step_to is None else asked.step_to,
            ]
            row = self._soon(said, ends)  # many steps: they do not narrow it
            bounds += [(1, 0) if r[0] is None else r for r in row or ()]
        return max(low for low, _ in bounds), min(high for _, high in bounds)

    def _soon(self, said: str, values: Sequence[Any]) -> list[Row] | None:
        """All rows of a question; None where they take longer than ``AT_ONCE``, or the index is not built yet."""
        self._end = time.monotonic() + AT_ONCE
        try:
            return self.db.execute(said, values).fetchall()
        except sqlite3.OperationalError:
            return None
        finally:
            self._end = None

    def _problems(self, asked: RolloutQuery) -> Problems:
        """The numbers of the problems that fit, if they are few; None where any may, or many do."""
        if not asked.problem:
            return None
        said, values = asked.problem_condition()
        rows = self.db.execute(f"SELECT id FROM problem WHERE {said} LIMIT {FEW + 1}", values).fetchall()
        return [row[0] for row in rows] if len(rows) <= FEW else None

    def _few(self, asked: RolloutQuery, problems: Problems) -> list[Row] | None:
        """All rows that fit the filters without the words, if they are few and found at once."""
        bare = replace(asked, text="")
        if not bare.conditions(problems)[0]:
            return None
        said, values = self._select(bare, COLUMNS, problems)
        rows = self._soon(f"{said} LIMIT {FEW + 1}", values)
        return rows if rows is not None and len(rows) <= FEW else None

    def _dense(self, query: TextQuery) -> bool:
        """Whether one in fifty texts or more has the words, by the newest ones; so many that counting takes long do."""
        high = self._bounds()[1]
        said = "SELECT count(*) FROM words w WHERE w.text MATCH ? AND w.rowid > ?"
        rows = self._soon(said, (query.expression(), high - PIECE))
        return rows is None or rows[0][0] > min(PIECE, high) / 50

    def _has(self, index: str) -> bool:
        """Whether an index is made already: the first build makes them at its end."""
        said = "SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ?"
        return self.db.execute(said, (index,)).fetchone() is not None

    def _piece(
        self, asked: RolloutQuery, first: int, last: int, down: bool, problems: Problems
    ) -> Iterator[Row]:
        said, values = self._select(asked, COLUMNS, problems)
        key = "w.rowid" if asked.words() else "r.id"
        order = f" ORDER BY {key} {'DESC' if down else 'ASC'}"
        yield from self.db.execute(f"{said} AND {key} BETWEEN ? AND ?{order}", [*values, first, last])

    def _select(self, asked: RolloutQuery, columns: str, problems: Problems) -> tuple[str, list[Any]]:
        said, values = asked.conditions(problems)
        rest = "".join(f" AND r.{condition}" for condition in said)
        query = asked.words()
        if query is None:
            return f"SELECT {columns} FROM rollout r WHERE 1{rest}", values
        # the words lead: CROSS JOIN keeps SQLite from asking for each row of a filter whether the words stand in it
        source = "words w CROSS JOIN rollout r ON r.id = w.rowid"
        return f"SELECT {columns} FROM {source} WHERE w.text MATCH ?{rest}", [query.expression(), *values]

    def _sorted(self, asked: RolloutQuery, after: str, fits: Fits | None, problems: Problems) -> RolloutPage:
        column, direction = SORTS[asked.sort]
        said, values = self._select(asked, COLUMNS, problems)
        if after:
            value, id_ = _place(after)
            said += f" AND (r.{column}, r.id) {'>' if direction == 'ASC' else '<'} (?, ?)"
            values += [value, id_]
        order = f" ORDER BY r.{column} {direction}, r.id {direction}"
        limit = f" LIMIT {asked.limit}" if fits is None else ""
        page = RolloutPage()
        self._end = time.monotonic() + PATIENCE_SORTED
        try:
            for row in self.db.execute(said + order + limit, values):
                if fits is None or fits(row):
                    page.rows.append(row)
                if len(page.rows) == asked.limit or (fits is not None and self._late()):
                    page.next = _next(row, asked)
                    break
        except sqlite3.OperationalError as error:
            raise AhaError(
                "So many rollouts fit that sorting them takes too long. Narrow the filters, or take them in the order "
                "of the steps."
            ) from error
        finally:
            self._end = None
        return page

    def _walked(self, asked: RolloutQuery, after: str, fits: Fits | None, problems: Problems) -> RolloutPage:
        """One page along the index of a figure, piece by piece."""
        place, page = _place(after) if after else None, RolloutPage()
        start, size = time.monotonic(), PIECE
        while True:
            piece_start, end = time.monotonic(), self._end_of_piece(asked, place, size)
            for row in self._between(asked, place, end, problems):
                if fits is None or fits(row):
                    page.rows.append(row)
                late = fits is not None and time.monotonic() - start > PATIENCE
                if len(page.rows) == asked.limit or late:
                    page.next = _next(row, asked)
                    break
            place = end
            if page.next is not None or place is None:
                break
            if time.monotonic() - start > PATIENCE:
                page.next = f"{place[0]!r};{place[1]}"
                break
            size = _next_size(size, time.monotonic() - piece_start)
        if page.next is not None and len(page.rows) < asked.limit:
            page.searched = self._share(asked, page.next)
        return page

    def _end_of_piece(self, asked: RolloutQuery, place: _Place | None, size: int) -> _Place | None:
        """Where the next ``size`` rows of the figure's index end; None where it has fewer."""
        column, direction = SORTS[asked.sort]
        where, values = _along(asked, place, None)
        rows = f"FROM rollout r INDEXED BY {_index_of(asked)} WHERE r.{column} IS NOT NULL{where}"
        order = f" ORDER BY r.{column} {direction}, r.id {direction} LIMIT 1 OFFSET {size - 1}"
        return self.db.execute(f"SELECT r.{column}, r.id {rows}{order}", values).fetchone()

    def _between(
        self, asked: RolloutQuery, place: _Place | None, end: _Place | None, problems: Problems
    ) -> Iterator[Row]:
        column, direction = SORTS[asked.sort]
        said, values = asked.conditions(problems)
        rest = "".join(f" AND r.{condition}" for condition in said)
        where, more = _along(asked, place, end)
        query = f"SELECT {COLUMNS} FROM rollout r INDEXED BY {_index_of(asked)} WHERE 1{rest}{where}"
        order = f" ORDER BY r.{column} {direction}, r.id {direction}"
        yield from self.db.execute(query + order, [*values, *more])

    def _share(self, asked: RolloutQuery, after: str) -> float:
        """About how much of the figure's index lies before a place, where that is told at once."""
        counts = []
        for place in (None, _place(after)):
            where, values = _along(asked, place, None)
            said = f"SELECT count(*) FROM rollout r INDEXED BY {_index_of(asked)}"
            rows = self._soon(f"{said} WHERE r.{SORTS[asked.sort][0]} IS NOT NULL{where}", values)
            counts.append(rows[0][0] if rows else None)
        whole, left = counts
        return 0.5 if left is None or not whole else 1 - left / whole

    # --- numbers ---

    def count(self, asked: RolloutQuery, patience: float = PATIENCE) -> tuple[int, bool]:
        """(how many fit, whether that is all of them): within about ``patience`` seconds, by the index alone."""
        if asked == RolloutQuery(sort=asked.sort, limit=asked.limit) and SORTS[asked.sort][0] == "id":
            return self.db.execute("SELECT coalesce(sum(rows), 0) FROM file").fetchone()[0], True
        low, high = self._bounds(asked)
        total, at, size, start = 0, low - 1, PIECE, time.monotonic()
        problems = self._problems(asked)
        said, values = self._select(asked, "count(*)", problems)
        key = "w.rowid" if asked.words() else "r.id"
        if asked.words() and not asked.conditions()[0] and not self._dead():  # the words alone say it
            said, values = "SELECT count(*) FROM words w WHERE w.text MATCH ?", values[:1]
        while at < high and time.monotonic() - start < patience:
            piece_start, last = time.monotonic(), min(high, at + size)
            total += self.db.execute(f"{said} AND {key} BETWEEN ? AND ?", [*values, at + 1, last]).fetchone()[
                0
            ]
            at, size = last, _next_size(size, time.monotonic() - piece_start)
        return total, at >= high

    def _dead(self) -> int:
        """How many rows were in the index whose words are in it still."""
        return (self.db.execute("SELECT value FROM about WHERE key = 'dead'").fetchone() or [0])[0]

    def group(self, row: int) -> list[Row]:
        """All rows of the group that a row belongs to: of one problem, step and file."""
        rollout = self.one(row)
        where = "r.problem = ? AND r.step IS ? AND r.file = ?"
        said = f"SELECT {COLUMNS} FROM rollout r WHERE {where} ORDER BY r.id LIMIT 1000"
        return list(self.db.execute(said, (rollout[5], rollout[4], rollout[1])))

    def one(self, row: int) -> Row:
        """One row. Raises AhaError where there is none."""
        rollout = self.db.execute(f"SELECT {COLUMNS} FROM rollout r WHERE r.id = ?", (row,)).fetchone()
        if rollout is None:
            raise AhaError(f"There is no rollout {row} here (any more). Search again.")
        return rollout

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
        rows = [dict(zip(names, row, strict=True)) for row in self.db.execute(said, (step, stage, part))]
        known = self.problems([group["problem"] for group in rows])
        return [{**g, **known.get(g["problem"], {}), "signal": g["rewards"] > 1} for g in rows]

    def problems(self, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Name, task and question of problems."""
        by_id: dict[int, dict[str, Any]] = {}
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]
            marks = ",".join("?" * len(part))
            for id_, *rest in self.db.execute(
                f"SELECT id, name, task, question FROM problem WHERE id IN ({marks})", part
            ):
                by_id[id_] = dict(zip(("name", "task", "question"), rest, strict=True))
        return by_id

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


def _index_of(asked: RolloutQuery) -> str:
    """The index that has the rows in the order that is asked for."""
    return f"by_right_{SORTS[asked.sort][0]}" if asked.outcome else f"by_{SORTS[asked.sort][0]}"


def _along(asked: RolloutQuery, place: _Place | None, end: _Place | None) -> tuple[str, list[Any]]:
    """SQL for the rows of that index behind a place and up to another one, and its values."""
    column, direction = SORTS[asked.sort]
    behind, within = (">", "<=") if direction == "ASC" else ("<", ">=")
    said, values = "", []
    if asked.outcome:
        said += (
            " AND r."
            + {"right": "right = 1", "wrong": "right = 0", "ungraded": "right IS NULL"}[asked.outcome]
        )
    for at, sign in ((place, behind), (end, within)):
        if at is not None:
            said, values = f"{said} AND (r.{column}, r.id) {sign} (?, ?)", [*values, *at]
    return said, values


def _next_size(size: int, took: float) -> int:
    """How many rows to go through next, so that each piece takes a small part of the time there is."""
    if took < PATIENCE / 20:
        return min(LARGEST_PIECE, size * 4)
    return max(2_000, size // 2) if took > PATIENCE / 4 else size


def _both(fits: Fits | None, query: TextQuery | None, text_of: TextOf) -> Fits:
    """Whether a row has the words, and fits."""

    def both(row: Row) -> bool:
        return (query is None or query.matches(text_of(row))) and (fits is None or fits(row))

    return both


def _page_of(rows: Sequence[Row], asked: RolloutQuery, after: str, fits: Fits | None) -> RolloutPage:
    """One page of rows that are all there."""
    column, direction = SORTS[asked.sort]
    down = direction == "DESC"
    if column == "id":
        start: tuple[float, ...] | None = (_whole(after),) if after else None
    else:
        start = _place(after) if after else None
    keyed = sorted(((_key(row, column), row) for row in rows), reverse=down)
    page = RolloutPage()
    for key, row in keyed:
        if start is not None and (key >= start if down else key <= start):
            continue
        if fits is None or fits(row):
            page.rows.append(row)
        if len(page.rows) == asked.limit:
            page.next = None if row is keyed[-1][1] else _next(row, asked)
            break
    return page


def _key(row: Row, column: str) -> tuple[float, ...]:
    return (row[0],) if column == "id" else (row[PLACES[column]], row[0])


def _next(row: Row, asked: RolloutQuery) -> str:
    """Where to go on behind a row."""
    column = SORTS[asked.sort][0]
    return str(row[0]) if column == "id" else f"{row[PLACES[column]]!r};{row[0]}"


def _place(after: str) -> tuple[float, int]:
    value, _, id_ = after.partition(";")
    try:
        return float(value), _whole(id_)
    except ValueError:
        raise AhaError(f"{after[:40]!r} is no place to go on from. Search again.") from None


def _whole(text: str) -> int:
    if re.fullmatch(r"-?\d{1,18}", text) is None:  # what SQLite can count to
        raise AhaError(f"{text[:40]!r} is no place to go on from. Search again.")
    return int(text)
