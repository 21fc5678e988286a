"""The zygote of one slot: a warm interpreter behind the wall that forks a process for every run.

It is executed with an empty environment, never reads the code it starts, and therefore has nothing to hide
in its memory. It speaks with the slot outside over one socket (sequenced packets): a job with descriptors
comes in; "started" with a pidfd goes out; the end of the run goes out.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
from typing import Any, NoReturn

from . import kernel, landlock, namespaces, policy, runner, tree
from .syscalls import MACHINE
from .workplaces import Workplaces

_WARM = """
abc array asyncio.base_events ast bisect calendar cmath collections.abc contextlib copy ctypes
dataclasses datetime decimal enum fractions functools hashlib heapq inspect io itertools json
linecache math operator pathlib pickle queue random re statistics string struct tempfile textwrap
threading time traceback typing uuid
"""
_WARM_PACKAGES = ("numpy",)
_DISK_POLL_MS = 50
_IN_FLIGHT = 256  # threads that may be between the answer and the creation
_NOTIFY_RECEIVE, _NOTIFY_SEND, _NOTIFY_CONTINUE = 0xC050_2100, 0xC018_2101, 1


class Setup:
    """What the slot says once, at the start."""

    def __init__(self, message: dict[str, Any]) -> None:
        self.tier: str = message["tier"]
        self.base: str = message["base"]
        self.user: int | None = message["user"]
        self.readable: list[str] = message["readable"]
        self.import_paths: list[str] = message["import_paths"]
        self.mirror: str | None = message["mirror"]
        self.packages: list[tuple[str, str]] = [(name, path) for name, path in message["packages"]]
        self.shelf: str | None = message["shelf"]
        self.landlock = landlock.version()
        self.workplaces: Workplaces | None = None  # where there is no tmpfs for each run
        self.address_space = 0  # bytes this process has before any model code; known once it has imported all
        self.proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.tasks = _tasks_of(os.getuid() if self.user is None else self.user)


def main(control_descriptor: int) -> NoReturn:
    """Set up the wall, then serve jobs until the slot closes the socket."""
    control = socket.socket(fileno=control_descriptor)
    message = json.loads(control.recv(65536))
    try:
        setup = Setup(message)
        for name in _WARM.split():
            importlib.import_module(name)
        kernel.limit_malloc_arenas(2)
        _open_as_many_files_as_permitted()
        _be_first_to_be_killed()
        _enter(setup, control)
        setup.address_space = _address_space(setup.proc)
        os.close(setup.proc)
    except Exception as error:
        control.send(json.dumps({"refused": f"{type(error).__name__}: {error}"}).encode())
        os._exit(1)
    gc.collect()
    gc.freeze()
    control.send(json.dumps({"ready": os.getpid(), "landlock": setup.landlock}).encode())
    _serve(setup, control)


def _enter(setup: Setup, control: socket.socket) -> None:
    if setup.tier == "landlock":
        if not setup.landlock:
            raise OSError("the kernel has no Landlock")
        if setup.user is not None:
            kernel.become(setup.user)
        os.listdir(setup.mirror or os.path.dirname(os.__file__))  # model code must be able to import
        if setup.mirror:
            _use_mirror(setup.mirror)
        setup.workplaces = Workplaces(setup.base)
        _use_packages(setup.shelf, setup.packages)
        return
    namespaces.enter(setup.base, setup.readable, setup.user, setup.packages)
    child = os.fork()
    if child:
        # A pid namespace lives as long as its first process: this one only waits for that.
        control.close()
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    kernel.die_with_parent()
    _use_packages(namespaces.PACKAGES, setup.packages)


def _serve(setup: Setup, control: socket.socket) -> NoReturn:
    while True:
        if setup.workplaces:
            setup.workplaces.wait(control.fileno())
        message, descriptors, _, _ = socket.recv_fds(control, 65536, 16, socket.MSG_CMSG_CLOEXEC)
        if not message:
            os._exit(0)
        job = json.loads(message)
        reporter, listener_end = socket.socketpair()
        try:
            child = os.fork()
        except OSError as error:
            control.send(json.dumps({"broken": f"fork: {error}"}).encode())
            continue
        if child == 0:
            _Child(setup, job, descriptors, reporter).run()
        reporter.close()
        for descriptor in descriptors:
            os.close(descriptor)
        pidfd = os.pidfd_open(child)
        socket.send_fds(control, [b'{"started": true}'], [pidfd])
        note = _watched(setup, control, child, pidfd, listener_end, job)
        _, status, usage = os.wait4(child, 0)
        os.close(pidfd)
        end = {"status": status, "peak_kb": usage.ru_maxrss, "note": note}
        control.send(json.dumps(end).encode())
        if setup.workplaces:
            setup.workplaces.renew()  # if it cannot be, this zygote ends, and the next run has another


def _watched(
    setup: Setup,
    control: socket.socket,
    child: int,
    pidfd: int,
    listener_end: socket.socket,
    job: dict[str, Any],
) -> str:
    """Watch a run to its end. If that fails, the run is ended: it never takes the zygote with it."""
    try:
        with listener_end:
            return _watch(setup, control, child, pidfd, listener_end, job)
    except Exception as error:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return f"it could not be watched: {type(error).__name__}: {error}"


def _watch(
    setup: Setup,
    control: socket.socket,
    child: int,
    pidfd: int,
    listener_end: socket.socket,
    job: dict[str, Any],
) -> str:
    """Wait for the end of a run; refuse files beyond the quota; end with the slot. Gives a note."""
    places = setup.workplaces
    quota = _Quota(places.current, job["disk_mb"], job["files"]) if places else None
    poll = select.poll()
    for descriptor in (control.fileno(), pidfd, listener_end.fileno()):
        poll.register(descriptor, select.POLLIN)
    while True:
        events = poll.poll(_DISK_POLL_MS if quota and quota.created else None)
        ready = {descriptor for descriptor, _ in events}
        if control.fileno() in ready:  # the slot sends nothing during a run: it has closed
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.waitpid(child, 0)
            os._exit(0)
        if pidfd in ready:
            return quota.note if quota else ""
        if listener_end.fileno() in ready:
            poll.unregister(listener_end.fileno())
            _, received, _, _ = socket.recv_fds(listener_end, 1, 1, socket.MSG_CMSG_CLOEXEC)
            if received and quota:
                quota.listen(received[0])
                poll.register(received[0], select.POLLIN)
        if quota and quota.listener in ready and not quota.answer():
            poll.unregister(quota.listener)
        if quota and quota.exceeded():
            quota.note = "wrote more than the disk quota"
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)


class _Quota:
    """Counts the files a run creates and bounds what they hold, where there is no tmpfs to do it."""

    def __init__(self, directory: str, disk_mb: int, files: int) -> None:
        self.directory = directory
        self.bytes = disk_mb << 20
        self.files = files
        self.created = False
        self.listener = -1
        self.note = ""

    def listen(self, listener: int) -> None:
        self.listener = listener

    def __del__(self) -> None:
        if self.listener >= 0:
            os.close(self.listener)

    def answer(self) -> bool:
        """Let the waiting call go on, or refuse it; False when the run is over.

        Going on is safe: the answer depends on what lies there alone, never on memory that the caller could
        change. Nothing is renamed while it is measured, since renaming waits for an answer as well.
        """
        request = bytearray(80)
        try:
            fcntl.ioctl(self.listener, _NOTIFY_RECEIVE, request)
            identity, number = struct.unpack_from("Q", request)[0], struct.unpack_from("i", request, 16)[0]
            refused = number not in policy.RENAMING[MACHINE] and not self._has_room()
            error, flags = (-28, 0) if refused else (0, _NOTIFY_CONTINUE)  # ENOSPC
            fcntl.ioctl(self.listener, _NOTIFY_SEND, struct.pack("QqiI", identity, 0, error, flags))
        except FileNotFoundError:
            return True  # the caller was killed or interrupted in between
        except OSError:
            return False
        return True

    def _has_room(self) -> bool:
        self.created = True
        return not tree.exceeds(self.directory, self.bytes, self.files - 1)

    def exceeded(self) -> bool:
        # Calls that were let go on a moment ago may add a file each.
        return self.created and tree.exceeds(self.directory, self.bytes, self.files + _IN_FLIGHT)


class _Child:
    """The forked process of one run, from the fork to the first line of model code."""

    def __init__(
        self, setup: Setup, job: dict[str, Any], descriptors: list[int], reporter: socket.socket
    ) -> None:
        self.setup = setup
        self.job = job
        self.reporter = reporter
        self.spec, self.stdin, self.stdout, self.stderr, self.status = descriptors[:5]
        self.request, self.reply = [*descriptors[5:], -1, -1][:2]

    def run(self) -> NoReturn:
        try:
            self._confine()
            spec = self._read_spec()
            os.write(self.status, b"R")
            os.close(self.status)
        except BaseException as error:
            try:
                os.write(self.status, f"E{type(error).__name__}: {error}".encode()[:1000])
            finally:
                os._exit(1)
        try:
            runner.run(spec, self.request, self.reply)
        finally:
            os._exit(1)

    def _confine(self) -> None:
        kernel.die_with_parent()
        for target, source in enumerate((self.stdin, self.stdout, self.stderr)):
            os.dup2(source, target)
        kept = {self.spec, self.status, self.request, self.reply, self.reporter.fileno()}
        _close_all_but({0, 1, 2} | kept)
        setup, job = self.setup, self.job
        if setup.workplaces:
            os.chdir(setup.workplaces.current)
        else:
            namespaces.fresh_work(job["disk_mb"], job["files"])
            kernel.set_capabilities(0)
        _limit(job, setup)
        kernel.no_new_privileges()
        if setup.landlock:
            landlock.restrict(_grants(setup), setup.landlock)
        if setup.tier == "landlock":
            self._report_creations()
        self.reporter.close()
        kernel.install_filter(policy.compute_filter(os.getpid(), MACHINE))

    def _report_creations(self) -> None:
        listener = kernel.install_filter(policy.creation_filter(MACHINE), listen=True)
        socket.send_fds(self.reporter, [b"L"], [listener])
        os.close(listener)

    def _read_spec(self) -> dict[str, Any]:
        with open(self.spec, "rb") as file:
            spec = json.loads(file.read())
        spec["import_paths"] = self.setup.import_paths
        for name in [name for name in sys.modules if name.split(".")[0] == "inside"]:
            del sys.modules[name]
        return spec


def _grants(setup: Setup) -> list[tuple[str, int]]:
    work = setup.workplaces.current if setup.workplaces else namespaces.WORK
    paths = [*setup.readable, *filter(None, (setup.mirror, setup.shelf))]
    if setup.tier == "namespaces":
        paths += [namespaces.PACKAGES]
    else:
        paths += [path for _, path in setup.packages]
    readable = [(path, landlock.READ) for path in paths]
    return [*readable, *((path, landlock.USE) for path in namespaces.DEVICES), (work, landlock.OWN)]


def _limit(job: dict[str, Any], setup: Setup) -> None:
    space = (job["memory_mb"] << 20) + setup.address_space
    limits = {
        resource.RLIMIT_AS: space,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: job["cpu"],
        resource.RLIMIT_FSIZE: job["file_mb"] << 20,
        resource.RLIMIT_NOFILE: job["open_files"],
        resource.RLIMIT_NPROC: job["threads"]
        + setup.tasks
        + (setup.workplaces.removing if setup.workplaces else 0),
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for which, value in limits.items():
        _, hard = resource.getrlimit(which)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    stack = 64 << 20 if hard == resource.RLIM_INFINITY else min(64 << 20, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (stack, stack))


def _close_all_but(kept: set[int]) -> None:
    start = 0
    for descriptor in sorted(each for each in kept if each >= 0):
        if start < descriptor:  # an empty range would mean "all"
            os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, 1 << 20)


def _use_packages(shelf: str | None, packages: list[tuple[str, str]]) -> None:
    """Import the packages once, so that a program has them at no cost. Where one cannot be, programs may try."""
    if not packages or not shelf:
        return
    sys.path.append(shelf)
    # One thread: more would each reserve memory that counts against the program's limit.
    os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    for name, _ in packages:
        if name in _WARM_PACKAGES:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def _use_mirror(mirror: str) -> None:
    """Import from a copy of the standard library that this user may read."""
    original = os.path.dirname(os.__file__)

    def moved(paths: list[str]) -> list[str]:
        return [mirror + path[len(original) :] for path in paths if path.startswith(original)]

    sys.path[:] = moved(sys.path)
    for module in list(sys.modules.values()):
        if (paths := getattr(module, "__path__", None)) and module.__name__.split(".")[0] != "inside":
            module.__path__ = moved(list(paths))
    sys.path_importer_cache.clear()


def _open_as_many_files_as_permitted() -> None:
    """Measuring a deep tree holds every directory on the way open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _be_first_to_be_killed() -> None:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _address_space(proc: int) -> int:
    """Bytes of address space this process has, by a /proc that was opened while it could be seen."""
    with open(os.open("self/statm", os.O_RDONLY, dir_fd=proc)) as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _tasks_of(user: int) -> int:
    """Threads the user has by now: the limit on them counts all, wherever they run."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == user:
                    count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                continue
    return count
