"""The tests' side of a conversation: runs test code whose calls to the candidate are answered from outside."""

from __future__ import annotations

import importlib
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from . import channel, wire
from .aliases import Aliases
from .callbacks import LATER
from .errors import known_error, make_error
from .own_objects import attribute, await_here, describe, is_of_tests, may_block, special
from .program_loop import PENDING, is_pending
from .program_threads import ThreadsOfOthers
from .questions import STATES, state_of
from .remote import HELD, Remote, hold
from .tests_loop import TestsLoop
from .waits import Waits

_OF_ONE_THREAD = ("@turn", "@end", "@become", "@state", "@poll", "@cancel", "@result", "@name", "@rest")
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02  # seconds between two questions whether a call is over


class Asking:
    """Asks the candidate; remembers whether that was ever done."""

    def __init__(self, request: int, reply: int, source: str = "") -> None:
        self._request, self._reply = request, reply
        self.shared: dict[str, type] = {}  # classes that both sides define: their instances travel by value
        self._side = wire.WireSide(self.shared, keeps=False)
        self._remotes: dict[int, Remote] = {}
        self._functions: list[Callable[..., Any]] = [
            _printed,
            _read,
            self._refresh,
            attribute,
            special(self._error),
            describe,
            await_here,
            self._warned,
            lambda *_: None,  # stands at the place of LATER
        ]  # as ``callbacks`` numbers them
        self._numbers = {id(each): at for at, each in enumerate(self._functions)}
        self._states: list[str] = []  # what the tests may set of the process: ``share_state``
        self._told: dict[str, Any] = {}
        self._aliases = Aliases(lambda value: wire.encode(self._outgoing_within(value), self._side))
        self._errors: dict[str, type[Exception]] = {}  # the candidate's classes, by name
        self.calls = 0
        self.loop = TestsLoop(self.ask, "CancelledError" in source)
        self._turn = threading.RLock()  # tests may call from several threads
        self._threads = ThreadsOfOthers(lambda number: self._encoded((PENDING, number)))
        self._sleep = time.sleep
        self.waits = Waits(self.rest)

    def ask(self, name: str, *arguments: Any, **named: Any) -> Any:
        """The result of an operation (``@...``, see ``answering.OPERATIONS``) or of a call of a function by name."""
        own_threads = threading.active_count() - self._threads.count
        alone = own_threads == 1 or name in _OF_ONE_THREAD or asyncio_loop() is not None
        value = self._exchange(name, arguments, named, alone)
        pause = _SHORTEST_PAUSE
        while not alone and is_pending(value):  # others of our threads may ask meanwhile
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            value = self._exchange("@poll", (value[1],), {}, True)
        if type(value) is wire.Changed:
            for ours, theirs in zip((*arguments, *named.values()), value.arguments, strict=False):
                _become(ours, theirs)
            value = value.value
        return [*arguments, *named.values()][value.place] if type(value) is wire.Same else value

    def _exchange(self, name: str, arguments: tuple[Any, ...], named: dict[str, Any], alone: bool) -> Any:
        with self._turn:
            if not name.startswith(("@become", "@state")):
                self._tell_state()
            if name != "@become" and (pairs := self._aliases.changed()):
                self.ask("@become", [(number, self._outgoing_within(value)) for number, value in pairs])
            in_loop = asyncio_loop() is not None
            sent = [self._outgoing(each) for each in arguments]
            where = in_loop if alone else threading.get_ident()
            text = wire.encode([name, sent, self._outgoing(named), where], self._side)
            self.calls += name not in ("@turn", "@end", "@become", "@poll", "@rest")
            self.loop.busy |= in_loop
            channel.write_frame(self._reply, b"call\n" + text.encode())
            return self._answered()

    def rest(self, seconds: float) -> None:
        """Let time pass in which the program's threads go on and can call back."""
        if not self.calls or asyncio_loop() is not None:
            self._sleep(seconds)
            return
        shared = threading.active_count() - self._threads.count > 1  # others want to ask meanwhile
        part = min(seconds, _SHORTEST_PAUSE) if shared else seconds
        if not self.ask("@rest", part):
            self._sleep(seconds)
        elif seconds > part:
            self._sleep(seconds - part)

    def share_state(self, source: str) -> None:
        """Let the program have what the tests set of the process that both seem to share."""
        self._states = [state for state in STATES if state.split(".")[-1] in source]
        self._told = {state: state_of(state) for state in self._states}
        if "seed" in source:
            import random

            real = random.seed

            def seed(*arguments: Any, **named: Any) -> None:
                real(*arguments, **named)
                self._tell("random.seed", arguments[0] if arguments else named.get("a"))

            random.seed = seed  # type: ignore[assignment]

    def _tell_state(self) -> None:
        for state in self._states:
            if (value := state_of(state)) != self._told[state]:
                self._told[state] = value
                self._tell(state, value)

    def _tell(self, state: str, value: Any) -> None:
        with suppress(Exception):
            self.ask("@state", state, value)
            self.calls -= 1  # the tests did not use the program by this

    def _refresh(self, pairs: list[tuple[int, Any]]) -> None:
        self._aliases.refresh(pairs)

    def look_up(self, path: str) -> Any:
        """The candidate's object of a name; something that raises on every use if it has none."""
        try:
            return self.ask("@name", path)
        except Exception as error:
            return _Missing(path, error)

    def _warned(self, message: str, names: list[str]) -> None:
        """A warning of the candidate, as if it had been given here."""
        kind = self._error_class(names)
        warnings.warn(message, kind if issubclass(kind, Warning) else UserWarning, stacklevel=2)

    def _answered(self) -> Any:
        """The answer; while there is none yet, what the candidate calls is called."""
        while (message := channel.read_frame(self._request)) is not None:
            kind, _, body = message.partition(b"\n")
            if kind == b"back":
                channel.write_frame(self._reply, b"call\n" + self._called_back(body))
                continue
            if kind == b"error":
                raise self._error(*self._received(body))
            return self._received(body)
        raise RuntimeError("the candidate is gone")

    def _error(self, names: list[str], message: str, number: int, inner: Any = ()) -> Exception:
        """The candidate's exception: of a class of its own, which the tests may name later, or of Python's. One of the
        tests' own comes back as it was."""
        if number < 0 and isinstance(own := self._functions[-number - 1], Exception):
            return own
        kind = self._error_class(names)
        if inner and issubclass(kind, ExceptionGroup):
            return kind(message, [self._error(*each) for each in inner])
        remote = self._remote(number)
        error = make_error(kind, message or "in the candidate", lambda _, name: _field(remote, name))
        error._remote = remote  # type: ignore[attr-defined]
        return error

    def _error_class(self, names: list[str]) -> type[Exception]:
        """The class of exceptions with these names, itself first, each below the next."""
        kind: type[Exception] | None = None
        for name in reversed(names):
            if known := known_error(name):
                kind = known
            else:
                created: Any = type(name.rpartition(".")[2], (kind or Exception,), {"__getattr__": _asked})
                kind = self._errors.setdefault(name, created)
        return kind or RuntimeError

    def error_class(self, remote: Remote) -> type[Exception] | Remote:
        """For a class of exceptions one that tests can catch; for anything else what it was."""
        names = self.ask("@error_classes", remote)
        return self._error_class(names) if names else remote

    def _called_back(self, body: bytes) -> bytes:
        try:
            number, arguments, named, thread = self._received(body)
            if number == LATER:
                return b"=" + self._threads.result(*arguments).encode()
            function = self._functions[-number - 1]
            if type(thread) is int and thread and may_block(function, arguments):
                return b"=" + self._begun(thread, lambda: function(*arguments, **named)).encode()
            return self._described(function(*arguments, **named))
        except Exception as error:
            return b"!" + self._encoded(error).encode()

    def _begun(self, thread: int, work: Callable[[], Any]) -> str:
        """A call that may wait for others, in what stands for a thread of the program."""
        return self._threads.begin(thread, lambda: self._encoded(work()))

    def _described(self, value: Any) -> bytes:
        """The text of a result, with descriptions of the objects that the program does not know: most are used."""
        known = len(self._functions)
        text = self._encoded(value)
        new = [[-at - 1, *describe(self._functions[at])] for at in range(known, len(self._functions))]
        return ("=" + text if not new else f"+{wire.encode(new)}\n{text}").encode()

    def _encoded(self, value: Any) -> str:
        return wire.encode(self._outgoing(value), self._side)

    def _received(self, body: bytes) -> Any:
        return wire.decode(
            body, kept=self._remote, proxy=self._proxy, shared=self.shared, alias=self._aliases.local
        )

    def _remote(self, number: int) -> Any:
        if number < 0:  # a function of ours comes back
            return self._functions[-number - 1]
        return self._remotes.setdefault(number, Remote(self.ask, number))

    def _proxy(self, value: Any, number: int) -> Any:
        return hold(value, self._remote(number))

    def _outgoing(self, value: Any) -> Any:
        """The value, with functions in it replaced by numbers below zero under which they can be called, and the
        candidate's own containers by their numbers."""
        if type(value) is Remote:
            return value
        if (number := self._aliases.number(value)) is not None:
            return wire.RemoteObject(number)
        return self._outgoing_within(value)

    def _outgoing_within(self, value: Any) -> Any:
        if type(value) is Remote:
            return value
        if type(value) is type and value in wire.CLASSES.values():
            return value
        if isinstance(value, Exception):
            own = value.__dict__.get("_remote")
            return own if isinstance(own, Remote) else wire.RemoteObject(self._number_of(value))
        shared = self.shared.values()
        if is_of_tests(value) and type(value) not in shared and not any(value is each for each in shared):
            return wire.RemoteObject(self._number_of(value))
        if type(value) is list:
            return [self._outgoing(each) for each in value]
        if type(value) is tuple:
            return tuple(map(self._outgoing, value))
        if type(value) is dict:
            return {key: self._outgoing(each) for key, each in value.items()}
        return value

    def _number_of(self, value: Any) -> int:
        """The number of something of the tests, below zero."""
        at = self._numbers.setdefault(id(value), len(self._functions))
        if at == len(self._functions):
            self._functions.append(value)  # which keeps the identity
        return -at - 1


