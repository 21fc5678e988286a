"""Judges of programs by their output and of functions by their results.

The expected values stay here. What is compared with them is data that came out of the sandbox; that a program
ended well, or said so, proves nothing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aha.types import AhaError

from .compare import same_output
from .execution import Limits, Status
from .inside import wire
from .pool import Losses, Sandbox, default_sandbox
from .process import MAX_MESSAGE, Gone, Process, plain
from .reply import Expected, ReferenceResult


class ResultComparison(StrEnum):
    """When a function's result is the expected one."""

    STRICT = "strict"  # by type and value at every depth: see ``same_value``
    LOOSE = "loose"  # as Python's ``==``, with a tuple as good as a list
    WRAPPED = "wrapped"  # loose; or it is the first member of the expected list, as APPS writes results
    NEAR = "near"  # as Python's ``==``, or near to it; here and below the expected result is one of ``results_of``
    MEMBERS = "members"  # the same members, in any order and as often as may be
    SOMETHING = "something"  # the same truth, or None where the expected one is false
    EITHER = "either"  # near to one of several results
    ROOT = "root"  # a number at which the polynomial of the first argument's coefficients is near to 0


@dataclass(frozen=True, slots=True)
class TestResult:
    """What became of one test; ``None`` = the sandbox failed, which says nothing about the program."""

    __test__ = False  # not a pytest class
    passed: bool | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The results of a program's tests, in order. Tests that were not run are missing at the end."""

    results: tuple[TestResult, ...]

    @property
    def passed(self) -> bool | None:
        """Whether all tests passed; ``None`` if none failed and some could not be judged."""
        verdicts = [result.passed for result in self.results]
        return False if False in verdicts else None if None in verdicts or not verdicts else True

    @property
    def fraction(self) -> float | None:
        """The share of tests that passed; ``None`` if any could not be judged."""
        verdicts = [result.passed for result in self.results]
        return None if None in verdicts or not verdicts else sum(map(bool, verdicts)) / len(verdicts)


@dataclass(frozen=True, slots=True)
class Call:
    """A call to judge: ``accepts`` looks at the text of the reply, which is no longer than ``longest`` bytes."""

    name: str
    arguments: Sequence[Any]
    named: dict[str, Any]
    accepts: Callable[[bytes], bool]
    longest: int = MAX_MESSAGE


@dataclass(frozen=True, slots=True)
class Conditions:
    """Where and within which limits calls are judged. ``prelude`` runs before the program; ``together``: all calls
    have ``wall`` seconds, not each; ``awaits``: results that can be awaited are."""

    sandbox: Sandbox
    wall: float = 4
    memory_mb: int = 1024
    prelude: str = ""
    stop_early: bool = False
    together: bool = False
    awaits: bool = False


def judge_stdio(
    code: str,
    tests: Sequence[tuple[str | bytes, str | bytes]],
    *,
    sandbox: Sandbox | None = None,
    wall: float = 4,
    memory_mb: int = 1024,
    stop_early: bool = False,
    prelude: str = "",
    tolerance: float = 0.0,
) -> Judgement:
    """Judge a program by (stdin, expected stdout) pairs, each in a run of its own.

    A test passes if the program ends by itself with exit code 0 within ``wall`` seconds and ``memory_mb``,
    and its output is the expected one within ``tolerance`` (see ``same_output``). ``stop_early`` ends at the first
    failure. ``prelude`` runs before the program, in its namespace.
    """
    sandbox = sandbox or default_sandbox()
    results: list[TestResult] = []
    for stdin, expected in tests:
        sent = stdin.encode() if isinstance(stdin, str) else stdin
        execution = sandbox.run(code, sent, wall=wall, memory_mb=memory_mb, prelude=prelude)
        if execution.status is Status.BROKEN:
            result = TestResult(None, execution.note)
        elif execution.status is not Status.OK:
            result = TestResult(False, f"{execution.status}: {execution.note}")
        else:
            right = same_output(expected, execution.stdout, tolerance)
            result = TestResult(right, "" if right else "another output")
        results.append(result)
        if stop_early and result.passed is False:
            break
    return Judgement(tuple(results))


