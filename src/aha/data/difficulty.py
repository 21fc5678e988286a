"""Keeps problems of a fitting difficulty, by how often a model solved them in rollouts that were written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.data.sources import numbered_rows, read_rows
from aha.types import AhaError


@dataclass(frozen=True, slots=True)
class PassRate:
    """How many answers to a problem were graded, and how many of them were right; what could not be graded
    counts as neither."""

    graded: int
    correct: int
    ungraded: int = 0

    @property
    def rate(self) -> float | None:
        """Share of graded answers that are right; None if none was graded."""
        return self.correct / self.graded if self.graded else None


def pass_rates(rollouts: Iterable[Mapping[str, Any]], score: str = "accuracy") -> dict[str, PassRate]:
    """By ``problem_id``, from rows as rollout files have them: ``scores[score]["value"]`` above 0.5 is right.

    Raises AhaError for a row without a problem or that score.
    """
    counts: dict[str, list[int]] = {}
    for number, row in enumerate(rollouts, 1):
        try:
            problem, value = str(row["problem_id"]), row["scores"][score]["value"]
        except (KeyError, TypeError) as error:
            raise AhaError(
                f"Rollout row {number} has no problem_id or no scores.{score}.value: its columns are "
                f"{sorted(row)}. Give files that aha eval --output or a run's rollouts folder wrote."
            ) from error
        tally = counts.setdefault(problem, [0, 0, 0])
        if value is None:
            tally[2] += 1
        else:
            tally[0] += 1
            tally[1] += value > 0.5
    return {problem: PassRate(*tally) for problem, tally in counts.items()}


def read_pass_rates(files: Sequence[Path | str], score: str = "accuracy") -> dict[str, PassRate]:
    """``pass_rates`` over rollout files together."""
    return pass_rates((row for file in files for row in read_rows(str(file))), score)


@dataclass(frozen=True, slots=True)
class Selection:
    """Problem ids to keep, and how many went for which reason."""

    kept: tuple[str, ...]
    dropped: Mapping[str, int]


def keep_between(
    rates: Mapping[str, PassRate], low: float = 0.0, high: float = 1.0, *, least_graded: int = 1
) -> Selection:
    """Problems with ``low`` <= pass rate <= ``high``, and never those that were always or never solved: they
    teach nothing to a method that compares the answers to one problem. (PRIME keeps 0.2 to 0.8.)

    Problems with fewer than ``least_graded`` graded answers are dropped too: nothing is known of them.
    """
    if not 0 <= low <= high <= 1:
        raise AhaError(f"Pass rates lie in 0..1 and low is at most high, not {low} and {high}.")
    kept: list[str] = []
    dropped = dict.fromkeys(("too few graded", "never solved", "always solved", "too hard", "too easy"), 0)
    for problem, counted in rates.items():
        rate = counted.rate
        if rate is None or counted.graded < least_graded:
            dropped["too few graded"] += 1
        elif rate == 0:
            dropped["never solved"] += 1
        elif rate == 1:
            dropped["always solved"] += 1
        elif rate < low:
            dropped["too hard"] += 1
        elif rate > high:
            dropped["too easy"] += 1
        else:
            kept.append(problem)
    return Selection(tuple(kept), {reason: n for reason, n in dropped.items() if n})


def problem_rows(
    rollouts: Iterable[Mapping[str, Any]],
    rates: Mapping[str, PassRate],
    kept: Sequence[str],
    data: str | None,
) -> tuple[list[dict[str, Any]], int]:
    """(a row for each kept problem with its ``pass_rate``, how many of them could not be graded again).

    From ``data``, the rows that the problems came from, each is whole; without it from what the rollouts hold of
    their problem: question, answer, tests, options, level. Raises AhaError where ``data`` lacks a problem.
    """
    if data is not None:
        return _from_data(rates, kept, data), 0
    kept_names = dict.fromkeys(kept)
    by_name: dict[str, dict[str, Any]] = {}
    for row in rollouts:
        name = str(row["problem_id"])
        if name in kept_names and (name not in by_name or "problem" in row):
            said = row.get("problem") or {"question": row.get("question"), "answer": row.get("answer")}
            by_name[name] = {"problem_id": name, **said, "pass_rate": _rounded(rates[name])}
    bare = sum(row.get("answer") is None and not row.get("tests") for row in by_name.values())
    return [by_name[name] for name in kept_names], bare


def _rounded(rate: PassRate) -> float | None:
    return None if rate.rate is None else round(rate.rate, 6)


def _from_data(rates: Mapping[str, PassRate], kept: Sequence[str], data: str) -> list[dict[str, Any]]:
    rows = [row for _, row in numbered_rows(data, bad=lambda where, why: None)]  # as the task numbered them
    selected = []
    for name in kept:
        number = name.rpartition("-")[2]
        if not number.isdecimal() or not 1 <= int(number) <= len(rows):
            raise AhaError(f"'{data}' has no row for the problem {name}: give the rows that it came from.")
        selected.append({**rows[int(number) - 1], "pass_rate": _rounded(rates[name])})
    return selected