def asyncio_loop() -> Any:
    """The event loop that runs in this thread, if one does."""
    events = sys.modules.get("asyncio.events")
    return events and events._get_running_loop()


class TestSpace(dict[str, Any]):
    """The global names of a test program: those in ``names`` are the candidate's, asked for at their first use."""

    def __init__(self, known: dict[str, Any], names: list[str], asking: Asking) -> None:
        super().__init__(known)
        self._names = frozenset(names)
        self._asking = asking

    def __missing__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        value = self._asking.look_up(name)
        if isinstance(value, Remote) and name[:1].isupper():
            value = self._asking.error_class(value)
        if isinstance(value, _Missing) and name in sys.stdlib_module_names:
            value = importlib.import_module(name)  # tests often rely on the imports of the program
        self[name] = value
        return value


_own_streams: dict[str, Any] = {}


def keep_streams() -> None:
    """Remember the streams that are this process' own: what a program prints goes to those put in their place."""
    _own_streams.update(stdout=sys.stdout, stderr=sys.stderr)


def _printed(name: str, text: str) -> None:
    """What the program printed, as if it had been printed here, where somebody reads it."""
    stream = getattr(sys, name) if name in _own_streams else None
    if stream is not None and stream is not _own_streams[name]:
        with suppress(Exception):  # of a stream that the tests closed
            stream.write(text)


