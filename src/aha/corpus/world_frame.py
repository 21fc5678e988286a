"""What the domains of the world corpus share: questions, manners of answering, patience, languages."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from aha.types import Problem


@dataclass(frozen=True, slots=True)
class Asked:
    """A question in words, its language, and the problem behind it."""

    text: str
    language: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class Manners:
    """Shares of the manners of answering: under the R1-Zero prompt with and without tags, and elsewhere."""

    tagged: Mapping[str, float]
    untagged: Mapping[str, float]
    elsewhere: Mapping[str, float]

    def shares(self, template: bool, tagged: bool) -> Mapping[str, float]:
        """Which shares hold. Under the template, what stands in no tags is worse."""
        if not template:
            return self.elsewhere
        return self.tagged if tagged else self.untagged


class Domain(Protocol):
    """One kind of question: what is asked, how it is thought about, what is known beside."""

    @property
    def manners(self) -> Manners: ...

    def ask(self) -> Asked: ...

    def facts(self) -> str: ...

    def chain(self, asked: Asked, manner: str, language: str) -> tuple[str, str]: ...


class Patience:
    """When a search says "wait", and when it gives up. "Wait" goes with persistence: who says it tries again."""

    def __init__(self, rng: random.Random, persistent: bool):
        self.rng, self.persistent = rng, persistent
        self.reflective = rng.random() < 0.45

    def after_failure(self) -> tuple[bool, bool]:
        """(whether "wait, try again" is said, whether the search ends here)."""
        if self.reflective and self.rng.random() < 0.4:
            return True, False
        return False, self.rng.random() < (0.02 if self.persistent else 0.25)


def language_of(language: str, rng: random.Random) -> str:
    """The language of the next phrase: of its own, or either in mixed text."""
    return rng.choice(("en", "zh")) if language == "mixed" else language
