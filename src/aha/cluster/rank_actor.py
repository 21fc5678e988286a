"""What keeps one trainer rank, in an actor's process. Nothing here knows Ray: the class is made an actor elsewhere.

The rank is a child process and not a thread of the actor: a fresh interpreter with its own output, signals and
process group, which can be stopped, killed and replaced whole while the actor still answers and tells how it ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import aha
from aha import ranks
from aha.types import AhaError

NEWS_SECONDS = 0.5
"""For so long it is waited for news before the answer is that there is none."""
LAST_SECONDS = 2.0
"""For so long what a rank wrote is read after its end: processes that it left may keep its output open."""

_OF_A_WORKER = (
    "RAY_JOB_ID",
    "RAY_RAYLET_PID",
    "RAY_CLIENT_MODE",
)  # the rest, such as a token, a rank needs too


@dataclass(frozen=True, slots=True)
class RankHello:
    """Who keeps a rank: its process, versions, the GPUs that it was given, and a port that is free on its machine."""

    pid: int
    aha: str
    torch: str
    gpus: tuple[str, ...]
    port: int


@dataclass(frozen=True, slots=True)
class RankNews:
    """What a rank wrote since it was last asked, a counter that moves while there is progress, and its exit code
    (that of a signal is negative) once it has ended."""

    out: bytes
    err: bytes
    count: int
    code: int | None


class RankActor:
    """One rank, from its start to its end."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._written = {1: b"", 2: b""}
        self._code: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._scratch = tempfile.TemporaryDirectory(prefix="aha-rank-")
        self._pulse = Path(self._scratch.name) / "pulse"

    def hello(self) -> RankHello:
        """Who this is."""
        gpus = tuple(name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name)
        return RankHello(os.getpid(), aha.__version__, version("torch"), gpus, ranks.free_port(""))

    def begin(self, words: Sequence[str], folder: str, environment: Mapping[str, str]) -> int:
        """Start the rank: the command ``aha WORDS`` in ``folder``; returns its process id."""
        if not Path(folder).is_dir():
            raise AhaError(
                f"There is no folder {folder} on {socket.gethostname()}: trainer ranks read one file system. Start "
                "the command in a folder that all machines of the cluster see."
            )
        self._pulse.touch()
        os.utime(self._pulse, (0, 0))
        started = threading.Event()
        # The thread that starts a process must live as long: its end is what ``leash`` in the child notices.
        self._thread = threading.Thread(
            target=self._live, args=(list(words), folder, dict(environment), started), daemon=True
        )
        self._thread.start()
        started.wait()
        if self._process is None:
            raise AhaError(f"{sys.executable} cannot be started on {socket.gethostname()}.")
        return self._process.pid

    def _live(
        self, words: list[str], folder: str, variables: dict[str, str], started: threading.Event
    ) -> None:
        try:
            self._process = process = subprocess.Popen(
                [sys.executable, "-m", "aha.cluster.rank_process", str(os.getpid()), *words],
                cwd=folder,
                env=self._environment(variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        finally:
            started.set()
        assert process.stdout is not None
        assert process.stderr is not None
        pipes = {1: process.stdout.fileno(), 2: process.stderr.fileno()}
        readers = [threading.Thread(target=self._read, args=pipe, daemon=True) for pipe in pipes.items()]
        for reader in readers:
            reader.start()
        code = process.wait()
        _kill_group(process.pid)  # what it left behind
        for reader in readers:
            reader.join(LAST_SECONDS)
        with self._news:
            self._code = code
            self._news.notify_all()

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        """This process's, without what makes it a worker of Ray, and with our package where this one has it."""
        kept = {name: value for name, value in os.environ.items() if name not in _OF_A_WORKER}
        path = os.pathsep.join([str(Path(aha.__file__).parents[1]), *filter(None, [kept.get("PYTHONPATH")])])
        own = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", ranks.PULSE: str(self._pulse)}
        return kept | own | variables

    def _read(self, which: int, pipe: int) -> None:
        with contextlib.suppress(OSError):
            while part := os.read(pipe, 1 << 16):
                with self._news:
                    self._written[which] += part
                    self._news.notify_all()

    def news(self) -> RankNews:
        """What there is since the last time."""
        with self._news:
            self._news.wait_for(lambda: any(self._written.values()) or self._code is not None, NEWS_SECONDS)
            out, err = self._written[1], self._written[2]
            self._written = {1: b"", 2: b""}
            return RankNews(out, err, self._pulse.stat().st_mtime_ns, self._code)

    def interrupt(self) -> None:
        """What Ctrl-C would do."""
        if self._process is not None and self._code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGINT)

    def end(self) -> None:
        """Kill the rank and all of its process group."""
        if self._process is not None and self._thread is not None:
            _kill_group(self._process.pid)
            self._thread.join()
        self._scratch.cleanup()


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
