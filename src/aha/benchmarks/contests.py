"""A rating from programming contests: which one would be expected to finish where the model did.

Each of a problem's samples is a participation of its own: sample j of a contest's problems earns their points together.
Its place is one more than the competitors with more points, and half of those with as many: time and failed attempts,
by which a contest parts them, a model's answers do not have. Its rating is the one at which the Elo model expects that
place among these competitors (as Codeforces seeds them: a competitor of rating a is ahead of one of rating b with
probability 1 / (1 + 10^((b - a) / 400))); the figure is the mean over participations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aha.benchmarks.records import GradedProblem
from aha.data.sources import numbered_rows
from aha.types import AhaError, Problem

LOWEST, HIGHEST = 0.0, 4500.0
"""Ratings are looked for between these: who is first, or last, has no other bound."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ContestTable:
    """A contest's competitors: ratings before it [N], and points [N]."""

    ratings: Floats
    points: Floats

    def place(self, points: float) -> float:
        """Where that many points would have come, from 1."""
        ahead, beside = int((self.points > points).sum()), int((self.points == points).sum())
        return 1 + ahead + beside / 2


def read(file: str) -> dict[str, ContestTable]:
    """Contests by name, one a row: ``contest`` with ``standings`` (each with ``rating`` and ``points``), or with what
    Codeforces' programs give, ``rows`` of contest.standings and ``ratingChanges``. Raises AhaError for other rows."""
    unread: list[str] = []
    tables: dict[str, ContestTable] = {}
    for where, row in numbered_rows(file, "train", lambda at, why: unread.append(f"{at}: {why}")):
        try:
            name = contest_of(row)
            if name in tables:
                raise ValueError(f"contest {name} stands twice")
            tables[name] = _table(row)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            unread.append(f"{where}: {error!r}")
    if unread or not tables:
        reason = unread[0] if unread else "it has no rows"
        raise AhaError(
            f"{file} is no table of contests ({reason}). Wanted: rows of contest and "
            "standings, a list of rating and points."
        )
    return tables


def contest_of(row: Mapping[str, Any]) -> str:
    """The name of a row's contest. Raises ValueError where it has none."""
    for key in ("contest", "contest_id", "contestId", "id"):
        if row.get(key) not in (None, ""):
            return str(row[key])
    raise ValueError("no contest")


def _table(row: Mapping[str, Any]) -> ContestTable:
    pairs = np.array(list(_pairs(row)), np.float64)
    if not len(pairs) or not np.isfinite(pairs).all():
        raise ValueError("no competitor with a rating and points")
    return ContestTable(pairs[:, 0], pairs[:, 1])


def _pairs(row: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
    if "standings" in row:
        for one in row["standings"]:
            yield float(one["rating"]), float(one["points"])
        return
    before = {change["handle"]: float(change["oldRating"]) for change in row["ratingChanges"]}
    for one in row["rows"]:
        handle = one["party"]["members"][0]["handle"]
        if handle in before:  # who was not rated in it says nothing
            yield before[handle], float(one["points"])


def rating_of(place: float, ratings: Floats) -> float:
    """The rating that is expected to come in at a place among competitors, between LOWEST and HIGHEST."""
    low, high = LOWEST, HIGHEST
    for _ in range(60):
        middle = (low + high) / 2
        expected = 1 + float((1 / (1 + 10 ** ((middle - ratings) / 400))).sum())
        low, high = (middle, high) if expected > place else (low, middle)
    return (low + high) / 2


def figures(
    problems: Sequence[Problem], records: Sequence[GradedProblem], tables: Mapping[str, ContestTable]
) -> dict[str, Any]:
    """``rating`` with an interval over contests, ``percentile`` (the share of all competitors whose rating is below
    it), ``contests``. Contests without a table count for nothing; ``contests_partly_asked``: those in which a
    competitor has more points than the problems that are asked are worth together, so that their rating is too low;
    ``contest_answers_ungraded``: the share of answers that could not be graded, which earn nothing as in a contest.
    Raises AhaError where none has a table."""
    own: dict[str, list[tuple[float, GradedProblem]]] = defaultdict(list)
    told = {p.id: p.metadata for p in problems}
    for record in records:
        meta = told.get(record.problem, {})
        if meta.get("contest"):
            own[str(meta["contest"])].append((float(meta.get("points") or 1.0), record))
    shared = [name for name in own if name in tables]
    if not shared:
        asked = ", ".join(list(own)[:5]) or "none"
        raise AhaError(
            f"The table of contests has {', '.join(list(tables)[:5])}, and the problems are of {asked}: "
            "none is in both."
        )
    each = np.array([_rating(own[name], tables[name]) for name in shared], np.float64)
    everyone = np.concatenate([tables[name].ratings for name in shared])
    rating = float(each.mean())
    return {
        "rating": rating,
        "rating_ci": _spread(each),
        "percentile": float((everyone < rating).mean()),
        "contests": len(shared),
        "contest_answers_ungraded": _ungraded([record for name in shared for _, record in own[name]]),
        "contests_without_table": len(own) - len(shared),
        "contests_partly_asked": sum(_is_part(own[name], tables[name]) for name in shared),
    }


def _ungraded(records: Sequence[GradedProblem]) -> float:
    return float(np.mean([s.right is None for r in records for s in r.samples]))


def _is_part(problems: Sequence[tuple[float, GradedProblem]], table: ContestTable) -> bool:
    return sum(points for points, _ in problems) < table.points.max()


def warning(figures: Mapping[str, Any]) -> str:
    """What is to be said of a rating; "" where nothing is."""
    part, whole, ungraded = (
        figures[name] for name in ("contests_partly_asked", "contests", "contest_answers_ungraded")
    )
    said = []
    if part:
        said.append(
            f"in {part} of {whole} contests competitors have more points than all problems that were asked: some are "
            "missing, and the rating is too low"
        )
    if ungraded:
        said.append(
            f"{ungraded:.1%} of the answers could not be graded and earn nothing: the rating may be too low"
        )
    return "; ".join(said)


def _rating(problems: Sequence[tuple[float, GradedProblem]], table: ContestTable) -> float:
    """The mean over a contest's participations."""
    k = min(len(record.samples) for _, record in problems)
    earned = [sum(points for points, r in problems if r.samples[j].right is True) for j in range(k)]
    return float(np.mean([rating_of(table.place(points), table.ratings) for points in earned]))


def _spread(each: Floats) -> list[float]:
    """A bootstrap's 95% interval over contests."""
    if len(each) < 2:
        return [float(each.mean())] * 2
    draws = np.random.default_rng(0).integers(len(each), size=(2000, len(each)))
    return [float(x) for x in np.quantile(each[draws].mean(axis=1), [0.025, 0.975])]
