"""Access times of files that programs may read: settled before a run, since one program could leave a word in
them for the next.

Most systems write an access time only if it is older than the file's last change, or than a day. Reading every
file once therefore keeps later reads from showing.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator

_FAR = 1 << 33  # seconds: an access time that nothing is newer than
_FRESH = 12 * 3600  # seconds: younger than this it is left as it is

_settled: dict[str, float] = {}  # when this process did it


def settle(paths: Iterable[str], *, ours: bool = False) -> None:
    """Read a byte of every file below these paths whose access time could still change; of copies of ``ours`` set
    it far ahead."""
    now = time.time()
    for path in paths:
        if now - _settled.get(path, 0.0) < _FRESH:
            continue
        _settled[path] = now
        for each in _entries(path):
            with contextlib.suppress(OSError):
                _settle_one(each, now, ours)


def _settle_one(path: str, now: float, ours: bool) -> None:
    status = os.lstat(path)
    if ours and not stat.S_ISLNK(status.st_mode):
        os.utime(path, (_FAR, status.st_mtime))
    elif status.st_atime <= max(status.st_mtime, status.st_ctime, now - _FRESH) and stat.S_ISREG(
        status.st_mode
    ):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.read(descriptor, 1)
        finally:
            os.close(descriptor)


def _entries(path: str) -> Iterator[str]:
    """A file, or everything below a directory: it comes after what is in it, since listing it counts as well."""
    for place, _, names in os.walk(path, topdown=False):
        yield from (os.path.join(place, name) for name in names)
        yield place
    if os.path.isfile(path):
        yield path
