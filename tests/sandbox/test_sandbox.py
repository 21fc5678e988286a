"""The sandbox as a whole: attacks, ordinary programs, limits, refusal, and nothing left behind."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aha.sandbox import Isolation, Sandbox, Status, judge_function
from aha.sandbox.slot import Slot
from aha.types import AhaError

sys.path.insert(0, str(Path(__file__).parent))
from attacks import ATTACKS, BENIGN
from attacks_by_channel import BY_CHANNEL
from attacks_by_library import BY_LIBRARY
from harness import World, benign, held_all, load

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "src"
SHARED = HERE.parents[1].parent / "shared" / "cases"
TIERS = (Isolation.NAMESPACES, Isolation.LANDLOCK)
SHARED_ATTACKS, SHARED_BENIGN = SHARED / "sandbox_attacks.jsonl", SHARED / "sandbox_benign.jsonl"

needs_shared = pytest.mark.skipif(not SHARED_ATTACKS.exists(), reason=f"no {SHARED}")


@pytest.fixture(scope="module", params=TIERS)
def sandbox(request):
    try:
        with Sandbox(isolation=request.param) as opened:
            yield opened
    except AhaError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def strongest():
    """The tier that this machine has; notes are made outside of it."""
    try:
        with Sandbox() as opened:
            yield opened
    except AhaError as error:
        pytest.skip(str(error))


@pytest.fixture
def world():
    with World().planted() as planted:
        yield planted


def test_own_attacks_are_held(sandbox, world):
    assert not held_all(ATTACKS, sandbox, world)


@pytest.mark.slow
def test_attacks_by_the_library_and_by_every_channel_are_held(sandbox, world):
    assert not held_all([*BY_LIBRARY, *BY_CHANNEL], sandbox, world)


WRITTEN = (
    "\x1b[2J\x1b]0;title\x07",  # clears the screen, names the window
    "\x9b2J",  # the same in one byte
    "ok\r                    wrong",  # writes over the line
    "a\u202eb\u2066c",  # turns the line round
    "\ud800\udfff",  # halves of a character
    "\x00\x08\x7f",
    "\u2028\u2029\x85",  # lines of another kind
    "x" * 100_000,
    "\n" * 5000,
    "\U000e0041\u200b\ufeff",  # unseen
)


@pytest.mark.parametrize("number", range(len(WRITTEN)))
def test_what_a_program_writes_does_not_steer_a_terminal(strongest, number):
    """In the message of an error, in the name of a class, to both streams: notes stay printable and short."""
    text = WRITTEN[number]
    lies = f"T = {text!r}\nE = type('E', (Exception,), {{'__str__': lambda self: T}})\n"
    raising, leaving = f"{lies}import sys\nsys.stderr.write(ascii(T))\nraise E", f"{lies}raise SystemExit(T)"
    notes = [strongest.run(code).note for code in (raising, leaving)]
    named = f"{lies}E.__name__ = 'X' + T[:9]\n"
    for code in (f"{lies}def f(a): raise E", f"{lies}def f(a): return T", f"{named}def f(a): raise E"):
        verdict = judge_function(code, "f", [((1,), 2)], sandbox=strongest, wall=5)
        assert verdict.passed is False
        notes += [result.note for result in verdict.results]
    assert len(notes) > 2
    for note in notes:
        assert note.replace("\n", " ").isprintable(), note
        assert len(note) < 4000


@needs_shared
def test_shared_attacks_are_held(sandbox, world):
    assert not held_all(load(SHARED_ATTACKS), sandbox, world)


def test_ordinary_programs_run(sandbox):
    cases = [*BENIGN, *(load(SHARED_BENIGN) if SHARED_BENIGN.exists() else [])]
    problems = {case["description"]: benign(case, sandbox) for case in cases}
    assert not {name: problem for name, problem in problems.items() if problem}


def test_statuses(sandbox):
    assert sandbox.run("print(1)").status is Status.OK
    failed = sandbox.run("import sys; sys.exit(3)")
    assert (failed.status, failed.exit_code) == (Status.FAILED, 3)
    assert sandbox.run("x = bytearray(1 << 28)", memory_mb=64).status is Status.MEMORY
    assert sandbox.run("def f(:").status is Status.FAILED
    late = sandbox.run("print('early', flush=True)\nwhile True: pass", wall=3)
    assert (late.status, late.stdout) == (Status.TIMEOUT, b"early\n")


def test_a_traceback_shows_the_program_and_nothing_of_ours(sandbox):
    stderr = sandbox.run("def f():\n    return 1 / 0\nf()").stderr.decode()
    assert "return 1 / 0" in stderr
    assert "runner" not in stderr


def test_output_is_capped(sandbox):
    execution = sandbox.run("while True: print('x' * 1000)", max_output=10_000, wall=30)
    assert execution.status is Status.FAILED
    assert len(execution.stdout) == 10_000
    assert "10000 bytes" in execution.note


def test_every_result_names_its_isolation(sandbox):
    assert sandbox.run("pass").isolation is sandbox.isolation
    assert "seccomp" in sandbox.describe()


def test_a_killed_zygote_costs_a_new_one(sandbox):
    assert sandbox.run("print(1)").status is Status.OK
    [slot] = [slot for slot in sandbox._main._free.queue if slot is not None]
    slot._zygote.kill()
    slot._zygote.wait()
    assert sandbox.run("print(2)").stdout == b"2\n"


def test_a_program_that_loses_every_sandbox_has_failed(sandbox, monkeypatch):
    from aha.sandbox.process import Gone, Process

    wait = Process.wait

    def lost(process):
        if b"'lose me'" in code_of.pop(id(process), b""):
            process.stop()
            raise Gone("lost", started=started)
        return wait(process)

    code_of: dict[int, bytes] = {}
    launch = Slot.launch

    def launched(slot, spec, *rest):
        process = launch(slot, spec, *rest)
        code_of[id(process)] = spec["code"].encode()
        return process

    monkeypatch.setattr(Process, "wait", lost)
    monkeypatch.setattr(Slot, "launch", launched)
    started = True
    assert sandbox.run("'lose me'").status is Status.FAILED
    started = False
    assert sandbox.run("'lose me'").status is Status.BROKEN


def test_a_lock_outside_is_not_seen_inside(sandbox):
    with open(textwrap.__file__) as held_outside:
        fcntl.flock(held_outside, fcntl.LOCK_EX)
        program = textwrap.dedent("""
            import fcntl, os, sys
            [path] = [p + '/textwrap.py' for p in sys.path if os.path.exists(p + '/textwrap.py')][:1]
            with open(path) as f:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fcntl.lockf(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
            print('free')
            """)
        execution = sandbox.run(program)
    assert execution.stdout == b"free\n", execution.stderr


def test_access_times_carry_no_word(sandbox):
    look = (
        "import os, sys, glob\n[place] = [p for p in sys.path if os.path.exists(p + '/textwrap.py')][:1]\n"
        "files = sorted(glob.glob(place + '/*.py') + glob.glob(place + '/json/*') + [place + '/json', place])\n"
        "files = [f for f in files if os.path.isdir(f) or os.path.isfile(f) and not os.path.islink(f)]\n"
    )
    tell = look + "print(len(files), [os.stat(f).st_atime_ns for f in files])"
    read = (
        look
        + "for f in files:\n    os.listdir(f) if os.path.isdir(f) else open(f, 'rb').read(9)\nprint(len(files))"
    )
    before = sandbox.run(tell, wall=60).stdout
    assert int(before.split()[0]) > 100
    assert sandbox.run(read, wall=60).stdout.split()[0] == before.split()[0]
    assert sandbox.run(tell, wall=60).stdout == before


def test_threads_share_a_pool():
    with Sandbox(workers=2) as sandbox, ThreadPoolExecutor(6) as threads:
        outputs = threads.map(
            lambda n: sandbox.run("print(input())", str(n).encode(), wall=60).stdout, range(24)
        )
        assert list(outputs) == [b"%d\n" % n for n in range(24)]


def test_slots_started_in_a_thread_outlive_it():
    with Sandbox() as sandbox:
        starter = threading.Thread(target=lambda: sandbox.run("pass"))
        starter.start()
        starter.join()
        assert sandbox.run("print(1)").stdout == b"1\n"


def test_import_paths():
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        Path(place, "extra_module.py").write_text("x = 3")
        os.chmod(place, 0o755)
        with Sandbox(import_paths=[place]) as sandbox:
            assert sandbox.run("import extra_module; print(extra_module.x)").stdout == b"3\n"
    with pytest.raises(AhaError, match="/tmp"):
        Sandbox(import_paths=["/tmp/x"])


def test_unsafe_is_only_what_was_asked_for_and_is_recorded():
    with Sandbox(isolation=Isolation.UNSAFE) as sandbox:
        execution = sandbox.run("print(input())", b"x\n")
        assert (execution.stdout, execution.isolation) == (b"x\n", Isolation.UNSAFE)
        assert "without a sandbox" in execution.note
        assert sandbox.run("while True: pass", wall=0.3).status is Status.TIMEOUT
    with Sandbox(unsafe=True) as sandbox:
        assert sandbox.isolation is not Isolation.UNSAFE


def test_refusal_on_another_system_names_the_way_out(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(AhaError, match=r"darwin.*--unsafe-sandbox"):
        Sandbox().__enter__()
    with Sandbox(unsafe=True) as sandbox:
        assert sandbox.isolation is Isolation.UNSAFE


def test_a_canary_that_gets_out_stops_the_slot(monkeypatch):
    # A filter that allows everything: seccomp, the inner wall, is gone.
    from aha.sandbox import canary

    strong = canary._PROGRAM.read_text()
    weak = strong.replace("results[name] = not action()", "results[name] = action() is None")
    assert weak != strong
    monkeypatch.setattr(canary, "_PROGRAM", _Text(weak))
    with pytest.raises(AhaError, match="not held"):
        Sandbox().__enter__()


class _Text:
    def __init__(self, text: str) -> None:
        self.text = text

    def read_text(self) -> str:
        return self.text


def _interpreter() -> str | None:
    """A Python that an ordinary user may execute."""
    for path in (sys.executable, "/usr/bin/python3"):
        program = os.path.realpath(path)
        check = [
            shutil.which("setpriv") or "setpriv",
            "--reuid",
            "64999",
            "--clear-groups",
            program,
            "-c",
            "import sys; open(sys.executable).close(); sys.exit(sys.version_info < (3, 11))",
        ]
        try:
            if subprocess.run(check, capture_output=True, env={}).returncode == 0:
                return program
        except OSError:
            return None
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="already an ordinary user: the other tests are this one")
@pytest.mark.parametrize(
    ("isolation", "cases"),
    [
        (Isolation.NAMESPACES, ["own"]),
        pytest.param(Isolation.LANDLOCK, ["own"], marks=pytest.mark.slow),
        pytest.param(Isolation.NAMESPACES, ["library"], marks=pytest.mark.slow),
        pytest.param(Isolation.LANDLOCK, ["library"], marks=pytest.mark.slow),
    ],
)
def test_as_an_ordinary_user(isolation, cases):
    program = _interpreter()
    if program is None:
        pytest.skip("no interpreter that an ordinary user may execute")
    import numpy

    site = os.path.dirname(os.path.dirname(numpy.__file__))
    files = [str(path) for path in (SHARED_ATTACKS, SHARED_BENIGN) if path.exists()]
    done = subprocess.run(
        [
            "setpriv",
            "--reuid",
            "64999",
            "--regid",
            "64999",
            "--clear-groups",
            program,
            str(HERE / "harness.py"),
            isolation,
            *cases,
            *files,
        ],
        env={"PYTHONPATH": f"{SOURCE}:{site}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    if "No module named" in done.stderr or "numpy" in done.stderr:
        pytest.skip(f"that interpreter lacks the packages: {done.stderr[-200:]}")
    report = json.loads(done.stdout or "{}")
    assert report.get("problems") == {}, done.stderr[-2000:]


_DENIED = """
import sys
from aha.sandbox.inside import bpf, kernel
from aha.sandbox.inside.syscalls import NUMBERS
lines = [bpf.load(bpf.NUMBER)]
for name in ("unshare", "mount", "setns", "pivot_root", "clone3"):
    refusal = bpf.errno_action(38 if name == "clone3" else 1)
    lines += [bpf.equal(NUMBERS[name], otherwise=name), bpf.give(refusal), bpf.Label(name)]
kernel.install_filter(bpf.assemble([*lines, bpf.give(bpf.ALLOW)]))
from aha.sandbox import Sandbox
from aha.types import AhaError
with Sandbox() as sandbox:
    print(sandbox.isolation, sandbox.run("print(6 * 7)").stdout.decode().strip())
try:
    Sandbox(isolation="namespaces").__enter__()
except AhaError as error:
    print("sysctl" in str(error), "unshare" in str(error))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="installing a filter without privileges needs no_new_privs")
def test_where_namespaces_are_denied_as_in_a_container():
    done = subprocess.run(
        [sys.executable, "-c", _DENIED], capture_output=True, text=True, env={"PYTHONPATH": str(SOURCE)}
    )
    assert done.stdout.split() == ["landlock", "42", "True", "True"], done.stderr


@pytest.mark.slow
def test_speed():
    with Sandbox(workers=2) as sandbox, ThreadPoolExecutor(2) as threads:
        sandbox.run("pass")
        started = time.monotonic()
        list(threads.map(lambda _: sandbox.run("print(1)"), range(400)))
        assert 400 / (time.monotonic() - started) > 100
