"""The parts of pytest that tests of data sets use, for test programs where pytest itself is not shown.

``raises``, ``approx``, ``fixture``, ``mark`` with its parameters, ``param``, ``fail`` and ``skip``. What a test
needs beyond them it does not find, so that its row is refused.
"""

from __future__ import annotations

import io
import math
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, NamedTuple, NoReturn

_NUMBERS = (int, float, complex)


class Skipped(Exception):
    """A test that says that it does not apply."""


class Failed(AssertionError):
    """A test that says that it failed, or that missed an exception."""


class ExceptionInfo:
    """What ``raises`` caught: ``value`` and ``type``."""

    value: Any = None
    type: Any = None

    def match(self, pattern: str) -> bool:
        """Whether the message matches. Raises AssertionError if it does not."""
        if re.search(pattern, str(self.value)) is None:
            raise AssertionError(f"{pattern!r} does not match {str(self.value)!r}")
        return True


class _Raises:
    def __init__(self, expected: Any, pattern: str | None) -> None:
        self._expected, self._pattern = expected, pattern
        self._info = ExceptionInfo()

    def __enter__(self) -> ExceptionInfo:
        return self._info

    def __exit__(self, kind: Any, error: Any, _trace: Any) -> bool:
        if kind is None:
            raise Failed(f"DID NOT RAISE {self._expected}")
        if not issubclass(kind, self._expected):
            return False
        self._info.value, self._info.type = error, kind
        if self._pattern is not None:
            self._info.match(self._pattern)
        return True


def raises(expected: Any, *call: Any, match: str | None = None, **named: Any) -> Any:
    """The block that follows, or a call, must raise an exception of a class."""
    caught = _Raises(expected, match)
    if not call:
        return caught
    with caught as info:
        call[0](*call[1:], **named)
    return info


class warns(warnings.catch_warnings):
    """The block that follows must give a warning of a class; gives the list of all."""

    def __init__(self, expected: Any = Warning, *, match: str | None = None) -> None:
        super().__init__(record=True)
        self._expected, self._pattern = expected, match
        self._given: Any = []

    def __enter__(self) -> Any:
        self._given = super().__enter__()
        warnings.simplefilter("always")
        return self._given

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        if error[0] is None and not any(map(self._is_expected, self._given)):
            raise Failed(f"DID NOT WARN. No warnings of type {self._expected}")

    def _is_expected(self, warning: Any) -> bool:
        matches = self._pattern is None or re.search(self._pattern, str(warning.message)) is not None
        return issubclass(warning.category, self._expected) and matches


class approx:
    """A number, or numbers in a list, a tuple or a dictionary, within a tolerance."""

    __array_ufunc__ = None  # numpy leaves the comparison to us
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, expected: Any, rel: float | None = None, abs: float | None = None, nan_ok: bool = False
    ) -> None:
        self._expected, self._rel, self._abs, self._nan_ok = expected, rel, abs, nan_ok

    def __repr__(self) -> str:
        return f"approx({self._expected!r})"

    def __eq__(self, other: object) -> bool:
        return self._near(_listed(self._expected), _listed(other))

    def _near(self, expected: Any, actual: Any) -> bool:
        if isinstance(expected, Mapping):
            same = type(actual) is dict and expected.keys() == actual.keys()
            return same and all(self._near(each, actual[key]) for key, each in expected.items())
        if isinstance(expected, (list, tuple)):
            same = isinstance(actual, (list, tuple)) and len(expected) == len(actual)
            return same and all(map(self._near, expected, actual))
        if isinstance(expected, bool) or not isinstance(expected, _NUMBERS):
            return bool(expected == actual)
        return isinstance(actual, _NUMBERS) and self._close(expected, actual)

    def _close(self, expected: Any, actual: Any) -> bool:
        if expected == actual:
            return True
        if expected != expected:
            return self._nan_ok and actual != actual
        if isinstance(expected, complex) or isinstance(actual, complex):
            return abs(expected - actual) <= self._tolerance(abs(expected))
        if math.isinf(expected) or math.isinf(actual):
            return False
        return abs(expected - actual) <= self._tolerance(abs(expected))

    def _tolerance(self, size: float) -> float:
        absolute = 1e-12 if self._abs is None else self._abs
        if self._rel is None and self._abs is not None:
            return absolute
        return max((1e-6 if self._rel is None else self._rel) * size, absolute)


def _listed(value: Any) -> Any:
    """numpy's arrays and numbers as Python's own."""
    return value.tolist() if type(value).__module__ == "numpy" else value


def fixture(function: Callable[..., Any] | None = None, **_: Any) -> Any:
    """Marks a function whose value tests take by its name."""
    if function is None:
        return fixture
    function.is_fixture = True  # type: ignore[attr-defined]
    return function


class Mark:
    """What a test is marked with."""

    def __init__(self, name: str, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> None:
        self.name, self.args, self.kwargs = name, args, kwargs or {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and isinstance(args[0], (types.FunctionType, type)):
            args[0].pytestmark = [*getattr(args[0], "pytestmark", []), self]  # type: ignore[union-attr]
            return args[0]
        return Mark(self.name, args, kwargs)


class _Marks:
    def __getattr__(self, name: str) -> Mark:
        return Mark(name)


class ParameterSet:
    """One row of parameters."""

    def __init__(self, *values: Any, **_: Any) -> None:
        self.values = values


class Captured(NamedTuple):
    """What was printed: ``out`` and ``err``."""

    out: str
    err: str


class CaptureFixture:
    """Takes what is printed, until it is read."""

    def __init__(self, out: io.StringIO, err: io.StringIO) -> None:
        self._streams = (out, err)

    def readouterr(self) -> Captured:
        """What was printed since the last time."""
        texts = [stream.getvalue() for stream in self._streams]
        for stream in self._streams:
            stream.seek(0)
            stream.truncate()
        return Captured(*texts)

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Nothing is taken inside."""
        with redirect_stdout(sys.__stdout__), redirect_stderr(sys.__stderr__):
            yield


def capsys() -> Iterator[CaptureFixture]:
    """The fixture of that name."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        yield CaptureFixture(out, err)


def fail(reason: str = "", **_: Any) -> NoReturn:
    """Fails the test."""
    raise Failed(reason)


def skip(reason: str = "", **_: Any) -> NoReturn:
    """Ends the test, which then says nothing."""
    raise Skipped(reason)


def module() -> types.ModuleType:
    """A module by the name of pytest with these parts."""
    built = types.ModuleType("pytest")
    built.__dict__.update(
        raises=raises, approx=approx, fixture=fixture, mark=_Marks(), param=ParameterSet, fail=fail, skip=skip,
        warns=warns, ExceptionInfo=ExceptionInfo, CaptureFixture=CaptureFixture,
    )  # fmt: skip
    return built
