"""From the name of a part to the part: files are loaded once, modules imported, Python objects remembered.

A file that changed since is loaded anew. Worker processes may be given files' texts (``parcel``, ``install``), so that
they run what the trainer runs, whatever their own disk holds.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from aha.hints import nearest
from aha.plugins.guard import location
from aha.plugins.names import GIVEN, PartName, is_reference, reference
from aha.plugins.neighbours import OWN, Neighbours, digest, neighbours
from aha.plugins.passed import name_of, source_with_state
from aha.types import AhaError

Parcel = tuple[tuple[str, str, bytes], ...]
"""(place as it was written, whole path, text) of files."""

_loaded: dict[tuple[str, str], ModuleType] = {}  # by path and hash of the text
_texts: dict[str, tuple[str, bytes]] = {}  # that a worker was given, by place: (whole path, text)
_known: dict[str, tuple[Any, str]] = {}  # objects that were passed in Python, by reference: (object, source)
_wanted: set[str] = set()
_loading: list[str] = []  # files that are being loaded just now


def resolve(text: str) -> Any:
    """The object that a reference names, its options left aside. Raises AhaError for a file, module or name that
    is not there, and with the line for one that cannot be loaded."""
    named = reference(text)
    if named.key in _known:
        return _known[named.key][0]
    if named.is_given:
        raise AhaError(
            f"'{text}' was a function of another Python session. Pass it again, or write it into a file and name it "
            f"FILE.py:{named.name}."
        )
    module = load_file(named.place) if named.is_file else _import(named)
    return _attribute(module, named)


def _attribute(module: ModuleType, named: PartName) -> Any:
    value: Any = module
    for piece in named.name.split("."):
        if not hasattr(value, piece):
            names = [n for n in vars(value) if not n.startswith("_")] if hasattr(value, "__dict__") else []
            hint = nearest(piece, names, f"It has: {', '.join(names) or 'nothing'}.")
            raise AhaError(f"There is no '{named.name}' in {named.place}. {hint}")
        value = getattr(value, piece)
    return value


def _import(named: PartName) -> ModuleType:
    """A module, also one of the folder one stands in."""
    reach(Path.cwd())
    try:
        return import_module(named.place)
    except ModuleNotFoundError as error:
        if error.name and named.place.split(".")[0] == error.name.split(".")[0]:
            raise AhaError(
                f"There is no module '{error.name}' ('{named.key}'). Install its package, or name a file: "
                f"FILE.py:{named.name}."
            ) from error
        raise AhaError(f"'{named.place}' cannot be loaded: {location(error, '')}.") from error
    except Exception as error:
        raise AhaError(f"'{named.place}' cannot be loaded: {location(error, '')}.") from error


def load_file(place: str) -> ModuleType:
    """The module of a file. Raises AhaError where it cannot be read or loaded."""
    path, text, near = whole_path(place), read_text(place), beside(place)
    key = (str(path), digest(path, text, near.files))
    if key not in _loaded:
        _loaded[key] = _load(str(path), text, near)
    return _loaded[key]


def beside(place: str) -> Neighbours:
    """What a file imports from beside itself. Raises AhaError where it cannot be read."""

    def known(file: Path) -> bool:
        return str(file) in _texts or file.is_file()

    return neighbours(whole_path(place), read_text(place), known, lambda file: read_text(str(file)))


def file_of(module: str) -> str:
    """The file that a module was loaded from by its name; "" for all others."""
    return str(sys.modules[module].__file__) if module.startswith(OWN) and module in sys.modules else ""


def whole_path(place: str) -> Path:
    """The absolute path of a file that is named."""
    return Path(_texts[place][0]) if place in _texts else Path(place).expanduser().absolute()


def read_text(place: str) -> bytes:
    """The text of a file, or what this worker was given as such. Raises AhaError where there is none."""
    if place in _texts:
        return _texts[place][1]
    path = whole_path(place)
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise AhaError(f"There is no file '{place}' (looked for {path}).") from error
    except OSError as error:
        raise AhaError(f"Cannot read '{place}': {error.strerror or error}.") from error


class _Loader(SourceLoader):
    """Loads a text under a file's name, so that errors name its lines; writes no bytecode beside it."""

    def __init__(self, path: str, text: bytes):
        self.path, self.text = path, text

    def get_filename(self, fullname: str) -> str:
        return self.path

    def get_data(self, path: str) -> bytes:
        return self.text


