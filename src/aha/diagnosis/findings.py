"""What a diagnosis is made of: what was found, with figures, steps and a few rollouts that show it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from aha.diagnosis.causes import CAUSES


@dataclass(frozen=True, slots=True)
class ShownRollout:
    """One rollout that shows what is meant: of which step and problem, with its text, reward and the graders' notes."""

    step: int
    problem_id: str
    member: int
    question: str
    answer: str | None
    text: str
    reward: float | None
    notes: dict[str, str]


@dataclass(frozen=True, slots=True)
class Illness:
    """One cause that was found in a stage. ``step``: where it was first seen; ``evidence``: figures in words;
    ``lasting``: still so at the end, or for a third of the steps. ``explained_by``: causes that were found too and
    bring this one about."""

    cause: str
    stage: str
    step: int
    evidence: tuple[str, ...]
    samples: tuple[ShownRollout, ...] = ()
    lasting: bool = True
    explained_by: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What it is, in words."""
        return CAUSES[self.cause].title

    @property
    def advice(self) -> str:
        """What to do."""
        return CAUSES[self.cause].advice

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings to change, with their stage."""
        return tuple(f"{self.stage}.{name}" for name in CAUSES[self.cause].settings)

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        told = {"title": self.title, "advice": self.advice, "settings": list(self.settings)}
        return asdict(self) | told


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Of a run: what was found, the gravest first, and what could not be looked at. ``nothing``: why there was nothing
    to look at at all, "" where there was."""

    run: str
    every: tuple[Illness, ...]
    notes: tuple[str, ...] = ()
    nothing: str = ""

    @property
    def illnesses(self) -> tuple[Illness, ...]:
        """What lasts and is no consequence of something else that was found."""
        return tuple(i for i in self.every if i.lasting and not i.explained_by)

    @property
    def healthy(self) -> bool:
        """Whether nothing lasting was found."""
        return not self.illnesses

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "run": self.run,
            "healthy": self.healthy,
            "nothing": self.nothing,
            "found": [i.as_json() for i in self.every],
            "notes": list(self.notes),
        }
