"""Judges by assert statements, as HumanEval and MBPP have them, without showing them to the candidate.

``assert f(2, 3) == 5`` becomes a call whose result is compared here. Tests that say more than that run in a
sandbox of their own, and reach the candidate, in another one, by calls that carry plain values.
"""

from __future__ import annotations

import ast
import builtins
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from aha.types import AhaError

from . import names
from .execution import Limits, Status
from .inside import wire
from .judge import Call, Clock, Conditions, Judgement, TestResult, answer_of, judge_calls, load, new_nonce
from .pool import Losses, Sandbox, default_sandbox
from .process import MAX_MESSAGE, Gone, Process, plain
from .reply import Expected, is_constant, is_true

_PREPARATION = 60.0  # seconds that tests may take before they call anything
_REMEMBERED = 512  # test sources, which many programs are judged by; some are a megabyte long
_READS_OUTPUT = ("stdout", "stderr", "capsys", "capfd")
_IGNORED = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.Pass)


def judge_asserts(
    code: str,
    tests: str | Sequence[str],
    entry_point: str = "",
    *,
    sandbox: Sandbox | None = None,
    wall: float = 4,
    memory_mb: int = 1024,
    prelude: str = "",
) -> Judgement:
    """Judge a program by test sources: one result for each.

    A source is a list of asserts, or defines ``check(candidate)``, which is then called with the function
    named by ``entry_point``. It may define helpers; names that it does not define are the candidate's.
    ``==`` means what it means in Python. ``prelude`` runs before the program, and before tests that stand on
    their own: imports and helpers of the data set. ``wall`` seconds are for a whole source. Raises AhaError for a
    source that does not parse.
    """
    sources = [tests] if isinstance(tests, str) else list(tests)
    conditions = Conditions(
        sandbox or default_sandbox(), wall, memory_mb, prelude, stop_early=True, together=True
    )
    return Judgement(tuple(_judge_source(code, source, entry_point, conditions) for source in sources))


def check_source(source: str, prelude: str = "") -> None:
    """Raise AhaError for a test source that does not parse or cannot be judged (for whoever loads tests)."""
    if reason := names.unjudgeable(_parse(source), prelude):
        raise AhaError(f"{reason}, which is not possible from outside its process")


@lru_cache(maxsize=_REMEMBERED)
def rewrite(source: str, entry_point: str = "", prelude: str = "") -> Sequence[Call] | None:
    """The calls that a test source makes and what they must give; None if it says more than that."""
    tree = _parse(source)
    own = names.bound(tree) | names.bound(_parse(prelude)) | set(dir(builtins))
    own -= {entry_point} | names.candidate_builtins(tree, entry_point)
    calls: list[Call] = []
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "check" and entry_point:
            arguments = statement.args.args
            if len(arguments) != 1 or not _collect(
                statement.body, {arguments[0].arg: entry_point}, own, calls
            ):
                return None
        elif not names.is_check_call(statement, entry_point) and not _collect([statement], {}, own, calls):
            return None
    return calls or None


def _judge_source(code: str, source: str, entry_point: str, conditions: Conditions) -> TestResult:
    calls = rewrite(source, entry_point, conditions.prelude)
    if calls is None:
        return _in_two_sandboxes(code, source, entry_point, conditions)
    judgement = judge_calls(code, calls, conditions)
    for index, result in enumerate(judgement.results):
        if result.passed is not True:
            return TestResult(result.passed, f"assert {index + 1}: {result.note}")
    return TestResult(True)


def _collect(statements: list[ast.stmt], aliases: dict[str, str], own: set[str], calls: list[Call]) -> bool:
    """Add the calls of asserts; False at the first statement that is more than a call and a literal."""
    for statement in statements:
        if isinstance(statement, ast.Assert):
            if isinstance(statement.test, ast.Constant) and statement.test.value is True:
                continue
            call = _call_of(statement.test, aliases, own)
            if call is None:
                return False
            calls.append(call)
        elif not _says_nothing(statement):
            return False
    return True


def _says_nothing(statement: ast.stmt) -> bool:
    """Whether it tests nothing by itself. (Functions of tests are called after the source has run.)"""
    if isinstance(statement, ast.FunctionDef) and statement.name.startswith("test"):
        return False
    return isinstance(statement, _IGNORED) or _is_plain_data(statement)


def _is_plain_data(statement: ast.stmt) -> bool:
    """A docstring, or a constant given a name (which no rewritten assert can mention)."""
    if isinstance(statement, (ast.Expr, ast.Assign)):
        try:
            ast.literal_eval(statement.value)
        except ValueError:
            return False
        return isinstance(statement, ast.Expr) or all(
            isinstance(each, ast.Name) for each in statement.targets
        )
    return False


def _call_of(test: ast.expr, aliases: dict[str, str], own: set[str]) -> Call | None:
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        left, right = test.left, test.comparators[0]
        if not isinstance(left, ast.Call):
            left, right = right, left
        return _compared(left, test.ops[0], right, aliases, own)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return _called(test.operand, lambda reply: not is_true(reply), MAX_MESSAGE, aliases, own)
    return _called(test, is_true, MAX_MESSAGE, aliases, own)


