"""TensorBoard: event files beneath the run; ``tensorboard --logdir runs`` shows every run and stage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aha.runs.trackers import About


class TensorboardTracker:
    """A writer of event files."""

    def __init__(self, about: About):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(about.folder), flush_secs=10)
        self.writer.add_text("settings", f"```json\n{json.dumps(about.settings, indent=2)}\n```", 0)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One scalar a figure."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table of Markdown, which TensorBoard draws."""
        lines = ["|".join(columns), "|".join("---" for _ in columns)]
        lines += ["|".join(_cell(value) for value in row) for row in rows]
        self.writer.add_text(name, "\n".join(f"|{line}|" for line in lines), step)

    def note(self, step: int, text: str) -> None:
        """A text beside the figures."""
        self.writer.add_text("warnings", text, step)

    def close(self, failed: bool) -> None:
        """Write what is left."""
        self.writer.close()


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;").replace("\n", "<br>")


opened = TensorboardTracker
"""What the table of trackers opens."""
