"""Runs one program in a process that is already locked down, and ends the process.

Three ways: as a script; as a server that calls the program's functions; as a test program whose calls are
answered from outside. The process never holds an expected output together with model code.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import gc
import importlib.util
import io
import linecache
import os
import re
import sys
import threading
import traceback
import types
from typing import Any, NoReturn

from . import channel, pytest_parts, wire
from .answering import Answering
from .asking import Asking, TestSpace, keep_streams
from .collecting import run_checks
from .questions import builtins_that_ask, let_library_ask
from .remote import between_loops, find_plain_raises, run_remotes_in_loops
from .tests_loop import join_loops
from .waits import let_program_go_on


def run(spec: dict[str, Any], request: int, reply: int) -> NoReturn:
    """Run the program of a specification and leave the process.

    ``request`` and ``reply`` are the channel's descriptors (-1 where the mode needs none).
    """
    _prepare(spec)
    if spec["mode"] == "script":
        _end(_run_script(spec), leaves_open=_WRITERS.search(spec["code"]) is not None)
    elif spec["mode"] == "serve":
        os._exit(_serve(spec, request, reply))
    else:
        os._exit(_run_tests(spec, request, reply))


def _prepare(spec: dict[str, Any]) -> None:
    sys.stdin = sys.__stdin__ = _stream(0, "<stdin>", "r", "surrogateescape")
    sys.stdout = sys.__stdout__ = _stream(1, "<stdout>", "w", "surrogateescape")
    sys.stderr = sys.__stderr__ = _stream(2, "<stderr>", "w", "backslashreplace", line_buffering=True)
    sys.argv = ["main.py"]
    sys.path.append("")
    sys.path.extend(spec.get("import_paths", ()))
    os.environ.update(HOME=os.getcwd(), TMPDIR=os.getcwd(), PATH="/usr/bin:/bin", LANG="C.UTF-8")
    if "/dev/" in spec["code"] or "/proc/self/fd" in spec["code"]:
        _open_streams_by_name()
    # What ``site`` would have added and many programs use.
    import _sitebuiltins

    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D")  # type: ignore[assignment]
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D")  # type: ignore[assignment]


def _stream(
    number: int, name: str, mode: str, errors: str, *, line_buffering: bool = False
) -> io.TextIOWrapper:
    """A standard stream with the attributes that Python's own has; templates of fast input look at its mode."""
    raw = io.FileIO(number, mode + "b", closefd=False)
    raw.name = name  # type: ignore[misc]
    buffered = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
    stream = io.TextIOWrapper(buffered, "utf-8", errors, line_buffering=line_buffering)
    stream.mode = mode  # type: ignore[misc]
    return stream


def _open_streams_by_name() -> None:
    """Let ``open("/dev/stdin")`` and its like open the streams, which have no such names behind the wall."""
    streams = {f"/dev/{name}": number for number, name in enumerate(("stdin", "stdout", "stderr"))}
    for number in range(3):
        streams |= {f"/dev/fd/{number}": number, f"/proc/self/fd/{number}": number}
    real, real_descriptor, real_exists = io.open, os.open, os.path.exists

    def stream_of(file: Any) -> int | None:
        path = os.fsdecode(file) if isinstance(file, (str, bytes, os.PathLike)) else ""
        return streams.get(path)

    def opened(file: Any, *arguments: Any, **named: Any) -> Any:
        number = stream_of(file)
        return real(file if number is None else os.dup(number), *arguments, **named)

    def opened_descriptor(path: Any, *arguments: Any, **named: Any) -> int:
        number = stream_of(path)
        return real_descriptor(path, *arguments, **named) if number is None else os.dup(number)

    builtins.open = io.open = opened
    os.open = opened_descriptor
    os.path.exists = lambda path: stream_of(path) is not None or real_exists(path)
    if data_source := sys.modules.get("numpy.lib._datasource"):
        data_source._file_openers._file_openers[None] = opened  # it keeps the function it found