def _compared(
    left: ast.expr, operator: ast.cmpop, right: ast.expr, aliases: dict[str, str], own: set[str]
) -> Call | None:
    try:
        expected = ast.literal_eval(right)
        expectation = Expected(expected, strict=False)
    except (ValueError, TypeError):
        return None
    if isinstance(operator, ast.Eq):
        return _called(left, expectation.equals, expectation.longest, aliases, own)
    if isinstance(operator, ast.Is) and (expected is None or isinstance(expected, bool)):
        return _called(left, lambda reply: is_constant(expected, reply), MAX_MESSAGE, aliases, own)
    return None


def _called(
    node: ast.expr, accepts: Any, longest: int, aliases: dict[str, str], own: set[str]
) -> Call | None:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return None
    name = aliases.get(node.func.id, node.func.id)
    if name in own:
        return None
    try:
        arguments = [ast.literal_eval(each) for each in node.args]
        named = {each.arg: ast.literal_eval(each.value) for each in node.keywords if each.arg}
        wire.encode([arguments, named])
    except (ValueError, TypeError):
        return None
    if len(named) != len(node.keywords):
        return None
    return Call(name, arguments, named, accepts, longest)


def _parse(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise AhaError(
            f"the tests do not parse: {error}; they begin {source[:80]!r}. Correct the data."
        ) from None


@lru_cache(maxsize=_REMEMBERED)
def _test_program(source: str, entry_point: str, prelude: str) -> dict[str, Any]:
    """What the sandbox of the tests is told."""
    tree = names.without_candidate(_parse(source), entry_point)
    text = ast.unparse(tree)
    own = names.candidate_builtins(tree, entry_point)
    return {
        "mode": "tests",
        "code": text,
        "prelude": prelude,
        "shared": names.classes(prelude),
        "names": sorted(names.free(text, prelude) | own),
        "builtins": sorted(own),
        "entry_point": entry_point,
        "printed": any(word in source for word in _READS_OUTPUT),
        "reads": "stdin" in source or "builtins.input" in source,
        "warns": "warn" in source.lower(),
    }


def _in_two_sandboxes(code: str, source: str, entry_point: str, conditions: Conditions) -> TestResult:
    if reason := names.unjudgeable(_parse(source), conditions.prelude):
        return TestResult(None, f"tests: {reason}")
    tests = _test_program(source, entry_point, conditions.prelude)
    candidate = {
        "mode": "serve",
        "code": code,
        "prelude": conditions.prelude,
        "shared": tests["shared"],
        "printed": tests["printed"],
        "reads": tests["reads"],
        "warns": tests["warns"],
        "nonce": new_nonce(),
        "whole": True,
    }
    losses = Losses(conditions.sandbox)
    while losses.may_try_again:
        try:
            return _ask_and_answer(candidate, tests, conditions)
        except Gone as error:
            losses.add(error)
    return TestResult(False if losses.by_the_program() else None, losses.note)


def _ask_and_answer(candidate: dict[str, Any], tests: dict[str, Any], conditions: Conditions) -> TestResult:
    sandbox, clock = conditions.sandbox, Clock(conditions.wall, together=True)
    limits = Limits(wall=2 * conditions.wall, memory_mb=conditions.memory_mb)
    with sandbox.process(tests, limits, tests=True) as asking:
        asking.enter()
        asking.allowed = conditions.wall
        # Up to their first call the tests know nothing of the candidate: that is not its time.
        first = asking.next_message(time.monotonic() + _PREPARATION)
        if first is None or not first.startswith(b"call\n"):
            return TestResult(None, f"tests: {plain(first or asking.stop().note)}")
        with sandbox.process(candidate, limits) as answering:
            answering.ends_with = (asking,)
            asking.ends_with = (answering,)
            deadline = load(answering, candidate["nonce"], clock)
            if isinstance(deadline, TestResult):
                return deadline
            return _relay(asking, answering, candidate["nonce"], deadline, first)


def _relay(
    asking: Process, answering: Process, nonce: str, deadline: float, message: bytes | None
) -> TestResult:
    """Carry calls to the candidate and results back until the tests come to an end."""
    while True:
        if message is None:
            execution = asking.stop()
            return TestResult(
                None if execution.status is Status.BROKEN else False, f"tests: {execution.note}"
            )
        kind, _, body = message.partition(b"\n")
        if kind == b"passed":
            return TestResult(True)
        if kind != b"call":
            return TestResult(None if kind == b"error" else False, plain(body) or "failed")
        answer = answer_of(answering.ask(body, deadline), nonce, (b"value", b"error", b"back"))
        if answer is None:
            return TestResult(False, f"no result: {answering.stop().note or 'ended early'}")
        asking.send(b"\n".join(answer))
        message = asking.next_message(deadline)
