"""Days of the calendar: ``July 5``, ``5 July``, ``2024-07-05``, ``7月5日``."""

from __future__ import annotations

import re
from typing import NamedTuple

from aha.rewards.math.words import words_of

_NAMES = "january february march april may june july august september october november december".split()  # noqa: SIM905
_MONTHS = {name[:length]: at for at, name in enumerate(_NAMES, 1) for length in (3, len(name))} | {"sept": 9}
_MONTH = r"(?P<month>[a-z]{3,9})\.?"
_DAY = r"(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>[0-9]{4})"
_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"{_MONTH},? {_DAY}(?:,? {_YEAR})?\Z",
        rf"(?:the )?{_DAY}(?: of)? {_MONTH}(?:,? {_YEAR})?\Z",
        rf"{_YEAR}[-/.](?P<month>[0-9]{{1,2}})[-/.]{_DAY}\Z",
        rf"(?P<month>[0-9]{{1,2}})/(?P<day>[0-9]{{1,2}})/{_YEAR}\Z",
        rf"(?P<day>[0-9]{{1,2}})\.(?P<month>[0-9]{{1,2}})\.{_YEAR}\Z",
        rf"(?:{_YEAR} ?年 ?)?(?P<month>[0-9]{{1,2}}) ?月 ?{_DAY} ?[日号]\Z",
    )
)
_LONGEST = 60


class Day(NamedTuple):
    """A day; ``year`` is None where none is told."""

    year: int | None
    month: int
    day: int


def day_of(text: str) -> Day | None:
    """The day that an answer spells, or None."""
    if len(text) > _LONGEST or not any(c.isdigit() for c in text):
        return None
    words = words_of(text)
    match = next((match for form in _FORMS if (match := form.match(words))), None)
    if match is None:
        return None
    named, year = match["month"], match["year"]
    month = int(named) if named.isdigit() else _MONTHS.get(named, 0)
    day = int(match["day"])
    if month > 12 and "/" in words:
        month, day = day, month
    if not 1 <= month <= 12 or not 1 <= day <= 31:
        return None
    return Day(int(year) if year else None, month, day)


def same_day(gold: str, answer: str) -> bool | None:
    """Whether two texts spell one day; None where not both spell one."""
    one, other = day_of(gold), day_of(answer)
    if one is None and other is None:
        return None
    if one is None or other is None:
        # "2024-07-05" is no difference of numbers
        return False if any(day is not None and day.year for day in (one, other)) else None
    if one.year is not None and other.year is not None and one.year != other.year:
        return False
    return one[1:] == other[1:] and (one.year is None or other.year is not None)
