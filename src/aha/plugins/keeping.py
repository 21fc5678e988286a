"""The text of parts from outside: part of a stage's fingerprint, and copied into its folder."""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aha.plugins.loading import beside, entry, given_source, reach, read_text, resolve, want, whole_path
from aha.plugins.names import is_reference, reference
from aha.types import AhaError

FOLDER = "own"
"""In a stage's folder: copies of the files that its own parts came from."""

GROUPS: Mapping[str, str] = {
    "task": "tasks", "tasks": "tasks", "general_tasks": "tasks", "rewards": "rewards", "preset": "algorithms",
    "algorithm": "algorithms", "advantage": "", "objective": "", "engine": "engines", "prompt": "prompts",
    "judge": "judges", "teacher": "judges",
}  # fmt: skip
"""Settings that may name a part from outside, by the last word of their name, and the group of entry points."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a part stands, as written, and its text; the texts of the files beside that it imports."""

    place: str
    text: bytes
    beside: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """SHA-256 of the text, and of those beside it."""
        if not self.beside:
            return hashlib.sha256(self.text).hexdigest()
        lines = [f"{hashlib.sha256(text).hexdigest()} {name}" for name, text in self.beside.items()]
        return hashlib.sha256("\n".join([hashlib.sha256(self.text).hexdigest(), *lines]).encode()).hexdigest()


def parts_of(settings: Mapping[str, Any]) -> list[str]:
    """The references among a stage's settings, wherever they are nested."""
    return list(dict.fromkeys(_walk(settings, "")))


def _walk(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if name == "rewards":
                yield from _walk(str(key), "rewards")
            else:
                yield from _walk(inner, str(key))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _walk(inner, name)
    elif isinstance(value, str) and name in GROUPS:
        yield from _named(value, GROUPS[name])


def _named(text: str, group: str) -> Iterator[str]:
    """The references in one setting: itself, the parts of a mixture, or what an installed package calls so."""
    if is_reference(text):
        yield text
    elif group == "tasks" and ":" in text:
        for part in text.split(","):
            left = part.strip().rpartition(":")[0]
            name = left if is_reference(left) else left.partition("=")[0]
            yield from _named(name, group) if ":" in name else ()
    elif group and text.isidentifier() and (target := entry(group, text)) is not None:
        yield target


def source_of(text: str) -> Source:
    """The text of the file or module that a part stands in. Raises AhaError for a file that is not there."""
    part = reference(text)
    if part.is_given:
        return Source(f"{part.name}.py", given_source(part.key).encode())
    if part.is_file:
        folder = whole_path(part.place).parent
        near = {os.path.relpath(file, folder): text for file, text in beside(part.place).files.items()}
        return Source(part.place, read_text(part.place), near)
    reach(Path.cwd())
    try:
        spec = find_spec(part.place)
    except (ImportError, ValueError, AttributeError):
        spec = None
    origin = spec.origin if spec is not None else None
    if origin is None or not Path(origin).is_file():
        return Source(part.place, b"")
    return Source(part.place, Path(origin).read_bytes())


def sources(references: Iterable[str]) -> dict[str, Source]:
    """The texts that parts stand in, by file or module."""
    by_place: dict[str, Source] = {}
    for source in map(source_of, references):
        place, number = source.place, 1
        while place in by_place and by_place[place] != source:  # passed in Python, under one name
            number += 1
            place = f"{Path(source.place).with_suffix('')}_{number}.py"
        by_place[place] = source
    return by_place


def load(references: Iterable[str]) -> None:
    """Load parts, and have tasks keep the columns of rows that their files speak of. Raises AhaError for those that
    cannot be loaded."""
    for text in references:
        resolve(text)
        source = source_of(text)
        want(frozenset().union(*map(_words, (source.text, *source.beside.values()))))


@lru_cache(maxsize=64)
def _words(text: bytes) -> frozenset[str]:
    """The names of parameters in a source, and its short strings: among them are the columns that it looks at."""
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError):
        return frozenset()
    said = (n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))
    return frozenset(n.arg for n in nodes if isinstance(n, ast.arg)) | {s for s in said if 0 < len(s) < 64}


def keep_copies(references: Iterable[str], folder: Path) -> list[Path]:
    """Copy the files that parts stand in, and those beside that they import, into ``folder / FOLDER``; returns the
    copies. Modules of installed packages are copied too. Raises AhaError where it cannot be written."""
    kept: dict[Path, bytes] = {}
    for source in sources(references).values():
        name = Path(source.place).name if source.place.endswith(".py") else f"{source.place}.py"
        texts = {name: source.text} if source.text else {}
        texts |= {Path(*_inside(near)).as_posix(): text for near, text in source.beside.items()}
        for place, text in texts.items():
            target, number = folder / FOLDER / place, 1
            while kept.get(target, text) != text:  # two files of one name
                number += 1
                target = (folder / FOLDER / place).with_stem(f"{Path(place).stem}_{number}")
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(text)
            except OSError as error:
                raise AhaError(f"Cannot write {target}: {error.strerror or error}.") from error
            kept[target] = text
    return list(kept)


def _inside(near: str) -> list[str]:
    """A place beside a file without what leads out of its folder."""
    return [piece for piece in Path(near).parts if piece != os.pardir]
