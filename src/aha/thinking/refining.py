"""Self-refinement (Madaan et al., arXiv 2303.17651): answer, look for what is wrong in it, answer again.

The model is its own critic; nothing tells it whether it was right. Each round costs a critique and an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from aha.rewards.accuracy import full_text
from aha.sampling.client.engine import message_with_reasoning
from aha.thinking.methods import SpentPoint, ThinkingRow, mean, share
from aha.thinking.writing import ThinkingWriter
from aha.types import AhaError, Message, Problem, Rollout

REFINED = "self-refinement, rounds"
CRITIQUE = (
    "Look at your answer again as a strict examiner: check every step and the result, and say what is wrong. Do not "
    "answer the question anew yet."
)
REVISE = (
    "Answer the question again from the beginning, without the mistakes that you found, in the form that was asked "
    "for."
)


@dataclass(slots=True)
class _Thread:
    """One conversation about one problem: its messages, its answers so far and the tokens sampled up to each."""

    problem: Problem
    messages: tuple[Message, ...]
    answers: list[Rollout] = field(default_factory=list)
    spent: list[int] = field(default_factory=list)
    critiques: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Refinement:
    """``rounds`` of critique and revision after the first answer; ``samples`` of each problem."""

    rounds: int = 1
    samples: int = 4
    critique: str = CRITIQUE
    revise: str = REVISE
    name: ClassVar[str] = "refine"

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.samples < 1:
            raise AhaError(f"--rounds {self.rounds}, --samples {self.samples}: give 1 or more of each.")

    def think(self, writer: ThinkingWriter, problems: Sequence[Problem]) -> list[ThinkingRow]:
        """The first answer and that of each round."""
        threads = [thread for p in problems for thread in self._first(writer, p)]
        firsts = writer.answers(problems, self.samples, "refine 0")
        for thread, rollout in zip(threads, (r for rollouts in firsts for r in rollouts), strict=True):
            _answer(thread, rollout, len(rollout.completion_ids))
        for count in range(1, self.rounds + 1):
            self._round(writer, threads, count)
        each = self.samples
        return [self._row(writer, p, threads[i * each : (i + 1) * each]) for i, p in enumerate(problems)]

    def _first(self, writer: ThinkingWriter, problem: Problem) -> list[_Thread]:
        """The conversations, the question as it is asked with what the prompt adds to it."""
        added, _ = writer.source.prompter.prompt.asks(problem)
        *before, question = problem.messages
        asked = {**question, "content": f"{question['content']}\n{added}"} if added else question
        return [_Thread(problem, (*before, asked)) for _ in range(self.samples)]

    def _round(self, writer: ThinkingWriter, threads: Sequence[_Thread], count: int) -> None:
        """A critique and another answer; a conversation that has no room for them keeps the answer that it has."""
        critiques = _replies(writer, threads, self.critique, f"refine critique {count}")
        for thread, reply in zip(threads, critiques, strict=True):
            if reply is not None:
                thread.messages = (
                    *thread.messages,
                    _said(self.critique),
                    message_with_reasoning(full_text(reply)),
                )
                thread.critiques.append(reply.text)
        revised = _replies(writer, threads, self.revise, f"refine {count}")
        for thread, critique, reply in zip(threads, critiques, revised, strict=True):
            tokens = sum(len(r.completion_ids) for r in (critique, reply) if r is not None)
            if reply is None:
                thread.answers.append(thread.answers[-1])
                thread.spent.append(thread.spent[-1] + tokens)
            else:
                thread.messages = (*thread.messages, _said(self.revise))
                _answer(thread, reply, tokens)

    def _row(self, writer: ThinkingWriter, problem: Problem, threads: Sequence[_Thread]) -> ThinkingRow:
        points, texts = [], list[dict[str, Any]]()
        for count in range(self.rounds + 1):
            graded = writer.grade(problem, [t.answers[count] for t in threads])
            tokens = mean([t.spent[count] for t in threads])
            points.append(SpentPoint(REFINED, count, share([g.right for g in graded]), tokens))
            for thread, grade in zip(threads, graded, strict=True):
                critique = thread.critiques[count - 1] if 0 < count <= len(thread.critiques) else ""
                texts.append(
                    {
                        "round": count,
                        "critique": critique,
                        "text": thread.answers[count].text,
                        "right": grade.right,
                    }
                )
        return ThinkingRow(problem.id, tuple(points), tuple(texts))


def _said(text: str) -> Message:
    return {"role": "user", "content": text}


def _answer(thread: _Thread, rollout: Rollout, tokens: int) -> None:
    thread.answers.append(rollout)
    thread.spent.append((thread.spent[-1] if thread.spent else 0) + tokens)
    thread.messages = (*thread.messages, message_with_reasoning(full_text(rollout)))


def _replies(
    writer: ThinkingWriter, threads: Sequence[_Thread], words: str, purpose: str
) -> list[Rollout | None]:
    """The model's next turn in each conversation, None where it does not fit into the context."""
    numbered: dict[str, int] = {}
    asked: list[Problem | None] = []
    places = dict(writer.places)
    for thread in threads:
        number = numbered[thread.problem.id] = numbered.get(thread.problem.id, -1) + 1
        turn = replace(
            thread.problem, id=f"{thread.problem.id}#{number}", messages=(*thread.messages, _said(words))
        )
        places[turn.id] = writer.places[thread.problem.id] * 4096 + number
        asked.append(turn if writer.room(turn) >= writer.params.max_tokens else None)
    fitting = [turn for turn in asked if turn is not None]
    own = replace(writer, places=places)
    replies = iter(own.answers(fitting, 1, purpose))
    return [None if turn is None else next(replies)[0] for turn in asked]
