"""What a run is allowed, and what came of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a run ended. All but BROKEN are the program's own doing."""

    OK = "ok"  # ended by itself with exit code 0
    FAILED = "failed"  # an exception, another exit code, a signal, too much output
    TIMEOUT = "timeout"  # still running at the deadline
    MEMORY = "memory"  # out of memory
    BROKEN = "broken"  # the sandbox failed before any of the program ran: says nothing about the program


class Isolation(StrEnum):
    """What stands between a program and the machine."""

    NAMESPACES = "namespaces"  # own namespaces and root directory, Landlock, seccomp, rlimits
    LANDLOCK = "landlock"  # Landlock, seccomp, rlimits
    UNSAFE = "unsafe"  # nothing but time and memory limits


@dataclass(frozen=True, slots=True)
class Execution:
    """The end of one run. Only ``stdout`` can be evidence, and only when compared with what is expected;
    an exit code or a printed word never is. ``memory_mb`` is the peak of resident memory."""

    status: Status
    exit_code: int | None  # negative: the signal that ended it; None: it never ran
    stdout: bytes
    stderr: bytes
    seconds: float
    memory_mb: float
    isolation: Isolation
    note: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use. ``wall`` is in seconds; output is counted in bytes for each of stdout and
    stderr; ``memory_mb`` comes on top of the interpreter's own."""

    wall: float = 4.0
    memory_mb: int = 1024
    max_output: int = 4_000_000
    disk_mb: int = 64
    files: int = 256
    open_files: int = 64
    threads: int = 128

    def __post_init__(self) -> None:
        if not (0 < self.wall < 86_400 and self.memory_mb > 0 and self.max_output > 0):
            raise ValueError(f"limits must be positive and a day at most: {self}")

    def job(self, isolation: Isolation, processors: int) -> dict[str, int]:
        """The limits as the zygote sets them; CPU time is only a second line behind the deadline."""
        # Files that are open but deleted escape a count of what lies in a directory; without a tmpfs their
        # size is what bounds them.
        file_mb = self.disk_mb if isolation is Isolation.NAMESPACES else max(1, self.disk_mb // 8)
        return {
            "memory_mb": self.memory_mb,
            "cpu": math.ceil(self.wall * processors) + 1,
            "disk_mb": self.disk_mb,
            "file_mb": file_mb,
            "files": self.files,
            "open_files": self.open_files,
            "threads": self.threads,
        }
