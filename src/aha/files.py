"""Writing files so that a crash, a kill or a full disk leaves the old ones or the new ones, never halves.

Of several ranks only the first writes; in the others these functions do nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aha import ranks
from aha.types import AhaError

LARGE = 1 << 20  # bytes; from here on a file is weights or state, which are replaced and never changed
LITTLE = 2 << 20  # bytes; with less than this free a failed write is taken to be a full disk


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or forbidden disk into an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise AhaError(
                f"No permission to write {path} ({error.strerror}). Choose another place, for runs with --runs-dir."
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP):
            raise AhaError(f"Cannot write {path}: {error.strerror}. Choose another place.") from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(path) from error
        raise
    except Exception as error:
        # torch and safetensors write through their own streams, whose errors do not say "no space".
        if isinstance(error, AhaError) or shutil.disk_usage(_existing(path)).free > LITTLE:
            raise
        raise _disk_full(path) from error


def check_writable(path: Path) -> None:
    """Raise AhaError where a file could not be written, before what it is for takes hours. Nothing is left behind."""
    with disk_errors(path):
        if path.is_dir():
            raise AhaError(f"{path} is a folder. Give the name of a file.")
        first_new = next((p for p in reversed([path.parent, *path.parent.parents]) if not p.exists()), None)
        new = not path.exists()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            open(path, "a").close()
        finally:
            if new:
                path.unlink(missing_ok=True)
            if first_new is not None:
                shutil.rmtree(first_new, ignore_errors=True)


def check_room(path: Path, needed: float) -> None:
    """Raise AhaError where the disk of ``path`` has not ``needed`` bytes free."""
    free = shutil.disk_usage(_existing(path)).free
    if free < needed:
        raise AhaError(
            f"Not enough room for {path}: it needs {needed / 2**20:,.0f} MiB, and {free / 2**20:,.0f} MiB are free. "
            "Free some space, or choose a place on another disk."
        )


def _disk_full(path: Path) -> AhaError:
    free = shutil.disk_usage(_existing(path)).free
    return AhaError(
        f"The disk is full: could not write {path} ({free / 2**20:.0f} MiB free). What was written before is "
        "intact. Free some space and give the same command again: the run continues."
    )


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text``, all or nothing."""
    if not ranks.is_main():
        return
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        with open(partial, "w", encoding="utf-8") as f:
            f.write(well_formed(text))
            f.flush()
            os.fsync(f.fileno())
        os.replace(partial, path)
    ranks.progress()


def well_formed(text: str) -> str:
    """``text`` with U+FFFD in place of every half of a surrogate pair, which no file can hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def loaded_json(raw: bytes | str) -> Any:
    """The value of JSON, with U+FFFD for halves of surrogate pairs: JSON can hold them, files and tokenizers cannot.
    Raises ValueError for what is no JSON, or nested too deep to be read."""
    try:
        value = json.loads(raw)
        text = json.dumps(value, ensure_ascii=False)
        plain = well_formed(text)
        return value if plain == text else json.loads(plain)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by ``value`` as JSON."""
    write_text(path, _as_json(value))


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n"


def keep_json(path: Path, value: Any) -> None:
    """Replace ``path`` by ``value`` as JSON, unless it holds just that: then the file is left untouched."""
    text = _as_json(value)
    if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text:
        write_text(path, text)


def read_json(path: Path) -> Any:
    """The JSON in ``path``. Raises AhaError naming the file if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, a number or a depth that cannot be
        raise AhaError(
            f"{path} is damaged: not valid JSON ({str(error)[:200]}). Remove it, or the folder, to start over."
        ) from error
    except OSError as error:
        raise AhaError(f"Cannot read {path}: {error.strerror or error}.") from error


def json_object(path: Path) -> dict[str, Any]:
    """The object in a file that may be damaged, not there, or something else: {} then."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def newest(paths: Iterable[Path]) -> float:
    """When the last of them was written, in seconds since 1970; 0 for none. What is gone by then is passed over: a run
    that goes on takes files away."""
    return max(_times(paths), default=0.0)


def oldest(paths: Iterable[Path]) -> float:
    """The same of the first."""
    return min(_times(paths), default=0.0)


def _times(paths: Iterable[Path]) -> Iterator[float]:
    for path in paths:
        with contextlib.suppress(OSError):
            yield path.stat().st_mtime


def partial_name(path: Path) -> Path:
    """Where ``new_folder`` keeps a folder while it is filled."""
    return path.with_name(f".{path.name}.partial")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a folder under another name and rename it into place at the end. For the first rank alone."""
    partial = partial_name(path)
    with disk_errors(path):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with _removed_on_error(partial), disk_errors(path):
            yield partial
            _usual_modes(partial)
            _sync(partial)
        if path.exists():
            shutil.rmtree(path)
        os.replace(partial, path)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder's files into ``target``. Large ones, which nobody writes in place, are the same file under a
    second name where the disk can do that."""
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.stat().st_size >= LARGE:
            with contextlib.suppress(OSError):
                os.link(file, place)
                continue
        shutil.copy2(file, place)


@contextlib.contextmanager
def _removed_on_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # halves would only keep the disk full
        raise


def _usual_modes(folder: Path) -> None:
    """Files that a library keeps to their owner, as those of weights, get what the umask gives to others. It is read
    off the folder itself: asking for it would change it meanwhile for every thread."""
    granted = folder.stat().st_mode & 0o666
    for file in folder.rglob("*"):
        mode = file.stat().st_mode
        if file.is_file() and mode | granted != mode:
            file.chmod(stat.S_IMODE(mode) | granted)


def _sync(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            fd = os.open(file, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            ranks.progress()


def append_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows at the end of a JSON Lines file."""
    if not ranks.is_main():
        return
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as f:
            f.write("".join(_line(row) for row in rows))
    ranks.progress()


def _line(row: Mapping[str, Any]) -> str:
    return well_formed(json.dumps(row, ensure_ascii=False, default=str)) + "\n"


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Replace a JSON Lines file, one row at a time; returns how many rows there were."""
    written = 0
    if not ranks.is_main():
        return sum(1 for _ in rows)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        with open(partial, "w", encoding="utf-8") as f:
            for row in rows:
                f.write(_line(row))
                written += 1
            f.flush()
            os.fsync(f.fileno())
        os.replace(partial, path)
    ranks.progress()
    return written


def free_name(path: Path) -> Path:
    """The path, or the first of ``NAME-2``, ``NAME-3``, ... that is not there yet: nothing is replaced."""
    free, number = path, 2
    while free.exists():
        free, number = path.with_stem(f"{path.stem}-{number}"), number + 1
    return free


def claimed_name(path: Path) -> Path:
    """The same, there and empty from now on: of two processes that end at once each has its own."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            free = free_name(path)
            with contextlib.suppress(FileExistsError):
                open(free, "x").close()
                return free


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Rows of a file of ours; a torn last line, left by a kill in the middle of a write, is dropped."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        with contextlib.suppress(json.JSONDecodeError):
            if line.strip():
                rows.append(json.loads(line))
    return rows


def cache_folder() -> Path:
    """The user's cache, which only they may write to: ``$AHA_CACHE``, or ``aha`` in ``$XDG_CACHE_HOME``, ``~/.cache``.
    A folder of this process where there is none."""
    named, general = os.environ.get("AHA_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(named).expanduser() if named else Path(general or "~/.cache").expanduser() / "aha"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (os.name != "posix" or folder.stat().st_uid == os.getuid()) and os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):  # RuntimeError: nobody's home
        pass
    return _own_folder()


@functools.cache
def _own_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="aha-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
