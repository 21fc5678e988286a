"""How a part from outside is written: ``file.py:name`` or ``package.module:name``, options behind another colon."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from aha.types import AhaError

GIVEN = "python"
"""Stands in place of a file for a function that was passed in Python and is in no file: ``python:name@hash``."""

LIBRARIES = {"reasoning_gym": "aha.tasks.reasoning_gym", "verifiers": "aha.tasks.verifiers"}
"""Libraries whose own names of tasks are taken: ``reasoning_gym:chain_sum``."""

_OPTION = r"\w+=[^,]*"
_REFERENCE = re.compile(
    r"(?P<place>(?:[A-Za-z]:)?[^:]*\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*(?:\.\w+)*)"
    rf"(?P<hash>@[0-9a-f]+)?(?::(?P<options>{_OPTION}(?:,{_OPTION})*))?"
)


@dataclass(frozen=True, slots=True)
class PartName:
    """A part's name taken apart. ``place`` is a file, a module, or ``GIVEN``; ``options`` the text behind it."""

    place: str
    name: str
    hash: str = ""
    options: str = ""

    @property
    def is_file(self) -> bool:
        """Whether it stands in a file that is named, rather than in a module."""
        return self.place.endswith(".py")

    @property
    def is_given(self) -> bool:
        """Whether it was passed as a Python object and stands in no file."""
        return self.place == GIVEN and bool(self.hash)

    @property
    def key(self) -> str:
        """The reference without its options."""
        return f"{self.place}:{self.name}{self.hash}"


def reference(text: str) -> PartName:
    """The parts of a reference. Raises AhaError for what is none."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise AhaError(f"'{text}' is neither file.py:name nor package.module:name.")
    return PartName(
        LIBRARIES.get(match["place"], match["place"]),
        match["name"],
        match["hash"] or "",
        match["options"] or "",
    )


def is_reference(text: object) -> bool:
    """Whether a setting names a part from outside. ``name:key=value`` and mixtures with shares do not."""
    return isinstance(text, str) and _REFERENCE.fullmatch(text) is not None


def of_file(text: str) -> str:
    """Where a name that is not known is a Python file alone: what to write; "" for all others."""
    place = text.partition(":")[0]
    return f"'{place}' is a Python file: name the part in it, {place}:NAME." if place.endswith(".py") else ""


def check_reference(text: str) -> str:
    """The text, which must be a reference. Raises ValueError for what is none."""
    if not is_reference(text):
        raise ValueError("it is no name that is known, and neither file.py:name nor package.module:name")
    return text


def label(text: str) -> str:
    """How a part is called in tables: the last piece of its name, the whole text where it is no reference."""
    return reference(text).name.rpartition(".")[2] if is_reference(text) else text


def options(name: str, text: str) -> dict[str, Any]:
    """``key=value,key=value`` as a mapping, values as JSON where they are JSON. ``name`` is for the error.

    Raises AhaError for what is not of this form.
    """
    values = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise AhaError(f"'{name}': options are written name:key=value,key=value.")
        try:
            values[key.strip()] = json.loads(value)
        except json.JSONDecodeError:
            values[key.strip()] = value.strip()
    return values
