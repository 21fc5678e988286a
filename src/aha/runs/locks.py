"""Whether somebody holds a lock, told without taking it."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def held(file: Path) -> bool | None:
    """Whether a process holds a file's lock; None where that cannot be seen. The lock is not tried: for that moment a
    run that begins would find it taken."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        there = os.stat(file)
        locks = Path("/proc/locks").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return among(locks, there)


def among(locks: str, file: os.stat_result) -> bool | None:
    """Whether a file is among the lines of /proc/locks. Btrfs and overlays have other numbers for their devices there
    than files say: where the inode alone fits, it cannot be told."""
    places = [word.split(":") for line in locks.splitlines() for word in line.split() if word.count(":") == 2]
    same = [place[:2] for place in places if place[2] == str(file.st_ino)]
    if [f"{os.major(file.st_dev):02x}", f"{os.minor(file.st_dev):02x}"] in same:
        return True
    return None if same else False
