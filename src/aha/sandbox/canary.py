"""Canaries: a set of harmless attacks that every slot must hold before it runs anything else.

A sandbox that became weaker (another kernel, another container profile) is noticed here and not by a reward
that nobody earned.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import tempfile

from aha.types import AhaError

from .execution import Limits, Status
from .process import Gone
from .slot import Slot

_PROGRAM = r"""
import ctypes, json, os, signal
libc = ctypes.CDLL(None, use_errno=True)
numbers, secret, address = json.loads(input())
held = {}
def _closed(fd):
    try:
        os.fstat(fd)
    except OSError:
        return True
def attempt(name, action):
    try:
        held[name] = not action()
    except (OSError, ImportError, AttributeError, ValueError):
        held[name] = True
def call(name, *arguments):
    return numbers.get(name) is not None and libc.syscall(numbers[name], *arguments) >= 0
def connect(family, where):
    import socket
    with socket.socket(family) as s:
        s.settimeout(0.5)
        s.connect(where)
        return True
attempt("read a secret", lambda: open(secret).read())
attempt("write beside a secret", lambda: open(os.path.dirname(secret) + "/aha-canary-x", "w").close() or os.getcwd() != "/tmp")
attempt("read the password file", lambda: open("/etc/passwd").read())
attempt("read /proc", lambda: open("/proc/self/maps").read())
attempt("list processes", lambda: os.listdir("/proc"))
attempt("list the temporary directory", lambda: set(os.listdir("/tmp")) - {"left", "aha-canary-x"})
attempt("host socket", lambda: connect(1, address))
attempt("network", lambda: connect(2, ("127.0.0.1", 9)))
attempt("see an earlier run", lambda: os.path.exists("left"))
attempt("signal others", lambda: os.kill(os.getppid() or -1, 0) is None)
attempt("environment", lambda: set(os.environ) - {"HOME", "TMPDIR", "PATH", "LANG", "LC_CTYPE"})
attempt("open descriptors", lambda: [fd for fd in range(3, 64) if not _closed(fd)])
attempt("gain privileges", lambda: os.setresuid(0, 0, 0) is None)
for name, arguments in {
    "execve": (b"/bin/true", None, None), "ptrace": (0, 0, 0, 0), "socket": (2, 1, 0),
    "io_uring_setup": (4, ctypes.create_string_buffer(120)), "bpf": (0, 0, 0), "unshare": (0x10000000,),
    "keyctl": (0, -3, 1), "memfd_create": (b"x", 0), "pidfd_open": (os.getppid() or 1, 0), "perf_event_open": (0,) * 5,
    "userfaultfd": (0,), "shmget": (0, 4096, 0o1600), "msgget": (0, 0o1600), "mount": (b"x", b"/tmp", b"tmpfs", 0, 0),
    "chroot": (b"/",), "personality": (0xffffffff,), "fchmodat": (-100, b".", 0o700),
}.items():
    attempt(name, lambda: call(name, *arguments))
def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return True
attempt("fork", fork)
open("left", "w").close()
print(json.dumps(held))
"""
_EXPECTED = 31


def check(slot: Slot) -> None:
    """Run the canaries twice in a slot (the second run looks for what the first one left).

    Raises AhaError naming what was not held, or that the canaries could not run.
    """
    secret = secrets.token_hex(8)
    with tempfile.NamedTemporaryFile("w", prefix="aha-canary-") as file, socket.socket(socket.AF_UNIX) as server:
        file.write(secret)
        file.flush()
        os.chmod(file.name, 0o644)
        address = "\0aha-canary-" + secret
        server.bind(address)
        server.listen()
        from .inside.syscalls import NUMBERS

        facts = json.dumps([NUMBERS, file.name, address]).encode()
        for _ in range(2):
            _check_once(slot, facts)
        written = os.path.join(os.path.dirname(file.name), "aha-canary-x")
        if os.path.exists(written):
            os.unlink(written)
            raise AhaError(_broken(slot, "a file was written outside"))


def _check_once(slot: Slot, facts: bytes) -> None:
    try:
        execution = slot.launch({"mode": "script", "code": _PROGRAM}, facts, Limits(wall=20)).wait()
    except Gone as error:
        raise AhaError(_broken(slot, str(error))) from None
    if execution.status is not Status.OK:
        words = execution.stderr.decode("utf-8", "replace")[-500:]
        raise AhaError(_broken(slot, f"the canaries did not run ({execution.status}: {execution.note}) {words}"))
    held = json.loads(execution.stdout)
    loose = [name for name, good in held.items() if good is not True]
    if loose:
        raise AhaError(_broken(slot, "not held: " + ", ".join(loose)))
    if len(held) != _EXPECTED:
        raise AhaError(_broken(slot, f"{len(held)} canaries of {_EXPECTED} ran"))


def _broken(slot: Slot, reason: str) -> str:
    return (
        f"the {slot.setup.isolation} sandbox is weaker than it must be on this machine: {reason}. Model code was not "
        "run. Try the other isolation (namespaces, landlock), a newer kernel, or report this with `uname -a`."
    )
