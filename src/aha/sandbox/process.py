"""One run as seen from outside: its pipes, its deadline, its end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from .execution import Execution, Isolation, Limits, Status
from .waiting import ProcessorQueue

MAX_MESSAGE = 16_000_000  # bytes of one message from a run
_ENTRY = 60.0  # seconds from the job to the first line of the program
_GRACE = 1.0  # seconds between the kill and giving up on the zygote, in which the caller waits
_CHUNK = 1 << 16


class Gone(Exception):
    """The zygote is gone or does not answer; its slot must be started again.

    ``started``: the program had begun by then, so that it may be the cause.
    """

    def __init__(self, reason: str, *, started: bool = False) -> None:
        super().__init__(reason)
        self.started = started


def plain(text: str | bytes, longest: int = 500) -> str:
    """Words that may be a program's own, fit for a terminal and a log: nothing in them but printable
    characters and spaces."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in words[:longest])


@dataclass(slots=True)
class Pipes:
    """Our ends of a run's descriptors (-1: none)."""

    stdout: int
    stderr: int
    status: int
    request: int = -1
    reply: int = -1

    def all(self) -> list[int]:
        """Those that are open."""
        return [
            each for each in (self.stdout, self.stderr, self.status, self.request, self.reply) if each >= 0
        ]


