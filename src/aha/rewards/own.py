"""Rewards from outside the package: plain functions, in whichever of three shapes they are written.

``(prompts, completions, **columns) -> [number]``: TRL's, called with one group at a time. ``(problem, text) ->
number``: one answer. ``(data_source, solution_str, ground_truth, extra_info) -> number``: one answer, as verl has it.
``(problem, rollouts) -> [number]``: a group, as the package's own rewards. Any of them may be a coroutine, an object
with ``__call__``, or what a function or class makes of options (``file.py:name:key=value``).

A function that raises, gives the wrong number of values, no finite number, or takes too long has not graded: those
completions have no score (never 0), and the note says the file, the line and what happened.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
import math
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

from aha import plugins
from aha.plugins.guard import SECONDS
from aha.rewards.accuracy import full_text, given_up
from aha.types import AhaError, Outcome, Problem, Rollout, Score, Verdict

_log = logging.getLogger(__name__)

Shape = Literal["columns", "answer", "verl", "group"]
_GIVEN = frozenset({"prompts", "completions", "completion_ids"})
"""What a function of TRL's shape asks for, beside columns of the rows."""
_VERL = frozenset({"data_source", "solution_str", "ground_truth", "extra_info"})
"""What a function of verl's shape may ask for."""
_ANSWERS = frozenset(
    {"text", "completion", "response", "answer", "solution", "output", "generation", "prediction", "pred"}
)
"""Names by which a function says that a parameter is a model's answer."""
_HOOKS = frozenset({"log_extra", "log_metric"})
_INNER = frozenset({"place", "form"})
"""What the prompt wrote into a problem's metadata: no column of its row."""
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class OwnReward:
    """A function from outside as a reward of the house.

    Raises AhaError for what is no reward function, and for options that it does not take.
    """

    def __init__(self, reference: str):
        named = plugins.reference(reference)
        options = plugins.options(reference, named.options)
        self.seconds = SECONDS
        self.name = reference
        self.function, self.shape = _made(plugins.resolve(reference), options, reference, self)
        self.parameters = _parameters(self.function)
        _check_parameters(self.parameters, self.shape, reference)
        self.takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in self.parameters.values())
        self.file, self.line = _place_of(self.function)
        self.where = f"{Path(self.file).name}:{self.line}" if self.file else named.key
        self.form = _form(self.function) if self.shape == "columns" else "text"
        self._said: set[str] = set()

    def __call__(self, problem: Problem, rollouts: Sequence[Rollout]) -> list[Score]:
        """One score for each rollout; those that the engine gave up on are not shown to the function."""
        lost = [given_up(rollout) for rollout in rollouts]
        shown = [rollout for rollout, gone in zip(rollouts, lost, strict=True) if gone is None]
        graded = iter(self._grade(problem, shown) if shown else [])
        return [next(graded) if gone is None else gone for gone in lost]

    def _grade(self, problem: Problem, rollouts: Sequence[Rollout]) -> list[Score]:
        if self.shape in ("answer", "verl"):
            return self._each(problem, rollouts)
        notes: list[list[str]] = [[] for _ in rollouts]
        try:
            values = self._listed(self._group(problem, rollouts, notes))
        except plugins.CallFailed as error:
            return [self._none(str(error))] * len(rollouts)
        if len(values) != len(rollouts):
            said = f"{self.where}: gave {len(values)} values for {len(rollouts)} completions"
            return [self._none(said)] * len(rollouts)
        return [self._score(v, "; ".join(n)) for v, n in zip(values, notes, strict=True)]

    def _each(self, problem: Problem, rollouts: Sequence[Rollout]) -> list[Score]:
        """Answers one after another, or all together where the function is a coroutine; one limit for the group."""
        until = time.monotonic() + self.seconds
        texts = [full_text(rollout) for rollout in rollouts]
        one = self._one(problem)
        if _is_async(self.function):
            return self._together(one, texts)
        scores = []
        for text in texts:
            left = until - time.monotonic()
            if left <= 0:
                scores.append(
                    self._none(f"{self.where}: took longer than {self.seconds:g} seconds for a group")
                )
                continue
            try:
                scores.append(self._score(plugins.call(one, text, seconds=left, file=self.file)))
            except plugins.CallFailed as error:
                scores.append(self._none(str(error)))
        return scores

    def _one(self, problem: Problem) -> Callable[[str], Any]:
        """The function of one answer to a problem."""
        if self.shape == "answer":
            return partial(self.function, problem)
        asked = verl_arguments(problem)
        kept = {k: v for k, v in asked.items() if self.takes_all or k in self.parameters}
        return lambda text: self.function(solution_str=text, **kept)

    def _together(self, one: Callable[[str], Any], texts: Sequence[str]) -> list[Score]:
        async def graded(text: str) -> Score:
            try:
                return self._score(await asyncio.wait_for(one(text), self.seconds))
            except TimeoutError:
                return self._none(f"{self.where}: took longer than {self.seconds:g} seconds")
            except Exception as error:
                return self._none(plugins.location(error, self.file))

        try:
            return plugins.await_all([graded(text) for text in texts], self.seconds + 1)
        except TimeoutError:
            return [self._none(f"{self.where}: took longer than {self.seconds:g} seconds")] * len(texts)

    # --- calling --------------------------------------------------------------------------------------------

    def _group(self, problem: Problem, rollouts: Sequence[Rollout], notes: list[list[str]]) -> Any:
        call = partial(plugins.call, seconds=self.seconds, file=self.file)
        if self.shape == "group":
            return call(self.function, problem, rollouts)
        if self.form != "either":
            return call(self.function, **self._arguments(problem, rollouts, self.form, notes))
        # Its source does not say whether it reads texts or messages: what it can read, it does from then on.
        try:
            values = call(self.function, **self._arguments(problem, rollouts, "text", notes))
            self.form = "text"
        except plugins.CallFailed as error:
            if not isinstance(error.__cause__, (TypeError, AttributeError, KeyError, IndexError)):
                raise
            values = call(self.function, **self._arguments(problem, rollouts, "messages", notes))
            self.form = "messages"
        return values

    def _arguments(
        self, problem: Problem, rollouts: Sequence[Rollout], form: str, notes: list[list[str]]
    ) -> dict[str, Any]:
        """What TRL's trainers give a reward function, as far as this one takes it."""
        n, texts = len(rollouts), [full_text(rollout) for rollout in rollouts]
        asked = [dict(m) for m in problem.messages]
        prompt: Any = asked if form == "messages" else "\n\n".join(str(m.get("content", "")) for m in asked)
        said = [[{"role": "assistant", "content": text}] for text in texts]
        arguments = {name: [value] * n for name, value in columns(problem).items()}
        arguments |= {
            "prompts": [prompt] * n,
            "completions": said if form == "messages" else texts,
            "completion_ids": [rollout.completion_ids.tolist() for rollout in rollouts],
            "log_extra": lambda column, values: _note(notes, column, values),
            "log_metric": lambda name, value: _note(notes, name, [value] * n),
        }
        return arguments if self.takes_all else {k: v for k, v in arguments.items() if k in self.parameters}

    def missing(self, problem: Problem) -> list[str]:
        """The columns that the function cannot do without and a problem has not."""
        if self.shape != "columns":
            return []
        known = columns(problem).keys() | _GIVEN | _HOOKS
        needed = [p for p in self.parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        return [p.name for p in needed if p.default is p.empty and p.name not in known]

    def _listed(self, values: Any) -> list[Any]:
        """The values of a group, those of a generator computed as the function itself is called."""
        try:
            return plugins.call(plugins.numbers, values, seconds=self.seconds, file=self.file)
        except plugins.CallFailed as error:
            if isinstance(error.__cause__, Exception):
                raise
            raise plugins.CallFailed(f"{self.where}: {error}") from error

    # --- what came of it --------------------------------------------------------------------------------------

    def _score(self, value: Any, note: str = "") -> Score:
        if isinstance(value, Score):
            return value if value.value is None else self._score(value.value, value.note)
        if isinstance(value, Verdict):
            return self._score(verdict_value(value), value.note)
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], str):
            return self._score(value[0], value[1])
        if value is None:
            return Score(None, note or f"{self.where}: gave None")
        if self.shape == "verl" and isinstance(value, Mapping) and "score" in value:
            more = ", ".join(f"{key}={str(v)[:40]}" for key, v in value.items() if key != "score")
            return self._score(value["score"], note or more)
        number = plugins.number(value)
        if number is None:
            return self._none(f"{self.where}: gave {type(value).__name__}, no number")
        return Score(number, note) if math.isfinite(number) else self._none(f"{self.where}: gave {number}")

    def _none(self, note: str) -> Score:
        """No score, with the reason; each new one is said once."""
        if note not in self._said and len(self._said) < 20:
            self._said.add(note)
            _log.warning("Reward %s could not grade: %s. Such completions have no reward; they are counted as "
                         "ungradable.", plugins.label(self.name), note)  # fmt: skip
        return Score(None, note)


