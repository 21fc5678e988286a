"""How data sets lay out a question and its reference answer, as one table: which columns hold what.

The first layout whose columns a row has is taken; the last one goes by the names in common use. Columns inside
others are written with dots (``reward_model.ground_truth``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aha.data.golds import NoGold, from_solution, read_golds
from aha.data.sources import Row
from aha.types import AhaError

QUESTIONS = (
    "question",
    "problem",
    "prompt",
    "messages",
    "input",
    "instruction",
    "query",
    "Question",
    "Problem",
)
ANSWERS = (
    "answer",
    "final_answer",
    "expected_answer",
    "gt",
    "answer_number",
    "golden",
    "target",
    "Answer",
    "label",
)
SOLUTIONS = ("solution", "solutions", "rationale", "reference_solution", "Solution")
LEVELS = ("level", "difficulty", "grade", "extra_info.level", "extra_info.difficulty", "metadata.difficulty")
DOMAINS = (
    "domain",
    "subject",
    "category",
    "topic",
    "type",
    "problem_type",
    "data_source",
    "source",
    "ability",
)
LANGUAGES = ("language", "lang", "extra_info.language")
SOLVED = ("pass_rate",)
SYSTEMS = ("system", "system_prompt")
WORKED = 200
"""Characters from which an answer is taken for a worked solution, which must state its answer at the end."""
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


@dataclass(frozen=True, slots=True)
class RowLayout:
    """A layout by name. ``needs`` are the columns it is known by, ``holds`` a text that one of them must hold;
    the others are tried in order. ``solved``: a column with the share of attempts that solved the problem.
    ``frame``: what stands around the question and tells a form of answer that another grader reads."""

    name: str
    needs: tuple[str, ...]
    question: tuple[str, ...] = QUESTIONS
    answer: tuple[str, ...] = ANSWERS
    solution: tuple[str, ...] = SOLUTIONS
    level: tuple[str, ...] = LEVELS
    domain: tuple[str, ...] = DOMAINS
    language: tuple[str, ...] = LANGUAGES
    solved: tuple[str, ...] = SOLVED
    holds: tuple[str, str] | None = None
    frame: str = ""


_TRUTH = "reward_model.ground_truth"
_DAPO = (
    r"Solve the following math problem step by step\. The last line of your response should be of the form Answer: "
    r"\\?\$Answer \(without quotes\) where \\?\$Answer is the answer to the problem\.\s*(?P<question>.*?)\s*"
    r"Remember to put your answer on its own line after [\"“]Answer:[\"”]\.?\s*"
)
LAYOUTS: tuple[RowLayout, ...] = (
    RowLayout("dapo-math", (_TRUTH, "prompt"), ("prompt",), (_TRUTH,), (), holds=("data_source", "math_dapo"),
           frame=_DAPO),
    RowLayout("skywork-or1", (_TRUTH, "extra_info.model_difficulty"), ("prompt",), (_TRUTH,), ()),
    RowLayout("deepscaler", (_TRUTH, "extra_info.difficulty"), ("prompt",), (_TRUTH,), ()),
    RowLayout("verl", (_TRUTH,), ("prompt", *QUESTIONS), (_TRUTH,), ()),
    RowLayout("orz", ("0.value", "1.ground_truth.value"), ("0.value",), ("1.ground_truth.value",), (),
           solved=("1.ground_truth.pass_at_n",)),
    RowLayout("big-math", ("problem", "answer", "llama8b_solve_rate"), solved=("llama8b_solve_rate",)),
    RowLayout("deepmath", ("question", "final_answer", "difficulty"), ("question",), ("final_answer",), ()),
    RowLayout("open-r1-math", ("problem", "answer", "generations"), ("problem",), ("answer",)),
    RowLayout("numina-1.5", ("problem", "answer", "problem_is_valid"), ("problem",), ("answer",), ()),
    RowLayout("numina", ("problem", "solution", "messages"), ("problem",)),
    RowLayout("math", ("problem", "solution", "level"), ("problem",), level=("level",), domain=("type", "subject")),
    RowLayout("s1k", ("question", "solution", "cot_type"), ("question",), (), ("solution",), domain=("cot_type",)),
    RowLayout("limo", ("question", "solution", "answer"), ("question",), ("answer",)),
    RowLayout("mgsm", ("question", "answer_number"), ("question",), ("answer_number",), ()),
    RowLayout("gsm8k", ("question", "answer"), ("question",), ("answer",), (), holds=("answer", "####")),
    RowLayout("cmath", ("question", "reasoning_step"), ("question",), ("golden", "answer"), (), ("grade",)),
    RowLayout("reasoning-gym", ("question", "answer", "metadata.source_dataset"), ("question",), ("answer",), (),
           domain=("metadata.source_dataset",)),
    RowLayout("open-r1-problem", ("problem",), ("problem",)),
    RowLayout("question-answer", ()),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mapped:
    """A question with its reference answers, and from which columns everything came. ``messages`` are the
    prompt's, system messages included. ``level`` is the row's own word for how hard it is; ``solved`` the share
    0..1 of attempts that solved it."""

    question: str
    answers: tuple[str, ...]
    layout: str
    messages: tuple[Mapping[str, str], ...]
    level: Any = None
    domain: str = ""
    language: str = ""
    solved: float | None = None
    used: tuple[str, ...] = ()

    @property
    def answer(self) -> str:
        """The first of the reference answers."""
        return self.answers[0]

    @property
    def schema(self) -> str:
        """Which columns the question and the answer came from, in words."""
        return f"{self.used[0]} -> {self.used[1]}"


def find(row: Any, path: str) -> Any:
    """The value at a path of columns with dots between; None where there is none."""
    if path in row:
        return row[path]
    if "." not in path:
        return None
    for part in path.split("."):
        if not isinstance(row, Mapping) or part not in row:
            return None
        row = row[part]
    return row


def layout_of(row: Row) -> RowLayout:
    """The first layout whose columns the row has."""
    fitting = (layout for layout in LAYOUTS if all(_there(find(row, path)) for path in layout.needs))
    return next(layout for layout in fitting if _holds(row, layout))


def _holds(row: Row, layout: RowLayout) -> bool:
    return layout.holds is None or layout.holds[1] in str(find(row, layout.holds[0]))


def _there(value: Any) -> bool:
    return value is not None and not (isinstance(value, (str, list, tuple, Mapping)) and not value)


def map_row(row: Row, where: str | int = "") -> Mapped:
    """Question and answers of a row in one of the layouts.

    Raises AhaError naming the row and its columns if it has no question or no answer that can be one.
    """
    place = f"Row {where}" if isinstance(where, int) or not where else where[0].upper() + where[1:]
    layout = layout_of(row)
    asked = _first(row, layout.question, _asked)
    if asked is None:
        raise AhaError(f"{place} has no question: {_columns(row)} Wanted: question, problem or prompt.")
    answered, why = _answers(row, layout)
    if answered is None:
        raise AhaError(f"{place} has no answer: {why or _columns(row)} Wanted: answer, solution or {_TRUTH}.")
    messages = _with_system(row, _unframed(asked[1], layout))
    level, domain, language = (
        _first(row, paths, _said) for paths in (layout.level, layout.domain, layout.language)
    )
    solved = _first(row, layout.solved, _share)
    others = [value[0] for value in (level, domain, language, solved) if value]
    systems = [name for name in SYSTEMS if isinstance(row.get(name), str) and row[name]]
    return Mapped(
        messages[-1]["content"], answered[1], layout.name, messages,
        level[1] if level else None, str(domain[1]) if domain else "", str(language[1]) if language else "",
        solved[1] if solved else None, (asked[0], answered[0], *others, *systems),
    )  # fmt: skip


def _columns(row: Row) -> str:
    return f"its columns are {sorted(row)}."


def _first(row: Row, paths: Sequence[str], read: Any) -> tuple[str, Any] | None:
    """(path, what it holds) of the first path that holds something."""
    for path in paths:
        value = read(find(row, path))
        if value is not None:
            return path, value
    return None


def _asked(value: Any) -> tuple[Mapping[str, str], ...] | None:
    """The messages of a prompt, the user's last; a text is one of the user's."""
    if isinstance(value, str):
        return ({"role": "user", "content": value},) if value.strip() else None
    if not isinstance(value, Sequence):
        return None
    turns = []
    for message in value:
        if not isinstance(message, Mapping):
            return None
        role = ROLES.get(str(message.get("role", message.get("from", ""))).lower())
        said = message.get("content", message.get("value"))
        if role and isinstance(said, str):
            turns.append({"role": role, "content": said})
    while turns and turns[-1]["role"] != "user":
        turns.pop()
    return tuple(turns) if turns and turns[-1]["content"].strip() else None


def _unframed(messages: tuple[Mapping[str, str], ...], layout: RowLayout) -> tuple[Mapping[str, str], ...]:
    framed = re.fullmatch(layout.frame, messages[-1]["content"], re.DOTALL) if layout.frame else None
    if framed is None:
        return messages
    return (*messages[:-1], {"role": "user", "content": framed["question"]})


def _with_system(row: Row, messages: tuple[Mapping[str, str], ...]) -> tuple[Mapping[str, str], ...]:
    said = next((row[name] for name in SYSTEMS if isinstance(row.get(name), str) and row[name].strip()), None)
    if said is None or messages[0]["role"] == "system":
        return messages
    return ({"role": "system", "content": said}, *messages)


def _answers(row: Row, layout: RowLayout) -> tuple[tuple[str, tuple[str, ...]] | None, str]:
    """(column, answers) and, without them, why there are none."""
    why = ""
    for path in layout.answer:
        value = find(row, path)
        if _missing(value):
            why = why or (f"its {path} is {'empty' if value == '' else 'null'}." if path in row else "")
            continue
        try:
            worked = isinstance(value, str) and len(value) > WORKED
            golds = (from_solution(value),) if worked else read_golds(value)
            return (f"{path} after ####" if _marked(value) else path, golds), ""
        except NoGold as error:
            return None, f"{error}."
    for path in layout.solution:
        value = find(row, path)
        value = value[0] if isinstance(value, (list, tuple)) and value else value
        if isinstance(value, str) and value.strip():
            try:
                return (path, (from_solution(value),)), ""
            except NoGold as error:
                return None, f"{why} {error}.".strip()
    return None, why


def _missing(value: Any) -> bool:
    """Null, an empty text, or the NaN that tables have in place of null."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _marked(value: Any) -> bool:
    return isinstance(value, str) and "####" in value


def _said(value: Any) -> Any:
    """A text, a number, or the first of a list."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    return (
        value
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != ""
        else None
    )


def _share(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and 0 <= value <= 1 else None
