"""When an index is brought up to date, and by whom: a little at once, much by a process of its own."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from aha.view.child_process import child_command
from aha.view.index.building import IndexBuilder, rollout_files, stands
from aha.view.index.searching import IndexReader
from aha.view.index.tables import index_path, open_to_read

LITTLE = 24 << 20
"""Bytes that are indexed at once, before a question is answered; more are left to another process."""
AT_ONCE = 2.0
"""Seconds for that."""
LOOK = 1.5
"""Seconds between two looks at a run's files."""


@dataclass(frozen=True, slots=True)
class IndexStand:
    """How far an index is: rows and bytes in it, bytes there are, whether a process is at it, broken lines."""

    rows: int
    bytes: int
    total: int
    building: bool
    broken: int


class IndexKeeper:
    """The indexes that the page asks. ``close`` ends the processes that build."""

    def __init__(self) -> None:
        self._looked: dict[Path, float] = {}
        self._workers: dict[Path, subprocess.Popen[bytes]] = {}
        self._locks: dict[Path, threading.Lock] = {}
        self._own = threading.Lock()

    def reader(self, run: Path) -> IndexReader:
        """A reader of the run's index, after what is new in a few files was added to it."""
        self.refresh(run)
        return IndexReader(index_path(run))

    def refresh(self, run: Path) -> None:
        """Bring the index up to date if little is missing, else have a process begin with it."""
        with self._own:
            lock = self._locks.setdefault(run, threading.Lock())
        with lock:
            there = index_path(run).exists()
            if there and time.monotonic() - self._looked.get(run, -LOOK) < LOOK:
                return
            if not self._building(run):
                self._update(run)
            self._looked[run] = time.monotonic()

    def _update(self, run: Path) -> None:
        with building_lock(run) as mine:
            if not mine:  # another aha view is at it
                return
            builder = IndexBuilder(run)
            try:
                new, gone = stands(builder.db, run)
                missing = sum(stand.missing for stand in new)
                if missing <= LITTLE:
                    missing = builder.build(AT_ONCE) if new or gone else 0
            finally:
                builder.close()
        if missing > 0:
            self._begin(run)

    def _begin(self, run: Path) -> None:
        words = child_command("aha.view.index", run)
        # its input is a pipe that ends with this process, and so does it
        self._workers[run] = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def _building(self, run: Path) -> bool:
        worker = self._workers.get(run)
        if worker is None:
            return False
        if worker.poll() is None:
            return True
        if worker.stdin:
            worker.stdin.close()
        del self._workers[run]
        return False

    def stand(self, run: Path) -> dict[str, object]:
        """How far the index is."""
        total = 0
        for file in rollout_files(run):
            with contextlib.suppress(OSError):
                total += file.path.stat().st_size
        rows = at = broken = 0
        with contextlib.suppress(sqlite3.Error), contextlib.closing(open_to_read(index_path(run))) as db:
            said = "SELECT coalesce(sum(rows), 0), coalesce(sum(at), 0), coalesce(sum(broken), 0) FROM file"
            rows, at, broken = db.execute(said).fetchone()
        return asdict(IndexStand(rows, at, total, self._building(run), broken))

    def close(self) -> None:
        """End the processes that build; what they did stays."""
        for worker in self._workers.values():
            if worker.stdin:
                worker.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(5)
            if worker.poll() is None:
                worker.kill()
                worker.wait()
        self._workers.clear()


@contextlib.contextmanager
def building_lock(run: Path) -> Iterator[bool]:
    """Whether this process may write the run's index; while it may, no other does."""
    path = index_path(run)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(path.with_name("building.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def end_with_parent() -> None:
    """End this process as soon as its input ends: with whoever began it."""

    def wait() -> None:
        while os.read(0, 4096):  # unbuffered: a buffer's lock would be held when this process ends by itself
            pass
        os._exit(0)  # what is not written yet is read again

    threading.Thread(target=wait, daemon=True).start()
