"""Budget forcing (s1: Simple test-time scaling, Muennighoff et al., arXiv 2501.19393): thinking made longer or shorter.

Longer: the end of the thinking is taken away and "Wait" appended, some times over. Shorter: the thinking is cut at a
budget, closed, and the answer asked for. Where a model writes no think tags, its whole text is its thinking, and its
end is the end of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from aha import chat
from aha.thinking.methods import SpentPoint, ThinkingRow, mean, share
from aha.thinking.writing import Draft, ThinkingWriter
from aha.types import AhaError, Problem

WAITS, CUT = "budget forcing, waits", "budget forcing, cut at"
_ENDINGS = {
    "tags": f"{chat.END_THINK} {chat.ANSWER}",
    "boxed": "\n\nThe final answer is \\boxed{",
    "any": "\n\nThe final answer is ",
}
"""What asks for the answer where the thinking was cut, by the place at which the prompt wants it."""
_CHOICE_ENDING = "\n\nAnswer: "

Thoughts = list[tuple[Problem, Draft]]


@dataclass(frozen=True, slots=True)
class BudgetForcing:
    """``waits``: how often the end is suppressed at most; ``budgets``: tokens of thinking at which it is cut;
    ``samples`` of each problem; ``answer_tokens`` at most behind the thinking; ``ending`` in place of the usual one."""

    waits: int = 2
    budgets: tuple[int, ...] = ()
    samples: int = 4
    word: str = "Wait"
    answer_tokens: int = 64
    ending: str = ""
    name: ClassVar[str] = "forcing"

    def __post_init__(self) -> None:
        if self.waits < 0 or self.samples < 1 or self.answer_tokens < 1 or min(self.budgets, default=1) < 1:
            raise AhaError(
                f"--waits {self.waits}, --budgets {list(self.budgets)}, --samples {self.samples}: give 0 or more "
                "waits, and 1 or more of the others."
            )

    def think(self, writer: ThinkingWriter, problems: Sequence[Problem]) -> list[ThinkingRow]:
        """Think once as it comes, then with each number of waits and within each budget."""
        first = [(p, writer.begin(p)) for p in problems]
        thoughts = [
            (p, draft)
            for (p, _), drafts in zip(
                first, self._thinking(writer, first, "think", self.samples), strict=True
            )
            for draft in drafts
        ]
        plain = self._answered(writer, thoughts, "answer")
        settings = {(WAITS, 0): plain}
        longer = thoughts
        for count in range(1, self.waits + 1):
            longer = self._waited(writer, longer, count)
            settings[WAITS, count] = self._answered(writer, longer, f"answer {count}")
        for budget in self.budgets:
            settings[CUT, budget] = self._cut(writer, thoughts, plain, budget)
        return _rows(writer, problems, settings)

    def _thinking(
        self, writer: ThinkingWriter, drafts: Thoughts, purpose: str, n: int = 1
    ) -> list[tuple[Draft, ...]]:
        most = writer.params.max_tokens
        return writer.go_on(drafts, f"forcing {purpose}", within=most, stop=(chat.END_THINK,), n=n)

    def _waited(self, writer: ThinkingWriter, thoughts: Thoughts, count: int) -> Thoughts:
        """Every thinking with its end suppressed, the word behind it, and gone on."""
        waiting = []
        for problem, draft in thoughts:
            kept = writer.cut_before(draft, chat.END_THINK)
            spaced = "" if writer.text(kept)[-1:].isspace() else " "
            waiting.append((problem, writer.append(kept, spaced + self.word)))
        grown = self._thinking(writer, waiting, f"wait {count}")
        return [(problem, draft) for (problem, _), (draft,) in zip(waiting, grown, strict=True)]

    def _answered(self, writer: ThinkingWriter, thoughts: Thoughts, purpose: str) -> list[Draft]:
        """Each thinking with its answer: written by the model where it closed the thinking, and asked for where it ran
        out of tokens. A text that the model ended has its answer in it."""
        asked = [
            (p, d if chat.END_THINK in writer.text(d) else writer.append(d, self._ending(writer, p, d)))
            for p, d in thoughts
        ]
        open_ones = [i for i, (_, d) in enumerate(thoughts) if not writer.ended(d)]
        drafts = [d for _, d in thoughts]
        grown = writer.go_on([asked[i] for i in open_ones], f"forcing {purpose}", most=self.answer_tokens)
        for at, (draft,) in zip(open_ones, grown, strict=True):
            drafts[at] = draft
        return drafts

    def _cut(
        self, writer: ThinkingWriter, thoughts: Thoughts, plain: list[Draft], budget: int
    ) -> list[Draft]:
        """The answers where thinking ends at ``budget`` tokens; shorter ones stay as they were."""
        drafts = list(plain)
        long = [i for i, (_, draft) in enumerate(thoughts) if len(draft.ids) > budget]
        short = [
            (p, replace(d, ids=d.ids[:budget], sampled=budget, finish=None))
            for p, d in (thoughts[i] for i in long)
        ]
        for at, draft in zip(long, self._answered(writer, short, f"cut {budget}"), strict=True):
            drafts[at] = draft
        return drafts

    def _ending(self, writer: ThinkingWriter, problem: Problem, draft: Draft) -> str:
        if self.ending:
            return self.ending
        place = problem.metadata.get(chat.PLACE, "any")
        if place == "tags":
            return _ENDINGS["tags"]
        text = chat.THINK + writer.text(draft) if draft.opened_think else writer.text(draft)
        close = chat.END_THINK if text.rfind(chat.THINK) > text.rfind(chat.END_THINK) else ""
        return close + (_CHOICE_ENDING if chat.kind_of(problem) == "choice" else _ENDINGS[place])


def _rows(
    writer: ThinkingWriter, problems: Sequence[Problem], settings: dict[tuple[str, int], list[Draft]]
) -> list[ThinkingRow]:
    each = len(next(iter(settings.values()))) // max(1, len(problems))
    rows = []
    for at, problem in enumerate(problems):
        points, texts = [], list[dict[str, Any]]()
        for (way, setting), drafts in settings.items():
            mine = drafts[at * each : (at + 1) * each]
            graded = writer.grade(problem, [writer.rollout(d) for d in mine])
            points.append(
                SpentPoint(way, setting, share([g.right for g in graded]), mean([d.sampled for d in mine]))
            )
            texts += [
                {
                    "way": way,
                    "setting": setting,
                    "text": writer.text(d),
                    "right": g.right,
                    "tokens": d.sampled,
                }
                for d, g in zip(mine, graded, strict=True)
            ]
        rows.append(ThinkingRow(problem.id, tuple(points), tuple(texts)))
    return rows
