"""Judges of programs by their output and of functions by their results.

The expected values stay here. What is compared with them is data that came out of the sandbox; that a program
ended well, or said so, proves nothing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aha.types import AhaError

from .compare import same_output, same_value
from .execution import Limits, Status
from .inside import wire
from .pool import Sandbox, default_sandbox
from .process import Gone, Process


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
    """A call to judge: ``accepts`` looks at the decoded result, ``wanted`` bounds how long it may be."""

    name: str
    arguments: Sequence[Any]
    named: dict[str, Any]
    accepts: Callable[[Any], bool]
    wanted: int
    strict: bool = True


def judge_stdio(
    code: str,
    tests: Sequence[tuple[str | bytes, str | bytes]],
    *,
    sandbox: Sandbox | None = None,
    wall: float = 4,
    memory_mb: int = 1024,
    stop_early: bool = False,
) -> Judgement:
    """Judge a program by (stdin, expected stdout) pairs, each in a run of its own.

    A test passes if the program ends by itself with exit code 0 within ``wall`` seconds and ``memory_mb``,
    and its output is the expected one (see ``same_output``). ``stop_early`` ends at the first failure.
    """
    sandbox = sandbox or default_sandbox()
    results: list[TestResult] = []
    for stdin, expected in tests:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        execution = sandbox.run(code, given, wall=wall, memory_mb=memory_mb)
        if execution.status is Status.BROKEN:
            result = TestResult(None, execution.note)
        elif execution.status is not Status.OK:
            result = TestResult(False, f"{execution.status}: {execution.note}")
        else:
            right = same_output(expected, execution.stdout)
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
) -> Judgement:
    """Judge a function by (arguments, expected result) pairs, compared by strict type (see ``same_value``).

    ``entry_point`` is a function's name, or ``Class.method`` for a method of a new instance. Arguments and
    results are plain Python values (what JSON has, and tuples, sets, bytes). The calls share one process as
    long as it lives; each has ``wall`` seconds. Raises AhaError for an argument that cannot travel.
    """
    calls = [_strict_call(entry_point, arguments, expected) for arguments, expected in tests]
    return judge_calls(code, calls, sandbox=sandbox, wall=wall, memory_mb=memory_mb, stop_early=stop_early)


def judge_calls(
    code: str,
    calls: Sequence[Call],
    *,
    sandbox: Sandbox | None,
    wall: float,
    memory_mb: int,
    stop_early: bool,
) -> Judgement:
    """Judge calls one after another; a process that dies costs the call it died in."""
    sandbox = sandbox or default_sandbox()
    messages = [_message(call) for call in calls]
    results: list[TestResult] = []
    while len(results) < len(calls):
        rest = slice(len(results), None)
        found = _one_process(sandbox, code, calls[rest], messages[rest], wall, memory_mb, stop_early)
        results += found
        if stop_early and any(result.passed is False for result in found):
            break
    return Judgement(tuple(results))


def load(process: Process, nonce: str, wall: float) -> TestResult | None:
    """Wait until a candidate's module is loaded; a result if it is not."""
    process.enter()
    hello = process.next_message(time.monotonic() + wall)
    if hello == f"{nonce}\nready".encode():
        return None
    return _ended(process, "does not load")


def answer_of(message: bytes | None, nonce: str) -> tuple[bytes, bytes] | None:
    """The kind ("value" or "error") and the body of a reply; None if it is not one."""
    head = nonce.encode() + b"\n"
    if message is None or not message.startswith(head):
        return None
    kind, separator, body = message[len(head) :].partition(b"\n")
    return (kind, body) if separator and kind in (b"value", b"error") else None


def new_nonce() -> str:
    """A word that tells the runner's replies from bytes that a program writes blindly."""
    return secrets.token_hex(8)


def _one_process(
    sandbox: Sandbox,
    code: str,
    calls: Sequence[Call],
    messages: Sequence[bytes],
    wall: float,
    memory_mb: int,
    stop_early: bool,
) -> list[TestResult]:
    """The results of as many calls as one process lives for: at least one."""
    nonce = new_nonce()
    spec = {"mode": "serve", "code": code, "nonce": nonce}
    limits = Limits(wall=wall * (len(calls) + 1), memory_mb=memory_mb)
    results: list[TestResult] = []
    try:
        with sandbox.process(spec, limits) as process:
            if failed := load(process, nonce, wall):
                return [failed] * len(calls)
            for call, message in zip(calls, messages, strict=True):
                reply = process.ask(message, time.monotonic() + wall)
                answer = answer_of(reply, nonce)
                if answer is None:
                    results.append(_ended(process, "no result"))
                    return results
                results.append(_judge_answer(call, *answer))
                if stop_early and not results[-1].passed:
                    return results
    except Gone as error:
        # Not the program's doing, and not known where: the calls that have no result are not judged.
        results += [TestResult(None, str(error))] * (len(calls) - len(results))
    return results


def _ended(process: Process, words: str) -> TestResult:
    execution = process.stop()
    if execution.status is Status.BROKEN:
        return TestResult(None, execution.note)
    note = execution.note or "ended early"
    return TestResult(False, f"{words}: {note}")


def _judge_answer(call: Call, kind: bytes, body: bytes) -> TestResult:
    if kind == b"error":
        return TestResult(False, f"raised {body[:100].decode('utf-8', 'replace')}")
    # A right result is about as long as the expected one; nothing longer is worth reading.
    if len(body) > 64 * call.wanted + 4096:
        return TestResult(False, "the result is far longer than the expected one")
    try:
        right = call.accepts(wire.decode(body, strict=call.strict))
    except (ValueError, RecursionError) as error:
        return TestResult(False, f"not a result: {error}"[:200])
    return TestResult(right, "" if right else "another result")


def _strict_call(entry_point: str, arguments: Sequence[Any], expected: Any) -> Call:
    try:
        wanted = len(wire.encode(expected))
    except (TypeError, ValueError) as error:
        raise AhaError(f"the expected result of {entry_point} cannot be compared: {error}") from None
    return Call(entry_point, list(arguments), {}, lambda value: same_value(expected, value), wanted)


def _message(call: Call) -> bytes:
    try:
        return wire.encode([call.name, list(call.arguments), call.named]).encode()
    except (TypeError, ValueError) as error:
        raise AhaError(
            f"an argument of {call.name} cannot be sent into the sandbox: {error}; use plain values"
        ) from None
