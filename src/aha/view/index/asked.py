"""What is asked of an index: filters as the page sends them, and as SQL."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from aha.types import AhaError
from aha.view.index.tables import FINISHES
from aha.view.index.words import TextQuery, read_query

MOST_ROWS = 200
SORTS: dict[str, tuple[str, str]] = {
    "first": ("id", "ASC"), "last": ("id", "DESC"), "worst": ("reward", "ASC"), "best": ("reward", "DESC"),
    "shortest": ("tokens", "ASC"), "longest": ("tokens", "DESC"), "down": ("advantage", "ASC"),
    "up": ("advantage", "DESC"),
}  # fmt: skip
"""Orders: as they were written, or by a figure; those without the figure are left out."""
Outcomes = Literal["", "right", "wrong", "ungraded"]


@dataclass(frozen=True, slots=True)
class RolloutQuery:
    """Filters; all that are set must hold. Ranges hold their ends. ``text`` is words (``words.TextQuery``), ``regex`` a
    regular expression over the text as it stands; ``problem`` part of a problem's name or question."""

    stage: str = ""
    part: str = ""
    task: str = ""
    problem: str = ""
    outcome: Outcomes = ""
    finish: str = ""
    step_from: int | None = None
    step_to: int | None = None
    reward_from: float | None = None
    reward_to: float | None = None
    tokens_from: int | None = None
    tokens_to: int | None = None
    text: str = ""
    regex: str = ""
    sort: str = "first"
    limit: int = 50

    def words(self) -> TextQuery | None:
        """The search for words; None without one. Raises AhaError for one without words."""
        return read_query(self.text) if self.text.strip() else None

    def conditions(self, problems: Sequence[int] | None = None) -> tuple[list[str], list[Any]]:
        """SQL over the table ``rollout``, and its values. ``problems``: the numbers of those that fit, where they were
        looked up."""
        parts: list[tuple[str, list[Any]]] = []
        if self.stage or self.part:
            exact = [(name, value) for name, value in (("stage", self.stage), ("part", self.part)) if value]
            said = " AND ".join(f"{name} = ?" for name, _ in exact)
            parts.append((f"source IN (SELECT id FROM source WHERE {said})", [value for _, value in exact]))
        if self.task:
            parts.append(("problem IN (SELECT id FROM problem WHERE task = ?)", [self.task]))
        if problems is not None:
            parts.append((f"problem IN ({','.join(map(str, problems))})", []))
        elif self.problem:
            said, values = self.problem_condition()
            parts.append((f"problem IN (SELECT id FROM problem WHERE {said})", values))
        if self.outcome:
            is_ = {"right": "right = 1", "wrong": "right = 0", "ungraded": "right IS NULL"}[self.outcome]
            parts.append((is_, []))
        if self.finish:
            parts.append(("finish = ?", [_finish(self.finish)]))
        for name in ("step", "reward", "tokens"):
            low, high = getattr(self, f"{name}_from"), getattr(self, f"{name}_to")
            parts += [(f"{name} >= ?", [low])] if low is not None else []
            parts += [(f"{name} <= ?", [high])] if high is not None else []
        if SORTS[self.sort][0] != "id":
            parts.append((f"{SORTS[self.sort][0]} IS NOT NULL", []))
        return [said for said, _ in parts], [value for _, values in parts for value in values]

    def problem_condition(self) -> tuple[str, list[Any]]:
        """SQL over the table ``problem``, and its values."""
        like = "%" + self.problem.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        return "name LIKE ? ESCAPE '\\' OR question LIKE ? ESCAPE '\\'", [like, like]


def read_filters(query: Mapping[str, str]) -> RolloutQuery:
    """The filters of an address; names that are none are left to others. Raises AhaError for a value that cannot be."""
    values: dict[str, Any] = {}
    for spec in fields(RolloutQuery):
        text = query.get(spec.name, "").strip()
        if text:
            values[spec.name] = _value(spec.name, str(spec.type), text)
    asked = RolloutQuery(**values)
    if asked.sort not in SORTS:
        raise AhaError(f"Rollouts cannot be sorted by {asked.sort!r}: {', '.join(SORTS)}.")
    if asked.outcome not in ("", "right", "wrong", "ungraded"):
        raise AhaError(f"An outcome is right, wrong or ungraded, not {asked.outcome!r}.")
    if not 1 <= asked.limit <= MOST_ROWS:
        raise AhaError(f"A page has 1 to {MOST_ROWS} rollouts, not {asked.limit}.")
    return asked


def _value(name: str, kind: str, text: str) -> Any:
    try:
        value: Any = int(text) if "int" in kind else float(text) if "float" in kind else text
    except ValueError:
        value = math.nan
    if isinstance(value, (int, float)) and not (math.isfinite(value) and abs(value) < 2**62):
        raise AhaError(f"{name.replace('_', ' ')}: {text[:40]!r} is no such number.")
    return value


def _finish(name: str) -> int:
    if name not in FINISHES:
        raise AhaError(f"A completion ends in {', '.join(FINISHES[:-1])}, not {name[:40]!r}.")
    return FINISHES.index(name)
