"""Who looks at the page is told when a run changes: one look at the files for all, and none while nobody looks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool

from aha.view.shelf import RunShelf, as_json

EVERY = 1.5
"""Seconds between two looks."""
ALIVE = 15.0
"""Seconds after which a silent stream says that it is still there."""


class RunWatch:
    """The table of runs as it changes."""

    def __init__(self, shelf: RunShelf, every: float = EVERY):
        self.shelf, self.every = shelf, every
        self.listeners: set[asyncio.Queue[dict[str, Any]]] = set()
        self.ended = False
        self._before: dict[str, dict[str, Any]] = {}
        self._task: asyncio.Task[None] | None = None

    async def stream(self) -> AsyncIterator[bytes]:
        """Server-sent events: ``change`` with the lines that are new or others, and ids of runs that are gone."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=64)
        self.listeners.add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        try:
            yield b"retry: 3000\n\n"
            while not self.ended:
                try:
                    event = await asyncio.wait_for(queue.get(), ALIVE)
                    if not event:
                        break
                    yield b"event: change\ndata: " + json.dumps(event, default=str).encode() + b"\n\n"
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            self.listeners.discard(queue)

    def end(self) -> None:
        """End all streams: the server stops. Called in the loop's own thread."""
        self.ended = True
        for queue in list(self.listeners):
            if not queue.full():
                queue.put_nowait({})

    async def _look(self) -> None:
        """Until nobody listens any more."""
        while self.listeners and not self.ended:
            event = await run_in_threadpool(self._changed)
            for queue in list(self.listeners) if event else ():
                if not queue.full():  # one that does not read gets the next change
                    queue.put_nowait(event)
            await asyncio.sleep(self.every)

    def _changed(self) -> dict[str, Any]:
        now = {row.id: as_json(row) for row in self.shelf.rows()}
        before, self._before = self._before, now
        rows = [row for run, row in now.items() if before.get(run) != row]
        gone = [run for run in before if run not in now]
        return {"rows": rows, "gone": gone} if rows or gone else {}
