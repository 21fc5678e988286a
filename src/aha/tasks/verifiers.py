"""Installed environments of ``verifiers`` by their names: ``verifiers:gsm8k``."""

from __future__ import annotations

from typing import Any

from aha.tasks import adapters


def __getattr__(name: str) -> Any:
    """What loads an environment."""
    if name.startswith("__"):
        raise AttributeError(name)
    return adapters.environment(name)
