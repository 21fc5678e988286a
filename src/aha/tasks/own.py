"""Tasks from outside the package: a function that gives problems, or a small class with problems and a verifier.

A problem is a ``Problem``, a pair (question, answer), or a row with ``question`` (or ``prompt``) and ``answer``.
``problems`` may be a list, or a function (also a generator, also without end) of any of ``split``, ``n`` and ``seed``;
where it takes no ``split``, problems are held out by their text, 5% + 5%. ``verify(problem, text)`` says True or False,
a number from 0 to 1, a ``Verdict``, or None where it cannot grade; without it answers are compared by the math
verifier. reasoning-gym's data sets and environments of ``verifiers`` are tasks as they are (``adapters``).
"""

from __future__ import annotations

import inspect
import itertools
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from aha import plugins
from aha.rewards.places import stated
from aha.tasks import math_word
from aha.tasks.base import Task
from aha.tasks.splits import check_split, collect, short_hash, split_of
from aha.types import AhaError, Message, Outcome, Problem, Verdict

QUESTIONS = ("question", "prompt", "problem", "input")
ANSWERS = ("answer", "solution", "target", "output")
_log = logging.getLogger(__name__)
_DRAWS = ("split", "n", "seed")
SHARE = {"train": 2, "validation": 40, "test": 40}
"""Of a function that takes ``n`` and no ``split``: so many times more are drawn, since the others are held out."""
MANY = 1_000_000
"""Problems that are looked through at most for a split."""


def own_task(reference: str, data: str | None = None, test_data: str | None = None) -> Task:
    """The task that a reference names. Raises AhaError for what is none, and for rows that it does not take."""
    options = plugins.options(reference, plugins.reference(reference).options)
    part = plugins.resolve(reference)
    try:
        return _task(part, reference, options, {"data": data, "test_data": test_data})
    except AhaError:
        raise
    except Exception as error:  # an attribute of its own that fails
        raise AhaError(f"Task '{reference}' cannot be made: {plugins.location(error, '')}.") from error


def _task(
    part: Any, name: str, options: dict[str, Any], rows: Mapping[str, str | None], depth: int = 0
) -> Task:
    if isinstance(part, Task):
        return part
    from aha.tasks import adapters

    adapted = None if inspect.isclass(part) else adapters.wrap(part)
    if adapted is not None:
        return OwnTask(name, adapted).task()
    if not inspect.isclass(part) and hasattr(part, "problems"):
        return OwnTask(name, part).task()
    if isinstance(part, (list, tuple)):
        return OwnTask(name, _Plain(part)).task()
    if not callable(part) or depth > 1:
        raise AhaError(f"Task '{name}' is {type(part).__name__}: a task is a function that gives problems, or a class "
                       "with problems and verify.")  # fmt: skip
    if not inspect.isclass(part) and _gives_problems(part):
        return OwnTask(name, _Plain(_bound(part, name, options, rows))).task()
    result = _call(_bound(part, name, options, rows), name)
    if not inspect.isclass(part) and not hasattr(result, "problems") and _is_problems(result):
        return OwnTask(name, _Plain(_bound(part, name, options, rows))).task()
    return _task(result, name, {}, {}, depth + 1)


def _gives_problems(function: Any) -> bool:
    return inspect.isgeneratorfunction(function) or bool(set(_DRAWS) & _names(function))


def _is_problems(value: Any) -> bool:
    return isinstance(value, (list, tuple, Iterator))


