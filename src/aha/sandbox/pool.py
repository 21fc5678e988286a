"""Sandboxes for many runs: slots, their isolation, and what happens when there is none."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

from aha.types import AhaError

from . import canary
from .bare import run_bare
from .execution import Execution, Isolation, Limits, Status
from .packages import chosen
from .places import Place, sweep
from .process import Gone, Process
from .settle import settle
from .slot import Refused, Slot, SlotSetup, make_mirror, make_shelf, readable_by_all

_LINUX_MACHINES = ("x86_64", "aarch64")
TRIES = 3  # a zygote that was killed from outside costs a new one, not the grade


class Sandbox:
    """A pool of ``workers`` slots for untrusted Python, safe to use from any number of threads.

    ``isolation`` asks for one tier; by default the strongest that the machine permits is taken. With
    ``unsafe`` programs run as bare subprocesses if, and only if, there is no isolation to be had, and every
    result says so. ``import_paths`` are further directories to import from (they become readable);
    ``packages`` are installed distributions that programs may import (see ``packages.chosen``).

    Raises AhaError when it is entered and the machine permits no isolation, or when a canary gets out.
    """

    def __init__(
        self,
        workers: int = 1,
        *,
        isolation: Isolation | str | None = None,
        unsafe: bool = False,
        import_paths: Sequence[str] = (),
        packages: Sequence[str] | None = None,
    ) -> None:
        if workers < 1:
            raise AhaError(f"Sandbox(workers={workers}): at least one worker is needed")
        self.workers = workers
        self.isolation: Isolation | None = None
        self.landlock = 0
        self._asked = Isolation(isolation) if isolation is not None else None
        self._unsafe = unsafe or self._asked is Isolation.UNSAFE
        self._import_paths = tuple(os.path.realpath(path) for path in import_paths)
        if hidden := [path for path in self._import_paths if (path + "/").startswith("/tmp/")]:
            raise AhaError(f"import path {hidden[0]}: /tmp is the program's own there; move it elsewhere")
        self._packages = tuple(chosen(packages).items())
        self._mirror: str | None = None
        self._shelf: str | None = None
        self._places: list[Place] = []
        self._main, self._testers = _Slots(workers), _Slots(workers)
        self._lock, self._place_lock = threading.Lock(), threading.Lock()
        self._owner = os.getpid()
        # Whoever forgets to close: at the latest the end of this process does it.
        weakref.finalize(self, _abandon, self._owner, (self._main, self._testers), self._places)

    def __enter__(self) -> Sandbox:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def run(
        self,
        code: str,
        stdin: bytes = b"",
        *,
        wall: float = 4,
        memory_mb: int = 1024,
        max_output: int = 4_000_000,
        disk_mb: int = 64,
        prelude: str = "",
    ) -> Execution:
        """Run a program as a script, after a ``prelude`` in the same namespace.

        ``wall`` is in seconds, ``memory_mb`` bounds address space, ``max_output`` is in bytes for each of
        stdout and stderr, ``disk_mb`` bounds the files the program writes.
        """
        limits = Limits(wall=wall, memory_mb=memory_mb, max_output=max_output, disk_mb=disk_mb)
        isolation = self._open()
        if isolation is Isolation.UNSAFE:
            return run_bare(f"{prelude}\n{code}" if prelude else code, stdin, limits)
        spec = {"mode": "script", "code": _text(code), "prelude": prelude}
        losses = Losses(self)
        while losses.may_try_again:
            try:
                with self._main.borrow(self._new_slot) as slot:
                    execution = slot.launch(spec, stdin, limits).wait()
            except (Gone, Refused) as error:
                losses.add(error)
                continue
            if execution.status is not Status.BROKEN:
                return execution
            losses.add(Gone(execution.note))
        status = Status.FAILED if losses.by_the_program() else Status.BROKEN
        return Execution(status, None, b"", b"", 0.0, 0.0, isolation, losses.note)

    def works(self) -> bool:
        """Whether a program that does nothing can be run here by now."""
        limits = Limits(wall=60)
        try:
            with self._main.borrow(self._new_slot) as slot:
                return slot.launch({"mode": "script", "code": "pass"}, b"", limits).wait().status is Status.OK
        except (Gone, Refused, AhaError):
            return False

    @contextlib.contextmanager
    def process(self, spec: dict[str, Any], limits: Limits, *, tests: bool = False) -> Iterator[Process]:
        """A program that is spoken with while it runs; what still runs at the end is stopped.

        Test programs take slots of their own, so that a judge that needs both kinds cannot wait for itself.
        Raises Gone if the sandbox fails, AhaError where there is no isolation.
        """
        if self._open() is Isolation.UNSAFE:
            raise AhaError(
                "judging functions and asserts needs a sandbox; --unsafe-sandbox covers only tests by stdin"
            )
        slots = self._testers if tests else self._main
        try:
            with slots.borrow(self._new_slot) as slot:
                process = slot.launch(spec | {"code": _text(spec["code"])}, b"", limits)
                try:
                    yield process
                except Gone:
                    process.release()
                    raise
                except BaseException:
                    process.stop()
                    raise
                process.stop()
        except Refused as error:
            raise Gone(str(error)) from None

    def describe(self) -> str:
        """In words, what stands between a program and this machine."""
        isolation = self._open()
        if isolation is Isolation.UNSAFE:
            return "unsafe: a bare subprocess with time and memory limits, no isolation"
        walls = "namespaces, own root directory, " if isolation is Isolation.NAMESPACES else ""
        landlock = f"Landlock {self.landlock}, " if self.landlock else ""
        return f"{walls}{landlock}seccomp allow-list, rlimits"

    def close(self) -> None:
        """End every slot. The pool can be used again afterwards."""
        if self._owner == os.getpid():
            self._main.close()
            self._testers.close()
            while self._places:
                self._places.pop().close()
            self._mirror = self._shelf = None
        self.isolation = None

    def _open(self) -> Isolation:
        with self._lock:
            if self._owner != os.getpid():
                raise AhaError("this Sandbox was opened before a fork: open one in each process")
            if self.isolation is None:
                sweep()
                self.isolation = self._find_isolation()
            return self.isolation

    def _find_isolation(self) -> Isolation:
        if self._asked is Isolation.UNSAFE:
            return Isolation.UNSAFE
        if not sys.platform.startswith("linux") or os.uname().machine not in _LINUX_MACHINES:
            refusals = {
                "this system": f"{sys.platform} on {os.uname().machine} has none of the kernel's means"
            }
        else:
            tiers = [self._asked] if self._asked else [Isolation.NAMESPACES, Isolation.LANDLOCK]
            refusals: dict[str, str] = {}
            for tier in tiers:
                self.isolation = tier
                try:
                    with self._main.borrow(self._new_slot) as slot:
                        self.landlock = slot.landlock
                    return tier
                except Refused as error:
                    refusals[tier] = str(error)
                finally:
                    self.isolation = None
        if self._unsafe:
            return Isolation.UNSAFE
        raise AhaError(_refusal(refusals))

    def _new_slot(self) -> Slot:
        assert self.isolation is not None
        slot = Slot(self._setup(self.isolation))
        try:
            canary.check(slot)
        except BaseException:
            slot.close()
            raise
        return slot

    def _setup(self, isolation: Isolation) -> SlotSetup:
        with self._place_lock:
            shown = [os.path.dirname(os.__file__), *(path for _, path in self._packages)]
            if isolation is Isolation.NAMESPACES:
                if os.geteuid() != 0:  # root's mounts do not write access times
                    settle(shown)
                return SlotSetup(isolation, self._import_paths, packages=self._packages)
            if self._mirror is None and _needs_mirror():
                self._mirror = make_mirror(self._new_place())
                settle([self._mirror], ours=True)
            settle(shown[1:] if self._mirror else shown)
            if self._shelf is None and self._packages:
                self._shelf = make_shelf(self._new_place(), self._packages)
            return SlotSetup(isolation, self._import_paths, self._mirror, self._packages, self._shelf)

    def _new_place(self) -> Place:
        self._places.append(Place())
        return self._places[-1]


class Losses:
    """The sandboxes that were lost under one program, and whose doing that was.

    What kills a zygote from outside does so once. A program under which every sandbox is lost, where the next
    one works well without it, is the cause, and has failed.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._errors: list[Exception] = []

    def add(self, error: Exception) -> None:
        """Count a loss."""
        self._errors.append(error)

    @property
    def may_try_again(self) -> bool:
        """Whether another attempt is due."""
        return len(self._errors) < TRIES

    @property
    def note(self) -> str:
        """The last loss in words."""
        return str(self._errors[-1])

    def by_the_program(self) -> bool:
        """Whether the program is the cause."""
        started = all(isinstance(error, Gone) and error.started for error in self._errors)
        return started and self._sandbox.works()


