"""Reading what judges say. What is missing or contradicts itself is None: it is never taken for a verdict."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

SCALE = {">>": 3.0, ">": 1.0, "=": 0.0, "<": -1.0, "<<": -3.0}
"""What a verdict weighs: much better counts three times a little better, as in Arena-Hard's scoring
(arXiv 2406.11939), where a strong verdict is counted as three weak ones."""
MAX_CHARS = 40_000
MAX_OBJECTS = 64

_PAIR = re.compile(r"\[\[\s*([ABab])\s*(>>|<<|>|<|=)\s*([ABab])\s*\]\]")
_SECTION = re.compile(r"^[#* ]*(thinking|summary)[:* ]*$", re.IGNORECASE | re.MULTILINE)


def read_pair(text: str) -> float | None:
    """The margin of A over B on ``SCALE``: -3, -1, 0, 1 or 3. None without a verdict or with several that
    differ. The same verdict said twice counts once."""
    margins = {_margin(*match) for match in _PAIR.findall(text[-MAX_CHARS:])}
    return margins.pop() if len(margins) == 1 else None


def _margin(left: str, sign: str, right: str) -> float | None:
    if left.upper() == right.upper():
        return None
    value = SCALE[sign]
    return (value if left.upper() == "A" else -value) + 0.0


def read_field(text: str, key: str, allowed: Sequence[str]) -> str | None:
    """The value of ``key`` in the JSON object that a judge wrote, in a fence or in running text; None if there
    is none, if it is not one of ``allowed`` (in any case), or if two objects differ."""
    readings: set[str] = set()
    for value in _objects(text[-MAX_CHARS:]):
        if key in value:
            said = str(value[key]).strip().strip(".").lower()
            if said not in allowed:
                return None
            readings.add(said)
    return readings.pop() if len(readings) == 1 else None


def read_number(text: str, key: str, low: float, high: float) -> float | None:
    """The number under ``key`` in the JSON object that a judge wrote; None if there is none, if it is out of bounds or
    no number, or if two objects differ."""
    numbers: set[float] = set()
    for value in _objects(text[-MAX_CHARS:]):
        if key not in value:
            continue
        try:
            number = float(value[key])
        except (TypeError, ValueError):
            return None
        if isinstance(value[key], bool) or not low <= number <= high:
            return None
        numbers.add(number)
    return numbers.pop() if len(numbers) == 1 else None


def read_text(text: str, key: str) -> str | None:
    """The string under ``key`` in the JSON object that a model wrote; None if there is none, if it is no string, or if
    two objects differ."""
    values = [value[key] for value in _objects(text[-MAX_CHARS:]) if key in value]
    alike = bool(values) and all(value == values[0] for value in values)
    return values[0].strip() if alike and isinstance(values[0], str) else None


def _objects(text: str) -> list[dict[str, Any]]:
    """JSON objects in a text, outermost ones, from left to right."""
    decoder, objects, at = json.JSONDecoder(strict=False), [], 0
    for _ in range(MAX_OBJECTS):
        at = text.find("{", at)
        if at < 0:
            break
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
            continue
        at = end
        if isinstance(value, dict):
            objects.append(value)
    return objects


def read_sections(text: str) -> tuple[str, str] | None:
    """(thinking, summary) of a teacher's reply; None if either is missing, empty or stands twice."""
    marks = list(_SECTION.finditer(text))
    if [mark[1].lower() for mark in marks] != ["thinking", "summary"]:
        return None
    thinking = text[marks[0].end() : marks[1].start()].strip()
    summary = text[marks[1].end() :].strip()
    return (thinking, summary) if thinking and summary else None
