"""Directories of the sandbox below the temporary directory: locked by the process that owns them, and swept
by the next one if that process was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile

from .inside import tree

PREFIX = "aha-sandbox-"
_OWNER = "owner"


class Place:
    """A directory that everybody may pass through and nobody else may list or change."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix=PREFIX)
        os.chmod(self.path, 0o711)
        self._lock = os.open(os.path.join(self.path, _OWNER), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def make(self, name: str, mode: int = 0o700) -> str:
        """A new directory in it."""
        path = os.path.join(self.path, name)
        os.mkdir(path)
        os.chmod(path, mode)
        return path

    def close(self) -> None:
        """Remove it with all it holds."""
        if self._lock >= 0:
            tree.remove(self.path)
            os.close(self._lock)
            self._lock = -1


def sweep() -> None:
    """Remove what processes that are gone have left. A lock is let go by the kernel, however its owner ended."""
    above = tempfile.gettempdir()
    with contextlib.suppress(OSError):
        for name in os.listdir(above):
            if name.startswith(PREFIX):
                _sweep_one(os.path.join(above, name))


def _sweep_one(path: str) -> None:
    status = os.lstat(path)
    if status.st_uid != os.geteuid():
        return
    try:
        lock = os.open(os.path.join(path, _OWNER), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return  # not one of ours, or this moment made or removed
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        tree.remove(path)
    except OSError:
        return  # its owner lives
    finally:
        os.close(lock)
