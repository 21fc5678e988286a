"""reasoning-gym's data sets by their names: ``reasoning_gym:chain_sum``."""

from __future__ import annotations

from typing import Any

from aha.tasks import adapters


def __getattr__(name: str) -> Any:
    """What makes the task of a data set."""
    if name.startswith("__"):
        raise AttributeError(name)
    return adapters.gym(name)
