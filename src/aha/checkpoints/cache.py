"""Where checkpoints are kept that the program made itself, and how several processes share them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from aha import files


def folder() -> Path:
    """The cache of this user: ``$AHA_CACHE``, or ``aha`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    own, general = os.environ.get("AHA_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own).expanduser() if own else Path(general or "~/.cache").expanduser() / "aha"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time makes ``path``; the others wait and find it made."""
    from filelock import FileLock

    with files.disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield
