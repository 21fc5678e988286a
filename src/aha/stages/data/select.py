"""Which sampled answers become training data: right, well formed, readable, not said before. Each loss is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aha import chat
from aha.data.decontaminate import decontaminate
from aha.data.dedup import deduplicate
from aha.data.readable import ReadabilityLimits, check
from aha.rewards.places import place_of, violation
from aha.stages.data.mixing import GENERAL, domain_of_prompt
from aha.stages.data.samples import RolloutRow, SampledProblem, other_languages
from aha.tasks import deal_rows, get_task
from aha.tasks.general_rows import ungraded
from aha.types import AhaError, Finish, Problem

ScoreAnswers = Callable[[Sequence[Mapping[str, str]], Sequence[str]], list[float | None]]
"""(messages, answers) -> what a reward model says of each."""
VERDICTS = {True: "judged correct", False: "judged incorrect", None: "the judge's verdict could not be read"}
"""What stands in a score's note where a judge was asked."""


@dataclass(slots=True)
class SelectedRows:
    """Rows of conversations, and how many answers went for which reason."""

    rows: list[RolloutRow] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    seen: int = 0
    solved: int = 0  # problems with a row at least
    prompt: str = ""  # by which they were asked for
    controls: dict[str, float] = field(default_factory=dict)  # how a judge did where the truth is known
    judged: Counter[str] = field(default_factory=Counter)  # what a judge said, where one was asked


def reason_against(
    row: Mapping[str, Any],
    problem: Problem,
    limits: ReadabilityLimits,
    require_answer: bool,
    scored: bool = False,
) -> str:
    """Why an answer is not kept, the first reason there is; "" for one that is. ``scored``: a reward model has a
    word on prompts that no rule grades."""
    value = row["scores"]["accuracy"]["value"]
    if value is None and not (scored and ungraded(problem)):
        return "could not be graded"
    if row["finish"] != Finish.STOP.value:
        return "truncated"  # before it is called wrong: it had no room to be right
    if value is not None and value <= 0.5:
        return "wrong"
    parsed = chat.parse(row["text"], require_answer=require_answer)
    tags = place_of(problem) in (None, "tags")
    if not parsed.well_formed if tags else require_answer and violation(problem, row["text"]):
        return "bad format"
    chain = parsed.think if tags or parsed.think is not None else row["text"]
    reasons = check(chain or "", problem.language, other_languages, limits)
    return reasons[0].name if reasons else ""


def none_kept(selected: SelectedRows, max_tokens: int, others: Mapping[str, int] | None = None) -> AhaError:
    """The error of a stage that keeps no answer, with the way out that its counts speak for. ``others``: what went
    for other reasons."""
    dropped = dict(selected.dropped) | dict(others or {})
    cut = 2 * selected.dropped["truncated"] > selected.seen
    out = (
        f"Most were cut at max_tokens={max_tokens}: raise it."
        if cut
        else "Sample more, take easier questions, or answers of a better model."
    )
    return AhaError(f"No answer of {selected.seen} was kept: {dropped}. {out}")


