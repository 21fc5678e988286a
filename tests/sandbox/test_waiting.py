"""Programs that share a processor with others that never rest: told when they are late, and never waited for."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time

import pytest

from aha.sandbox import Sandbox, judge_asserts, judge_stdio
from aha.sandbox.execution import Status
from aha.sandbox.waiting import ProcessorQueue
from aha.types import AhaError

HOGS = 4
BUSY = (
    "import time\ndef busy(seconds):\n    start = time.process_time()\n"
    "    while time.process_time() - start < seconds: pass\n    return 7\n"
)
ON_ITS_OWN = "assert busy(20) == 7"
IN_TWO = "for _ in range(2):\n    x = busy(20)\n    assert x == 7 and x > 6"


@pytest.fixture(scope="module")
def crowded():
    """A sandbox whose runs share one processor with programs that never rest."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("processors cannot be chosen here")
    hogs: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as stack:
        opened = threading.Event()
        sandboxes: list[Sandbox] = []
        problems: list[AhaError] = []

        def on_one_processor():  # a thread's choice is what it starts inherits
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            for _ in range(HOGS):
                hogs.append(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            try:
                sandboxes.append(stack.enter_context(Sandbox(workers=1)))
                sandboxes[0].run("pass", wall=60)
            except AhaError as error:
                problems.append(error)
            opened.set()

        threading.Thread(target=on_one_processor).start()
        try:
            assert opened.wait(120)
            if problems:
                pytest.skip(str(problems[0]))
            yield sandboxes[0]
        finally:
            for hog in hogs:
                hog.kill()
                hog.wait()


def counted():
    """Whether this kernel counts what its processes wait."""
    try:
        with open("/proc/self/schedstat") as file:
            return int(file.read().split()[1]) > 0
    except (OSError, ValueError, IndexError):
        return False


needs_a_count = pytest.mark.skipif(not counted(), reason="this kernel does not count what a process waits")


@needs_a_count
def test_a_program_that_is_too_late_says_how_long_it_had_no_processor(crowded):
    execution = crowded.run(BUSY + "print(busy(30))", wall=1.5)
    assert execution.status is Status.TIMEOUT
    assert re.search(r"still running after 1\.5 s, and \d s without a processor", execution.note)


@pytest.mark.parametrize("tests", [ON_ITS_OWN, IN_TWO], ids=["rewritten", "in-two-sandboxes"])
def test_a_late_result_names_its_own_limit(crowded, tests):
    late = judge_asserts(BUSY, tests, sandbox=crowded, wall=1.5)
    assert late.passed is False
    assert "still running after 1.5 s" in late.results[0].note


def test_nobody_waits_longer_for_a_program_that_crowds_itself_out(crowded):
    crowd = (
        "import threading\ndef spin():\n    while True: pass\n"
        "for _ in range(8): threading.Thread(target=spin, daemon=True).start()\nspin()"
    )
    start = time.monotonic()
    assert judge_stdio(crowd, [("", "1")], sandbox=crowded, wall=1).passed is False
    assert time.monotonic() - start < 1 + 2 + 5  # the five for the way in, beside programs that never rest


def test_what_a_program_sleeps_is_no_waiting(crowded):
    execution = crowded.run("import time; time.sleep(30)", wall=1)
    assert execution.status is Status.TIMEOUT
    assert "without a processor" not in execution.note


def test_no_count_is_no_waiting():
    reader, writer = os.pipe()
    try:
        assert ProcessorQueue(reader).seconds() == 0
        assert ProcessorQueue(-1).seconds() == 0
    finally:
        os.close(reader)
        os.close(writer)
