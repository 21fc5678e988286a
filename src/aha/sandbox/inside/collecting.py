"""Calls what test code only defined: ``check``, functions and classes of tests, with their parameters and
fixtures."""

from __future__ import annotations

import inspect
import types
import unittest
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from .pytest_parts import Skipped, capsys

BUILT_IN: dict[str, Callable[..., Any]] = {"capsys": capsys, "capfd": capsys}
"""Fixtures that no test defines."""
_PREPARING = ("setup_method", "setup")


def run_checks(space: dict[str, Any], entry_point: str, look_up: Callable[[str], Any]) -> None:
    """After test code has run: call ``check``, or every test that it defines."""
    if entry_point and callable(check := space.get("check")):
        _awaited(check(look_up(entry_point)))
        return
    for name, value in list(space.items()):
        if isinstance(value, type) and issubclass(value, unittest.TestCase):
            _run_unittest(value)
        elif name.startswith("test") and isinstance(value, types.FunctionType):
            _run_function(value, space)
        elif name.startswith("Test") and isinstance(value, type):
            _run_class(value, space)


def _run_unittest(kind: type[unittest.TestCase]) -> None:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(kind).run(result)
    for _, words in [*result.failures, *result.errors]:
        raise AssertionError(words.strip().rsplit("\n", 1)[-1])
    for test in result.unexpectedSuccesses:
        raise AssertionError(f"{test}: a success where a failure was expected")


def _run_class(kind: type, space: Mapping[str, Any]) -> None:
    for name in [each for each in dir(kind) if each.startswith("test")]:
        instance = kind()
        method = getattr(instance, name)
        for preparing in _PREPARING:
            if callable(prepare := getattr(instance, preparing, None)):
                prepare(*[method] * len(inspect.signature(prepare).parameters))
        own = {each: getattr(instance, each) for each in dir(kind) if not each.startswith("__")}
        _run_function(method, {**space, **own})


def _run_function(function: Callable[..., Any], space: Mapping[str, Any]) -> None:
    """Call a test function, once for each set of parameters that it is marked with."""
    sets: list[dict[str, Any]] = [{}]
    for mark in getattr(function, "pytestmark", []):
        if mark.name == "skip":
            return
        if mark.name == "parametrize":
            rows = mark.args[1] if len(mark.args) > 1 else mark.kwargs["argvalues"]
            names = mark.args[0] if mark.args else mark.kwargs["argnames"]
            sets = [parameters | row for parameters in sets for row in _parameters(names, rows)]
    for parameters in sets:
        with ExitStack() as ending:
            fixtures: dict[str, Any] = dict(parameters)
            try:
                _awaited(function(**_filled(function, parameters, space, ending, fixtures)))
            except Skipped:
                return


def _awaited(value: Any) -> None:
    """Tests may be coroutines."""
    if inspect.iscoroutine(value):
        import asyncio

        asyncio.run(value)


def _parameters(names: str | Sequence[str], rows: Iterable[Any]) -> list[dict[str, Any]]:
    listed = [each.strip() for each in names.split(",")] if isinstance(names, str) else list(names)
    of_rows = []
    for row in rows:
        is_set = type(row).__name__ == "ParameterSet"  # from pytest.param
        values = row.values if is_set else row if len(listed) > 1 else (row,)
        of_rows.append(dict(zip(listed, values, strict=True)))
    return of_rows


def _filled(
    function: Callable[..., Any],
    parameters: Mapping[str, Any],
    space: Mapping[str, Any],
    ending: ExitStack,
    fixtures: dict[str, Any],
) -> dict[str, Any]:
    """The arguments of a function: those given, and of its other parameters the fixtures of their names."""
    arguments = dict(parameters)
    for name, parameter in inspect.signature(function).parameters.items():
        if name in arguments or parameter.default is not parameter.empty:
            continue
        if name not in fixtures:
            maker = _maker(space.get(name)) or BUILT_IN.get(name)
            if maker is None:
                raise TypeError(f"a fixture that is not known: {name}")
            fixtures[name] = ending.enter_context(_value(maker, _filled(maker, {}, space, ending, fixtures)))
        arguments[name] = fixtures[name]
    return arguments


def _maker(fixture: Any) -> Callable[..., Any] | None:
    """The function behind a fixture: ours, or pytest's of any version."""
    if getattr(fixture, "is_fixture", False):
        return fixture
    if hasattr(fixture, "_get_wrapped_function"):
        return fixture._get_wrapped_function()
    wrapped = getattr(fixture, "__pytest_wrapped__", None)
    return wrapped.obj if wrapped is not None else None


@contextmanager
def _value(maker: Callable[..., Any], arguments: dict[str, Any]) -> Iterator[Any]:
    value = maker(**arguments)
    if inspect.iscoroutine(value):
        import asyncio

        value = asyncio.run(value)
    if not inspect.isgenerator(value):
        yield value
        return
    yield next(value)
    next(value, None)  # what stands behind its yield