class _Finder(MetaPathFinder):
    """Finds the modules beside own files, by their texts; a folder without ``__init__.py`` is a package of no text."""

    def __init__(self) -> None:
        self.places: dict[str, Path] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        place = self.places.get(fullname)
        if place is None:
            return None
        if place.suffix != ".py":
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [str(place)]
            return spec
        inner = [str(place.parent)] if place.name == "__init__.py" else None
        loader = _Loader(str(place), read_text(str(place)))
        return spec_from_file_location(fullname, place, loader=loader, submodule_search_locations=inner)


_finder = _Finder()
"""Stays behind all others: what a function imports as it runs is found here where the disk has it not."""


@contextmanager
def _first(near: Neighbours) -> Iterator[None]:
    """Within it a file's neighbours are found before all others: what another file's imports left under their names is
    put aside, and what is not from here put back."""
    _finder.places.update(near.modules)
    before = {name: sys.modules[name] for name in near.plain if name in sys.modules}
    if all(_is_of(module, near) for module in before.values()):
        before = {}
    for name in before:
        del sys.modules[name]
    sys.meta_path.insert(0, _finder)
    try:
        yield
    finally:
        sys.meta_path.remove(_finder)
        if _finder not in sys.meta_path:
            sys.meta_path.append(_finder)
        others = {n: m for n, m in before.items() if not isinstance(_loader(m), _Loader)}
        sys.modules.update(others)


def _loader(module: ModuleType) -> Any:
    return getattr(getattr(module, "__spec__", None), "loader", None)


def _is_of(module: ModuleType, near: Neighbours) -> bool:
    """Whether a module was loaded from the text that a neighbour has now."""
    loader = _loader(module)
    return isinstance(loader, _Loader) and near.files.get(Path(loader.path)) == loader.text


def _load(path: str, text: bytes, near: Neighbours) -> ModuleType:
    name = near.name or f"{OWN}{Path(path).stem}_{hashlib.sha256(path.encode()).hexdigest()[:8]}"
    loader = _Loader(path, text)
    module = module_from_spec(ModuleSpec(name, loader, origin=path))
    module.__file__ = path
    before = sys.modules.get(name)
    reach(Path(path).parent)
    _loading.append(path)
    try:
        with _first(near):
            if near.name:
                import_module(name.rpartition(".")[0])
                if (loaded := sys.modules.get(name)) is not None:  # by its own package's __init__.py
                    return loaded
            sys.modules[name] = module  # dataclasses and pickle look themselves up there
            loader.exec_module(module)
    except (Exception, SystemExit) as error:
        _forget(name, before, near)
        said = location(error, path).replace(f"{near.package}.", ".") if near.name else location(error, path)
        raise AhaError(f"{Path(path).name} cannot be loaded: {said.rstrip('.')}.") from error
    finally:
        _loading.pop()
    return module


def check_not_loading() -> None:
    """Raise AhaError where a file that is loaded for a part of it begins a run, which would load the file again."""
    if _loading:
        raise AhaError(
            f"{Path(_loading[-1]).name} begins a run while it is loaded for a part that it holds: put what begins it "
            "under `if __name__ == '__main__':`."
        )


def _forget(name: str, before: ModuleType | None, near: Neighbours) -> None:
    """Leave nothing of a file that could not be loaded."""
    for other in near.modules:
        if (module := sys.modules.get(other)) is not None and isinstance(_loader(module), _Loader):
            del sys.modules[other]
    sys.modules.pop(name, None)
    if before is not None:
        sys.modules[name] = before