def verdict_value(verdict: Verdict) -> float | None:
    """A verdict as a number: its own value where it has one, else 1 or 0; None where it could not be graded."""
    if verdict.outcome is Outcome.UNKNOWN:
        return None
    return verdict.value if verdict.value is not None else float(verdict.outcome is Outcome.CORRECT)


def columns(problem: Problem) -> dict[str, Any]:
    """What a problem's row says, by the names that TRL's functions ask for: the row's own columns where they were
    kept, what the task noted of it, and its reference answer as ``answer`` and ``solution``."""
    answer = {} if problem.answer is None else {"answer": problem.answer, "solution": problem.answer}
    noted = {k: v for k, v in problem.metadata.items() if k not in _INNER and k != "row"}
    named = {"problem_id": problem.id, "task": problem.task, "language": problem.language}
    values: dict[str, Any] = named | answer | noted
    row = problem.metadata.get("row")
    return values | (dict(row) if isinstance(row, Mapping) else {})


def verl_arguments(problem: Problem) -> dict[str, Any]:
    """What verl's reward functions are given beside the answer, from the problem and its row."""
    row = columns(problem)
    gold = row.get("reward_model")
    truth = gold.get("ground_truth") if isinstance(gold, Mapping) else None
    extra = row.get("extra_info")
    return {
        "data_source": row.get("data_source") or problem.task,
        "ground_truth": problem.answer if truth is None else truth,
        "extra_info": dict(extra) if isinstance(extra, Mapping) else {},
    }


