"""The files beside an own part that it imports, found by reading: they are hashed, kept, sent and loaded with it.

A file that imports relatively (``from .helper import f``) is loaded as a module of a package of its own, whose folder
is the highest that its imports name. ``import helper`` means ``helper.py`` in the file's own folder, unless Python or
an installed package has a module of that name.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path

from aha.types import AhaError

INIT = "__init__.py"
OWN = "aha_own_"
"""What the names of modules begin with that are loaded from files."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What a file imports from beside itself: ``files`` with their texts, ``modules`` -> the file or folder of each,
    and ``name``, the file's own as a module of a package; "" where it imports nothing relatively."""

    files: dict[Path, bytes] = field(default_factory=dict)
    modules: dict[str, Path] = field(default_factory=dict)
    name: str = ""

    @property
    def package(self) -> str:
        """The package that the file is a module of; "" without."""
        return self.name.partition(".")[0]

    @property
    def plain(self) -> list[str]:
        """The modules that are imported by their plain names."""
        return [name for name in self.modules if name.partition(".")[0] != self.package]


@dataclass(frozen=True, slots=True)
class _Import:
    """One statement: ``from`` so many folders up (0: none), the module's pieces, and what is taken of it."""

    up: int
    pieces: list[str]
    names: list[str]


class _ImportTrail:
    """Follows a file's imports. ``known``: whether a file is there; ``read``: its text."""

    def __init__(self, path: Path, known: Callable[[Path], bool], read: Callable[[Path], bytes]):
        self.path, self.known, self.read = path, known, read
        self.relative: dict[Path, bytes] = {}
        self.plain: dict[Path, bytes] = {}
        self.roots: list[Path] = []

    def follow(self, file: Path, text: bytes, plain: bool) -> None:
        """The imports of a file, which was itself imported by its plain name or as a module of the package."""
        for one in _imports(text):
            if one.up == 0:
                if not _elsewhere(one.pieces[0]):
                    self._take(self._files(self.path.parent, one, package=False), True)
                continue
            base = _above(file, one.up)
            if not plain:
                self.roots.append(base)
            elif base == self.path.parent or not base.is_relative_to(self.path.parent):
                continue  # a module that is imported by its plain name has no package there: Python says so
            self._take(self._files(base, one, package=True), plain)

    def _take(self, files: Sequence[Path], plain: bool) -> None:
        texts = self.plain if plain else self.relative
        for file in files:
            if file not in texts and (plain or file != self.path):
                texts[file] = self.read(file)
                self.follow(file, texts[file], plain)

    def _files(self, folder: Path, one: _Import, package: bool) -> list[Path]:
        """The files that an import loads, seen from ``folder``, itself a ``package`` or not."""
        files = [folder / INIT] if package and self.known(folder / INIT) else []
        for piece in one.pieces:
            inner, leaf = folder / piece / INIT, folder / f"{piece}.py"
            if not self.known(inner) and self.known(leaf):
                return [*files, leaf]
            files += [inner] if self.known(inner) else []
            folder = folder / piece
        for name in one.names:
            inner, leaf = folder / name / INIT, folder / f"{name}.py"
            files += [inner] if self.known(inner) else [leaf] if self.known(leaf) else []
        return files


def neighbours(
    path: Path, text: bytes, known: Callable[[Path], bool], read: Callable[[Path], bytes]
) -> Neighbours:
    """What the file at ``path`` imports from beside itself. Raises AhaError for an import from above all folders."""
    trail = _ImportTrail(path, known, read)
    trail.follow(path, text, plain=False)
    files = dict(sorted((trail.plain | trail.relative).items()))
    modules = _modules(trail.plain, path.parent, ())
    if not trail.roots:
        return Neighbours(files, modules)
    root = min(trail.roots, key=lambda folder: len(folder.parts))
    kept = re.sub(r"\W", "_", root.name)
    package = f"{OWN}{kept}_{digest(path, text, files)[:8]}"
    packaged = {package: root, **_modules((*trail.relative, path), root, (package,))}
    name = ".".join((package, *path.relative_to(root).with_suffix("").parts))
    return Neighbours(files, modules | packaged, name)


def digest(path: Path, text: bytes, files: dict[Path, bytes]) -> str:
    """A hash of a file's place and text, and of those beside it."""
    hasher = hashlib.sha256(f"{path}\n".encode())
    for one in (text, *(part for file, inner in files.items() for part in (str(file).encode(), inner))):
        hasher.update(hashlib.sha256(one).digest())
    return hasher.hexdigest()


def _modules(files: Iterable[Path], root: Path, package: tuple[str, ...]) -> dict[str, Path]:
    """The modules that files are, seen from the folder ``root``, and the folders between as packages."""
    modules: dict[str, Path] = {}
    for file in files:
        pieces = file.relative_to(root).with_suffix("").parts
        for n in range(1, len(pieces)):
            modules.setdefault(".".join((*package, *pieces[:n])), root.joinpath(*pieces[:n]))
        is_package = file.name == INIT
        modules[".".join((*package, *(pieces[:-1] if is_package else pieces)))] = file
    return modules


def _above(file: Path, up: int) -> Path:
    if up > len(file.parents):
        raise AhaError(f"{file.name} imports from {up} folders above it, and there are not so many.")
    return file.parents[up - 1]


def _elsewhere(name: str) -> bool:
    """Whether Python or an installed package has a module of that name."""
    installed = [folder for folder in sys.path if folder.endswith(("site-packages", "dist-packages"))]
    return (
        name == "aha" or name in sys.stdlib_module_names or PathFinder.find_spec(name, installed) is not None
    )


@lru_cache(maxsize=256)
def _imports(text: bytes) -> tuple[_Import, ...]:
    """The imports of a text, those within functions among them; none of what is not Python."""
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError):
        return ()
    plain = [alias.name.split(".") for n in nodes if isinstance(n, ast.Import) for alias in n.names]
    listed = [_Import(0, pieces, []) for pieces in plain]
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            pieces = node.module.split(".") if node.module else []
            listed.append(_Import(node.level, pieces, [alias.name for alias in node.names]))
    return tuple(listed)
