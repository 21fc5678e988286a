"""Models in processes of their own, at most two at once. Each answers several questions at a time, and is ended once
nobody asked it for a while."""

from __future__ import annotations

import itertools
import json
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from aha.runs.growing import as_row
from aha.types import AhaError
from aha.view.aside import OFFLINE
from aha.view.child_process import child_command

MOST = 2
"""Models in memory at once: as many as stand side by side."""
IDLE = 300.0
"""Seconds without a question after which a model gives its memory back."""
NICE = 5
"""Whoever trains here comes first."""
Hear = Callable[[dict[str, Any]], None]


class ModelChild:
    """One model's process. Its lines are told to who asked, from a thread of its own."""

    def __init__(self, name: str):
        self.name, self.used, self.ready = name, time.monotonic(), {}
        self.failed = ""
        self._hearing: dict[int, Hear] = {}
        self._numbers = itertools.count(1)
        self._lock, self._sent = threading.Lock(), queue.SimpleQueue[dict[str, Any] | None]()
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed in _listen
        self._process = subprocess.Popen(
            child_command("aha.sampling.http.piped", name), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, text=True, encoding="utf-8", errors="replace", env={**os.environ, **OFFLINE},
        )  # fmt: skip
        if hasattr(os, "setpriority"):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, NICE)
        for work in (self._listen, self._send):
            threading.Thread(target=work, name="model", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return not self.failed and self._process.poll() is None

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(self._hearing)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def ask(self, body: dict[str, Any], hear: Hear) -> int:
        """Send a question; its number. ``hear`` is told each line of the answer: the last has ``end`` or ``error``."""
        with self._lock:
            number = next(self._numbers)
            self._hearing[number] = hear
        if self.ready:
            hear({"ready": self.ready})
        if self.alive:
            self._sent.put({**body, "id": number})
        else:
            self._tell(number, {"error": self.failed or "The model's process has ended. Ask again."})
        return number

    def cancel(self, number: int) -> None:
        """Nobody waits for an answer any more."""
        if self._hearing.pop(number, None) is not None:
            self._sent.put({"cancel": number})
        self.used = time.monotonic()

    def end(self) -> None:
        """Give the memory back at once; who waits for an answer is told so."""
        if self.alive:
            self.failed = "The model was taken out of memory. Ask again, and it is loaded."
        with suppress(OSError):
            self._process.kill()
        self._process.wait()

    def _send(self) -> None:
        """Write what was asked: a model that is still loaded does not read, and nobody else waits for it."""
        assert self._process.stdin is not None
        while (what := self._sent.get()) is not None:
            with suppress(OSError, ValueError):  # it has ended: who waits is told by what hears that
                self._process.stdin.write(json.dumps(what) + "\n")
                self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        for line in self._process.stdout:
            if (said := as_row(line.encode())) is not None:  # or cut by its end, or printed by a library
                self._heard(said)
        self._process.wait()
        self.failed = self.failed or _last_words(self._errors, self._process.returncode)
        for number in list(self._hearing):
            self._tell(number, {"error": self.failed})
        self._sent.put(None)
        self._errors.close()
        self._process.stdout.close()
        with suppress(OSError):
            self._process.stdin.close()

    def _heard(self, said: dict[str, Any]) -> None:
        if "failed" in said:
            self.failed = str(said["failed"])
        elif "ready" in said:
            self.ready = said["ready"]
            for hear in list(self._hearing.values()):
                hear({"ready": self.ready})
        else:
            self._tell(said.pop("id", 0), said)

    def _tell(self, number: int, said: dict[str, Any]) -> None:
        hear = self._hearing.get(number)
        if "end" in said or "error" in said:
            self._hearing.pop(number, None)
            self.used = time.monotonic()
        if hear is not None:
            hear(said)


def _last_words(file: Any, code: int) -> str:
    """Why a process ended: the last line that it wrote to its errors."""
    file.seek(0)
    lines = [line for line in file.read()[-4000:].splitlines() if line.strip()]
    if code < 0:
        return f"The model's process was ended by signal {-code}" + (
            ": too little memory?" if code == -9 else "."
        )
    return lines[-1] if lines else f"The model's process ended with {code}, and said nothing."


class ModelChildren:
    """The processes that run, by the model's name."""

    def __init__(self, most: int = MOST, idle: float = IDLE):
        self.most, self.idle = most, idle
        self.children: dict[str, ModelChild] = {}
        self._lock = threading.Lock()
        self._watching: threading.Timer | None = None

    def of(self, name: str) -> ModelChild:
        """The model's process, begun where there is none. Raises AhaError where as many answer as may be loaded."""
        with self._lock:
            self._drop(child for child in self._all() if not child.alive)
            child = self.children.get(name)
            if child is None:
                self._make_room()
                child = self.children[name] = ModelChild(name)
            child.used = time.monotonic()
            self._watch()
            return child

    def _make_room(self) -> None:
        while len(self.children) >= self.most:
            idle = [child for child in self.children.values() if not child.busy]
            if not idle:
                raise AhaError(f"{self.most} models are answering. Ask again when one has ended, or stop it.")
            self._drop([min(idle, key=lambda child: child.used)])

    def _all(self) -> list[ModelChild]:
        return list(self.children.values())

    def _drop(self, gone: Iterable[ModelChild]) -> None:
        for child in gone:
            child.end()
            del self.children[child.name]

    def _watch(self) -> None:
        if self._watching is None and self.children:
            self._watching = threading.Timer(min(5.0, self.idle), self._look)
            self._watching.daemon = True
            self._watching.start()

    def _look(self) -> None:
        """End those that nobody asked for a while; look again while there are any."""
        with self._lock:
            late = time.monotonic() - self.idle
            self._drop(c for c in self._all() if not c.alive or (not c.busy and c.used < late))
            self._watching = None
            self._watch()

    def loaded(self) -> list[dict[str, Any]]:
        """Those in memory: name, process, whether each answers, and the seconds since it was asked."""
        now = time.monotonic()
        return [
            {"name": child.name, "pid": child.pid, "busy": child.busy, "idle": round(now - child.used, 1)}
            for child in self._all()
            if child.alive
        ]

    def end(self, name: str | None = None) -> None:
        """End one, or all: the server stops."""
        with self._lock:
            self._drop(child for child in self._all() if name in (None, child.name))