def judge_function(
    code: str,
    entry_point: str,
    tests: Sequence[tuple[Sequence[Any], Any]],
    *,
    sandbox: Sandbox | None = None,
    wall: float = 4,
    memory_mb: int = 1024,
    stop_early: bool = False,
    prelude: str = "",
    compare: ResultComparison | str = ResultComparison.STRICT,
    tolerance: float = 0.0,
) -> Judgement:
    """Judge a function by (arguments, expected result) pairs, compared as ``compare`` says, ``tolerance`` being how
    near is near.

    Coroutine functions are awaited, and asynchronous generators collected in lists.
    ``entry_point`` is a function's name, ``Class.method`` for a method of a new instance each time, or
    ``Class().method`` for one of the same instance. Arguments and results are plain Python values (what JSON has,
    and tuples, sets, bytes). The calls share one process as long as it lives; each has ``wall`` seconds.
    ``prelude`` runs before the program, in its namespace. Raises AhaError for an argument that cannot travel.
    """
    calls = [_compared_call(entry_point, *test, ResultComparison(compare), tolerance) for test in tests]
    conditions = Conditions(sandbox or default_sandbox(), wall, memory_mb, prelude, stop_early, awaits=True)
    return judge_calls(code, calls, conditions)


def check_call(
    entry_point: str,
    arguments: Sequence[Any],
    expected: Any,
    compare: ResultComparison | str,
    tolerance: float = 0.0,
) -> None:
    """Raise AhaError for a test whose arguments cannot travel, or whose expected result cannot be compared."""
    _message(_compared_call(entry_point, arguments, expected, ResultComparison(compare), tolerance))


def results_of(
    code: str,
    entry_point: str,
    inputs: Sequence[Sequence[Any]],
    *,
    sandbox: Sandbox | None = None,
    wall: float = 4,
    memory_mb: int = 1024,
    prelude: str = "",
) -> list[str]:
    """What a function gives for each list of arguments, as text that ``NEAR`` and those below it compare with. Raises
    AhaError for a program that fails at one of them, and where no sandbox can be had."""
    replies: list[str] = []

    def keep(reply: bytes) -> bool:
        wire.parse(reply)
        replies.append(reply.decode())
        return True

    calls = [Call(entry_point, list(arguments), {}, keep) for arguments in inputs]
    conditions = Conditions(sandbox or default_sandbox(), wall, memory_mb, prelude, True, awaits=True)
    judgement = judge_calls(code, calls, conditions)
    for number, result in enumerate(judgement.results, 1):
        if not result.passed:
            raise AhaError(f"input {number}: {result.note}")
    return replies


def judge_calls(code: str, calls: Sequence[Call], conditions: Conditions) -> Judgement:
    """Judge calls one after another; a process that dies costs the call it died in.

    Each has ``wall`` seconds, the first together with loading the program.
    """
    messages = [_message(call) for call in calls]
    results: list[TestResult] = []
    losses = Losses(conditions.sandbox)
    clock = Clock(conditions.wall, conditions.together)
    while len(results) < len(calls):
        rest = slice(len(results), None)
        try:
            _one_process(code, calls[rest], messages[rest], conditions, clock, results)
        except Gone as error:
            losses.add(error)
            if losses.may_try_again:
                continue
            verdict = False if losses.by_the_program() else None
            results += [TestResult(verdict, losses.note)] * (len(calls) - len(results))
        if conditions.stop_early and any(result.passed is False for result in results):
            break
    return Judgement(tuple(results))


class Clock:
    """Deadlines of calls: ``wall`` seconds for each, or for all of them from the first on."""

    def __init__(self, wall: float, together: bool = False) -> None:
        self.wall = wall
        self._together = together
        self._end: float | None = None

    def deadline(self) -> float:
        """Monotonic seconds: when a step that begins now must be done."""
        if self._end is None or not self._together:
            self._end = time.monotonic() + self.wall
        return self._end


def load(process: Process, nonce: str, clock: Clock) -> TestResult | float:
    """Wait until a candidate's module is loaded: a result if it is not, else the deadline of the first call,
    which loading is a part of."""
    process.enter()
    process.allowed = clock.wall
    deadline = clock.deadline()
    hello = process.next_message(deadline)
    if hello == f"{nonce}\nready".encode():
        return deadline
    return _ended(process, "does not load")


def answer_of(
    message: bytes | None, nonce: str, kinds: Sequence[bytes] = (b"value", b"error")
) -> tuple[bytes, bytes] | None:
    """The kind and the body of a reply; None if it is not one of these kinds."""
    head = nonce.encode() + b"\n"
    if message is None or not message.startswith(head):
        return None
    kind, separator, body = message[len(head) :].partition(b"\n")
    return (kind, body) if separator and kind in kinds else None


