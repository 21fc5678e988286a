"""trackio: a local database of figures; ``trackio show`` draws them.

``TRACKIO_PROJECT`` (else ``aha``), ``TRACKIO_SPACE_ID`` and ``TRACKIO_DIR`` hold.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from aha.runs.trackers import About
from aha.runs.trackers.names import STEP


class TrackioTracker:
    """A run of trackio, which a stage that continues takes up again by its name."""

    def __init__(self, about: About):
        self.trackio: Any = import_module("trackio")
        self.run: Any = self.trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", "aha"),
            name=about.name,
            group=about.run,
            space_id=os.environ.get("TRACKIO_SPACE_ID") or None,
            config=dict(about.settings),
            resume="allow" if about.known.get("begun") else "never",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        about.known["begun"] = True

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One row."""
        self.run.log({**values, STEP: step}, step=step)

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table of trackio."""
        frame = import_module("pandas").DataFrame([list(row) for row in rows], columns=list(columns))
        self.run.log({name: self.trackio.Table(dataframe=frame)}, step=step)

    def note(self, step: int, text: str) -> None:
        """An alert, at a step."""
        self.run.alert(f"step {step}", text)

    def close(self, failed: bool) -> None:
        """Write what is left."""
        self.run.finish()


opened = TrackioTracker
"""What the table of trackers opens."""