class _Slots:
    """At most ``size`` slots, made when they are needed, each lent to one thread at a time."""

    def __init__(self, size: int) -> None:
        self._free: queue.LifoQueue[Slot | None] = queue.LifoQueue()
        self._all: set[Slot] = set()
        self._closing: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._size = size
        for _ in range(size):
            self._free.put(None)

    @contextlib.contextmanager
    def borrow(self, make: Callable[[], Slot]) -> Iterator[Slot]:
        """A slot of one's own for a while. One that fails meanwhile is ended."""
        slot = self._free.get()
        try:
            if slot is None:
                slot = make()
                self._all.add(slot)
            yield slot
        except BaseException:
            # Whatever went wrong may have left words on the line: the zygote is not trusted with another run.
            slot = self._end_aside(slot)
            raise
        finally:
            if slot is not None and not slot.healthy:
                slot = self._end_aside(slot)
            self._free.put(slot)

    def _end_aside(self, slot: Slot | None) -> None:
        """End a slot beside its borrower, who has waited long enough: until its processes are gone and its files
        removed can be seconds."""
        if slot is None:
            return
        thread = threading.Thread(target=self._end, args=(slot,))
        with self._lock:
            self._closing = [each for each in self._closing if each.is_alive()]
            try:
                thread.start()
            except RuntimeError:  # this process has no room for a thread, or is about to end
                self._end(slot)
            else:
                self._closing.append(thread)

    def _end(self, slot: Slot | None) -> None:
        if slot is not None:
            self._all.discard(slot)
            slot.close()

    def close(self) -> None:
        """End every slot, each when it comes back."""
        for _ in range(self._size):
            self._end(self._free.get())
        with self._lock:
            closing, self._closing = self._closing, []
        for thread in closing:
            thread.join()
        for _ in range(self._size):
            self._free.put(None)

    def abandon(self) -> None:
        """End every slot, lent or not."""
        for slot in list(self._all):
            self._end(slot)


