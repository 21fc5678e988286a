"""Landlock: file access, TCP and abstract sockets closed by the kernel, without any privilege."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Sequence

from . import kernel

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REGULAR = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_ALL_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL_SINCE_5 = (1 << 16) - 1
_TCP = 0b11  # bind, connect
_SCOPES = 0b11  # abstract unix sockets, signals

READ = _READ_FILE | _READ_DIR
USE = READ | _WRITE_FILE | _TRUNCATE
OWN = USE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REGULAR | _REFER
_FILE_ACCESS = _WRITE_FILE | _READ_FILE | _TRUNCATE


def version() -> int:
    """The kernel's Landlock version; 0 where there is none."""
    try:
        return kernel.call("landlock_create_ruleset", None, 0, 1)
    except (OSError, KeyError):
        return 0


def restrict(grants: Sequence[tuple[str, int]], available: int) -> None:
    """Leave this thread only the granted access below each path. A path that is not there, or
    not for this user, grants nothing."""
    handled = _ALL_BY_VERSION.get(available, _ALL_SINCE_5)
    attributes = struct.pack("QQQ", handled, _TCP, _SCOPES)
    size = 8 if available < 4 else 16 if available < 6 else 24
    ruleset = kernel.call("landlock_create_ruleset", attributes[:size], size, 0)
    for path, access in grants:
        _grant(ruleset, path, access & handled)
    kernel.call("landlock_restrict_self", ruleset, 0)
    os.close(ruleset)


def _grant(ruleset: int, path: str, access: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return
    if not stat.S_ISDIR(os.fstat(place).st_mode):
        access &= _FILE_ACCESS
    kernel.call("landlock_add_rule", ruleset, 1, struct.pack("=Qi", access, place), 0)
    os.close(place)
