"""Multiple choice by log likelihood, for models that were never taught to answer: which option would the model write?

``letters``: the options are listed, and the letter behind "Answer:" is scored (Hendrycks et al., MMLU, arXiv
2009.03300). ``cloze``: the options are not listed, and their texts are scored behind the question. ``acc`` takes the
option with the highest log probability, ``acc_norm`` the highest for each character of the option (lm-evaluation-
harness). Prompts are text without a chat template; a space stands before the option.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from aha.benchmarks.records import GradedAnswer, GradedProblem
from aha.benchmarks.shots import SolvedQuestion
from aha.sampling.local.engine import LocalEngine
from aha.sampling.local.scoring import Continuations, ContinuationScore, score_continuations
from aha.stages.engines import AnswerSource
from aha.types import AhaError, Problem

LETTERS = "ABCDEFGHIJ"
ChoiceForm = Literal["text", "letters", "cloze"]
ABOUT = "The following are multiple choice questions (with answers) about {subject}.\n\n"
"""What stands first where rows name a subject and letters are scored, as in MMLU."""


def check(problems: Sequence[Problem], source: AnswerSource) -> LocalEngine:
    """The engine that can score. Raises AhaError for an endpoint, and for questions without options."""
    if not isinstance(source.engine, LocalEngine):
        raise AhaError(
            "--choice letters and cloze score a checkpoint's own log probabilities: an endpoint has none."
        )
    bare = next((p for p in problems if not p.metadata.get("options")), None)
    if bare is not None:
        raise AhaError(f"--choice letters and cloze are for questions with options, and {bare.id} has none.")
    return source.engine


def context(problem: Problem, examples: Sequence[SolvedQuestion], form: ChoiceForm) -> str:
    """The text before the option: what the questions are about, the examples with their answers, the question."""
    shown = [
        f"{_question(e.problem, form)} {option(e.problem, _right(e.problem), form)}\n\n" for e in examples
    ]
    return _about(problem, form) + "".join(shown) + _question(problem, form)


def _about(problem: Problem, form: ChoiceForm) -> str:
    subject = str(problem.metadata.get("domain") or "").replace("_", " ")
    return ABOUT.format(subject=subject) if form == "letters" and subject else ""


def _question(problem: Problem, form: ChoiceForm) -> str:
    asked, options = str(problem.metadata["content"]).strip(), problem.metadata["options"]
    if form == "cloze":
        return f"Question: {asked}\nAnswer:"
    listed = "".join(f"{letter}. {text}\n" for letter, text in zip(LETTERS, options, strict=False))
    return f"{asked}\n{listed}Answer:"


def option(problem: Problem, index: int, form: ChoiceForm) -> str:
    """What is scored of an option, without the space before it."""
    return str(problem.metadata["options"][index]) if form == "cloze" else LETTERS[index]


def _right(problem: Problem) -> int:
    return LETTERS.index(str(problem.answer))


def encode(tokenizer: Any, before: str, texts: Sequence[str]) -> Continuations:
    """Ids of a context and of the texts that follow it: a text's are what the whole has more than the context has, so
    that a token over the border belongs to the text."""
    ids = tokenizer.encode(before)
    return ids, [tokenizer.encode(f"{before} {text}")[len(ids) :] for text in texts]


def grade(
    source: AnswerSource,
    problems: Sequence[Problem],
    examples: Sequence[Sequence[SolvedQuestion]],
    form: ChoiceForm,
) -> Iterator[tuple[GradedProblem, dict[str, Any]]]:
    """Each problem's record and the row that is kept of it, in order."""
    engine = check(problems, source)
    befores = [context(p, shown, form) for p, shown in zip(problems, examples, strict=True)]
    texts = [[option(p, i, form) for i in range(len(p.metadata["options"]))] for p in problems]
    cases = [encode(source.tokenizer, before, own) for before, own in zip(befores, texts, strict=True)]
    scored = score_continuations(engine, cases)
    for problem, before, own, scores in zip(problems, befores, texts, scored, strict=True):
        yield _record(problem, before, own, scores)


def _record(
    problem: Problem, before: str, texts: Sequence[str], scores: Sequence[ContinuationScore]
) -> tuple[GradedProblem, dict[str, Any]]:
    right = _right(problem)
    best = _highest([s.logprob for s in scores])
    normed = _highest([s.logprob / len(text) for s, text in zip(scores, texts, strict=True)])
    tokens = sum(s.tokens for s in scores)
    answer = GradedAnswer(best == right, normed == right, True, LETTERS[best], tokens, False)
    kind = str(problem.metadata.get("domain") or "")
    why = (
        f"{LETTERS[best]} by log likelihood, {LETTERS[normed]} for each character; right is {problem.answer}"
    )
    said = {"text": LETTERS[best], "finish": "stop", "why": why}
    row = {
        "problem": problem.id,
        "kind": kind,
        "question": before,
        "answer": problem.answer,
        "samples": [{name: getattr(answer, name) for name in GradedAnswer.__dataclass_fields__} | said],
        "logprobs": [round(s.logprob, 6) for s in scores],
    }
    return GradedProblem(problem.id, kind, (answer,)), row


def _highest(values: Sequence[float]) -> int:
    """The first of the highest."""
    return max(range(len(values)), key=lambda i: values[i])
