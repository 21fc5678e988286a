"""Installed packages that programs in the sandbox may import: found by name, shown read-only.

The setting is a list of distributions, with what they need. numpy, and sortedcontainers, which LeetCode's programs
count on, are there by default and beside others, where they are installed; an empty list leaves Python's own library
alone.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata

from aha.types import AhaError

VARIABLE = "AHA_SANDBOX_PACKAGES"
"""The environment variable that names packages for every sandbox that is not told otherwise."""
_DEFAULT = ("numpy", "sortedcontainers")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def chosen(packages: Sequence[str] | None) -> dict[str, str]:
    """What to show: the name of each file or directory to import from, and where it is.

    None: what the environment variable says (separated by commas). Raises AhaError for a
    package that is not installed.
    """
    said = os.environ.get(VARIABLE)
    named = packages if packages is not None else [each.strip() for each in (said or "").split(",")]
    if packages is None and said is None:
        named = _DEFAULT
    asked = _found([each for each in named if each], required=named is not _DEFAULT)
    return _found(_DEFAULT, required=False) | asked if asked else asked


def modules(packages: Sequence[str] | None = None) -> frozenset[str]:
    """The top-level modules that a program can import: Python's own and those of the packages."""
    return frozenset(sys.stdlib_module_names) | {name.split(".")[0] for name in chosen(packages)}


def _found(names: Iterable[str], *, required: bool) -> dict[str, str]:
    entries: dict[str, str] = {}
    waiting, seen = [(name, required) for name in names], set()
    while waiting:
        name, needed = waiting.pop()
        if (key := name.lower().replace("_", "-")) in seen:
            continue
        seen.add(key)
        try:
            distribution = metadata.distribution(name)
        except (metadata.PackageNotFoundError, ValueError):
            if needed:
                raise AhaError(
                    f"sandbox package '{name}' is not installed here: `pip install {name}`, or leave it out of the "
                    f"list ({VARIABLE}, or Sandbox(packages=...))."
                ) from None
            continue
        entries |= _entries(distribution)
        waiting += [(each, False) for each in _needs(distribution)]
    return entries


def _entries(distribution: metadata.Distribution) -> dict[str, str]:
    """The top-level files and directories of a distribution, by name."""
    places: dict[str, str] = {}
    for file in distribution.files or ():
        top = file.parts[0]
        if top in ("..", "__pycache__", "bin") or top.endswith(".pth"):
            continue
        if top not in places:
            places[top] = os.path.realpath(os.path.join(str(distribution.locate_file("")), top))
    return {name: path for name, path in places.items() if os.path.exists(path)}


def _needs(distribution: metadata.Distribution) -> list[str]:
    """What a distribution requires always (what only an extra or another system needs is left out if it is not
    installed)."""
    needed = []
    for requirement in distribution.requires or ():
        name, _, marker = requirement.partition(";")
        if "extra" not in marker and (match := _NAME.match(name.strip())):
            needed.append(match[0])
    return needed