def _note(notes: list[list[str]], name: str, values: Sequence[Any]) -> None:
    for place, value in zip(notes, values, strict=False):
        place.append(f"{name}={str(value)[:80]}")


# --- what kind of function it is ---------------------------------------------------------------------------------


def _made(
    part: Any, options: dict[str, Any], name: str, reward: OwnReward, depth: int = 0
) -> tuple[Callable[..., Any], Shape]:
    """(the function to call, its shape), options bound; a factory or a class is called for the function."""
    if not callable(part):
        raise AhaError(f"Reward '{name}' is {type(part).__name__}, no function.")
    parameters = {} if inspect.isclass(part) else _parameters(part)
    if "timeout" in options and "timeout" not in (_parameters(part) if inspect.isclass(part) else parameters):
        reward.seconds = float(options.pop("timeout"))
    if not inspect.isclass(part):
        shape = _shape({key: p for key, p in parameters.items() if key not in options})
        if shape is not None:
            return _bound(part, parameters, options, name), shape
    if depth > 1:
        raise AhaError(_refusal(name, parameters))
    try:
        built = part(**options)
    except TypeError as error:
        raise AhaError(_refusal(name, parameters, str(error))) from error
    except Exception as error:
        raise AhaError(f"Reward '{name}' cannot be made: {plugins.location(error, '')}.") from error
    if not callable(built):
        raise AhaError(_refusal(name, parameters))
    return _made(built, {}, name, reward, depth + 1)


