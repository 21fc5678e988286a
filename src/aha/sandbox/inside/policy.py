"""Which system calls model code may make: an allow-list; all that is not named here fails with EPERM.

The list is what CPython needs to compute, to use files below its own directory and to run threads and
asyncio. Every condition closes a known way out, and says which.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from . import bpf
from .syscalls import AUDIT_ARCH, TABLES

_FREE = """
read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close close_range
fstat stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat getcwd chdir fchdir
getdents getdents64 dup dup2 dup3 pipe pipe2 fsync fdatasync ftruncate mkdir mkdirat unlink unlinkat
rmdir rename renameat umask sendfile copy_file_range statfs fstatfs fadvise64
mmap munmap mprotect mremap madvise brk msync membarrier rseq set_robust_list get_robust_list futex
arch_prctl set_tid_address exit exit_group
getpid gettid getppid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp getpgid getsid
uname sysinfo times getrusage clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time getcpu
sched_yield sched_getaffinity sched_getparam sched_getscheduler sched_get_priority_max
sched_get_priority_min getpriority getrandom capget
rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack pause alarm
setitimer getitimer restart_syscall wait4 waitid getrlimit setrlimit
poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
eventfd eventfd2 timerfd_create timerfd_settime timerfd_gettime
getsockname getpeername getsockopt shutdown
"""
_RENAMING = ("rename", "renameat", "renameat2")
RENAMING = {
    machine: {numbers[name] for name in _RENAMING if name in numbers} for machine, numbers in TABLES.items()
}
_ABSENT = "clone3 openat2"  # as on an older kernel: the C library then uses calls whose flags can be read

CLONE_THREAD_FLAGS = 0x0001_0000 | 0x0000_0100  # CLONE_THREAD | CLONE_VM
CLONE_NEW_ANYTHING = 0x7E02_0080  # every CLONE_NEW* flag
_LOCKS = (5, 6, 7, 36, 37, 38)  # F_GETLK, F_SETLK, F_SETLKW and their F_OFD_ forms
_O_ACCMODE, _O_TRUNC, _O_CREAT, _O_TMPFILE = 0o3, 0o1000, 0o100, 0o20000000
_MSG_OOB = 0x1


@dataclass(frozen=True, slots=True)
class Where:
    """A condition on the low half of an argument: after the mask it is one of the values.

    With ``whole`` the high half must be zero as well (for pointers).
    """

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFF_FFFF
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A system call that is allowed if every condition holds."""

    name: str
    conditions: tuple[Where, ...]
    otherwise: int = errno.EPERM


def rules(pid: int) -> tuple[Rule, ...]:
    """The conditional part of the policy for a process that sees itself as ``pid``."""
    fcntl_commands = (0, 1, 2, 3, 4, 1030, 1032)
    ioctl_requests = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
    prctl_options = (15, 16, 0x53564D41)
    socket_types = Where(1, (1,), ~0o2004000)  # SOCK_STREAM, whatever CLOEXEC and NONBLOCK say
    no_out_of_band = Where(3, (0,), _MSG_OOB)  # repeatedly a way into the kernel
    return (
        # Threads only: no new process, no new namespace.
        Rule("clone", (Where(0, (CLONE_THREAD_FLAGS,), CLONE_THREAD_FLAGS | CLONE_NEW_ANYTHING),)),
        # Signals to itself only.
        Rule("kill", (Where(0, (pid,)),)),
        Rule("tgkill", (Where(0, (pid,)),)),
        # Its own limits only; lowering them is its own affair.
        Rule("prlimit64", (Where(0, (0, pid)),)),
        # No F_SETOWN and F_SETSIG (they make the kernel send signals to others), no F_SETPIPE_SZ.
        Rule("fcntl", (Where(1, fcntl_commands),), errno.EINVAL),
        # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: no TIOCSTI, no FIOASYNC, no devices.
        Rule("ioctl", (Where(1, ioctl_requests),), errno.ENOTTY),
        # No RENAME_WHITEOUT: it leaves a device node behind at every call.
        Rule("renameat2", (Where(4, (0, 1, 2)),), errno.EINVAL),
        # Thread and memory names.
        Rule("prctl", (Where(0, prctl_options),)),
        # asyncio wakes itself through a socket pair; it can reach no address and send no descriptor.
        Rule("socketpair", (Where(0, (1,)), socket_types)),
        Rule("sendto", (Where(4, (0,), whole=True), no_out_of_band)),
        Rule("recvfrom", (no_out_of_band,)),
        # Truncating what may only be read slips past Landlock before its third version.
        Rule("open", (Where(1, (0, 1, 2, 1 | _O_TRUNC, 2 | _O_TRUNC), _O_ACCMODE | _O_TRUNC),)),
        Rule("openat", (Where(2, (0, 1, 2, 1 | _O_TRUNC, 2 | _O_TRUNC), _O_ACCMODE | _O_TRUNC),)),
    )