def _module(name: str, code: str, file: str) -> tuple[types.ModuleType, types.CodeType]:
    module = types.ModuleType(name)
    module.__dict__.update(__file__=file, __builtins__=builtins)
    sys.modules[name] = module
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    return module, compile(code, file, "exec", dont_inherit=True)


def _run_script(spec: dict[str, Any]) -> int:
    try:
        module, compiled = _module("__main__", spec["code"], "main.py")
        _run_prelude(module, spec)
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
    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    error = error.with_traceback(trace)
    if sys.excepthook is sys.__excepthook__:
        traceback.print_exception(error)  # the hook itself looks for the source in a file
    else:
        sys.excepthook(type(error), error, error.__traceback__)
    return 130 if isinstance(error, KeyboardInterrupt) else 1


_WRITERS = re.compile(r"__std(out|err)__|open\(|TextIOWrapper|BufferedWriter|detach")


def _end(code: int, leaves_open: bool) -> NoReturn:
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
    if leaves_open:
        _flush_what_is_open()
    os._exit(code)


def _flush_what_is_open() -> None:
    """What the end of the interpreter does for writers that a program never closed."""
    for kind in (io.TextIOWrapper, io.BufferedWriter):
        for each in gc.get_objects():
            with contextlib.suppress(Exception):
                if type(each) is kind and not each.closed and each.writable():
                    each.flush()


def _serve(spec: dict[str, Any], request: int, reply: int) -> int:
    """Call the program's functions as requests say, until there are no more."""
    try:
        module, compiled = _module("candidate", spec["code"], "main.py")
        _run_prelude(module, spec)
        answering = Answering(module, spec["nonce"], request, reply, spec)
        exec(compiled, module.__dict__)
    except BaseException as error:
        _report(error)
        return 1
    answering.serve()
    return 0


def _run_prelude(module: types.ModuleType, spec: dict[str, Any]) -> None:
    if spec.get("prelude"):
        exec(compile(spec["prelude"], "prelude.py", "exec", dont_inherit=True), module.__dict__)


def _run_tests(spec: dict[str, Any], request: int, reply: int) -> int:
    """Run a test program; each call to the candidate goes out through the channel and comes back as data."""
    asking = Asking(request, reply, spec["code"])
    try:
        module, compiled = _module("tests", spec["code"], "tests.py")
        keep_streams()
        find_plain_raises(spec["code"])
        if "asyn" in spec["code"]:
            run_remotes_in_loops()
            join_loops(asking.loop)
            between_loops.append(asking.loop)
        if any(word in spec["code"] for word in ("thread", "queue", "sleep")):
            let_program_go_on(asking.waits)
        if "pytest" in spec["code"] and importlib.util.find_spec("pytest") is None:
            sys.modules["pytest"] = pytest_parts.module()
        _run_prelude(module, spec)
        asking.shared.update({name: module.__dict__[name] for name in spec.get("shared", ())})
        let_library_ask(spec["code"])
        asking.share_state(spec["code"])
        space = TestSpace(builtins_that_ask(spec["code"]) | module.__dict__, spec["names"], asking)
        for name in spec["builtins"]:
            space.pop(name, None)  # a prelude may have imported all of Python's own
        exec(compiled, space)
        run_checks(space, spec["entry_point"], asking.look_up)
        kind, text = ("passed", "") if asking.calls else ("error", "the tests never use the program")
    except SystemExit as error:  # of the tests: the program's travel as another class
        ended = "passed" if not error.code and asking.calls else "failed"
        kind, text = ended, f"the tests ended with {error.code!r}"
    except BaseException as error:
        kind, text = _blame(error, asking), f"{type(error).__name__}: {error}"[:500]
    channel.write_frame(reply, f"{kind}\n{text}".encode("utf-8", "replace"))
    return 0


def _blame(error: BaseException, asking: Asking) -> str:
    """Before the first call nothing of the candidate is there, so the tests themselves are at fault; so they are
    when an argument cannot travel."""
    return "error" if isinstance(error, wire.CannotTravel) or not asking.calls else "failed"
