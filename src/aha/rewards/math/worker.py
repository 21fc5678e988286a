"""The program of a worker process; see workers.py. Run by path, in an isolated interpreter.

Arguments: the folder to import aha from, memory in MiB, seconds for one grade. Jobs and replies are lines
of JSON. The text of a job was written by a model: it is read by grammars (ours, or latex2sympy's) and never
evaluated as Python.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time

if __name__ == "__main__":
    # Run by path, Python puts this file's folder first: its module names would hide those of the library.
    sys.path[:] = [entry for entry in sys.path if entry != os.path.dirname(os.path.abspath(__file__))]
    # Behind the standard library, but before what is installed: that could be another version of aha.
    at = next((i for i, entry in enumerate(sys.path) if entry.endswith("site-packages")), len(sys.path))
    sys.path.insert(at, sys.argv[1])


def main(memory_mb: int, seconds: float) -> None:
    """Serves jobs until the other end closes or the parent is gone."""
    from aha.rewards.math import symbolic

    symbolic.warm_up()
    parent = os.getppid()
    _say({"ready": True})
    buffer = b""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    while True:
        while b"\n" not in buffer:
            if poll.poll(5_000):
                data = os.read(0, 65_536)
                if not data:
                    return
                buffer += data
            elif os.getppid() != parent:  # another process may still hold our input open
                return
        line, _, buffer = buffer.partition(b"\n")
        _say(serve(json.loads(line), memory_mb, seconds))


def serve(job: dict, memory_mb: int, seconds: float) -> dict:
    """One grade in one child."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(job, writing, memory_mb, seconds)
    os.close(writing)
    reply = _wait(reading, seconds)
    os.close(reading)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return reply


def _wait(reading: int, seconds: float) -> dict:
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    deadline = time.monotonic() + seconds
    data = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            return {"outcome": "unknown", "note": f"no verdict within {seconds} s"}
        chunk = os.read(reading, 65_536)
        if chunk:
            data += chunk
            continue
        try:
            return json.loads(data)
        except ValueError:
            return {"outcome": "unknown", "note": "the grade ran out of memory or crashed"}


def _child(job: dict, writing: int, memory_mb: int, seconds: float) -> None:
    """Never returns."""
    try:
        _confine(memory_mb, seconds)
        from aha.rewards.math import symbolic

        outcome, note = symbolic.compare(job["gold"], job["answer"])
        os.write(writing, json.dumps({"outcome": outcome, "note": note}).encode())
    except BaseException:  # whatever it was, its only effect is that the reply is missing
        pass
    os._exit(0)


def _confine(memory_mb: int, seconds: float) -> None:
    memory = memory_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))  # nothing can be opened from here on
    sys.setrecursionlimit(3_000)


def _say(message: dict) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[2]), float(sys.argv[3]))
