"""How long a run was ready to go on and had no processor."""

from __future__ import annotations

import contextlib
from pathlib import Path


class ProcessorQueue:
    """The kernel's count for the process of a pidfd (its first thread); 0 where the kernel does not tell."""

    def __init__(self, pidfd: int) -> None:
        self._statistics: Path | None = None
        self._seconds = 0.0
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
                name, _, value = line.partition(":")
                if name == "Pid" and value.strip().isdecimal():
                    self._statistics = Path(f"/proc/{value.strip()}/schedstat")

    def seconds(self) -> float:
        """Seconds of waiting by now; of a process that has ended, what was counted last."""
        if self._statistics is not None:
            with contextlib.suppress(OSError, ValueError, IndexError):
                self._seconds = int(self._statistics.read_text().split()[1]) / 1e9
        return self._seconds
