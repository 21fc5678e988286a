"""The system call filter, decided by a small BPF machine for both kinds of processor."""

from __future__ import annotations

import errno
import struct

import pytest

from aha.sandbox.inside import bpf, policy
from aha.sandbox.inside.syscalls import AUDIT_ARCH, TABLES

PID = 77
MACHINES = ("x86_64", "aarch64")


def decide(program: bytes, machine: str, number: int, *arguments: int) -> int:
    """What the filter answers: the action."""
    words = [each & (1 << 64) - 1 for each in (*arguments, *[0] * (6 - len(arguments)))]
    data = struct.pack("<IIQ6Q", number, AUDIT_ARCH[machine], 0, *words)
    instructions = list(struct.iter_unpack("HBBI", program))
    at, loaded = 0, 0
    while True:
        code, if_true, if_false, value = instructions[at]
        at += 1
        if code == 0x20:
            loaded = struct.unpack_from("<I", data, value)[0]
        elif code == 0x54:
            loaded &= value
        elif code == 0x15:
            at += if_true if loaded == value else if_false
        else:
            assert code == 0x06
            return value


@pytest.fixture(params=MACHINES)
def machine(request) -> str:
    return request.param


def allowed(machine: str, name: str, *arguments: int) -> bool:
    program = policy.compute_filter(PID, machine)
    return decide(program, machine, TABLES[machine][name], *arguments) == bpf.ALLOW


@pytest.mark.parametrize(
    "name",
    [
        "execve",
        "execveat",
        "ptrace",
        "socket",
        "connect",
        "bind",
        "sendmsg",
        "io_uring_setup",
        "bpf",
        "unshare",
        "setns",
        "mount",
        "keyctl",
        "add_key",
        "process_vm_readv",
        "process_vm_writev",
        "memfd_create",
        "pidfd_open",
        "pidfd_send_signal",
        "pidfd_getfd",
        "perf_event_open",
        "userfaultfd",
        "seccomp",
        "fchmodat",
        "fchmod",
        "truncate",
        "symlinkat",
        "linkat",
        "mknodat",
        "utimensat",
        "setresuid",
        "setxattr",
        "chroot",
        "shmget",
        "msgget",
        "semget",
        "mq_open",
        "fallocate",
        "open_by_handle_at",
        "rt_sigqueueinfo",
        "tkill",
        "sched_setaffinity",
        "personality",
        "sethostname",
        "capset",
        "mount_setattr",
        "pivot_root",
        "umount2",
        "landlock_create_ruleset",
    ],
)
def test_what_must_not_be_called_is_refused(machine, name):
    assert not allowed(machine, name)


def test_no_unknown_number_is_allowed(machine):
    program = policy.compute_filter(PID, machine)
    known = set(TABLES[machine].values())
    for number in range(600):
        if number not in known:
            assert decide(program, machine, number) == bpf.errno_action(errno.EPERM)


def test_fork_is_refused_and_threads_are_not(machine):
    threads = 0x3D0F00
    assert allowed(machine, "clone", threads)
    assert not allowed(machine, "clone", 17)
    assert not allowed(machine, "clone", threads | 0x1000_0000)
    program = policy.compute_filter(PID, machine)
    assert decide(program, machine, TABLES[machine]["clone3"]) == bpf.errno_action(errno.ENOSYS)


def test_signals_reach_only_oneself(machine):
    for name in ("kill", "tgkill"):
        assert allowed(machine, name, PID, 9)
        for other in (1, 0, -1, -PID, PID + 1):
            assert not allowed(machine, name, other, 9)


def test_descriptors_cannot_be_made_to_signal_others(machine):
    assert allowed(machine, "fcntl", 0, 3)
    for command in (8, 10, 15, 1031):  # F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETPIPE_SZ
        assert not allowed(machine, "fcntl", 0, command)
    assert not allowed(machine, "ioctl", 0, 0x5412)  # TIOCSTI


def test_sockets_are_pairs_without_addresses(machine):
    assert allowed(machine, "socketpair", 1, 1 | 0o2004000, 0)
    assert not allowed(machine, "socketpair", 1, 2, 0)
    assert not allowed(machine, "socketpair", 2, 1, 0)
    assert allowed(machine, "sendto", 3, 0, 1, 0x4000, 0, 0)
    assert not allowed(machine, "sendto", 3, 0, 1, 0, 1 << 40, 16)
    assert not allowed(machine, "sendto", 3, 0, 1, 1, 0, 0)


def test_limits_of_others_are_out_of_reach(machine):
    assert allowed(machine, "prlimit64", 0)
    assert not allowed(machine, "prlimit64", 1)


def test_truncating_through_a_read_only_descriptor_is_refused(machine):
    assert allowed(machine, "openat", 0, 0, 0o1101)
    assert not allowed(machine, "openat", 0, 0, 0o1000)


def test_creations_are_reported(machine):
    program = policy.creation_filter(machine)
    numbers = TABLES[machine]
    assert decide(program, machine, numbers["openat"], 0, 0, 0o101) == bpf.USER_NOTIFY
    assert decide(program, machine, numbers["openat"], 0, 0, 0o20200002) == bpf.USER_NOTIFY
    assert decide(program, machine, numbers["openat"], 0, 0, 0) == bpf.ALLOW
    assert decide(program, machine, numbers["mkdirat"]) == bpf.USER_NOTIFY


def test_renaming_waits_for_the_count_and_leaves_no_device_node(machine):
    program = policy.creation_filter(machine)
    for name in ("rename", "renameat", "renameat2"):
        if name in TABLES[machine]:
            assert decide(program, machine, TABLES[machine][name]) == bpf.USER_NOTIFY
    assert allowed(machine, "renameat2", 0, 0, 0, 0, 2)
    assert not allowed(machine, "renameat2", 0, 0, 0, 0, 4)
    assert not allowed(machine, "renameat2", 0, 0, 0, 0, 5)


def test_locks_succeed_and_hold_nothing(machine):
    program = policy.compute_filter(PID, machine)
    assert decide(program, machine, TABLES[machine]["flock"], 3, 2) == bpf.errno_action(0)
    for command in (5, 6, 7, 36, 37, 38):
        assert decide(program, machine, TABLES[machine]["fcntl"], 3, command) == bpf.errno_action(0)


def test_other_calling_conventions_kill():
    program = policy.compute_filter(PID, "x86_64")
    assert decide(program, "aarch64", 63) == bpf.KILL
    assert decide(program, "x86_64", 0x4000_0000) == bpf.KILL


def test_the_assembler_refuses_what_it_cannot_say():
    with pytest.raises(ValueError, match="jump"):
        bpf.assemble([bpf.equal(1, then="nowhere")])
    far = [bpf.equal(1, then="far"), *[bpf.give(0)] * 300, bpf.Label("far"), bpf.give(0)]
    with pytest.raises(ValueError, match="jump"):
        bpf.assemble(far)
