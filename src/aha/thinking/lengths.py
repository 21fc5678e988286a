"""Length-controlled prompts (L1, Aggarwal and Welleck, arXiv 2503.04697): the question says how long to think.

A model that was trained with the rewards ``l1_exact`` or ``l1_max`` keeps to them; how far another does is in the
column of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from aha.thinking.methods import SpentPoint, ThinkingRow, mean, share
from aha.thinking.writing import ThinkingWriter
from aha.types import AhaError, Problem

WORDS = {"exact": "Think for {n} tokens.", "max": "Think for maximum {n} tokens."}
"""What is added to the question, as L1's models were trained with."""


@dataclass(frozen=True, slots=True)
class LengthPrompts:
    """``lengths``: tokens that are asked for; ``form``: exact or max; ``samples`` of each problem."""

    lengths: tuple[int, ...] = (64, 256)
    form: str = "exact"
    samples: int = 4
    name: ClassVar[str] = "length"

    def __post_init__(self) -> None:
        if self.form not in WORDS or min(self.lengths, default=0) < 1 or self.samples < 1:
            raise AhaError(
                f"--lengths {list(self.lengths)}, --length-form {self.form}, --samples {self.samples}: give numbers of "
                "tokens, exact or max, and 1 or more samples."
            )

    def think(self, writer: ThinkingWriter, problems: Sequence[Problem]) -> list[ThinkingRow]:
        """Every length of every problem."""
        points: dict[str, list[SpentPoint]] = {p.id: [] for p in problems}
        texts: dict[str, list[dict[str, object]]] = {p.id: [] for p in problems}
        for length in self.lengths:
            asked = [self._asked(p, length) for p in problems]
            for problem, rollouts in zip(
                asked, writer.answers(asked, self.samples, f"length {length}"), strict=True
            ):
                graded = writer.grade(problem, rollouts)
                point = SpentPoint(
                    f"length asked for, {self.form}", length, share([g.right for g in graded]),
                    mean([g.tokens for g in graded]),
                )  # fmt: skip
                points[problem.id].append(point)
                texts[problem.id] += [
                    {"setting": length, "text": r.text, "right": g.right, "tokens": g.tokens}
                    for r, g in zip(rollouts, graded, strict=True)
                ]
        return [ThinkingRow(p.id, tuple(points[p.id]), tuple(texts[p.id])) for p in problems]

    def _asked(self, problem: Problem, length: int) -> Problem:
        *before, question = problem.messages
        words = WORDS[self.form].format(n=length)
        return replace(problem, messages=(*before, {**question, "content": f"{question['content']} {words}"}))
