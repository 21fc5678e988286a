"""Step-level beam search under a value function (Snell et al., arXiv 2408.03314, section 5).

A thinking is written step by step. After each step the value of every text so far is asked for, the best are kept, and
each of them is continued in several ways. The value may be a process model's, or any function's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from aha.thinking.methods import ThinkingRow
from aha.thinking.steps import StepSearch, graded_rows, is_over
from aha.thinking.writing import Draft, ThinkingWriter
from aha.types import AhaError, Problem

BEAM = "beam search over steps"


@dataclass(slots=True)
class _Beams:
    """One problem's texts: those that go on, those that ended, and the tokens sampled for all of them."""

    problem: Problem
    alive: list[Draft]
    ended: list[Draft] = field(default_factory=list)
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class BeamSearch(StepSearch):
    """``widths``: texts in flight, one search each, of which width / ``branch`` are kept; ``steps`` at most."""

    widths: tuple[int, ...] = (4, 16)
    steps: int = 40
    name: ClassVar[str] = "beam"

    def __post_init__(self) -> None:
        if (
            self.branch < 1
            or self.steps < 1
            or not self.step_end
            or any(w % self.branch or w < 1 for w in self.widths)
        ):
            raise AhaError(
                f"--widths {list(self.widths)}, --branch {self.branch}: each width is a multiple of --branch, which is "
                "1 or more; and --step-end must be a text."
            )

    def think(self, writer: ThinkingWriter, problems: Sequence[Problem]) -> list[ThinkingRow]:
        """A search of each width for each problem."""
        answers = (
            (beams.problem, width, self._chosen(writer, beams), beams.tokens)
            for width in self.widths
            for beams in self._search(writer, problems, width)
        )
        return graded_rows(writer, BEAM, problems, answers)

    def _search(self, writer: ThinkingWriter, problems: Sequence[Problem], width: int) -> list[_Beams]:
        every = [_Beams(p, [writer.begin(p)]) for p in problems]
        for step in range(self.steps):
            open_ones = [b for b in every if b.alive]
            if not open_ones:
                break
            n = width if step == 0 else self.branch
            flat = [(b.problem, draft) for b in open_ones for draft in b.alive]
            grown = iter(self.grow(writer, flat, f"beam {width} step {step}", n))
            for beams in open_ones:
                self._keep(writer, beams, [d for _ in beams.alive for d in next(grown)], width)
        return every

    def _keep(self, writer: ThinkingWriter, beams: _Beams, grown: Sequence[Draft], width: int) -> None:
        """The best texts go on; what ended leaves the search with its value, and its place in the width."""
        each = len(grown) // len(beams.alive)
        beams.tokens += sum(len(d.ids) for d in grown) - each * sum(len(d.ids) for d in beams.alive)
        kept = max(1, width // self.branch)
        best = self._best(writer, beams.problem, grown, kept)
        done = [d for d in best if is_over(writer, d)]
        beams.ended += done
        beams.alive = [d for d in best if d not in done][: max(0, kept - len(beams.ended))]

    def _chosen(self, writer: ThinkingWriter, beams: _Beams) -> Draft:
        """The text with the best value, of those that the model ended where there are any."""
        whole = [d for d in beams.ended if writer.ended(d)]
        return self._best(writer, beams.problem, whole or beams.ended or beams.alive, 1)[0]

    def _best(self, writer: ThinkingWriter, problem: Problem, drafts: Sequence[Draft], n: int) -> list[Draft]:
        unique = list(dict.fromkeys(drafts))
        scores = self.values(writer, problem, unique)
        order = sorted(range(len(unique)), key=lambda i: -scores[i])  # of equal ones the first
        return [unique[i] for i in order[:n]]
