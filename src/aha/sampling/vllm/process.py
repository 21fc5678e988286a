"""vLLM's process: finding its environment, starting it, and ending it with everything it started."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import TypeVar

from aha.sampling.vllm.wire import Closed, Wire, WireError, WireMessage, WorkerFailed
from aha.types import AhaError

PACKAGE = Path(__file__).parents[2]
LOG_LINES = 25
Answer = TypeVar("Answer")

_OURS_ALONE = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSAFEPATH")
_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_CONFIGURE_LOGGING": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the scheduler in the process that we speak with
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the trainer takes turns on the same cores
    "KMP_BLOCKTIME": "1",  # ms; threads that wait leave the cores to the trainer
}


def find_python(asked: str | None = None) -> Path:
    """The Python of vLLM's environment: as given, ``$AHA_VLLM_PYTHON``, the peers' folder, or this one.

    Raises AhaError where there is none.
    """
    named = asked or os.environ.get("AHA_VLLM_PYTHON")
    if named:
        path = Path(named).expanduser()
        if not path.exists():
            raise AhaError(f"vLLM's Python is to be '{named}', but there is no such file.")
        return path
    peers = Path(os.environ.get("AHA_PEERS", ".peers")).absolute() / "vllm" / "bin" / "python"
    if peers.exists():
        return peers
    if importlib.util.find_spec("vllm") is not None:
        return Path(sys.executable)
    raise AhaError(
        "vLLM is not installed here. It pins its own torch, so give it an environment of its own: "
        "aha bench peers install vllm. One that is there already is named by $AHA_VLLM_PYTHON or vllm.python."
    )


class VllmProcess:
    """The worker at the other end of a socket. It ends with us, however we end, and its children with it."""

    def __init__(self, python: Path, *, threads: int = 0, gpus: str | None = None):
        self.scratch = Path(tempfile.mkdtemp(prefix="aha-vllm-"))
        self.log = self.scratch / "log.txt"
        (self.scratch / "path").mkdir()
        # Our package alone on its path: beside it in site-packages lies a torch that is not vLLM's.
        (self.scratch / "path" / "aha").symlink_to(PACKAGE, target_is_directory=True)
        ours, theirs = socket.socketpair()
        with theirs, open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                [
                    str(python),
                    "-P",
                    "-m",
                    "aha.sampling.vllm.worker",
                    str(theirs.fileno()),
                    str(self.scratch),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(self.scratch / "path", threads, gpus),
                pass_fds=[theirs.fileno()],
                cwd=self.scratch,
                process_group=0,  # Ctrl-C is ours to answer; and all of it can be ended as one
            )
        self.pid = self._process.pid
        self.wire = Wire(ours)
        self._end = weakref.finalize(self, _end, self._process, ours, self.scratch)

    @property
    def alive(self) -> bool:
        """Whether it can still be spoken with."""
        return self._end.alive and self._process.poll() is None

    def close(self) -> None:
        """End it and everything it started. Harmless the second time."""
        self._end()

    def send(self, message: WireMessage) -> None:
        """Send. Raises AhaError, with the end of its log, if it is dead."""
        try:
            self.wire.send(message)
        except Closed as error:
            raise self._dead() from error

    def receive(self, *kinds: type[Answer]) -> Answer:
        """Wait for a message of these kinds. Raises AhaError, with the end of its log, if it failed or died.

        Whatever interrupts the waiting (Ctrl-C) ends the process: the rest of a torn message is worth nothing.
        """
        try:
            message = self.wire.receive()
        except Closed as error:
            raise self._dead() from error
        except WireError as error:
            self.close()
            raise AhaError(f"vLLM's process sent what cannot be read: {error}.") from error
        except BaseException:
            self.close()
            raise
        if isinstance(message, WorkerFailed):
            words = self.last_words()
            self.close()
            raise AhaError(f"vLLM failed: {message.error}\n{words}")
        if not isinstance(message, kinds):
            self.close()
            raise AhaError(f"vLLM's process sent {type(message).__name__} out of turn.")
        return message

    def last_words(self) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            if lines:
                return "The end of its log:\n" + "\n".join(lines[-LOG_LINES:])
        return "Its log is empty."

    def _dead(self) -> AhaError:
        if not self._end.alive:
            return AhaError("vLLM's process was ended before; make a new engine.")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=30)
        how, words = _how(self._process.poll()), self.last_words()
        self.close()
        return AhaError(
            f"vLLM's process died ({how}). The last checkpoint is sound; the same command continues from it.\n{words}"
        )


def _how(code: int | None) -> str:
    if code is None:
        return "it closed its end and hangs"
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (": out of memory, perhaps" if name == "SIGKILL" else "")
    return f"exit code {code}"


def _end(process: subprocess.Popen[bytes], sock: socket.socket, scratch: Path) -> None:
    with contextlib.suppress(OSError):
        sock.close()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=30)
    shutil.rmtree(scratch, ignore_errors=True)


def environment(path: Path | None, threads: int, gpus: str | None = None) -> dict[str, str]:
    """Ours, without what leads Python to our packages or makes it one of our ranks; offline, quiet, with so many
    threads, with these GPUs, and with ``path`` to import from."""
    ours = (*_OURS_ALONE, *_RANKS)
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    some = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    some |= {} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus}
    some |= {} if path is None else {"PYTHONPATH": str(path)}
    return kept | _QUIET | some
