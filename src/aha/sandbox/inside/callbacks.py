"""On the program's side: what stands for the functions, objects and awaitables of the tests that it was passed."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import wire

if TYPE_CHECKING:
    from .program_loop import ProgramLoop

# The numbers of the functions of the tests' side, as ``asking`` lists them.
PRINTED = -1  # takes what the program printed
READ = -2  # says what the program reads
REFRESHED = -3  # takes what the program did to containers that the tests know
ATTRIBUTE = -4  # gives an attribute of an object of the tests
SPECIAL = -5  # calls a special method of one
DESCRIBED = -6  # says what one is, see ``own_objects.describe``
AWAITED = -7  # awaits one to its end
WARNED = -8  # takes a warning of the program
LATER = -9  # says what became of a call that was not over

_NAMES = """
call len iter next contains getitem setitem delitem enter exit await aenter aexit aiter anext bool str repr format
int float index hash eq ne lt le gt ge add radd sub rsub mul rmul truediv rtruediv floordiv mod pow neg abs and or
length_hint reversed
"""
SPECIALS = tuple(f"__{name}__" for name in _NAMES.split())
"""What a program may do with an object of the tests that has it."""
AskBack = Callable[[int, tuple[Any, ...], dict[str, Any]], Any]


class Callback:
    """A function, an object or an awaitable of the tests."""

    def __init__(self, number: int, ask: AskBack, described: Callable[[BaseException], Any]) -> None:
        self.number = number
        self._ask_back = ask
        self._described = described

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._ask_back(ATTRIBUTE, (self, name), {})

    def _special(self, name: str, arguments: tuple[Any, ...]) -> Any:
        kind, value = self._ask_back(SPECIAL, (self, name, *arguments), {})  # (see ``own_objects.special``)
        if kind == "end":
            raise StopIteration
        return NotImplemented if kind == "no" else value


class Callbacks:
    """Those of one conversation, by their numbers: the same object whenever it comes."""

    def __init__(
        self,
        ask: AskBack,
        loop: ProgramLoop,
        described: Callable[[BaseException], Any],
        error_of: Callable[[list[str], str, int], Exception],
    ) -> None:
        self._ask, self._loop, self._described, self._error_of = ask, loop, described, error_of
        self._made: dict[int, Any] = {}
        self._classes: dict[tuple[str, ...], type[Callback]] = {}

    def get(self, number: int) -> Any:
        """What stands for the tests' object of a number below zero: for an exception one of its kind."""
        if number not in self._made:
            plain = Callback(number, self._ask, self._described)
            self.learn(number, *self._ask(DESCRIBED, (plain,), {}))
        return self._made[number]

    def learn(self, number: int, specials: list[str], function: Any, error: Any) -> None:
        """Make what stands for an object of the tests, by its description (see ``own_objects.describe``)."""
        if error:
            self._made[number] = self._error_of(error[0], error[1], number)
            return
        callback: Callback = self._class(tuple(specials))(number, self._ask, self._described)
        if function:
            _dress(callback, *function)
        self._made[number] = callback

    def _class(self, specials: tuple[str, ...]) -> type[Callback]:
        if specials not in self._classes:
            own = {name: _forwarding(name) for name in specials}
            own.setdefault("__hash__", object.__hash__)
            if "__await__" in own:
                own["__await__"] = lambda callback: self._waiting(callback)
            kind: Any = type("Callback", (Callback,), own)
            wire.REMOTE.add(kind)
            self._classes[specials] = kind
        return self._classes[specials]

    def _waiting(self, callback: Callback) -> Any:
        return self._loop.wait_for_tests(callback) if self._loop.turns else self._at_once(callback)

    def _at_once(self, callback: Callback) -> Any:
        """In a loop of the program's own, which the tests' cannot join."""
        return self._ask(AWAITED, (callback,), {})
        yield


def _forwarding(name: str) -> Callable[..., Any]:
    if name == "__call__":
        return lambda self, *arguments, **named: self._ask_back(self.number, arguments, named)
    if name in ("__exit__", "__aexit__"):
        return lambda self, kind, error, trace: self._special(name, (error and self._described(error),))
    return lambda self, *arguments: self._special(name, arguments)


def _dress(callback: Callback, name: str, is_coroutine_function: bool, parameters: Any) -> None:
    """What decorators look at: a name, a signature, and whether it is a coroutine function."""
    own = callback.__dict__
    if name:
        own |= {"__name__": name, "__qualname__": name}
    if parameters is not None:
        empty = inspect.Parameter.empty
        listed = [
            inspect.Parameter(each, inspect._ParameterKind(kind), default=default[0] if default else empty)
            for each, kind, default in parameters
        ]
        own["__signature__"] = inspect.Signature(listed)
        positional = [each.name for each in listed if each.kind <= inspect.Parameter.POSITIONAL_OR_KEYWORD]
        own["__code__"] = types.SimpleNamespace(co_argcount=len(positional), co_varnames=tuple(positional))
    if is_coroutine_function:
        from asyncio import coroutines

        own["_is_coroutine"] = coroutines._is_coroutine  # type: ignore[attr-defined]


def let_inspect_know() -> None:
    """``inspect`` says of a coroutine function of the tests that it is one."""
    real = inspect.iscoroutinefunction

    def iscoroutinefunction(obj: Any) -> bool:
        return real(obj) or (isinstance(obj, Callback) and "_is_coroutine" in obj.__dict__)

    inspect.iscoroutinefunction = iscoroutinefunction


wire.REMOTE.add(Callback)
