"""Questions with one final answer, from rows of a file or of a hub data set: GSM8K and the like."""

from __future__ import annotations

from aha import chat
from aha.data.layouts import map_row
from aha.data.sources import Row
from aha.rewards.math import Extraction, extract, grade, parse_gold
from aha.rewards.math.ballots import ballot
from aha.rewards.math.extract import ExtractedAnswer
from aha.rewards.places import answer_text, options_of, place_of
from aha.tasks import rows
from aha.tasks.base import Task
from aha.tasks.rows import RowReader, difficulty_of, facet, language_of
from aha.types import Outcome, Problem, Verdict

WHERE = {"tags": "<answer>", "boxed": "\\boxed{}", "any": "\\boxed{} or <answer>"}
UNLIKELY = ExtractedAnswer("-90817.2635")
"""An answer that no problem has: a reference answer that takes it for right takes anything."""
LENIENT = Extraction(answer_tags=True, phrase=True, last_number=True)


def make_problem(row: Row, number: int, name: str = "math") -> Problem:
    """The problem in a row, its reference answers read once. Raises AhaError naming the row."""
    mapped = map_row(row, number)
    for answer in mapped.answers:
        parse_gold(answer)
    metadata = {
        "schema": mapped.schema,
        "layout": mapped.layout,
        "columns": mapped.used,
        "domain": mapped.domain,
    }
    level = difficulty_of(mapped.level, mapped.solved)
    return Problem(
        id=f"{name}-{number}",
        task=name,
        messages=mapped.messages,
        answer=mapped.answer,
        language=language_of(mapped.question, mapped.language),
        metadata=metadata
        | ({"answers": mapped.answers} if len(mapped.answers) > 1 else {})
        | ({"level": level} if level is not None else {}),
    )


def golds(problem: Problem) -> tuple[str, ...]:
    """The reference answers, any of which is right."""
    return problem.metadata.get("answers") or (str(problem.answer),)


def prove(problem: Problem, row: Row) -> str:
    """Why a reference answer is not judged right where it stands itself in a box, or everything is; "" where all
    is well."""
    for answer in golds(problem):
        verdict = grade(parse_gold(answer), extract(_boxed(answer)) or ExtractedAnswer(""))
        if verdict.outcome is not Outcome.CORRECT:
            return (
                f"its own answer is not judged right: {answer[:60]!r} is {verdict.outcome} ({verdict.note})"
            )
    if _grade_any(problem, UNLIKELY).outcome is Outcome.CORRECT:
        return f"its answer takes anything for right: {str(problem.answer)[:60]!r}"
    return ""


def _boxed(answer: str) -> str:
    return answer if "\\boxed" in answer else f"\\boxed{{{answer}}}"


def _extracted(problem: Problem, text: str) -> ExtractedAnswer | None:
    """The answer where the prompt asked for it."""
    part = answer_text(problem, text)
    return None if part is None else extract(part, options_of(problem))


def _graded(problem: Problem, extracted: ExtractedAnswer | None) -> Verdict:
    assert isinstance(problem.answer, str)
    if extracted is None or not extracted.text.strip():
        place = WHERE.get(place_of(problem) or "any")
        return Verdict(Outcome.NO_ANSWER, f"no answer in {place} after the thinking")
    return _grade_any(problem, extracted)


def verify(problem: Problem, text: str) -> Verdict:
    """Grade the answer where the prompt asked for it: in the answer tags, or in the last box."""
    return _graded(problem, _extracted(problem, text))


def verify_lenient(problem: Problem, text: str) -> Verdict:
    """Grade the answer wherever it stands: in a box, in tags, after "the answer is", or as the last number; in the
    thinking where nothing follows it, or where it never ends."""
    extracted = extract(text, LENIENT)
    if extracted is None or not extracted.text.strip():
        extracted = extract(text.replace(chat.THINK, "").replace(chat.END_THINK, ""), LENIENT)
    return _graded(problem, extracted)


def _grade_any(problem: Problem, extracted: ExtractedAnswer) -> Verdict:
    """The verdict by the reference answer that it pleases most: a right one before an unknown one before others."""
    verdicts = []
    for answer in golds(problem):
        verdicts.append(grade(parse_gold(answer), extracted))
        if verdicts[-1].outcome is Outcome.CORRECT:
            return verdicts[-1]
    return next((v for v in verdicts if v.outcome is Outcome.UNKNOWN), verdicts[0])


def vote(problem: Problem, text: str) -> str | None:
    """The answer as its ballot in a majority vote: equal values are equal, however they are spelled."""
    extracted = _extracted(problem, text)
    return None if extracted is None or not extracted.text.strip() else ballot(extracted)


READER = RowReader(make_problem, prove)


def task(source: str | None, name: str = "math", test_source: str | None = None) -> Task:
    """A task over the rows of ``source``: a file, or ``hub/name`` or ``hub/name:config``."""

    def load_split(split: str, n: int, seed: int) -> list[Problem]:
        return rows.load(READER, name, split, n, seed, source, test_source)

    return Task(name, load_split, verify, verify_lenient, vote, facet)
