"""A slot: one zygote, started, watched, restarted; it runs one program at a time."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .execution import Isolation, Limits
from .places import Place
from .process import Gone, Pipes, Process

_BOOT = (
    "import sys\n"
    "sys.path.append(sys.argv[1])\n"
    "from inside.zygote import main\n"
    "sys.path.remove(sys.argv[1])\n"
    "main(int(sys.argv[2]))\n"
)
_START_SECONDS = 120.0
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
_NOT_MIRRORED = (
    "test",
    "tests",
    "idlelib",
    "turtledemo",
    "tkinter",
    "lib2to3",
    "ensurepip",
    "site-packages",
    "dist-packages",
)
_numbers = itertools.count()
_ROOM = 32_768  # uids to choose from


class Refused(Exception):
    """This machine does not permit the isolation that was tried; the text says at which step."""


@dataclass(frozen=True, slots=True)
class SlotSetup:
    """What a slot needs to know to start."""

    isolation: Isolation
    import_paths: tuple[str, ...]
    mirror: str | None = None
    packages: tuple[tuple[str, str], ...] = ()  # name and path of what is shown in one directory
    shelf: str | None = None  # that directory, where there are no mounts


class Slot:
    """One zygote and its directory. Raises Refused at the start if the machine does not permit it."""

    def __init__(self, setup: SlotSetup) -> None:
        self.setup = setup
        self.user = _unprivileged_user() if os.geteuid() == 0 else None
        self.place = Place()
        self.base = self.place.make("work")
        if self.user is not None and setup.isolation is Isolation.LANDLOCK:
            os.chown(self.base, self.user, self.user)
        self.landlock = 0
        self._last: Process | None = None
        self._zygote: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def launch(self, spec: dict[str, Any], stdin: bytes, limits: Limits) -> Process:
        """Start a program; the caller waits for it and stops it. Raises Gone if the zygote is not there."""
        assert self._control is not None
        channel = spec["mode"] != "script"
        theirs: list[int] = []
        ours: list[int] = []
        try:
            theirs += [sealed_file(json.dumps(spec).encode()), sealed_file(stdin)]
            for _ in range(3):
                _pipe(ours, theirs)
            if channel:
                _pipe(theirs, ours)  # requests: they read, we write
                _pipe(ours, theirs)
            job = limits.job(self.setup.isolation, os.cpu_count() or 1)
            socket.send_fds(self._control, [json.dumps(job).encode()], theirs)
        except OSError as error:
            for descriptor in ours:
                os.close(descriptor)
            raise Gone(f"the zygote cannot be reached: {error}") from None
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self._last = Process(self._control, Pipes(*ours), limits, self.setup.isolation)
        return self._last

    @property
    def healthy(self) -> bool:
        """Whether the zygote answered to the end of the last run."""
        return self._last is None or not self._last.abandoned

    def close(self) -> None:
        """End the zygote and whatever it runs, and remove the slot's directory."""
        self._end_zygote()
        self.place.close()

    def _start(self) -> None:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        interpreter = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
        command = [interpreter, "-I", "-S", "-B", "-X", "utf8", "-c", _BOOT, os.path.dirname(__file__)]
        with theirs, tempfile.TemporaryFile() as errors:
            self._zygote = subprocess.Popen(
                [*command, str(theirs.fileno())],
                env={},
                cwd="/",
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                process_group=0,  # Ctrl-C is for the caller, who may finish what is under way
            )
            self._control = mine
            theirs.close()
            mine.settimeout(_START_SECONDS)
            answer = self._greet(mine)
            mine.settimeout(None)
            if "ready" not in answer:
                errors.seek(0)
                words = answer.get("refused") or errors.read(2000).decode("utf-8", "replace").strip()
                self._end_zygote()
                raise Refused(words or "the zygote ended without a word")
        self.landlock = answer["landlock"]

    def _greet(self, control: socket.socket) -> dict[str, Any]:
        message = {
            "tier": str(self.setup.isolation),
            "base": self.base,
            "user": self.user,
            "readable": readable_paths(self.setup.import_paths),
            "import_paths": self.setup.import_paths,
            "mirror": self.setup.mirror,
            "packages": self.setup.packages,
            "shelf": self.setup.shelf,
        }
        try:
            control.send(json.dumps(message).encode())
            answer = control.recv(65536)
        except OSError as error:
            return {"refused": f"the zygote did not start: {error}"}
        return json.loads(answer) if answer else {}

    def _end_zygote(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._zygote is not None:
            # Its child in the namespace dies with it; without namespaces a run dies with its zygote.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._zygote.wait(0.2)
            with contextlib.suppress(ProcessLookupError):
                self._zygote.send_signal(signal.SIGKILL)
            self._zygote.wait()
            self._zygote = None


def readable_paths(import_paths: Sequence[str]) -> list[str]:
    """The directories a program may read: Python's own library, shared libraries, and what was asked."""
    base = os.path.realpath(sys.base_prefix)
    paths = sysconfig.get_paths(vars={"base": sys.base_prefix, "platbase": sys.base_prefix})
    own = [os.path.realpath(paths[name]) for name in ("stdlib", "platstdlib")]
    library = [] if base == "/usr" else [os.path.join(base, "lib")]
    nix = ["/nix/store"] if base.startswith("/nix/") else []
    return [*_LIBRARIES, *own, *library, *nix, *(os.path.realpath(path) for path in import_paths)]


def make_mirror(place: Place) -> str:
    """A copy of the standard library that every user may read."""
    library = os.path.dirname(os.__file__)
    target = os.path.join(place.path, "lib")
    ignore = shutil.ignore_patterns(*_NOT_MIRRORED, "config-*", "*.opt-?.pyc")
    shutil.copytree(library, target, ignore=ignore)
    return target


def make_shelf(place: Place, packages: Sequence[tuple[str, str]]) -> str:
    """A directory to import packages from: of links, or of copies where another user could not follow them."""
    shelf = place.make("packages", 0o755)
    for name, path in packages:
        target = os.path.join(shelf, name)
        if readable_by_all(path):
            os.symlink(path, target)
        elif os.path.isdir(path):
            shutil.copytree(path, target, ignore=shutil.ignore_patterns("tests", "__pycache__"))
        else:
            shutil.copy(path, target)
    return shelf


def readable_by_all(path: str) -> bool:
    """Whether every user may pass through all directories above a path."""
    while path != "/":
        if not os.stat(path).st_mode & (0o001 if os.path.isdir(path) else 0o004):
            return False
        path = os.path.dirname(path)
    return True


def sealed_file(content: bytes) -> int:
    """A descriptor of a file in memory with this content, set to its start, that nobody can change."""
    descriptor = os.memfd_create("aha", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def _pipe(reader: list[int], writer: list[int]) -> None:
    read, write = os.pipe()
    reader.append(read)
    writer.append(write)


def _unprivileged_user() -> int:
    """A uid that nothing else uses: above the usual range if this machine has it, else high below 65536."""
    number = (os.getpid() * 31 + next(_numbers)) % _ROOM
    with open("/proc/self/uid_map") as file:
        spans = [[int(part) for part in line.split()] for line in file]
    if any(first <= 66_000 and first + length > 66_000 + _ROOM for first, _, length in spans):
        return 66_000 + number
    return 60_600 + number % 500