def _read(how: str, *arguments: Any) -> str:
    """What the program reads: of whatever the tests put in the place of ``input`` and of standard input."""
    return str(input(*arguments) if how == "input" else getattr(sys.stdin, how)(*arguments))


class _Missing:
    """A name that the candidate does not have."""

    def __init__(self, path: str, error: Exception) -> None:
        self._error = error if isinstance(error, NameError) else NameError(f"{path}: {type(error).__name__}")

    def __getattr__(self, name: str) -> Any:
        raise self.__dict__.get("_error") or NameError(name)

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise self._error


def _asked(error: Any, name: str) -> Any:
    """What an exception of the candidate knows besides its message."""
    return _field(error.__dict__.get("_remote"), name)


def _field(remote: Any, name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    return getattr(remote, name)


def _become(ours: Any, theirs: Any) -> None:
    """Make an argument what the call made of it, in place, as the test will look at it again."""
    alike = type(ours) is type(theirs) or (isinstance(ours, dict) and isinstance(theirs, dict))
    if not alike or type(ours) in HELD:
        return
    if isinstance(ours, list):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=False)):
            if isinstance(one, (list, dict)) and type(one) is type(other):
                _become(one, other)
                theirs[index] = one
        ours[:] = theirs
    elif isinstance(ours, (dict, set)):
        ours.clear()
        ours.update(theirs)
    elif isinstance(ours, bytearray):
        ours[:] = theirs
    elif hasattr(ours, "__dict__") and not isinstance(ours, (type, types.FunctionType, Remote)):
        ours.__dict__.update(theirs.__dict__)
