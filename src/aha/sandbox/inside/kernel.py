"""The few Linux calls that Python has no function for, through ctypes; every failure raises OSError."""

from __future__ import annotations

import ctypes
import os
import struct

from .syscalls import NUMBERS

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

NEW_NAMESPACES = 0x7E02_0000 & ~0x80  # user, mount, net, ipc, uts, pid, cgroup
NEW_MOUNTS = 0x0002_0000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
_NO_ACCESS_TIME, _ALL_ACCESS_TIME = 0x10, 0x70
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000

CAP_SYS_ADMIN = 21
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 1, 4, 8, 38
_SECCOMP_SET_MODE_FILTER, _SECCOMP_NEW_LISTENER = 1, 8
_M_ARENA_MAX = -8


def call(name: str, *arguments: int | bytes | None) -> int:
    """A raw system call by name."""
    converted = [each if isinstance(each, bytes) else ctypes.c_long(each or 0) for each in arguments]
    result = _libc.syscall(ctypes.c_long(NUMBERS[name]), *converted)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Leave the namespaces named by the flags for new ones."""
    call("unshare", flags)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2); an error names the target."""
    try:
        call(
            "mount", source.encode(), target.encode(), kind.encode() or None, flags, options.encode() or None
        )
    except OSError as error:
        raise OSError(error.errno, f"mount {target}: {os.strerror(error.errno or 0)}") from None


def restrict_mounts(target: str, flags: int) -> None:
    """Add restricting flags to a mount and all mounts below it."""
    # MOUNT_ATTR_RDONLY, NOSUID, NODEV, NOEXEC equal MS_*.
    attributes = struct.pack("QQQQ", flags, 0, 0, 0)
    try:
        # That a file was read must not show in its access time.
        quiet = struct.pack("QQQQ", flags | _NO_ACCESS_TIME, _ALL_ACCESS_TIME, 0, 0)
        call("mount_setattr", _AT_FDCWD, target.encode(), _AT_RECURSIVE, quiet, len(quiet))
    except OSError:  # not for an ordinary user, on mounts that are root's
        call("mount_setattr", _AT_FDCWD, target.encode(), _AT_RECURSIVE, attributes, len(attributes))


def become_root_of(directory: str) -> None:
    """Make a mount point the root directory and let go of the old one."""
    os.chdir(directory)
    call("pivot_root", b".", b".")
    call("umount2", b".", MNT_DETACH)
    os.chdir("/")


def set_capabilities(capabilities: int) -> None:
    """Set effective and permitted capabilities to exactly this bit set."""
    header = struct.pack("Ii", 0x2008_0522, 0)
    lower, upper = capabilities & 0xFFFF_FFFF, capabilities >> 32
    call("capset", header, struct.pack("IIIIII", lower, lower, 0, upper, upper, 0))


def become(user: int, keep: int = 0) -> None:
    """Become an unprivileged user, for good, keeping only the capabilities in ``keep``."""
    call("prctl", _PR_SET_KEEPCAPS, 1 if keep else 0, 0, 0, 0)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    set_capabilities(keep)
    # A changed uid makes /proc/self root's own; it must be ours for the id maps to be written.
    call("prctl", _PR_SET_DUMPABLE, 1, 0, 0, 0)


def die_with_parent() -> None:
    """Be killed when the parent process ends. (Only for a parent with one thread.)"""
    call("prctl", _PR_SET_PDEATHSIG, 9, 0, 0, 0)


def no_new_privileges() -> None:
    """Give up, for good, what a set-uid program could give, and leave no core dump.

    (A crash handler of the host would be started for one, as root, whatever the limit on core files says.)
    """
    call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def install_filter(program: bytes, *, listen: bool = False) -> int:
    """Install a seccomp filter on this thread; with ``listen``, return the descriptor it reports to."""
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    return call("seccomp", _SECCOMP_SET_MODE_FILTER, _SECCOMP_NEW_LISTENER if listen else 0, header)


def limit_malloc_arenas(count: int) -> None:
    """Keep threads from reserving 64 MB of address space each; the limit on address space is what bounds
    memory. Does nothing where the C library has no such setting."""
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_ARENA_MAX, count)
