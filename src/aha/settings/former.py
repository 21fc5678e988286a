"""Former names of settings: read for one release more, with a note that names the new one."""

from __future__ import annotations

import warnings
from collections.abc import Container, Mapping
from typing import Any

FORMER: dict[str, str] = {}
"""Former name -> the name of today. No former name is that of another setting today."""

ALIASES: dict[str, str] = {"template": "prompt"}
"""Names from before fingerprints were what they are."""

GROUPS = ("algorithm", "vllm", "cluster")
"""Settings that hold settings."""


class FormerNameWarning(FutureWarning):
    """A setting was given by its former name."""


def today(name: str, fields: Container[str]) -> str:
    """The name of today of a setting among ``fields``; the name itself where it has no other."""
    new = FORMER.get(name) or ALIASES.get(name)
    return new if new and name not in fields and new in fields else name


def renamed(values: Mapping[str, Any], fields: Container[str]) -> dict[str, Any]:
    """Values by the names of today, with a note for each that was given by a former one."""
    found = {}
    for name, value in values.items():
        if (new := today(name, fields)) != name:
            note(name, new)
        found[new] = value
    return found


def note(name: str, new: str) -> None:
    """Say that a former name was used."""
    text = f"The setting {name} is called {new} now; its former name is read for one release more."
    warnings.warn(text, FormerNameWarning, stacklevel=2)