def compute_filter(pid: int, machine: str) -> bytes:
    """The allow-list as a BPF program. Another machine's calling convention kills the process."""
    numbers = TABLES[machine]
    lines = _preamble(machine)
    for name in _FREE.split():
        if name in numbers:
            lines += _unconditional(numbers[name], bpf.ALLOW, name)
    for name in _ABSENT.split():
        lines += _unconditional(numbers[name], bpf.errno_action(errno.ENOSYS), name)
    lines += _locks_that_hold_nothing(numbers)
    for rule in rules(pid):
        if rule.name in numbers:
            lines += _conditional(numbers[rule.name], rule)
    return bpf.assemble([*lines, bpf.give(bpf.errno_action(errno.EPERM))])


def _locks_that_hold_nothing(numbers: dict[str, int]) -> list[bpf.Line]:
    """File locks succeed without being made: a lock on a library file would be seen by another run, and in the
    work directory there is nobody to lock out."""
    lines = _unconditional(numbers["flock"], bpf.errno_action(0), "flock")
    lines += [bpf.equal(numbers["fcntl"], otherwise="no lock"), bpf.load(bpf.low(1))]
    for command in _LOCKS:
        after = f"after lock {command}"
        lines += [bpf.equal(command, otherwise=after), bpf.give(bpf.errno_action(0)), bpf.Label(after)]
    return [*lines, bpf.load(bpf.NUMBER), bpf.Label("no lock")]


def creation_filter(machine: str) -> bytes:
    """A filter that reports every call that could create a file, or move one away while the files are counted,
    to whoever holds its listener."""
    numbers = TABLES[machine]
    lines = _preamble(machine)
    for name in ("mkdir", "mkdirat", "creat", *_RENAMING):
        if name in numbers:
            lines += _unconditional(numbers[name], bpf.USER_NOTIFY, name)
    for name, argument in (("open", 1), ("openat", 2)):
        if name in numbers:
            lines += [
                bpf.equal(numbers[name], otherwise=f"after {name}"),
                bpf.load(bpf.low(argument)),
                bpf.mask(_O_CREAT | _O_TMPFILE),
                bpf.equal(0, otherwise=f"report {name}"),
                bpf.give(bpf.ALLOW),
                bpf.Label(f"report {name}"),
                bpf.give(bpf.USER_NOTIFY),
                bpf.Label(f"after {name}"),
            ]
    return bpf.assemble([*lines, bpf.give(bpf.ALLOW)])


def _preamble(machine: str) -> list[bpf.Line]:
    lines: list[bpf.Line] = [
        bpf.load(bpf.ARCHITECTURE),
        bpf.equal(AUDIT_ARCH[machine], then="right machine"),
        bpf.give(bpf.KILL),
        bpf.Label("right machine"),
    ]
    if machine == "x86_64":  # the x32 convention has the same architecture and bit 30 in the number
        lines += [
            bpf.load(bpf.NUMBER),
            bpf.mask(0x4000_0000),
            bpf.equal(0, then="not x32"),
            bpf.give(bpf.KILL),
            bpf.Label("not x32"),
        ]
    return [*lines, bpf.load(bpf.NUMBER)]


def _unconditional(number: int, action: int, name: str) -> list[bpf.Line]:
    after = f"after {name}"
    return [bpf.equal(number, otherwise=after), bpf.give(action), bpf.Label(after)]


def _conditional(number: int, rule: Rule) -> list[bpf.Line]:
    after, refuse = f"after {rule.name}", f"refuse {rule.name}"
    lines: list[bpf.Line] = [bpf.equal(number, otherwise=after)]
    for index, where in enumerate(rule.conditions):
        good = f"{rule.name} {index}"
        if where.whole:
            lines += [bpf.load(bpf.high(where.argument)), bpf.equal(0, otherwise=refuse)]
        lines += [bpf.load(bpf.low(where.argument)), bpf.mask(where.mask)]
        lines += [bpf.equal(value, then=good) for value in where.values[:-1]]
        lines += [bpf.equal(where.values[-1], otherwise=refuse), bpf.Label(good)]
    return [
        *lines,
        bpf.give(bpf.ALLOW),
        bpf.Label(refuse),
        bpf.give(bpf.errno_action(rule.otherwise)),
        bpf.Label(after),  # every path through the block has ended: the number is still loaded here
    ]
