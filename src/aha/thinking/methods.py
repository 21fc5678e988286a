"""What a way of thinking longer is: asked of some problems at a time, it gives points of accuracy over tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aha.thinking.writing import ThinkingWriter
from aha.types import Problem


@dataclass(frozen=True, slots=True)
class SpentPoint:
    """One problem under one setting of one way: ``right`` is the expected share of right answers (None: none could be
    graded), ``tokens`` the mean number of tokens that were sampled for an answer."""

    way: str
    setting: int
    right: float | None
    tokens: float


@dataclass(frozen=True, slots=True)
class ThinkingRow:
    """One problem's points, and the texts behind them (each with what it is and whether it was right)."""

    problem: str
    points: tuple[SpentPoint, ...]
    texts: tuple[dict[str, Any], ...] = field(default=())


class ThinkingMethod(Protocol):
    """A way with its settings, which are its fields: they stand in the name of what is kept. Its class has a
    ``name``."""

    @property
    def name(self) -> str: ...

    def think(self, writer: ThinkingWriter, problems: Sequence[Problem]) -> list[ThinkingRow]:
        """A row for each problem, in their order."""
        ...


def share(marks: Sequence[bool | None]) -> float | None:
    """The share of right ones among those that could be graded; None without any."""
    graded = [mark for mark in marks if mark is not None]
    return sum(graded) / len(graded) if graded else None


def mean(values: Sequence[float]) -> float:
    """The mean; 0 of nothing."""
    return float(sum(values)) / len(values) if values else 0.0
