"""Runs one program in a process that is already locked down, and ends the process.

Three ways: as a script; as a server that calls the program's functions; as a test program whose calls are
answered from outside. The process never holds an expected output together with model code.
"""

from __future__ import annotations

import atexit
import builtins
import io
import linecache
import os
import struct
import sys
import threading
import traceback
import types
from typing import Any, NoReturn

from . import wire

_read, _write = os.read, os.write  # bound here: a program that replaces them changes nothing in the channel
_ALLOWED_ERRORS = """
ArithmeticError AssertionError AttributeError EOFError IndexError KeyError LookupError MemoryError
NameError NotImplementedError OSError OverflowError RecursionError RuntimeError TypeError ValueError
UnicodeError ZeroDivisionError
"""


def run(spec: dict[str, Any], request: int, reply: int) -> NoReturn:
    """Run the program of a specification and leave the process.

    ``request`` and ``reply`` are the channel's descriptors (-1 where the mode needs none).
    """
    _prepare(spec)
    if spec["mode"] == "script":
        _end(_run_script(spec["code"]))
    elif spec["mode"] == "serve":
        os._exit(_serve(spec["code"], spec["nonce"], request, reply))
    else:
        os._exit(_run_tests(spec, request, reply))


def _prepare(spec: dict[str, Any]) -> None:
    stdin = io.BufferedReader(io.FileIO(0, "rb", closefd=False))
    stdout, stderr = (io.BufferedWriter(io.FileIO(each, "wb", closefd=False)) for each in (1, 2))
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(stdin, "utf-8", "surrogateescape")
    sys.stdout = sys.__stdout__ = io.TextIOWrapper(stdout, "utf-8", "surrogateescape")
    sys.stderr = sys.__stderr__ = io.TextIOWrapper(stderr, "utf-8", "backslashreplace", line_buffering=True)
    sys.argv = ["main.py"]
    sys.path.append("")
    sys.path.extend(spec.get("import_paths", ()))
    os.environ.update(HOME=os.getcwd(), TMPDIR=os.getcwd(), PATH="/usr/bin:/bin", LANG="C.UTF-8")
    # What ``site`` would have added and many programs use.
    import _sitebuiltins

    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D")  # type: ignore[assignment]
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D")  # type: ignore[assignment]


def _module(name: str, code: str, file: str) -> tuple[types.ModuleType, types.CodeType]:
    module = types.ModuleType(name)
    module.__dict__.update(__file__=file, __builtins__=builtins)
    sys.modules[name] = module
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    return module, compile(code, file, "exec", dont_inherit=True)


def _run_script(code: str) -> int:
    try:
        module, compiled = _module("__main__", code, "main.py")
        exec(compiled, module.__dict__)
    except BaseException as error:
        return _report(error)
    return 0


def _report(error: BaseException) -> int:
    """The exit code Python gives for this exception, after printing what Python prints."""
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return int(error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)
        return 1
    begun = error.__traceback__
    error = error.with_traceback(begun.tb_next if begun else None)
    if sys.excepthook is sys.__excepthook__:
        traceback.print_exception(error)  # the hook itself looks for the source in a file
    else:
        sys.excepthook(type(error), error, error.__traceback__)
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def _end(code: int) -> NoReturn:
    """Leave as the interpreter does (threads, exit hooks, buffers), without tearing every module down."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException as error:
        code = _report(error)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            code = code or 120
    os._exit(code)


def _serve(code: str, nonce: str, request: int, reply: int) -> int:
    """Call the program's functions as requests say, until there are no more."""
    kept: list[Any] = []
    read, write, encode, decode = read_frame, write_frame, wire.encode, wire.decode

    def keep(value: Any) -> int:
        kept.append(value)
        return len(kept) - 1

    try:
        module, compiled = _module("candidate", code, "main.py")
        exec(compiled, module.__dict__)
    except BaseException as error:
        _report(error)
        return 1
    write(reply, f"{nonce}\nready".encode())
    while (message := read(request)) is not None:
        name, arguments, named = decode(message, strict=False, kept=kept.__getitem__)
        try:
            answer = "value\n" + encode(_resolve(module, name)(*arguments, **named), keep)
        except Exception as error:
            answer = "error\n" + _error_name(error)
        write(reply, f"{nonce}\n{answer}".encode())
    return 0


def _resolve(module: types.ModuleType, name: str) -> Any:
    """``f``, ``Class.method`` (on a new instance) or a longer path of attributes."""
    first, *rest = name.split(".")
    found = getattr(module, first)
    for attribute in rest:
        found = getattr(found() if isinstance(found, type) else found, attribute)
    return found


def _error_name(error: BaseException) -> str:
    for kind in type(error).__mro__:
        if kind.__name__ in _ALLOWED_ERRORS.split():
            return kind.__name__
    return "RuntimeError"


def _run_tests(spec: dict[str, Any], request: int, reply: int) -> int:
    """Run a test program; each call to the candidate goes out through the channel and comes back as data."""
    calls = 0

    def proxy(name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            message = wire.encode([name, arguments, named]).encode()
            calls += 1
            write_frame(reply, b"call\n" + message)
            answer = read_frame(request)
            if answer is None:
                raise RuntimeError("the candidate is gone")
            kind, _, body = answer.partition(b"\n")
            if kind == b"error":
                # Only ordinary errors, by name: StopIteration or SystemExit could end a test early.
                name_ = body.decode()
                raise getattr(builtins, name_ if name_ in _ALLOWED_ERRORS.split() else "RuntimeError")(
                    "in the candidate"
                )
            return wire.decode(body, strict=False)

        call.__name__ = call.__qualname__ = name.rsplit(".", 1)[-1]
        return call

    try:
        module, compiled = _module("tests", spec["code"], "tests.py")
        module.__dict__.update({name: proxy(name) for name in spec["names"]})
        exec(compiled, module.__dict__)
        if spec["entry_point"] and callable(check := module.__dict__.get("check")):
            check(proxy(spec["entry_point"]))
    except BaseException as error:
        # Before the first call nothing of the candidate is here, so the tests themselves are at fault; so
        # they are when an argument cannot travel.
        innocent = isinstance(error, wire.CannotTravel) or not calls
        kind = "error" if innocent and not isinstance(error, AssertionError) else "failed"
        text = f"{kind}\n{type(error).__name__}: {error}"[:500]
        write_frame(reply, text.encode("utf-8", "replace"))
        return 0
    write_frame(reply, b"passed\n")
    return 0


def write_frame(descriptor: int, payload: bytes) -> None:
    """One message: its length in four bytes, then its bytes."""
    data = memoryview(struct.pack(">I", len(payload)) + payload)
    while data:
        data = data[_write(descriptor, data) :]


def read_frame(descriptor: int) -> bytes | None:
    """The next message, or None at the end."""
    head = _read_exactly(descriptor, 4)
    return None if head is None else _read_exactly(descriptor, struct.unpack(">I", head)[0])


def _read_exactly(descriptor: int, count: int) -> bytes | None:
    parts: list[bytes] = []
    while count:
        part = _read(descriptor, min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
