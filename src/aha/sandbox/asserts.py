"""Judges by assert statements, as HumanEval and MBPP have them, without showing them to the candidate.

``assert f(2, 3) == 5`` becomes a call whose result is compared here. Tests that say more than that run in a
sandbox of their own, and reach the candidate, in another one, by calls that carry plain values.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Sequence
from typing import Any

from aha.types import AhaError

from .execution import Limits, Status
from .inside import wire
from .judge import Call, Clock, Judgement, TestResult, answer_of, judge_calls, load, new_nonce
from .pool import Losses, Sandbox, default_sandbox
from .process import MAX_MESSAGE, Gone, Process, plain
from .reply import Expected, is_constant, is_true

_IGNORED = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Pass)


def judge_asserts(
    code: str,
    tests: str | Sequence[str],
    entry_point: str = "",
    *,
    sandbox: Sandbox | None = None,
    wall: float = 4,
    memory_mb: int = 1024,
) -> Judgement:
    """Judge a program by test sources: one result for each.

    A source is a list of asserts, or defines ``check(candidate)``, which is then called with the function
    named by ``entry_point``. It may define helpers; names that it does not define are the candidate's.
    ``==`` means what it means in Python. ``wall`` seconds are for a whole source. Raises AhaError for a
    source that does not parse.
    """
    sources = [tests] if isinstance(tests, str) else list(tests)
    sandbox = sandbox or default_sandbox()
    return Judgement(
        tuple(_judge_source(code, source, entry_point, sandbox, wall, memory_mb) for source in sources)
    )


def check_source(source: str) -> None:
    """Raise AhaError if a test source does not parse (for whoever loads tests)."""
    _parse(source)


def rewrite(source: str, entry_point: str = "") -> list[Call] | None:
    """The calls that a test source makes and what they must give; None if it says more than that."""
    tree = _parse(source)
    bound = _bound_names(tree) - {entry_point}
    calls: list[Call] = []
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "check" and entry_point:
            arguments = statement.args.args
            if len(arguments) != 1 or not _collect(
                statement.body, {arguments[0].arg: entry_point}, bound, calls
            ):
                return None
        elif not _is_check_call(statement, entry_point) and not _collect([statement], {}, bound, calls):
            return None
    return calls or None


def _judge_source(
    code: str, source: str, entry_point: str, sandbox: Sandbox, wall: float, memory_mb: int
) -> TestResult:
    calls = rewrite(source, entry_point)
    if calls is None:
        return _in_two_sandboxes(code, source, entry_point, sandbox, wall, memory_mb)
    judgement = judge_calls(
        code, calls, sandbox=sandbox, wall=wall, memory_mb=memory_mb, stop_early=True, together=True
    )
    for index, result in enumerate(judgement.results):
        if result.passed is not True:
            return TestResult(result.passed, f"assert {index + 1}: {result.note}")
    return TestResult(True)


def _collect(statements: list[ast.stmt], names: dict[str, str], bound: set[str], calls: list[Call]) -> bool:
    """Add the calls of asserts; False at the first statement that is more than a call and a literal."""
    for statement in statements:
        if isinstance(statement, ast.Assert):
            if isinstance(statement.test, ast.Constant) and statement.test.value is True:
                continue
            call = _call_of(statement.test, names, bound)
            if call is None:
                return False
            calls.append(call)
        elif not isinstance(statement, _IGNORED) and not _is_plain_data(statement):
            return False
    return True


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


def _call_of(test: ast.expr, names: dict[str, str], bound: set[str]) -> Call | None:
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        left, right = test.left, test.comparators[0]
        if not isinstance(left, ast.Call):
            left, right = right, left
        return _compared(left, test.ops[0], right, names, bound)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return _called(test.operand, lambda reply: not is_true(reply), MAX_MESSAGE, names, bound)
    return _called(test, is_true, MAX_MESSAGE, names, bound)


def _compared(
    left: ast.expr, operator: ast.cmpop, right: ast.expr, names: dict[str, str], bound: set[str]
) -> Call | None:
    try:
        expected = ast.literal_eval(right)
        wanted = Expected(expected, strict=False)
    except (ValueError, TypeError):
        return None
    if isinstance(operator, ast.Eq):
        return _called(left, wanted.equals, wanted.longest, names, bound)
    if isinstance(operator, ast.Is) and (expected is None or isinstance(expected, bool)):
        return _called(left, lambda reply: is_constant(expected, reply), MAX_MESSAGE, names, bound)
    return None


def _called(
    node: ast.expr, accepts: Any, longest: int, names: dict[str, str], bound: set[str]
) -> Call | None:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return None
    name = names.get(node.func.id, node.func.id)
    if name in bound or (hasattr(builtins, name) and name not in names.values()):
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


def _is_check_call(statement: ast.stmt, entry_point: str) -> bool:
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return False
    return ast.unparse(statement.value) == f"check({entry_point})"


def _parse(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise AhaError(
            f"the tests do not parse: {error}; they begin {source[:80]!r}. Correct the data."
        ) from None


def _bound_names(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
    return found


def _without(tree: ast.Module, entry_point: str) -> ast.Module:
    """The tests without a stub of the candidate and without the call of ``check``, which the runner makes."""
    body = [
        each
        for each in tree.body
        if not (isinstance(each, ast.FunctionDef) and each.name == entry_point)
        and not (entry_point and _is_check_call(each, entry_point))
    ]
    return ast.Module(body, tree.type_ignores)


def _in_two_sandboxes(
    code: str, source: str, entry_point: str, sandbox: Sandbox, wall: float, memory_mb: int
) -> TestResult:
    tree = _without(_parse(source), entry_point)
    loaded = {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    free = loaded - _bound_names(tree) - set(dir(builtins))
    tests = {"mode": "tests", "code": ast.unparse(tree), "names": sorted(free), "entry_point": entry_point}
    nonce = new_nonce()
    candidate = {"mode": "serve", "code": code, "nonce": nonce}
    limits = Limits(wall=2 * wall, memory_mb=memory_mb)
    losses = Losses(sandbox)
    while losses.may_try_again:
        try:
            return _ask_and_answer(sandbox, candidate, tests, limits, Clock(wall, together=True))
        except Gone as error:
            losses.add(error)
    return TestResult(False if losses.by_the_program() else None, losses.note)


def _ask_and_answer(
    sandbox: Sandbox, candidate: dict[str, Any], tests: dict[str, Any], limits: Limits, clock: Clock
) -> TestResult:
    # The tests are entered first: what their wall takes to set up is not the candidate's time.
    with sandbox.process(tests, limits, tests=True) as asking:
        asking.enter()
        with sandbox.process(candidate, limits) as answering:
            deadline = load(answering, candidate["nonce"], clock)
            if isinstance(deadline, TestResult):
                return deadline
            return _relay(asking, answering, candidate["nonce"], deadline)


def _relay(asking: Process, answering: Process, nonce: str, deadline: float) -> TestResult:
    """Carry calls to the candidate and results back until the tests come to an end."""
    while True:
        message = asking.next_message(deadline)
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
        answer = answer_of(answering.ask(body, deadline), nonce)
        if answer is None:
            return TestResult(False, f"no result: {answering.stop().note or 'ended early'}")
        asking.send(b"\n".join(answer))
