"""What searches over steps have in common: how texts grow by a step, what they are worth, and the points of answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aha import chat
from aha.thinking.methods import SpentPoint, ThinkingRow
from aha.thinking.values import ValueFunction
from aha.thinking.writing import Draft, ThinkingWriter
from aha.types import Finish, Problem

SearchAnswer = tuple[Problem, int, Draft, float]
"""The answer of one problem under one setting, and the tokens that it took."""


@dataclass(frozen=True, slots=True)
class StepSearch:
    """A search for texts of a high ``value``: each grows in ``branch`` ways by steps that end at ``step_end``."""

    value: ValueFunction
    branch: int = 4
    step_end: str = "\n"

    def grow(
        self, writer: ThinkingWriter, drafts: Sequence[tuple[Problem, Draft]], purpose: str, n: int
    ) -> list[tuple[Draft, ...]]:
        """``n`` next steps of each draft, all in one call."""
        return writer.go_on(drafts, purpose, within=writer.params.max_tokens, stop=(self.step_end,), n=n)

    def values(self, writer: ThinkingWriter, problem: Problem, drafts: Sequence[Draft]) -> list[float]:
        """What each draft is worth, a thinking that the prompt opened with its tag before it."""
        texts = [chat.THINK + writer.text(d) if d.opened_think else writer.text(d) for d in drafts]
        return self.value.scores(problem, texts)


def is_over(writer: ThinkingWriter, draft: Draft) -> bool:
    """Whether nothing is left to grow: the model ended the text, or there is no room."""
    return writer.ended(draft) or draft.finish is Finish.LENGTH


def graded_rows(
    writer: ThinkingWriter, way: str, problems: Sequence[Problem], answers: Iterable[SearchAnswer]
) -> list[ThinkingRow]:
    """A row for each problem, in their order, of the answers that a search gives one after another."""
    points: dict[str, list[SpentPoint]] = defaultdict(list)
    texts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for problem, setting, draft, tokens in answers:
        (graded,) = writer.grade(problem, [writer.rollout(draft)])
        right = None if graded.right is None else float(graded.right)
        points[problem.id].append(SpentPoint(way, setting, right, tokens))
        texts[problem.id].append({"setting": setting, "text": writer.text(draft), "right": graded.right})
    return [ThinkingRow(p.id, tuple(points[p.id]), tuple(texts[p.id])) for p in problems]
