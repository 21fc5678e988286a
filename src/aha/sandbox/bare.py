"""A bare subprocess with time and memory limits: no sandbox. Only for those who ask for it by name."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from .execution import Execution, Isolation, Limits, Status

_PRELUDE = """
import resource, sys
bytes_ = int(sys.argv[1]) << 20
try:
    resource.setrlimit(resource.RLIMIT_AS, (bytes_, bytes_))
except (ValueError, OSError):
    pass
file = sys.argv[2]
sys.argv[:] = ["main.py"]
exec(compile(open(file).read(), "main.py", "exec"), {"__name__": "__main__"})
"""


def run_bare(code: str, stdin: bytes, limits: Limits) -> Execution:
    """Run a program without isolation; the result says so. Output beyond the cap is cut off."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="aha-unsafe-") as place:
        file = os.path.join(place, "main.py")
        with open(file, "w", encoding="utf-8", errors="replace") as writer:
            writer.write(code)
        command = [sys.executable, "-I", "-c", _PRELUDE, str(limits.memory_mb + 256), file]
        with (
            tempfile.TemporaryFile() as source,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            source.write(stdin)
            source.seek(0)
            process = subprocess.Popen(command, stdin=source, stdout=out, stderr=err, cwd=place, env={})
            try:
                code_ = process.wait(limits.wall)
                status = Status.OK if code_ == 0 else Status.FAILED
            except subprocess.TimeoutExpired:
                process.kill()
                code_ = process.wait()
                status = Status.TIMEOUT
            out.seek(0)
            err.seek(0)
            stdout, stderr = out.read(limits.max_output), err.read(limits.max_output)
    if status is Status.FAILED and stderr.rstrip().rsplit(b"\n", 1)[-1].startswith(b"MemoryError"):
        status = Status.MEMORY
    seconds = time.monotonic() - start
    return Execution(status, code_, stdout, stderr, seconds, 0.0, Isolation.UNSAFE, "run without a sandbox")