def select(
    sampled: Iterable[SampledProblem],
    limits: ReadabilityLimits,
    *,
    keep: int,
    require_answer: bool = True,
    near: float | None = 0.8,
    score: ScoreAnswers | None = None,
    rates: tuple[float, float] = (0.0, 1.0),
) -> SelectedRows:
    """At most ``keep`` answers of each problem, in the order they were sampled.

    ``near``: similarity from which an answer to the same problem is a copy; None: equal ones only. ``score``: what
    orders the answers, best first; prompts that no rule grades are then kept by their form and their score.
    ``rates``: only of problems of whose graded answers a share above the first and up to the second is right.
    """
    selected = SelectedRows()
    for problem, answers in sampled:
        selected.seen += len(answers)
        if (rate := pass_rate(answers)) is not None and not rates[0] < rate <= rates[1] and rate > 0:
            selected.dropped["question too hard" if rate <= rates[0] else "question too easy"] += len(answers)
            continue
        good: list[RolloutRow] = []
        for row in answers:
            note = row["scores"]["accuracy"].get("note", "")
            selected.judged[note] += note in VERDICTS.values()
            reason = reason_against(row, problem, limits, require_answer, score is not None)
            if reason:
                selected.dropped[reason] += 1
            else:
                good.append(row)
        if score is not None and good:
            good = by_score(problem, good, score, selected.dropped)
        kept, report = deduplicate([row["text"] for row in good], threshold=near)
        selected.dropped["copy"] += report.exact + report.near
        selected.dropped["more than enough"] += max(0, len(kept) - keep)
        selected.rows += [conversation(problem, good[i]) for i in kept[:keep]]
        selected.solved += bool(kept)
    selected.dropped, selected.judged = +selected.dropped, +selected.judged  # without what did not happen
    return selected


def by_score(
    problem: Problem, rows: Sequence[RolloutRow], score: ScoreAnswers, dropped: Counter[str]
) -> list[RolloutRow]:
    """Answers by their score, best first, equal ones as they were sampled; what is too long to be scored is dropped."""
    values = score(problem.messages, [row["text"] for row in rows])
    known = [i for i, value in enumerate(values) if value is not None]
    dropped["too long for the reward model"] += len(rows) - len(known)
    return [rows[i] for i in sorted(known, key=lambda i: (-float(values[i] or 0.0), i))]


def pass_rate(answers: Sequence[Mapping[str, Any]]) -> float | None:
    """The share of graded answers that are right; None where none was graded."""
    values = [row["scores"]["accuracy"]["value"] for row in answers]
    graded = [value > 0.5 for value in values if value is not None]
    return sum(graded) / len(graded) if graded else None


def conversation(problem: Problem, row: Mapping[str, Any]) -> RolloutRow:
    """A training row: the problem's messages and the answer, with what later stages want to know of it."""
    said = {"role": "assistant", "content": str(row["text"]).strip()}
    kept: RolloutRow = {
        "messages": [*(dict(m) for m in problem.messages), said],
        "domain": domain_of_prompt(problem) if ungraded(problem) else problem.task,
        "problem_id": problem.id,
        "language": problem.language,
        "answer": problem.answer if isinstance(problem.answer, str) else None,
        "tokens": int(row.get("tokens", 0)),
    }
    return kept | {"part": GENERAL} if ungraded(problem) else kept


def row_text(row: Mapping[str, Any]) -> str:
    """All that is said in a conversation, calls of tools included."""
    return "\n".join(
        str(m.get("reasoning", "")) + str(m["content"]) + "".join(map(str, m.get("tool_calls") or ()))
        for m in row["messages"]
    )


def evaluation_texts(
    tasks: Sequence[str], data: str | None, test_data: str | None, problems: int
) -> dict[str, list[str]]:
    """The questions that the run evaluates on, by task and split."""
    texts = {}
    for name, rows in deal_rows(tasks, data, test_data).items():
        task = get_task(name, *rows)
        for split in ("validation", "test"):
            loaded = task.load(split, problems, 0)
            texts[f"{name}/{split}"] = [p.messages[-1]["content"] for p in loaded]
    return texts


def clean(
    rows: Sequence[RolloutRow], evaluation: Mapping[str, Sequence[str]], n: int
) -> tuple[list[RolloutRow], dict[str, int]]:
    """Rows that share no run of ``n`` words with an evaluation question, and how many each set took away.

    A run of words that several questions of one set share is its wording, and tells nothing of a question.
    """
    if not any(evaluation.values()):
        return list(rows), {}
    kept, report = decontaminate([row_text(row) for row in rows], evaluation, n=n, common=1)
    return [rows[i] for i in kept], {f"in {name}": k for name, k in report.by_source().items()}