def reach(folder: Path) -> None:
    """Have modules of a folder found, after all others."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


# --- passed in Python ---------------------------------------------------------------------------------------


def reference_to(part: Any) -> str:
    """The reference of a part that is passed in Python; a text is one already.

    A function or class of a file or of a package gets its place; one of a notebook a name with the hash of its source.
    Raises AhaError for what has neither.
    """
    if isinstance(part, str):
        return part
    key = _place_of(part) or _given(part)
    if not file_of(getattr(part, "__module__", None) or ""):  # those are loaded anew where their file changes
        _known[key] = (part, source_with_state(part))
    return key


def references_to(parts: Iterable[Any]) -> list[str]:
    """The references of parts that are used together. Raises AhaError for two that have one."""
    by_name: dict[str, Any] = {}
    for part in parts:
        key = reference_to(part)
        if key in by_name and not (isinstance(part, str) and isinstance(by_name[key], str)):
            raise AhaError(
                f"Two parts are called '{name_of(part)}' and cannot be told apart by their source and values: "
                "write them into a file under names of their own, FILE.py:NAME."
            )
        by_name[key] = part
    return list(by_name)


def _place_of(part: Any) -> str:
    """Where a function or class stands, if another process can find it there; else ""."""
    module = sys.modules.get(getattr(part, "__module__", None) or "")
    name = getattr(part, "__qualname__", "")
    if module is None or not name or not is_reference(f"a:{name}"):
        return ""
    try:
        same = _attribute(module, PartName(module.__name__, name)) is part
    except AhaError:
        same = False
    file = getattr(module, "__file__", None)
    if not same or not file:
        return ""
    if not file_of(module.__name__) and ("." in module.__name__ or "site-packages" in file):
        return f"{module.__name__}:{name}"
    path = Path(file).absolute()
    return f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}:{name}"


def _given(part: Any) -> str:
    clean = "".join(c if c.isidentifier() or c.isdigit() else "_" for c in name_of(part)).strip("_")
    return f"{GIVEN}:{clean or 'part'}@{hashlib.sha256(source_with_state(part).encode()).hexdigest()[:12]}"


def given_source(key: str) -> str:
    """The source of an object that was passed in Python; "" where it is not known."""
    return _known[key][1] if key in _known else ""


# --- to other processes --------------------------------------------------------------------------------------


def parcel(references: Iterable[str]) -> Parcel:
    """The files that references name and those beside that they import, for workers elsewhere. Raises AhaError for a
    function that is in no file."""
    parts: dict[str, tuple[str, str, bytes]] = {}
    for text in references:
        part = reference(text)
        if part.is_given:
            raise AhaError(
                f"The function '{part.name}' was passed in Python and is in no file, so other processes cannot run "
                f"it. Write it into a file and name it FILE.py:{part.name}."
            )
        if part.is_file:
            parts[part.place] = (part.place, str(whole_path(part.place)), read_text(part.place))
            parts |= {
                str(file): (str(file), str(file), text) for file, text in beside(part.place).files.items()
            }
    return tuple(parts.values())


def install(files: Parcel) -> None:
    """Take the texts of files in place of what this machine's disk holds."""
    _texts.update({place: (path, text) for place, path, text in files})


# --- packages that are installed -----------------------------------------------------------------------------


def entry(group: str, name: str) -> str | None:
    """The reference that an installed package gives a name in its entry points (``aha.rewards``, ``aha.tasks``,
    ``aha.algorithms``, ``aha.recipes``, ``aha.engines``, ``aha.prompts``, ``aha.judges``); None without."""
    return entry_names(group).get(name)


@lru_cache(maxsize=16)
def entry_names(group: str) -> dict[str, str]:
    """The names that installed packages give in a group, with what they stand for."""
    return {e.name: e.value for e in entry_points(group=f"aha.{group}")}


# --- columns ---------------------------------------------------------------------------------------------------


def want(columns: Iterable[str]) -> None:
    """Have tasks that read rows keep these columns of them: an own reward looks at them."""
    _wanted.update(columns)


def wanted() -> frozenset[str]:
    """The columns that own rewards look at."""
    return frozenset(_wanted)