def _shape(parameters: Mapping[str, inspect.Parameter]) -> Shape | None:
    """What a function is called with; None where it is none, and may make one."""
    if _GIVEN & parameters.keys():
        return "columns"
    if "solution_str" in parameters:
        return "verl"
    needed = [p for p in parameters.values() if p.kind in _POSITIONAL and p.default is p.empty]
    if len(needed) == 2:
        second = needed[1]
        return "group" if second.name == "rollouts" or "Rollout" in str(second.annotation) else "answer"
    only_all = parameters and all(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return "columns" if only_all else None


def _check_parameters(parameters: Mapping[str, inspect.Parameter], shape: Shape, name: str) -> None:
    """Raise AhaError for a function that could be called with its arguments swapped, or that would fail every time."""
    kinds = inspect.Parameter
    if shape in ("columns", "verl"):
        if bare := [p.name for p in parameters.values() if p.kind is kinds.POSITIONAL_ONLY]:
            raise AhaError(f"Reward '{name}' takes '{bare[0]}' by its place alone, and such functions are called with "
                           "keywords: remove the '/' from its parameters.")  # fmt: skip
    else:
        first, *_ = (p.name for p in parameters.values() if p.kind in _POSITIONAL)
        if first in _ANSWERS:
            raise AhaError(f"Reward '{name}' takes '{first}' first: a reward of one answer is (problem, text), the "
                           "problem first, where problem.answer is the reference.")  # fmt: skip
        alone = [p.name for p in parameters.values() if p.kind is kinds.KEYWORD_ONLY and p.default is p.empty]
        if alone:
            raise AhaError(
                f"Reward '{name}' needs '{alone[0]}', which nobody gives: write it as an option, "
                f"{name}:{alone[0]}=VALUE, or take TRL's parameters, (completions, {alone[0]}, **columns), for a "
                "column of the row."
            )
    if shape == "verl" and (strange := [
        p.name for p in parameters.values()
        if p.name not in _VERL and p.default is p.empty and p.kind in (*_POSITIONAL, kinds.KEYWORD_ONLY)
    ]):  # fmt: skip
        raise AhaError(
            f"Reward '{name}' needs '{strange[0]}', which verl does not give either: write it as an option, "
            f"{name}:{strange[0]}=VALUE, or give it a default."
        )


def _bound(
    function: Callable[..., Any],
    parameters: Mapping[str, inspect.Parameter],
    options: dict[str, Any],
    name: str,
) -> Callable[..., Any]:
    if unknown := [key for key in options if key not in parameters]:
        raise AhaError(f"Reward '{name}' takes no option '{unknown[0]}'. It takes: {', '.join(parameters)}.")
    return partial(function, **options) if options else function


def _refusal(name: str, parameters: Mapping[str, Any], said: str = "") -> str:
    takes = f"({', '.join(parameters)})"
    if "self" in parameters:
        more = " It is a method without its object: make one in the file, x = CLASS(), and name FILE.py:x.METHOD."
    elif any(getattr(p, "kind", None) is inspect.Parameter.VAR_POSITIONAL for p in parameters.values()):
        more = " Where a decorator hides what it takes, functools.wraps shows it."
    else:
        more = ""
    return (
        f"Reward '{name}' takes {takes}{f': {said}' if said else ''}. A reward is a function of (problem, text), of "
        "(completions, **columns) as TRL has it, of (data_source, solution_str, ground_truth, extra_info) as verl has "
        f"it, or of (problem, rollouts).{more}"
    )


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


def _is_async(function: Any) -> bool:
    inner = _plain(function)
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(
        vars(type(inner)).get("__call__")
    )


def _plain(function: Any) -> Any:
    while isinstance(function, partial):
        function = function.func
    return function


def _code(function: Any) -> Any:
    """The code that runs: a function's, or that of an object's ``__call__``."""
    inner = inspect.unwrap(_plain(function))
    if not hasattr(inner, "__code__"):
        inner = vars(type(inner)).get("__call__", inner)
    return getattr(inner, "__code__", None)


def _place_of(function: Any) -> tuple[str, int]:
    code = _code(function)
    return (code.co_filename, code.co_firstlineno) if code is not None else ("", 0)


@lru_cache(maxsize=64)
def _tree(code: Any) -> ast.AST | None:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, TypeError, SyntaxError):
        return None


def _strings(function: Any) -> set[str]:
    """The strings in a function's source."""
    tree = _tree(_code(function))
    nodes = ast.walk(tree) if tree is not None else []
    return {
        n.value
        for n in nodes
        if isinstance(n, ast.Constant) and isinstance(n.value, str) and len(n.value) < 64
    }


def _form(function: Any) -> Literal["text", "messages", "either"]:
    """Whether a function reads completions as texts or as lists of messages: by its annotation, else by whether its
    source speaks of a message's content."""
    parameter = _parameters(function).get("completions")
    if parameter is not None and parameter.annotation is not parameter.empty:
        said = str(parameter.annotation).replace(" ", "").lower()
        if "dict" in said or "message" in said or said.count("list[") > 1:
            return "messages"
        if "list[str]" in said or "sequence[str]" in said:
            return "text"
    return "messages" if "content" in _strings(function) else "either"