def _takes_any(function: Any) -> bool:
    """Whether it takes any option."""
    try:
        kinds = [p.kind for p in inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        return False
    return inspect.Parameter.VAR_KEYWORD in kinds


def _names(function: Any) -> set[str]:
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return set()


def _bound(
    part: Any, name: str, options: Mapping[str, Any], rows: Mapping[str, str | None]
) -> Callable[..., Any]:
    """The function or class with its options and rows. Raises AhaError for those that it does not take."""
    names, asked = _names(part), {k: v for k, v in rows.items() if v is not None}
    if asked and "data" not in names:
        raise AhaError(f"Task '{name}' makes its own problems; it takes no --data.")
    if not _takes_any(part) and (unknown := [key for key in options if key not in names]):
        raise AhaError(
            f"Task '{name}' takes no option '{unknown[0]}'. It takes: {', '.join(names) or 'none'}."
        )
    kept = {**options, **{k: v for k, v in asked.items() if k in names}}
    lacking = [
        key for key in _needed(part) if key not in kept and (inspect.isclass(part) or key not in _DRAWS)
    ]
    if lacking:
        raise AhaError(
            f"Task '{name}' needs '{lacking[0]}': give it as an option, {name}:{lacking[0]}=VALUE."
        )
    return partial(part, **kept)


def _needed(function: Any) -> list[str]:
    """The names of parameters that it cannot be called without."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    collected = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in collected]


def _call(function: Callable[..., Any], name: str) -> Any:
    try:
        return function()
    except AhaError:
        raise
    except Exception as error:
        raise AhaError(f"Task '{name}' cannot be made: {plugins.location(error, '')}.") from error


@dataclass(slots=True)
class _Plain:
    """Problems without a verifier of their own."""

    problems: Any


class OwnTask:
    """An object with ``problems`` and perhaps ``verify``, ``verify_lenient``, ``vote`` and ``facet``."""

    def __init__(self, name: str, part: Any):
        self.name, self.part = name, part
        self.label = plugins.label(name)
        module = inspect.getsourcefile(type(part)) if not isinstance(part, _Plain) else ""
        self.file = module or ""
        self.told: set[str] = set()

    def task(self) -> Task:
        """It as a task of the house. Raises AhaError for a verifier that cannot be called as one."""
        own = getattr(self.part, "verify", None)
        if own is None:
            by_value = _with_answer(math_word.verify), _with_answer(math_word.verify_lenient), math_word.vote
            return Task(self.label, self.load, *by_value, self._facet())
        lenient, vote = getattr(self.part, "verify_lenient", None) or own, getattr(self.part, "vote", None)
        for verify in (own, lenient):
            _check_verifier(verify, self.name)
        ballot = _vote if vote is None else lambda problem, text: self._said(vote, problem, text)
        return Task(
            self.label, self.load, self._verifier(own), self._verifier(lenient), ballot, self._facet()
        )

    def _facet(self) -> Callable[[Problem], str] | None:
        facet = getattr(self.part, "facet", None)
        return None if facet is None else lambda problem: self._said(facet, problem) or ""

    def _said(self, function: Callable[..., Any], *arguments: Any) -> str | None:
        """What its ``vote`` or ``facet`` says, as text; None where it fails, which is told once."""
        try:
            result = plugins.call(function, *arguments, file=_file_of(function))
        except plugins.CallFailed as error:
            if str(error) not in self.told and len(self.told) < 20:
                self.told.add(str(error))
                _log.warning("Task %s: %s.", self.label, error)
            return None
        return None if result is None else str(result)

    def _verifier(self, verify: Callable[[Problem, str], Any]) -> Callable[[Problem, str], Verdict]:
        """Its verifier, whose faults are no answer's fault: what it cannot grade is UNKNOWN."""

        def call(problem: Problem, text: str) -> Verdict:
            try:
                return as_verdict(plugins.call(verify, problem, text, file=_file_of(verify)))
            except plugins.CallFailed as error:
                return Verdict(Outcome.UNKNOWN, str(error))

        return call

    def load(self, split: str, n: int, seed: int) -> list[Problem]:
        """At most ``n`` problems of a split, always the same for one seed. Raises AhaError where there are none."""
        check_split(self.label, split)
        source = self._guarded(lambda: self.part.problems)
        names = _names(source) if callable(source) else set()
        shown = self._all(source, split, n, seed)
        if "split" not in names:
            shown = (p for p in shown if split_of(_asked(p)) == split)
        first = next(shown := itertools.islice(shown, MANY), None)
        if n and first is None:
            raise AhaError(
                f"Task '{self.name}' has no problems for the {split} split"
                + (": 5% of them are held out for it by their text. Give more, or take `split`." if "split" not in names
                   else ".")
            )  # fmt: skip
        listed = self._distinct(itertools.chain([first] if first is not None else [], shown))
        problems = collect(self.label, listed, split, n)
        if not callable(source) or not names & {"seed"}:
            random.Random(f"{self.label}:{split}:{seed}").shuffle(problems)
        return problems

    def _guarded(self, function: Callable[[], Any]) -> Any:
        """What own code gives. Raises AhaError, with its line, where it fails."""
        try:
            return function()
        except AhaError:
            raise
        except Exception as error:
            said = plugins.location(error, "")
            raise AhaError(f"Task '{self.name}' cannot give its problems: {said}.") from error

    def _distinct(self, problems: Iterator[Problem]) -> Iterator[Problem]:
        """The problems as they come. Raises AhaError for two of one id that ask different things."""
        asked: dict[str, str] = {}
        for problem in problems:
            if asked.setdefault(problem.id, _asked(problem)) != _asked(problem):
                raise AhaError(
                    f"Task '{self.name}': two different problems have the id '{problem.id}', so one would be left out. "
                    "Give each an id of its own, or none."
                )
            yield problem

    def _all(self, source: Any, split: str, n: int, seed: int) -> Iterator[Problem]:
        rows = self._guarded(lambda: self._rows(source, split, n, seed))
        end = object()
        for number in itertools.count(1):
            if (row := self._guarded(lambda: next(rows, end))) is end:
                return
            yield as_problem(row, self.label, number)

    def _rows(self, source: Any, split: str, n: int, seed: int) -> Iterator[Any]:
        """What ``problems`` gives, one after another. Raises AhaError for what gives none."""
        arguments: dict[str, Any] = {"split": split, "n": n, "seed": seed}
        if callable(source):
            names = _names(source)
            if strange := next((name for name in _needed(source) if name not in arguments), ""):
                raise AhaError(
                    f"Task '{self.name}': `problems` needs '{strange}', and is given any of split, n and seed. Give it "
                    "a default."
                )
            if "split" not in names:
                arguments["n"] = n * SHARE[split] + 64
            kept = {k: v for k, v in arguments.items() if k in names}
            source = source(**kept)
        if isinstance(source, (str, bytes, Mapping)) or not isinstance(source, Iterable):
            if inspect.iscoroutine(source):
                source.close()
            raise AhaError(
                f"Task '{self.name}' gives {type(source).__name__} for problems: give a list, or yield them."
            )
        return iter(source)


def _with_answer(verify: Callable[[Problem, str], Verdict]) -> Callable[[Problem, str], Verdict]:
    """The math verifier, for problems that have an answer to compare with."""

    def call(problem: Problem, text: str) -> Verdict:
        if not isinstance(problem.answer, str):
            return Verdict(Outcome.UNKNOWN, "the problem has no answer, and the task no verify")
        return verify(problem, text)

    return call


def _check_verifier(verify: Any, name: str) -> None:
    """Raise AhaError for what cannot be called with a problem and a text, in this order."""
    if not callable(verify):
        raise AhaError(f"Task '{name}': verify is {type(verify).__name__}, no function of (problem, text).")
    try:
        parameters = inspect.signature(verify)
    except (TypeError, ValueError):
        return
    try:
        bound = parameters.bind("", "").arguments
    except TypeError as error:
        raise AhaError(
            f"Task '{name}': verify takes ({', '.join(parameters.parameters)}): it is called with (problem, text)."
        ) from error
    if list(bound)[:2] == ["text", "problem"]:
        raise AhaError(f"Task '{name}': verify takes (text, problem): it is called with (problem, text).")


@lru_cache(maxsize=64)
def _file_of(function: Any) -> str:
    try:
        return inspect.getsourcefile(function) or ""
    except TypeError:
        return ""


def as_problem(row: Any, task: str, number: int) -> Problem:
    """What a task of one's own gives, as a problem. Raises AhaError for what has no question."""
    if isinstance(row, Problem):
        return _checked(row, task, number)
    if isinstance(row, (tuple, list)) and len(row) == 2:
        row = {"question": row[0], "answer": row[1]}
    if not isinstance(row, Mapping):
        raise AhaError(f"Task '{task}': problem {number} is {type(row).__name__}: give (question, answer), a row with "
                       "question and answer, or a Problem.")  # fmt: skip
    asked = next((k for k in QUESTIONS if row.get(k) is not None and row.get(k) != ""), None)
    if asked is None:
        raise AhaError(f"Task '{task}': problem {number} has none of {', '.join(QUESTIONS)}.")
    answer = next((k for k in ANSWERS if row.get(k) is not None), None)
    value = None if answer is None else row[answer]
    rest = {k: v for k, v in row.items() if k not in (asked, answer, "id", "language")}
    messages = _messages(row[asked], task, number)
    return Problem(
        id=str(row.get("id") or f"{task}-{short_hash('|'.join(str(m['content']) for m in messages))}"),
        task=task,
        messages=messages,
        answer=None if value is None else str(value),
        language=str(row.get("language") or "en"),
        metadata=rest,
    )


def _checked(problem: Problem, task: str, number: int) -> Problem:
    """A Problem that own code made. Raises AhaError where what it holds cannot be asked or graded."""
    _messages(problem.messages, task, number)
    if isinstance(problem.messages, str):
        raise AhaError(f"Task '{task}': the messages of problem {number} are a text: give ({{'role': 'user', "
                       "'content': TEXT},).")  # fmt: skip
    if isinstance(problem.answer, tuple) or problem.answer is None:
        return problem
    return replace(problem, answer=str(problem.answer))


def _messages(asked: Any, task: str, number: int) -> tuple[Message, ...]:
    """A question as messages. Raises AhaError for what is neither a text nor a list of them."""
    if isinstance(asked, str):
        return ({"role": "user", "content": str(asked)},)
    if isinstance(asked, (list, tuple)) and all(
        isinstance(m, Mapping) and m.get("role") and isinstance(m.get("content"), str) for m in asked
    ):
        return tuple({"role": str(m["role"]), "content": str(m["content"])} for m in asked)
    raise AhaError(
        f"Task '{task}': the question of problem {number} is {type(asked).__name__}: give a text, or a list of "
        "messages with role and content."
    )


def as_verdict(result: Any) -> Verdict:
    """What a verifier says as a verdict. Raises CallFailed for what is neither truth nor a number."""
    if isinstance(result, Verdict):
        return result
    if result is None:
        return Verdict(Outcome.UNKNOWN, "the verifier gave None")
    if isinstance(result, bool):
        return Verdict(Outcome.CORRECT if result else Outcome.WRONG)
    value = plugins.number(result)
    if value is None:
        raise plugins.CallFailed(f"the verifier gave {type(result).__name__}, no number")
    if value != value or value in (float("inf"), float("-inf")):
        raise plugins.CallFailed(f"the verifier gave {value}")
    return Verdict(Outcome.CORRECT if value >= 1 else Outcome.WRONG, f"scored {value:g}", value)


def _vote(problem: Problem, text: str) -> str | None:
    """The answer where the prompt asked for it."""
    answer = stated(problem, text)
    return answer.strip() if answer and answer.strip() else None


def _asked(problem: Problem) -> str:
    return str(problem.messages[-1].get("content", "")).strip()