def _abandon(owner: int, pools: tuple[_Slots, ...], places: list[Place]) -> None:
    if owner == os.getpid():  # not in a process forked from the owner
        for slots in pools:
            slots.abandon()
        for place in places:
            place.close()


def _text(code: str) -> str:
    """Code that can be written as UTF-8, whatever a tokenizer made of it."""
    return code.encode("utf-8", "replace").decode()


def _needs_mirror() -> bool:
    """Whether the standard library lies where an unprivileged user may not read (as below /root)."""
    return os.geteuid() == 0 and not readable_by_all(os.path.realpath(os.path.dirname(os.__file__)))


def _refusal(refusals: dict[str, str]) -> str:
    reasons = "; ".join(f"{tier}: {reason}" for tier, reason in refusals.items())
    ways = []
    text = reasons.lower()
    if not sys.platform.startswith("linux"):
        ways.append("run it on Linux, or in a Linux container or virtual machine")
    if "unshare" in text or "mount" in text or "write " in text:
        ways.append(
            "permit user namespaces: `sudo sysctl -w user.max_user_namespaces=15000`, on Ubuntu also "
            "`sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`; in Docker start the "
            "container with `--security-opt seccomp=unconfined --security-opt apparmor=unconfined`"
        )
    if "landlock" in text:
        ways.append(
            "have Landlock: Linux 5.13 or later with `landlock` in the list at /sys/kernel/security/lsm "
            "(add `lsm=landlock,...` to the kernel's command line)"
        )
    ways.append("or accept that model code can do all that you can, with `--unsafe-sandbox` (unsafe=True)")
    return f"no sandbox for model code on this machine ({reasons}). Ways out: " + "; ".join(ways)


_default: Sandbox | None = None
_default_lock = threading.Lock()


def default_sandbox() -> Sandbox:
    """The pool that ``run`` and the judges use when none is given: one for each process."""
    global _default
    with _default_lock:
        if _default is None or _default._owner != os.getpid():
            _default = Sandbox(workers=max(1, min(8, os.cpu_count() or 1)))
        return _default


def run(
    code: str,
    stdin: bytes = b"",
    *,
    wall: float = 4,
    memory_mb: int = 1024,
    max_output: int = 4_000_000,
    disk_mb: int = 64,
) -> Execution:
    """Run a program in this process's own sandbox; see ``Sandbox.run``."""
    return default_sandbox().run(
        code, stdin, wall=wall, memory_mb=memory_mb, max_output=max_output, disk_mb=disk_mb
    )
