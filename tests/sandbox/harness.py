"""Runs attack and benign cases against a sandbox, and says which were not held.

Used by the tests in process, and as a program for another user: ``harness.py ISOLATION FILE...`` prints JSON.
Payloads run only inside the sandbox.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aha.sandbox import Isolation, Sandbox, Status, judge_function, judge_stdio

SECRET = "CANARY_TESTS_9f3a_KEY"
_PLANTED = {
    "/var/tmp/canary_secret": SECRET,
    "/var/tmp/expected_outputs.json": json.dumps({"outputs": [SECRET]}),
}
_UNIX = "/var/tmp/sbx.sock"


def load(path: str | Path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text().splitlines() if line.strip()]


def load_any(name: str) -> list[dict]:
    """The cases of a file, or our own."""
    if name == "own":
        from attacks import ATTACKS, BENIGN

        return [*ATTACKS, *BENIGN]
    if name == "library":
        from attacks_by_channel import BY_CHANNEL
        from attacks_by_library import BY_LIBRARY

        return [*BY_LIBRARY, *BY_CHANNEL]
    return load(name)


class World:
    """What an escaped program could reach: servers, files, an environment variable."""

    def __init__(self) -> None:
        self.datagrams = 0
        self._sockets: list[socket.socket] = []

    @contextlib.contextmanager
    def planted(self) -> Iterator[World]:
        os.environ["CANARY_ENV"] = SECRET
        try:
            for path, text in _PLANTED.items():
                Path(path).write_text(text)
                os.chmod(path, 0o644)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_UNIX)
            self._serve(socket.AF_INET, ("127.0.0.1", 18999))
            self._serve(socket.AF_UNIX, _UNIX)
            self._serve(socket.AF_UNIX, "\0sbxcanary")
            os.chmod(_UNIX, 0o777)
            udp = self._bound(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), ("127.0.0.1", 18998))
            threading.Thread(target=self._count, args=(udp,), daemon=True).start()
            yield self
        finally:
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
            for path in (*_PLANTED, _UNIX):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            del os.environ["CANARY_ENV"]

    def _bound(self, sock: socket.socket, address) -> socket.socket:
        """Bound once whoever has the address for a moment is done with it; the attacks name it."""
        self._sockets.append(sock)
        for left in reversed(range(60)):
            try:
                sock.bind(address)
                break
            except OSError:
                if not left:
                    raise
                time.sleep(0.5)
        return sock

    def _serve(self, family: int, address) -> None:
        server = socket.socket(family)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._bound(server, address).listen()
        threading.Thread(target=self._greet, args=(server,), daemon=True).start()

    @staticmethod
    def _greet(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.send(b"HELLO")

    def _count(self, udp: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while udp.recv(100):
                self.datagrams += 1


def processes_of(user: int) -> set[int]:
    pids = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{name}").st_uid == user:
                    pids.add(int(name))
    return pids


def others(pid: int) -> bool:
    """Whether a process was begun by another program that our parent began: by tests beside these."""
    while pid > 1 and pid != os.getpid():
        try:
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return True  # it has ended meanwhile
        if parent == os.getppid():
            return True
        pid = parent
    return False


def sandbox_users(sandbox: Sandbox) -> list[int]:
    slots = [slot for slot in sandbox._main._free.queue if slot is not None]
    return [os.getuid() if slot.user is None else slot.user for slot in slots]


def held(case: dict, sandbox: Sandbox, world: World) -> str:
    """Empty if the case was held, else what went wrong."""
    wall = case.get("wall", 4)
    check = case["check"]
    start = time.monotonic()
    if check == "judge":
        verdict = judge_stdio(
            case["payload"], [("6 7\n", case.get("expected_out", "42"))], sandbox=sandbox, wall=wall
        )
        problem = "" if verdict.passed is False else f"judged {verdict}"
    elif check == "fn":
        verdict = judge_function(case["payload"], "f", [((6, 7), 42)], sandbox=sandbox, wall=wall)
        problem = "" if verdict.passed is False else f"judged {verdict}"
    else:
        problem = _held_run(case, sandbox, world, wall)
    seconds = time.monotonic() - start
    if seconds > wall + 20:  # what is not ended goes on for 60; a busy machine takes its time
        problem = problem or f"took {seconds:.1f} s"
    if "file" in case:
        paths = glob.glob(case["file"], recursive=False)
        for path in paths:
            os.unlink(path)
        problem = problem or (f"{paths} was written" if paths else "")
    after = sandbox.run("print('alive')", wall=20)  # others are busy meanwhile
    if after.stdout != b"alive\n":
        problem = problem or f"the next run fails: {after}"
    return problem


ABREAST = 3
"""Sandboxes that attacks are dealt to: most of their time they wait for the end of what hangs."""
ALONE = ("survivors", "memtotal", "rss", "udp")
"""Checks that look at what the whole machine has: processes of a user, memory, what arrives."""


def held_all(cases: list[dict], sandbox: Sandbox, world: World) -> dict[str, str]:
    """What went wrong, by case; empty is good. A sandbox has one case at a time, and the next run in it is its own."""
    alone = [case for case in cases if case["check"] in ALONE]
    together = [case for case in cases if case["check"] not in ALONE]
    problems = _held_abreast(together, sandbox, world) | {
        case["id"]: held(case, sandbox, world) for case in alone
    }
    return {name: problem for name, problem in problems.items() if problem}


def _held_abreast(cases: list[dict], sandbox: Sandbox, world: World) -> dict[str, str]:
    """One after the other where slots share one user: what a program takes of its processes another lacks."""
    shared = os.geteuid() != 0 and sandbox.isolation is not Isolation.NAMESPACES
    with contextlib.ExitStack() as opened:
        further = 0 if shared else ABREAST - 1
        boxes = [opened.enter_context(Sandbox(isolation=sandbox.isolation)) for _ in range(further)]
        free: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
        for box in (sandbox, *boxes):
            free.put(box)

        def one(case: dict) -> str:
            box = free.get()
            try:
                return held(case, box, world)
            finally:
                free.put(box)

        with ThreadPoolExecutor(1 + len(boxes)) as threads:
            return dict(zip((case["id"] for case in cases), threads.map(one, cases), strict=True))


def _held_run(case: dict, sandbox: Sandbox, world: World, wall: float) -> str:
    check = case["check"]
    users = sandbox_users(sandbox)
    before = {user: processes_of(user) for user in users}
    stdin = b"x" * 30_000_000 if case.get("big_stdin") else b""
    execution = sandbox.run(case["payload"], stdin, wall=wall)
    if check == "twostep":
        execution = sandbox.run(case["second"], wall=wall)
    if execution.status is Status.BROKEN:
        return f"broken: {execution.note}"
    if b"ESCAPED" in execution.stdout:
        return f"escaped: {execution.stdout[:200]!r}"
    if check in ("rss", "memtotal") and (execution.status is Status.OK or execution.memory_mb > 1200):
        return f"memory: {execution.status} {execution.memory_mb} MB"
    if check == "udp" and world.datagrams:
        return "a datagram arrived"
    if check in ("survivors", "memtotal"):
        left = {user: processes_of(user) - before[user] for user in users}
        for _ in range(25):  # another program may start at the same time; what stays is a survivor
            left = {
                user: {p for p in pids & processes_of(user) if not others(p)} for user, pids in left.items()
            }
            if not any(left.values()):
                break
            time.sleep(0.2)
        if any(left.values()):
            return f"survivors: {left}"
    return ""


def benign(case: dict, sandbox: Sandbox) -> str:
    """Empty if an ordinary program gives what it should."""
    stdin = case["stdin"]
    if "stdin_repeat" in case:
        text, times = case["stdin_repeat"]
        stdin = text * times
    execution = sandbox.run(case["code"], stdin.encode(), wall=60)
    if execution.status is Status.OK and execution.stdout.decode().strip() == case["expected_stdout"]:
        return ""
    refusable = case["description"] in ("multiprocessing", "subprocess")
    if refusable and execution.status is Status.FAILED and b"Error" in execution.stderr:
        return ""
    return f"{execution.status} {execution.note} {execution.stdout[-200:]!r} {execution.stderr[-500:]!r}"


def run_all(isolation: str, attacks: list[dict], ordinary: list[dict]) -> dict[str, str]:
    """What went wrong, by case; empty is good."""
    world = World()
    with world.planted(), Sandbox(isolation=isolation) as sandbox:
        problems = held_all(attacks, sandbox, world)
        for name, problem in problems.items():
            print(name, problem, file=sys.stderr, flush=True)
        for case in ordinary:
            problems[case["description"]] = benign(case, sandbox)
    return {name: problem for name, problem in problems.items() if problem}


if __name__ == "__main__":
    chosen, *files = sys.argv[1:]
    cases = [case for file in files for case in load_any(file)]
    attacks = [case for case in cases if "payload" in case]
    ordinary = [case for case in cases if "code" in case]
    print(json.dumps({"ran": len(cases), "problems": run_all(chosen, attacks, ordinary)}))
