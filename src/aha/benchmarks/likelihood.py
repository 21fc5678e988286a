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
from aha.sampling.client.endpoint import Client
from aha.sampling.client.engine import RemoteEngine, in_parallel
from aha.sampling.client.refusals import RefusedRequestError
from aha.sampling.local.engine import LocalEngine
from aha.sampling.local.scoring import Continuations, ContinuationScore, score_continuations
from aha.stages.engines import AnswerSource
from aha.types import AhaError, Finish, Problem

LETTERS = "ABCDEFGHIJ"
ChoiceForm = Literal["text", "letters", "cloze"]
ABOUT = "The following are multiple choice questions (with answers) about {subject}.\n\n"
"""What stands first where rows name a subject and letters are scored, as in MMLU."""


def check(problems: Sequence[Problem], source: AnswerSource) -> None:
    """Raise AhaError for an engine that cannot score, and for questions without options."""
    if not isinstance(source.engine, (LocalEngine, RemoteEngine)):
        raise AhaError(
            "--choice letters and cloze need log probabilities: use --engine local, or an endpoint."
        )
    bare = next((p for p in problems if not p.metadata.get("options")), None)
    if bare is not None:
        raise AhaError(f"--choice letters and cloze are for questions with options, and {bare.id} has none.")


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
    check(problems, source)
    befores = [context(p, shown, form) for p, shown in zip(problems, examples, strict=True)]
    texts = [[option(p, i, form) for i in range(len(p.metadata["options"]))] for p in problems]
    for at, scores in _scored(source, befores, texts):
        yield _record(problems[at], befores[at], texts[at], scores)


Scores = tuple[ContinuationScore, ...]


def _scored(
    source: AnswerSource, befores: Sequence[str], texts: Sequence[Sequence[str]]
) -> Iterator[tuple[int, Scores | Finish]]:
    """(number of the case, the scores of its texts), in order behind a checkpoint, as they come behind an endpoint,
    which may take some not at all."""
    if isinstance(source.engine, LocalEngine):
        cases = [encode(source.tokenizer, before, own) for before, own in zip(befores, texts, strict=True)]
        yield from enumerate(score_continuations(source.engine, cases))
    elif isinstance(source.engine, RemoteEngine):
        client = source.engine.client
        jobs = [lambda b=b, own=own: _asked(client, b, own) for b, own in zip(befores, texts, strict=True)]
        yield from in_parallel(jobs, client.endpoint.concurrency)


def _asked(client: Client, before: str, texts: Sequence[str]) -> Scores | Finish:
    """Scores by an endpoint that gives a prompt back with its log probabilities (``echo`` of ``/completions``). Raises
    AhaError for one that does not. Of prompts that it does not take, how it ended."""
    try:
        return tuple(_echoed(client, before, f"{before} {text}") for text in texts)
    except RefusedRequestError as error:
        return error.finish


def _echoed(client: Client, before: str, whole: str) -> ContinuationScore:
    body = {"prompt": whole, "max_tokens": 0, "echo": True, "logprobs": 1, "temperature": 0}
    choices = client.post("/completions", body).get("choices") or [{}]
    logprobs = choices[0].get("logprobs") or {}
    values, offsets, tops = (logprobs.get(k) for k in ("token_logprobs", "text_offset", "top_logprobs"))
    if not values or not offsets or len(values) != len(offsets):
        raise AhaError(
            f"{client.endpoint.base_url} gives no log probabilities of a prompt (echo and logprobs of /completions), "
            "so options cannot be scored there: ask with --choice text."
        )
    ends = [*offsets[1:], len(whole)]
    own = [i for i, end in enumerate(ends) if end > len(before)]
    if any(values[i] is None for i in own):
        raise AhaError(
            f"{client.endpoint.base_url} gives no log probability of a token of {whole[len(before) :]!r}."
        )
    best = [max(top.values()) if top else float("inf") for top in tops or [None] * len(values)]
    likely = [values[i] >= best[i] - 1e-6 for i in own]
    return ContinuationScore(float(sum(values[i] for i in own)), all(likely), len(own))


def _record(
    problem: Problem, before: str, texts: Sequence[str], scores: Scores | Finish
) -> tuple[GradedProblem, dict[str, Any]]:
    if isinstance(scores, Finish):
        nothing = GradedAnswer(None, None, True, "", 0, False, unanswered=scores.value)
        return _written(problem, before, nothing, {"text": "", "finish": scores.value, "why": ""}, ())
    right = _right(problem)
    best = _highest([s.logprob for s in scores])
    normed = _highest([s.logprob / max(1, len(text)) for s, text in zip(scores, texts, strict=True)])
    tokens = sum(s.tokens for s in scores)
    answer = GradedAnswer(best == right, normed == right, True, LETTERS[best], tokens, False)
    why = (
        f"{LETTERS[best]} by log likelihood, {LETTERS[normed]} for each character; right is {problem.answer}"
    )
    return _written(problem, before, answer, {"text": LETTERS[best], "finish": "stop", "why": why}, scores)


def _written(
    problem: Problem, before: str, answer: GradedAnswer, said: dict[str, str], scores: Scores
) -> tuple[GradedProblem, dict[str, Any]]:
    """A problem's record, and the row that is kept of it."""
    kind = str(problem.metadata.get("domain") or "")
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
