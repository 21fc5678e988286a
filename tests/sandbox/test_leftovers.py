"""What runs leave behind: no file, no process, no descriptor, no memory, and nobody waits for its removal."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aha.sandbox import Isolation, Sandbox, Status
from aha.sandbox.execution import Limits
from aha.sandbox.inside import tree
from aha.sandbox.inside.workplaces import Workplaces
from aha.sandbox.slot import Slot
from aha.types import AhaError

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "src"
TIERS = (Isolation.NAMESPACES, Isolation.LANDLOCK)


@pytest.fixture(scope="module", params=TIERS)
def sandbox(request):
    try:
        with Sandbox(isolation=request.param) as opened:
            yield opened
    except AhaError as error:
        pytest.skip(str(error))


def test_a_deep_tree_leaves_nothing_and_costs_no_zygote(sandbox):
    deep = (
        "import os\nfor _ in range(100): os.mkdir('d' * 250); os.chdir('d' * 250); open('f', 'w').write('x')"
    )
    assert sandbox.run(deep, wall=60).status is Status.OK
    [slot] = [slot for slot in sandbox._main._free.queue if slot is not None]
    assert sandbox.run("print(1)").stdout == b"1\n"
    assert slot in sandbox._main._free.queue
    if sandbox.isolation is Isolation.LANDLOCK:
        _is_soon_empty(slot)


def _is_soon_empty(slot: Slot) -> None:
    """What runs left is removed beside the runs after them: two empty directories stay."""
    for left in reversed(range(300)):
        inside = [names for _, *names in os.walk(slot.base)]
        if len(inside) == 3 and not any(directories or files for directories, files in inside[1:]):
            return
        assert left, inside
        time.sleep(0.1)


@pytest.mark.parametrize("tier", TIERS)
def test_nobody_waits_for_the_end_of_a_slot_that_is_given_up(tier, monkeypatch):
    may_end, ended = threading.Event(), threading.Event()
    real = Slot.close

    def slowly(slot):
        assert may_end.wait(60)
        real(slot)
        ended.set()

    try:
        with Sandbox(isolation=tier) as sandbox:
            monkeypatch.setattr(Slot, "close", slowly)
            with pytest.raises(KeyError), sandbox.process({"mode": "serve", "code": ""}, Limits(wall=60)):
                raise KeyError  # whatever went wrong, its slot is not trusted with another run
            assert sandbox.run("print(1)", wall=60).stdout == b"1\n"
            assert not ended.is_set()
            may_end.set()
    except AhaError as error:
        pytest.skip(str(error))
    assert ended.is_set()  # whoever closes the pool waits for all of it


def test_nobody_waits_for_what_a_run_left_to_be_removed(tmp_path, monkeypatch):
    real, (go_on, let) = tree.clear, os.pipe()

    def slowly(directory):
        os.read(go_on, 1)
        real(directory)

    monkeypatch.setattr(tree, "clear", slowly)
    read, write = os.pipe()
    places = Workplaces(str(tmp_path))
    left = []
    for _ in range(8):
        left.append(places.current)
        Path(places.current, "d").mkdir()
        places.renew()
        assert os.listdir(places.current) == []
        assert not os.path.exists(left[-1])
    assert places.removing == 8
    Path(places.current, "d").mkdir()
    with pytest.raises(OSError, match="more than"):
        places.renew()
    os.write(let, b"x" * 8)
    while places.removing:
        os.write(write, b"x")
        places.wait(read)
        os.read(read, 1)
    assert (
        sum(len(files) + len(names) for _, names, files in os.walk(tmp_path)) == 4
    )  # that one, and two of ours
    for descriptor in (read, write, go_on, let):
        os.close(descriptor)


@pytest.mark.parametrize("tier", TIERS)
def test_a_sandbox_that_is_never_closed_leaves_nothing(tier):
    program = (
        "import os, sys; from aha.sandbox import Sandbox\n"
        f"box = Sandbox(isolation='{tier}'); box.run('pass')\n"
        "print(*[slot.place.path for slot in box._main._all], *[place.path for place in box._places])\n"
        "sys.stdout.flush()\nif sys.argv[1] == 'kill': os.kill(os.getpid(), 9)"
    )
    for way in ("end", "kill"):
        done = subprocess.run(
            [sys.executable, "-c", program, way],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(SOURCE)},
        )
        if "no sandbox" in done.stderr:
            pytest.skip(done.stderr)
        paths = done.stdout.split()
        assert paths
        if way == "kill":
            assert all(map(os.path.isdir, paths))
            with (
                Sandbox(isolation=tier) as living,
                Sandbox(isolation=tier) as other,
            ):  # the second sweeps again
                assert living.run("print(1)").stdout == other.run("print(1)").stdout == b"1\n"
        assert not any(map(os.path.exists, paths))


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _resident_kb(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0])


def _leaks(tier: Isolation, runs: int) -> None:
    place = tempfile.mkdtemp()
    os.chmod(place, 0o711)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", place)
        _run_many(tier, runs)
    os.rmdir(place)  # it is empty


def _run_many(tier: Isolation, runs: int) -> None:
    before, others = _open_descriptors(), _descendants(os.getpid())
    with Sandbox(workers=2, isolation=tier) as sandbox, ThreadPoolExecutor(2) as threads:
        code = "open('f', 'w').write('x' * 10000); print('y')"

        def once(_: int) -> bool:
            return sandbox.run(code, wall=60).stdout == b"y\n"

        assert all(threads.map(once, range(max(20, runs // 10))))
        slots = [slot for slot in sandbox._main._free.queue if slot is not None]
        pids = [os.getpid(), *(slot._zygote.pid for slot in slots)]
        children = _descendants(os.getpid())
        middle, memory = _open_descriptors(), [_resident_kb(pid) for pid in pids]
        for _ in range(runs // 50):  # in parts: the executor's own futures would count as growth
            assert all(threads.map(once, range(50)))
        assert _open_descriptors() == middle
        assert _descendants(os.getpid()) == children
        grown = [_resident_kb(pid) - was for pid, was in zip(pids, memory, strict=True)]
        assert max(grown) < 4000, grown
        for slot in slots:
            if tier is Isolation.LANDLOCK:
                _is_soon_empty(slot)
    assert _open_descriptors() == before
    assert not any(os.path.exists(f"/proc/{pid}") for pid in children - others)


def _descendants(root: int) -> set[int]:
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    descendants = {root}
    while more := {pid for pid, parent in parents.items() if parent in descendants} - descendants:
        descendants |= more
    return descendants - {root}


@pytest.mark.parametrize("tier", TIERS)
def test_nothing_is_left_behind(tier):
    _leaks(tier, 100)


@pytest.mark.slow
@pytest.mark.parametrize("tier", TIERS)
def test_nothing_is_left_behind_in_ten_thousand_runs(tier):
    _leaks(tier, 10_000)
