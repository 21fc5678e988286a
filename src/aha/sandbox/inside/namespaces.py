"""A root directory of our own with nothing in it but Python, in namespaces of our own."""

from __future__ import annotations

import os
from collections.abc import Sequence

from . import kernel

WORK = "/tmp"  # the one place where model code may write; a fresh tmpfs for every run
PACKAGES = "/packages"  # where packages are imported from
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
_INNER_ID = 1000


def enter(
    base: str, readable: Sequence[str], user: int | None, packages: Sequence[tuple[str, str]] = ()
) -> None:
    """Move this process into new namespaces with a new root directory built at ``base``.

    ``packages`` (name, path) are shown below ``PACKAGES``. ``user`` is the unprivileged uid to become when
    started as root; ``None`` keeps the caller's. The next process forked is the first of the new pid namespace.
    Raises OSError naming the step that was refused.
    """
    proc = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY)
    if user is None:
        _unshare_all(proc)
        _build_root(base, readable, packages)
    else:
        # As root the tree is built first, while every path of the Python installation can still be read.
        kernel.unshare(kernel.NEW_MOUNTS)
        _build_root(base, readable, packages)
        kernel.become(user, keep=1 << kernel.CAP_SYS_ADMIN)
        _unshare_all(proc)
    os.close(proc)
    kernel.call("sethostname", b"sandbox", 7)


def fresh_work(size_mb: int, files: int) -> None:
    """Give this process alone an empty work directory; it is gone when the process is."""
    kernel.unshare(kernel.NEW_MOUNTS)
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("tmpfs", WORK, "tmpfs", flags, f"size={size_mb}m,nr_inodes={files},mode=700")
    os.chdir(WORK)


def _unshare_all(proc: int) -> None:
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(kernel.NEW_NAMESPACES)
    # /proc/self was resolved before; a process keeps its id here (only its children get new ones).
    maps = (
        ("setgroups", "deny"),
        ("gid_map", f"{_INNER_ID} {group} 1"),
        ("uid_map", f"{_INNER_ID} {user} 1"),
    )
    for name, text in maps:
        file = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
        try:
            os.write(file, text.encode())
        except OSError as error:
            raise OSError(error.errno, f"write {name}: {os.strerror(error.errno or 0)}") from None
        finally:
            os.close(file)


def _build_root(base: str, readable: Sequence[str], packages: Sequence[tuple[str, str]]) -> None:
    kernel.mount("", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", base, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,nr_inodes=512,mode=755")
    for path in _outermost(readable):
        _bind(base, path)
    os.mkdir(base + PACKAGES, 0o755)
    for name, path in packages:
        _bind_one(f"{base}{PACKAGES}/{name}", path)
    os.makedirs(base + WORK, exist_ok=True)
    os.makedirs(base + "/dev", exist_ok=True)
    devices = [path for path in DEVICES if os.path.exists(path)]
    for path in devices:
        os.close(os.open(base + path, os.O_CREAT, 0o600))
    restricted = kernel.MS_RDONLY | kernel.MS_NOSUID
    kernel.restrict_mounts(base, restricted | kernel.MS_NODEV)
    for path in devices:
        kernel.mount(path, base + path, flags=kernel.MS_BIND)
        kernel.restrict_mounts(base + path, restricted | kernel.MS_NOEXEC)
    kernel.become_root_of(base)


def _bind(base: str, path: str) -> None:
    """Show a host directory at its own path; a symbolic link on the way is made again as a link."""
    parts = path.strip("/").split("/")
    for index in range(1, len(parts) + 1):
        here = "/" + "/".join(parts[:index])
        if os.path.islink(here):
            target = os.readlink(here)
            if not os.path.lexists(base + here):
                os.symlink(target, base + here)
            rest = "/".join(parts[index:])
            _bind(base, os.path.normpath(os.path.join(os.path.dirname(here), target, rest)))
            return
        if not os.path.isdir(base + here):
            os.mkdir(base + here, 0o755)
    if not os.path.ismount(base + path):
        kernel.mount(path, base + path, flags=kernel.MS_BIND | kernel.MS_REC)


def _bind_one(target: str, path: str) -> None:
    if os.path.isdir(path):
        os.mkdir(target, 0o755)
    else:
        os.close(os.open(target, os.O_CREAT, 0o644))
    kernel.mount(path, target, flags=kernel.MS_BIND | kernel.MS_REC)


def _outermost(paths: Sequence[str]) -> list[str]:
    """The paths that exist, without those below another one."""
    kept: list[str] = []
    for path in sorted({os.path.normpath(path) for path in paths}, key=len):
        inside = any(path == other or path.startswith(other + "/") for other in kept)
        if not inside and os.path.isdir(path):
            kept.append(path)
    return kept
