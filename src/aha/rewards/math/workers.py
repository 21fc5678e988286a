"""A pool of worker processes for what our own parser and evaluator leave undecided.

Each slot is one "nursery": a separate Python process that has imported sympy (and math-verify's LaTeX
grammar, if installed) once. It forks a child for every grade; the child has hard limits on memory, time,
files and file sizes and dies after its one answer, so a grade can lose nothing but itself. The nursery is
started when it is first needed, by ``subprocess`` and not by ``multiprocessing``: that also works in
threads, in asyncio, in daemonic processes and in Ray workers. A process that was forked from one with a
running pool starts nurseries of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import re
import select
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

from aha.rewards.math.symbols import COMMANDS, FUNCTIONS, GREEK, IGNORED, TEXT_COMMANDS
from aha.types import Outcome, Verdict

LONGEST = 1_000  # characters of either side
GRADE_SECONDS = 1.5  # the child is killed by its nursery
HARD_SECONDS = 2.0  # the nursery itself is killed
START_SECONDS = 30.0  # importing sympy takes about one second on an idle machine
_SAFE = re.compile(r"[A-Za-z0-9\\{}()\[\]^_+*/=<>.,:;!|&%$'~\s-]*\Z")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_PROGRAM = re.compile(r"(?<![A-Za-z\\])[A-Za-z_]{4,}\s*[(:]|'\s*[A-Za-z/]|__|[\"`#@;]|\[[^\]]{0,40}\bfor\b")
_LONG_RUN = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{13}|[0-9]{41}|__")
_MORE_COMMANDS = frozenset(
    [
        "begin",
        "end",
        "partial",
        "nabla",
        "oint",
        "cases",
        "aligned",
        "operatorname",
        "det",
        "tan",
        "cdotp",
        "Vert",
        "mathop",
    ]
)


def is_program(text: str) -> bool:
    """Whether the text looks like code: no mathematics, and nothing to send on."""
    return _PROGRAM.search(text) is not None


def refuses(gold: str, answer: str) -> str:
    """Why a pair is not sent to the workers; empty if it may be."""
    for text in (gold, answer):
        if len(text) > LONGEST:
            return f"an expression of {len(text)} characters is beyond the complexity limit"
        if not _SAFE.match(text) or _LONG_RUN.search(text):
            return "the answer is not in a known grammar"
        if text.count("^") > 24 or text.count("!") > 8 or text.count("{") > 150:
            return "the expression is beyond the complexity limit"
        for command in _COMMAND.findall(text):
            if not _is_known(command):
                return f"the command \\{command} is not known"
    return ""


def _is_known(command: str) -> bool:
    known = (COMMANDS, FUNCTIONS, GREEK, IGNORED, TEXT_COMMANDS, _MORE_COMMANDS)
    return any(command in names for names in known)


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


class Pool:
    """Up to ``workers`` nurseries, started when needed. Safe to use from any thread."""

    def __init__(
        self, workers: int | None = None, memory_mb: int = 1024, seconds: float = GRADE_SECONDS
    ) -> None:
        if seconds + 0.1 > HARD_SECONDS:
            raise ValueError(
                f"seconds must be at most {HARD_SECONDS - 0.1}: the hard limit is {HARD_SECONDS} s"
            )
        self.workers = workers or min(4, os.cpu_count() or 1)
        self.memory_mb = memory_mb
        self.seconds = seconds
        self._lock = threading.Lock()
        self._reset()
        _pools.add(self)

    def after_fork(self) -> None:
        """Forgets, in a forked child, the parent's workers and whoever held the lock there."""
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._owner = os.getpid()
        self._free: queue.LifoQueue[_Nursery] = queue.LifoQueue()
        self._all: list[_Nursery] = []

    def compare(self, gold: str, answer: str) -> Verdict:
        """Asks a worker whether two answers are equal; UNKNOWN if it cannot tell or does not survive it."""
        nursery = self._take()
        try:
            reply = nursery.ask({"gold": gold, "answer": answer})
        except _Failed as failure:
            return Verdict(Outcome.UNKNOWN, str(failure))
        finally:
            self._free.put(nursery)
        return Verdict(Outcome(reply["outcome"]), reply["note"])

    def _take(self) -> _Nursery:
        with self._lock:
            if self._owner != os.getpid():
                self._reset()
            try:
                return self._free.get_nowait()
            except queue.Empty:
                if len(self._all) < self.workers:
                    nursery = _Nursery(self.memory_mb, self.seconds)
                    self._all.append(nursery)
                    return nursery
            free = self._free
        return free.get()

    def close(self) -> None:
        """Ends all workers of this process."""
        with self._lock:
            if self._owner == os.getpid():
                for nursery in self._all:
                    nursery.stop()
            self._reset()


class _Failed(Exception):
    """A worker gave no answer; the message says why."""


class _Nursery:
    def __init__(self, memory_mb: int, seconds: float) -> None:
        self.memory_mb = memory_mb
        self.seconds = seconds
        self.process: subprocess.Popen[bytes] | None = None
        self.buffer = b""

    def ask(self, job: dict) -> dict:
        process = self._started()
        deadline = time.monotonic() + HARD_SECONDS
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
        except OSError:
            self.stop()
            raise _Failed(
                "the worker process had died; this grade is lost, the next starts a new one"
            ) from None
        return self._reply(deadline, "no verdict within the time limit; the worker was killed")

    def _started(self) -> subprocess.Popen[bytes]:
        if self.process is not None and self.process.poll() is None:
            return self.process
        self.stop()
        here = Path(__file__).resolve()
        command = [sys.executable, "-I", str(here.with_name("worker.py")), str(here.parents[3])]
        command += [str(self.memory_mb), str(self.seconds)]
        environment = {
            name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "LANG") if name in os.environ
        }
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                process_group=0,  # Ctrl-C is for the caller, who may finish what is under way
            )
        except OSError as cause:
            raise _Failed(f"no worker process could be started: {cause}") from None
        self._reply(time.monotonic() + START_SECONDS, "the worker process did not start in time")
        return self.process

    def _reply(self, deadline: float, late: str) -> dict:
        process = self.process
        assert process is not None
        assert process.stdout is not None
        output = process.stdout.fileno()
        poll = select.poll()  # select() itself cannot watch descriptors above 1023
        poll.register(output, select.POLLIN)
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                self.stop()
                raise _Failed(late)
            data = os.read(output, 65_536)
            if not data:
                self.stop()
                raise _Failed("the worker process died (memory or a crash); only this grade is lost")
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def stop(self) -> None:
        process, self.process, self.buffer = self.process, None, b""
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()


_shared: Pool | None = None
_shared_lock = threading.Lock()


def shared() -> Pool:
    """The pool of this process, made when it is first asked for."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = Pool()
            atexit.register(_shared.close)
        return _shared


def _after_fork() -> None:
    """A forked child shares no worker and no lock with its parent."""
    global _shared, _shared_lock
    _shared = None
    _shared_lock = threading.Lock()
    for pool in list(_pools):
        pool.after_fork()


os.register_at_fork(after_in_child=_after_fork)
