"""Time in which other programs have the processors is not the program's; what it computes or sleeps is."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time

import pytest

from aha.sandbox import Sandbox, judge_asserts, judge_function, judge_stdio
from aha.sandbox.execution import Status
from aha.sandbox.waiting import ProcessorQueue
from aha.types import AhaError

HOGS = 4
BUSY = (
    "import time\ndef busy(seconds):\n    start = time.process_time()\n"
    "    while time.process_time() - start < seconds: pass\n    return 7\n"
)
ON_ITS_OWN = "assert busy(0.6) == 7"
IN_TWO = "for _ in range(2):\n    x = busy(0.3)\n    assert x == 7 and x > 6"


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
def test_a_program_without_a_processor_is_not_late(crowded):
    execution = crowded.run(BUSY + "print(busy(0.6))", wall=1)
    assert execution.status is Status.OK, execution
    assert execution.seconds > 1, "the machine was not crowded"


@pytest.mark.slow
@needs_a_count
@pytest.mark.parametrize("tests", [ON_ITS_OWN, IN_TWO], ids=["rewritten", "in-two-sandboxes"])
def test_asserts_wait_for_a_processor(crowded, tests):
    assert judge_asserts(BUSY, tests, sandbox=crowded, wall=1.5).passed is True
    late = judge_asserts(BUSY, tests.replace("0.6", "6").replace("0.3", "3"), sandbox=crowded, wall=1.5)
    assert late.passed is False
    assert "still running after 1.5 s" in late.results[0].note


@pytest.mark.slow
@needs_a_count
def test_calls_wait_for_a_processor(crowded):
    calls = [([0.4], 7)] * 3
    assert judge_function(BUSY, "busy", calls, sandbox=crowded, wall=1).passed is True
    late = judge_function(BUSY, "busy", [([0.1], 7), ([4], 7)], sandbox=crowded, wall=1)
    assert [result.passed for result in late.results] == [True, False]
    assert "still running after 1 s" in late.results[1].note


def test_what_a_program_sleeps_is_its_own(crowded):
    start = time.monotonic()
    judged = judge_stdio("import time; time.sleep(30); print(1)", [("", "1")], sandbox=crowded, wall=1)
    assert judged.passed is False
    assert time.monotonic() - start < 20


def test_no_count_is_no_waiting():
    reader, writer = os.pipe()
    try:
        assert ProcessorQueue(reader).seconds() == 0
        assert ProcessorQueue(-1).seconds() == 0
    finally:
        os.close(reader)
        os.close(writer)
