"""Problems of contests between two days: a model cannot have learned from contests after its data were collected."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aha.types import AhaError, Problem

DATE = "date"
"""The key of a problem's metadata with the day of its contest, YYYY-MM-DD."""
_DAY = re.compile(r"\d{4}-\d{2}(?:-\d{2})?")


def read_dates(text: str) -> tuple[str, str]:
    """The first and last day of ``FROM:TO``; either may be left out, and a month is all its days. Raises AhaError for
    anything else."""
    first, colon, last = (part.strip() for part in text.partition(":"))
    if not colon or not (first or last) or not all(_DAY.fullmatch(day) for day in (first, last) if day):
        raise AhaError(f"--dates {text}: give FROM:TO as YYYY-MM-DD or YYYY-MM; either may be left out.")
    if first and last and first[: len(last)] > last:
        raise AhaError(f"--dates {text}: the first day lies behind the last.")
    return first, last


def of_dates(problems: Sequence[Problem], text: str) -> list[Problem]:
    """The problems of contests within ``FROM:TO``. Raises AhaError where a problem says no date, and where none lies
    within."""
    first, last = read_dates(text)
    bare = next((p for p in problems if not p.metadata.get(DATE)), None)
    if bare is not None:
        raise AhaError(f"--dates {text}: {bare.id} says no date (contest_date), so it cannot be told.")
    within = [p for p in problems if first <= p.metadata[DATE] and p.metadata[DATE][: len(last)] <= last]
    if not within:
        days = sorted(p.metadata[DATE] for p in problems)
        raise AhaError(
            f"--dates {text}: the contests of these rows are of {days[0]} to {days[-1]}, none lies within."
        )
    return within
