"""Trees that model code made: measured and removed whatever their depth, their names and their modes.

A path through such a tree can be longer than the kernel takes and deeper than Python recurses, so every step
is relative to an open directory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def exceeds(directory: str, limit_bytes: int, limit_entries: int) -> bool:
    """Whether what lies below a directory takes more bytes, or has more entries. What cannot be measured,
    because it is too deep for this process, exceeds."""
    used = entries = 0
    try:
        for entry in _walk(directory):
            used += entry.st_blocks * 512
            entries += 1
            if used > limit_bytes or entries > limit_entries:
                return True
    except OSError:
        return True
    return False


def _walk(directory: str) -> Iterator[os.stat_result]:
    """Every entry below a directory, whose contents may change meanwhile."""
    levels: list[tuple[int, list[str]]] = []
    try:
        levels.append(_listed(os.open(directory, _DIRECTORY)))
        while levels:
            place, names = levels[-1]
            if not names:
                os.close(levels.pop()[0])
                continue
            name = names.pop()
            try:
                entry = os.stat(name, dir_fd=place, follow_symlinks=False)
                yield entry
                if stat.S_ISDIR(entry.st_mode):
                    levels.append(_listed(_opened(name, place)))
            except (FileNotFoundError, NotADirectoryError):
                continue  # it went away, or became something else, in between
    finally:
        for place, _ in levels:
            os.close(place)


def _listed(place: int) -> tuple[int, list[str]]:
    try:
        return place, os.listdir(place)
    except OSError:
        os.close(place)
        raise


def _opened(name: str, place: int) -> int:
    """A directory in an open directory, made readable for its owner where it is not."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=place)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=place)
        return os.open(name, _DIRECTORY, dir_fd=place)


def clear(directory: str) -> None:
    """Remove all below a directory. Raises OSError if something stays.

    Directories are lifted to the top one level at a time, so that no more than two are ever open.
    """
    top = os.open(directory, _DIRECTORY)
    lifted = "lifted-" + os.urandom(8).hex() + "-"
    count = 0
    try:
        while names := os.listdir(top):
            for name in names:
                if not _is_directory(name, top):
                    os.unlink(name, dir_fd=top)
                    continue
                for inner in _dissolve(name, top):
                    os.rename(inner[1], f"{lifted}{count}", src_dir_fd=inner[0], dst_dir_fd=top)
                    count += 1
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def _dissolve(name: str, top: int) -> Iterator[tuple[int, str]]:
    """Unlink the files of a directory; give its directories, to be moved away."""
    os.chmod(name, 0o700, dir_fd=top)
    place = os.open(name, _DIRECTORY, dir_fd=top)
    try:
        for inner in os.listdir(place):
            if _is_directory(inner, place):
                os.chmod(inner, 0o700, dir_fd=place)  # moving it writes its entry for the directory above
                yield place, inner
            else:
                os.unlink(inner, dir_fd=place)
    finally:
        os.close(place)


def _is_directory(name: str, place: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode)


def remove(directory: str) -> None:
    """Remove a directory with all below it, as far as it can be done; quietly if it is not there."""
    try:
        clear(directory)
        os.rmdir(directory)
    except OSError:
        return