class Process:
    """A run in progress. Not for several threads at once."""

    def __init__(self, control: socket.socket, pipes: Pipes, limits: Limits, isolation: Isolation) -> None:
        self.limits = limits
        self.isolation = isolation
        self.started = time.monotonic()
        self.allowed = limits.wall  # what a run that is too late is said to have had
        self.timed_out = False
        self.too_long = False
        self.ends_with: tuple[Process, ...] = ()  # killed with this one: no end is waited for after another's
        self.abandoned = False  # the zygote did not answer: its slot must be closed
        self._control = control
        self._pipes = pipes
        self._pidfd = -1
        self._queue: ProcessorQueue | None = None
        self._waited_before = 0.0
        self._killed = 0.0
        self._end: dict[str, Any] | None = None
        self._ended = self.started
        self._result: Execution | None = None
        self._released = False
        self._flooded = ""
        self._unsent = memoryview(b"")
        self._caps = {pipes.stdout: limits.max_output, pipes.stderr: limits.max_output, pipes.status: 4096}
        if pipes.reply >= 0:
            self._caps[pipes.reply] = MAX_MESSAGE
        self._read_so_far = {descriptor: bytearray() for descriptor in self._caps}
        self._open = set(self._caps)
        for descriptor in pipes.all():
            os.set_blocking(descriptor, False)

    def enter(self) -> None:
        """Wait until the program itself begins, and start its clock. Raises Gone if it never does.

        What the machine needs to set the wall up, however loaded it is, is not the program's time.
        """
        if not self._pump(self._has_started, self.started + _ENTRY):
            self.kill()
            self.release()
            self.abandoned = True
            raise Gone("a run was not entered in time: this machine is overloaded")
        self._waited_before = self._queue.seconds() if self._queue else 0.0
        self.started = time.monotonic()

    @property
    def waited(self) -> float:
        """Seconds since the program began in which it was ready, and others had the processors, its own processes too.
        It is told and not taken off: a program could make its caller wait so."""
        return max(0.0, self._queue.seconds() - self._waited_before) if self._queue else 0.0

    def wait(self) -> Execution:
        """Let the run end by itself or by its deadline. Raises Gone if the zygote failed instead."""
        self.enter()
        self.timed_out = not self._pump(lambda: False, self.started + self.limits.wall)
        return self.stop()

    def ask(self, message: bytes, deadline: float, longest: int = MAX_MESSAGE) -> bytes | None:
        """Send a message and wait for the next one back; None if the run ended, is too late or babbles."""
        self.send(message)
        return self.next_message(deadline, longest)

    def send(self, message: bytes) -> None:
        """Send a message; what the run does not take at once is written while waiting for the next one."""
        self._unsent = memoryview(bytes(self._unsent) + struct.pack(">I", len(message)) + message)
        self._write()

    def next_message(self, deadline: float, longest: int = MAX_MESSAGE) -> bytes | None:
        """The next message from the run; None if there is none by the deadline (monotonic seconds).

        One that says that it is longer than ``longest`` is not waited for: ``too_long`` is then true.
        """
        self.too_long = False
        if not self._pump(lambda: self._has_message(longest), deadline):
            self.timed_out = True
            return None
        if self._flooded or not self._has_message(longest):
            return None
        buffer = self._read_so_far[self._pipes.reply]
        length = self._message_length(buffer)
        if length > longest:
            self.too_long = True
            return None
        message = bytes(buffer[4 : 4 + length])
        del buffer[: 4 + length]
        return message

    def stop(self) -> Execution:
        """Kill what still runs, collect what it wrote, release everything; then always the same.

        Raises Gone if the zygote has failed.
        """
        if self._result is None:
            try:
                self._result = self._stop()
            finally:
                self.release()
        return self._result

    def _stop(self) -> Execution:
        if self._end is None:
            self.kill()
            if not self._pump(lambda: False, self._killed + _GRACE):
                # It has been killed, so the verdict stands; only the zygote cannot be used again.
                self.abandoned = True
                self._end = {"status": signal.SIGKILL, "peak_kb": 0, "note": ""}
                self._ended = time.monotonic()
        # What is in the pipes by now is all there is: their end is never waited for.
        for descriptor in list(self._open):
            while descriptor in self._open and self._read(descriptor):
                pass
        return self._execution()

    def release(self) -> None:
        """Close every descriptor; the run itself is not touched."""
        for descriptor in self._pipes.all() if not self._released else ():
            os.close(descriptor)
        self._released = True
        self._open.clear()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _has_started(self) -> bool:
        return bool(self._read_so_far[self._pipes.status])

    def _has_message(self, longest: int) -> bool:
        buffer = self._read_so_far[self._pipes.reply]
        if len(buffer) < 4:
            return False
        length = self._message_length(buffer)
        return length > longest or len(buffer) >= 4 + length

    @staticmethod
    def _message_length(buffer: bytearray) -> int:
        return struct.unpack_from(">I", buffer)[0]

    def kill(self) -> None:
        """Kill what runs, and what ends with it, without waiting for the end."""
        if not self._killed:
            self._killed = time.monotonic()
            for other in self.ends_with:
                other.kill()
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _pump(self, done: Callable[[], bool], deadline: float) -> bool:
        """Move bytes until ``done`` or the end of the run; False if the deadline came first."""
        poll = select.poll()
        watched: dict[int, int] = {}
        while not done() and self._end is None:
            left = deadline - time.monotonic()
            if left <= 0:
                _ = self.waited  # read while the process is there to be asked
                return False
            self._watch(poll, watched)
            for descriptor, _ in poll.poll(left * 1000 + 1):
                if descriptor == self._control.fileno():
                    self._hear()
                elif descriptor == self._pipes.request:
                    self._write()
                elif descriptor in self._open:
                    self._read(descriptor)
        return True

    def _watch(self, poll: select.poll, watched: dict[int, int]) -> None:
        events = {self._control.fileno(): select.POLLIN} | dict.fromkeys(self._open, select.POLLIN)
        if self._unsent:
            events[self._pipes.request] = select.POLLOUT
        if events == watched:
            return
        for descriptor in watched.keys() - events.keys():
            poll.unregister(descriptor)
        for descriptor, event in events.items():
            poll.register(descriptor, event)
        watched.clear()
        watched.update(events)

    def _hear(self) -> None:
        """Take one message of the zygote: the pidfd at the start, the status at the end."""
        try:
            text, descriptors, _, _ = socket.recv_fds(self._control, 65536, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            self._lose(f"the zygote cannot be heard: {error}")
        if not text:
            self._lose("the zygote has ended")
        if descriptors:
            self._pidfd = descriptors[0]
            self._queue = ProcessorQueue(self._pidfd)
            if self._killed:
                self.kill()  # before it could be
            return
        message = json.loads(text)
        if "broken" in message:
            self._lose(message["broken"])
        self._end = message
        self._ended = time.monotonic()

    def _lose(self, reason: str) -> NoReturn:
        self.abandoned = True
        self.release()
        started = self._read_so_far[self._pipes.status][:1] == b"R"
        raise Gone(plain(reason), started=started)

    def _write(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._pipes.request, self._unsent[:_CHUNK]) :]
        except BlockingIOError:
            return
        except OSError:  # the run reads no more
            self._unsent = memoryview(b"")

    def _read(self, descriptor: int) -> bool:
        """Take what is there, up to the cap; False if there is nothing more by now."""
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        buffer = self._read_so_far[descriptor]
        if not data:
            self._open.discard(descriptor)
            return False
        room = self._caps[descriptor] - len(buffer)
        buffer += data[:room]
        if len(data) > room:
            self._flooded = f"wrote more than {self._caps[descriptor]} bytes"
            self._open.discard(descriptor)
            self.kill()
        return True

    def _execution(self) -> Execution:
        assert self._end is not None
        pipes, end = self._pipes, self._end
        stderr = bytes(self._read_so_far[pipes.stderr])
        started = bytes(self._read_so_far[pipes.status])
        code = os.waitstatus_to_exitcode(end["status"])
        note = plain(self._flooded or end["note"])
        if started != b"R":
            status = Status.BROKEN
            note = "the sandbox could not be entered: " + (plain(started[1:]) or f"exit {code}")
        else:
            status, note = self._judge(code, stderr, note)
        return Execution(
            status=status,
            exit_code=None if status is Status.BROKEN else code,
            stdout=bytes(self._read_so_far[pipes.stdout]),
            stderr=stderr,
            seconds=self._ended - self.started,
            memory_mb=end["peak_kb"] / 1024,
            isolation=self.isolation,
            note=note,
        )

    def _judge(self, code: int, stderr: bytes, note: str) -> tuple[Status, str]:
        if note:
            return Status.FAILED, note
        if self.timed_out or code == -signal.SIGXCPU:
            waited = f", and {self.waited:.0f} s without a processor" if self.waited >= 1 else ""
            return Status.TIMEOUT, f"still running after {self.allowed:g} s{waited}"
        if code == 0:
            return Status.OK, ""
        # Between FAILED and MEMORY the program could lie; it is its own fault either way.
        words = stderr.rstrip().rsplit(b"\n", 1)[-1]
        if words.startswith(b"MemoryError") or code == -signal.SIGKILL:
            return Status.MEMORY, f"more than {self.limits.memory_mb} MB"
        return Status.FAILED, f"signal {-code}" if code < 0 else f"exit code {code}"