def new_nonce() -> str:
    """A word that tells the runner's replies from bytes that a program writes blindly."""
    return secrets.token_hex(8)


def _one_process(
    code: str,
    calls: Sequence[Call],
    messages: Sequence[bytes],
    conditions: Conditions,
    clock: Clock,
    results: list[TestResult],
) -> None:
    """Add the results of as many calls as one process lives for: at least one. Raises Gone."""
    nonce = new_nonce()
    spec = {"mode": "serve", "code": code, "prelude": conditions.prelude, "nonce": nonce}
    spec |= {"awaits": conditions.awaits}
    limits = Limits(wall=clock.wall * (len(calls) + 1), memory_mb=conditions.memory_mb)
    with conditions.sandbox.process(spec, limits) as process:
        deadline = load(process, nonce, clock)
        if isinstance(deadline, TestResult):
            results += [deadline] * len(calls)
            return
        for index, (call, message) in enumerate(zip(calls, messages, strict=True)):
            if index:
                deadline = clock.deadline()
            reply = process.ask(message, deadline, call.longest + len(nonce) + 16)
            answer = answer_of(reply, nonce)
            if answer is None:
                results.append(_unanswered(process))
                return
            results.append(_judge_answer(call, *answer))
            if conditions.stop_early and not results[-1].passed:
                return


def _unanswered(process: Process) -> TestResult:
    if process.too_long:
        return TestResult(False, "the result is far longer than the expected one")
    return _ended(process, "no result")


def _ended(process: Process, words: str) -> TestResult:
    execution = process.stop()
    if execution.status is Status.BROKEN:
        return TestResult(None, execution.note)
    note = execution.note or "ended early"
    return TestResult(False, f"{words}: {note}")


def _judge_answer(call: Call, kind: bytes, body: bytes) -> TestResult:
    if kind == b"error":
        return TestResult(False, f"raised {plain(body, 100)}")
    try:
        right = call.accepts(body)
    except ValueError as error:
        return TestResult(False, plain(f"not a result: {error}", 200))
    return TestResult(right, "" if right else "another result")


def _compared_call(
    name: str, arguments: Sequence[Any], expected: Any, compare: ResultComparison, tolerance: float = 0.0
) -> Call:
    listed = list(arguments)
    try:
        if compare is ResultComparison.EITHER:
            several = [ReferenceResult(str(one), tolerance) for one in expected]
            longest = max(one.longest for one in several)
            return Call(name, listed, {}, lambda reply: any(one.near(reply) for one in several), longest)
        if (rule := _OF_RESULTS.get(compare)) is not None:
            kept = ReferenceResult(str(expected), tolerance)
            return Call(name, listed, {}, rule(kept, listed), kept.longest)
        if compare is ResultComparison.STRICT:
            expectation = Expected(expected, strict=True)
            return Call(name, listed, {}, expectation.equals, expectation.longest)
        wrapped = compare is ResultComparison.WRAPPED and isinstance(expected, list) and expected
        choices = [expected, expected[0]] if wrapped else [expected]
        wanted_one = [Expected(each, strict=False, tuples_as_lists=True) for each in choices]
    except (TypeError, ValueError) as error:
        raise AhaError(f"the expected result of {name} cannot be compared: {error}") from None

    def accepts(reply: bytes) -> bool:
        return any(each.equals(reply) for each in wanted_one)

    return Call(name, listed, {}, accepts, max(each.longest for each in wanted_one))


_OF_RESULTS: dict[ResultComparison, Callable[[ReferenceResult, list[Any]], Callable[[bytes], bool]]] = {
    ResultComparison.NEAR: lambda kept, _: kept.near,
    ResultComparison.MEMBERS: lambda kept, _: kept.members,
    ResultComparison.SOMETHING: lambda kept, _: kept.something,
    ResultComparison.ROOT: lambda kept, arguments: lambda reply: kept.root(arguments[0], reply),
}


def _message(call: Call) -> bytes:
    try:
        return wire.encode([call.name, list(call.arguments), call.named]).encode()
    except (TypeError, ValueError) as error:
        raise AhaError(
            f"an argument of {call.name} cannot be sent into the sandbox: {error}; use plain values"
        ) from None
