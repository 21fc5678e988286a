"""Examples in the prompt: solved questions before the one that is asked, from rows of their own.

Of the examples' rows those of the question's own subject come first, in the rows' order; a question is never its own
example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aha import chat
from aha.data.layouts import SOLUTIONS
from aha.data.sources import numbered_rows, with_split
from aha.tasks import get_task
from aha.tasks.rows import WHOLE
from aha.types import AhaError, Message, Problem


@dataclass(frozen=True, slots=True)
class SolvedQuestion:
    """A question with its answer, and in words how it was found; "" where the row does not say."""

    problem: Problem
    solution: str = ""

    @property
    def question(self) -> str:
        """The words of the question."""
        return str(self.problem.messages[-1].get("content", ""))


def read_examples(task: str, source: str) -> list[SolvedQuestion]:
    """All solved questions of a file, or of a hub set's split (``train`` where the source names none), in its order."""
    source = with_split(source, "train")
    problems = get_task(task, source, None).load(WHOLE, 1 << 62, 0)
    rows = {str(number): row for number, row in _numbered(source)}
    numbered = sorted(problems, key=lambda p: int(p.id.rpartition("-")[2]))
    return [SolvedQuestion(p, _solution(rows.get(p.id.rpartition("-")[2], {}))) for p in numbered]


def _numbered(source: str) -> list[tuple[int, Mapping[str, Any]]]:
    return [(number, row) for number, (_, row) in enumerate(numbered_rows(source), 1)]


def _solution(row: Mapping[str, Any]) -> str:
    """A row's worked solution: its own column, or an answer that is worked out (GSM8K's)."""
    texts = [row.get(name) for name in SOLUTIONS]
    answer = row.get("answer")
    texts.append(answer if isinstance(answer, str) and "####" in answer else None)
    return next((text.strip() for text in texts if isinstance(text, str) and text.strip()), "")


def examples_for(problem: Problem, every: Sequence[SolvedQuestion], n: int) -> list[SolvedQuestion]:
    """The ``n`` examples of a problem. Raises AhaError where there are fewer."""
    asked, subject = problem.messages[-1].get("content"), problem.metadata.get("domain")
    others = [e for e in every if e.question != asked]
    own = [e for e in others if subject and e.problem.metadata.get("domain") == subject]
    examples = (own + [e for e in others if e not in own])[:n] if own else others[:n]
    if len(examples) < n:
        raise AhaError(
            f"--shots {n}: there are {len(examples)} examples for {problem.id}: give more by --shots-from."
        )
    return examples


def with_examples(problem: Problem, examples: Sequence[SolvedQuestion], prompt: chat.Prompt) -> Problem:
    """The problem with its examples as turns before it, each answered in the form that the prompt asks for."""
    if not examples:
        return problem
    *before, question = problem.messages
    turns: list[Message] = []
    for example in examples:
        added, place = prompt.asks(example.problem)
        turns += [
            {"role": "user", "content": _told(example.question, added)},
            {"role": "assistant", "content": answered(example, place)},
        ]
    added, _ = prompt.asks(problem)
    last = {**question, "content": _told(str(question["content"]), added)}
    return replace(problem, messages=(*before, *turns, last))


def _told(question: str, added: str) -> str:
    return f"{question}\n{added}" if added else question


def answered(example: SolvedQuestion, place: chat.Place) -> str:
    """An example's answer where a prompt wants it: behind its solution, if the row has one."""
    answer = example.problem.answer
    if not isinstance(answer, str):
        raise AhaError(
            f"--shots: {example.problem.id} has no answer in words, so it cannot be shown as an example."
        )
    thought = example.solution
    if place == "tags":
        said = thought or "I know the answer."
        return f"{chat.THINK}{said}{chat.END_THINK} {chat.ANSWER}{answer}{chat.END_ANSWER}"
    if place == "any":
        return thought or answer
    last = f"Answer: {answer}" if chat.kind_of(example.problem) == "choice" else f"\\boxed{{{answer}}}"
    return f"{thought}\n{last}" if thought else last
