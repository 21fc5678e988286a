"""The canaries: a program that tries what model code must not be able to do, and says what was held.

Its text is run inside a slot; nothing imports it. Input: a JSON list of the machine's system call numbers, a
readable file of the host, and the abstract address of a listening socket.
"""

import ctypes
import json
import os
import socket

numbers, secret, address = json.loads(input())
results = {}


def attempt(name, action):
    try:
        results[name] = not action()
    except (OSError, ImportError, AttributeError, ValueError):
        results[name] = True


def read(path):
    with open(path) as file:
        return file.read()


def write_beside(path):
    with open(os.path.dirname(path) + "/aha-canary-x", "w"):
        return os.getcwd() != "/tmp"  # where the work directory is /tmp, it is not the host's


def connect(family, where):
    with socket.socket(family) as client:
        client.settimeout(0.5)
        client.connect(where)
        return True


def fork():
    if os.fork() == 0:
        os._exit(0)
    return True


def is_open(descriptor):
    try:
        return bool(os.fstat(descriptor))
    except OSError:
        return False


attempt("read a secret", lambda: read(secret))
attempt("write beside a secret", lambda: write_beside(secret))
attempt("read the password file", lambda: read("/etc/passwd"))
attempt("read /proc", lambda: read("/proc/self/maps"))
attempt("list processes", lambda: os.listdir("/proc"))
attempt("list the temporary directory", lambda: set(os.listdir("/tmp")) - {"left", "aha-canary-x"})
attempt("host socket", lambda: connect(socket.AF_UNIX, address))
attempt("network", lambda: connect(socket.AF_INET, ("127.0.0.1", 9)))
attempt("see an earlier run", lambda: os.path.exists("left"))
attempt("signal others", lambda: os.kill(os.getppid() or -1, 0) is None)
own = {"HOME", "TMPDIR", "PATH", "LANG", "LC_CTYPE"} | {
    f"{x}_NUM_THREADS" for x in ("OPENBLAS", "OMP", "MKL")
}
attempt("environment", lambda: set(os.environ) - own)
attempt("open descriptors", lambda: any(map(is_open, range(3, 64))))
attempt("gain privileges", lambda: os.setresuid(0, 0, 0) is None)
attempt("fork", fork)

libc = ctypes.CDLL(None, use_errno=True)
for name, arguments in {
    "execve": (b"/bin/true", None, None),
    "ptrace": (0, 0, 0, 0),
    "socket": (2, 1, 0),
    "io_uring_setup": (4, ctypes.create_string_buffer(120)),
    "bpf": (0, 0, 0),
    "unshare": (0x10000000,),
    "keyctl": (0, -3, 1),
    "memfd_create": (b"x", 0),
    "pidfd_open": (os.getppid() or 1, 0),
    "perf_event_open": (0, 0, 0, 0, 0),
    "userfaultfd": (0,),
    "shmget": (0, 4096, 0o1600),
    "msgget": (0, 0o1600),
    "mount": (b"x", b"/tmp", b"tmpfs", 0, 0),
    "chroot": (b"/",),
    "personality": (0xFFFFFFFF,),
    "fchmodat": (-100, b".", 0o700),
}.items():
    attempt(name, lambda name=name, arguments=arguments: libc.syscall(numbers[name], *arguments) >= 0)

with open("left", "w"):
    pass
print(json.dumps(results))
