"""Where there is no tmpfs: a new directory for every run, and the removal of what runs left, beside the runs after it.

Removing a tree of directories can take a disk seconds, and nobody waits for it. A directory that is being removed
cannot be found by a program: names are drawn at random, and the one above them cannot be listed.
"""

from __future__ import annotations

import os
import select
import stat
from typing import NoReturn

from . import kernel, tree

_MOST_REMOVALS = 8  # at a time; a slot whose programs leave more than its disk can remove is given up
_AT_ONCE = 16  # files
_AT_ONCE_BYTES = 1 << 20


class Workplaces:
    """The directories of one slot, below ``base``, which belongs to the user that programs run as."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._left = _made(
            base
        )  # what is being removed; apart, so that the directory above is always the same size
        self._removals: dict[int, int] = {}  # pidfd: pid
        self.current = _made(base)

    @property
    def removing(self) -> int:
        """How many removals go on."""
        return len(self._removals)

    def renew(self) -> None:
        """A new directory; the old one goes away. Raises OSError if that cannot be, or not fast enough."""
        old, self.current = self.current, _made(self._base)
        if not _remove_small(old):
            self._remove_aside(old)

    def wait(self, control: int) -> None:
        """Wait until there is a message to read; removals that are done meanwhile are noted."""
        poll = select.poll()
        for descriptor in (control, *self._removals):
            poll.register(descriptor, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            for pidfd in ready:
                if pidfd in self._removals:
                    poll.unregister(pidfd)
                    self._note_end(pidfd)
            if control in ready:
                return

    def _remove_aside(self, old: str) -> None:
        if len(self._removals) >= _MOST_REMOVALS:
            raise OSError("programs leave more than can be removed")
        os.chmod(old, 0o700)  # moving it writes its entry for the directory above
        left = os.path.join(self._left, os.path.basename(old))
        os.rename(old, left)
        pid = os.fork()
        if pid == 0:
            _remove_and_leave(left)
        self._removals[os.pidfd_open(pid)] = pid

    def _note_end(self, pidfd: int) -> None:
        _, status = os.waitpid(self._removals.pop(pidfd), 0)
        os.close(pidfd)
        if status:
            raise OSError("what a program left could not be removed")


def _made(above: str) -> str:
    path = os.path.join(above, os.urandom(16).hex())
    os.mkdir(path, 0o700)
    return path


def _remove_small(directory: str) -> bool:
    """Remove a directory with a few small files in it, or none; False if it holds more than that."""
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        names = os.listdir(place)
        if len(names) > _AT_ONCE:
            return False
        entries = [os.stat(name, dir_fd=place, follow_symlinks=False) for name in names]
        if any(stat.S_ISDIR(each.st_mode) for each in entries):
            return False
        if sum(each.st_blocks for each in entries) * 512 > _AT_ONCE_BYTES:
            return False
        for name in names:
            os.unlink(name, dir_fd=place)
    finally:
        os.close(place)
    os.rmdir(directory)
    return True


def _remove_and_leave(directory: str) -> NoReturn:
    code = 1
    try:
        kernel.die_with_parent()
        tree.clear(directory)
        os.rmdir(directory)
        code = 0
    finally:
        os._exit(code)
