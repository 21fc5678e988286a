"""The compute type and the number of threads follow what was measured; memory is what may still be had."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from aha import hardware, speeds
from aha.speeds import Products

CPU = torch.device("cpu")


def products(float32, bfloat16):
    """(decoding, training) of each type."""
    decoding, training = (
        {"float32": float32[shape], "bfloat16": bfloat16[shape]} for shape in range(len(speeds.SHAPES))
    )
    return Products(decoding, training, "2026-01-01")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(hardware, "_measured", [])
    return tmp_path / "aha" / speeds.FILE


@pytest.mark.parametrize(
    ("float32", "bfloat16", "best"),
    [
        ((100, 300), (60, 150), "float32"),  # AVX512-BF16 on an Intel CPU without matrix units
        ((60, 150), (120, 390), "bfloat16"),  # the same flag on Zen 4
        ((71, 134), (196, 790), "bfloat16"),  # AMX
        ((50, 100), (90, 20), "float32"),  # faster at decoding, and much slower at training
        ((100, 100), (1, 1), "float32"),  # no bf16 at all
    ],
)
def test_the_faster_type_is_taken_whatever_the_flags_say(cache, monkeypatch, float32, bfloat16, best):
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset({"amx_bf16", "avx512_bf16"}))
    monkeypatch.setattr(speeds, "measure", lambda: products(float32, bfloat16))
    assert hardware.pick_dtype("auto", CPU) == getattr(torch, best)
    assert hardware.pick_dtype("auto") == getattr(torch, best)


def test_other_devices_and_float32_by_name_are_not_measured(cache, monkeypatch):
    monkeypatch.setattr(speeds, "measure", lambda: pytest.fail("measured"))
    assert hardware.pick_dtype("auto", torch.device("cuda")) == torch.bfloat16
    assert hardware.pick_dtype("float32", CPU) == torch.float32


def test_a_named_type_that_the_cpu_only_emulates_is_told_once(cache, monkeypatch, caplog):
    monkeypatch.setattr(speeds, "measure", lambda: products((32, 150), (2, 0.3)))
    hardware._tell_if_slow.cache_clear()
    for _ in range(2):
        assert hardware.pick_dtype("bfloat16", CPU) == torch.bfloat16
    (said,) = [record.getMessage() for record in caplog.records]
    assert "float32 is 89.4 times as fast" in said
    assert "--dtype auto" in said
    hardware._tell_if_slow.cache_clear()


def test_it_is_measured_once_for_a_machine(cache, monkeypatch):
    done = []
    monkeypatch.setattr(speeds, "measure", lambda: done.append(1) or products((2, 2), (1, 1)))
    first = speeds.products({"cpu": "one", "threads": 2})
    assert speeds.products({"threads": 2, "cpu": "one"}) == first
    assert len(done) == 1
    for other in ({"cpu": "one", "threads": 1}, {"cpu": "two", "threads": 2}):
        speeds.products(other)
    assert len(done) == 3
    assert len(json.loads(cache.read_text())) == 3
    names = sorted(path.name for path in cache.parent.iterdir())
    assert names == [speeds.FILE, "compute.lock"], "nothing half written"


@pytest.mark.parametrize("damage", ["", "[1]", '{"KEY": 3}', '{"KEY": {"decoding": {}}}'])
def test_a_file_that_makes_no_sense_is_measured_over(cache, monkeypatch, damage):
    facts = {"cpu": "one"}
    cache.parent.mkdir(mode=0o700)
    cache.write_text(damage.replace("KEY", json.dumps(facts).replace('"', '\\"')))
    monkeypatch.setattr(speeds, "measure", lambda: products((2, 2), (1, 1)))
    assert speeds.products(facts).best == "float32"
    assert Products.read(json.loads(cache.read_text())[json.dumps(facts)]) == products((2, 2), (1, 1))


def test_those_who_begin_together_have_one_figure(tmp_path, monkeypatch):
    """Two ranks that chose by figures of their own would compute other bits, and other ones when they go on."""
    monkeypatch.setattr(speeds, "cache_folder", lambda: tmp_path)
    both, one = threading.Event(), threading.Event()

    def first():
        one.set()
        both.wait(1)  # long enough for the other, if nobody kept it from measuring
        return 1

    def second():
        both.set()
        return 2

    def asked(measure):
        return speeds.kept("x.json", {"a": 1}, measure, lambda value: value)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(asked, first)
        assert one.wait(60)
        assert (asked(second), waiting.result()) == (1, 1)
    assert asked(second) == 1


def test_a_folder_that_cannot_be_written_is_measured_for_each_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(speeds, "cache_folder", lambda: tmp_path / "file")
    assert [speeds.kept("x.json", {}, lambda n=n: n, lambda value: value) for n in (1, 2)] == [1, 2]


@pytest.mark.parametrize("value", [0, -1, float("nan"), "fast", None])
def test_figures_that_are_none_are_not_read(value):
    chosen = {
        "decoding": {"float32": 1, "bfloat16": value},
        "training": {"float32": 1, "bfloat16": 1},
        "measured": "",
    }
    assert Products.read(chosen) is None


def test_a_trial_tells_which_type_is_slower(monkeypatch):
    """The shortest of several turns counts: whatever else the machine does slows some of them."""
    real = speeds._product
    turns = {"float32": [0.4, 0.02, 0.9], "bfloat16": [0.06, 0.05, 0.7]}
    seconds = {(shape, kind): iter(turns[kind]) for shape in speeds.SHAPES for kind in speeds.TYPES}
    ends = iter([0.0, 0.1, 0.2, 2.0])

    def product(shape, kind):
        work = real(shape, kind)
        return lambda: work() is not None and (shape, kind)

    monkeypatch.setattr(speeds, "_product", product)
    monkeypatch.setattr(speeds, "timed", lambda work: next(seconds[work()]))
    clock = SimpleNamespace(perf_counter=lambda: next(ends), strftime=lambda form: "today")
    monkeypatch.setattr(speeds, "time", clock)
    measured = speeds.measure(1.0)
    assert measured.best == "float32"
    operations = 2e-9 * 32 * 896 * 4864
    assert measured.decoding == {
        "float32": round(operations / 0.02, 1),
        "bfloat16": round(operations / 0.05, 1),
    }


@pytest.mark.parametrize(
    ("seconds", "n"),
    [
        ({1: 1.0, 2: 0.6}, 2),
        ({1: 1.0, 2: 1.05}, 2),  # nothing to choose: as ever
        ({1: 1.0, 2: 5.0}, 1),  # others use the cores
        ({1: 0.8, 4: 0.5, 8: 1.0}, 4),
        ({1: 1.0}, 1),
    ],
)
def test_threads_that_slow_the_work_down_are_left_away(seconds, n):
    assert speeds.chosen(seconds) == n


def test_a_busy_machine_is_noticed(monkeypatch):
    """Two threads that wait for each other: each product takes a time slice of somebody else's."""
    monkeypatch.setattr(speeds, "THREADS_SECONDS", 0.02)
    monkeypatch.setattr(speeds, "_product", lambda *what: lambda: 0.01)
    monkeypatch.setattr(speeds, "timed", lambda work: work())
    monkeypatch.setattr(speeds, "_steps", lambda: lambda: 0.02 if torch.get_num_threads() > 1 else 0.001)
    before = torch.get_num_threads()
    n, gains = speeds.threads(2)
    assert n == 1
    assert gains[2] < 0.9
    assert torch.get_num_threads() == before
    monkeypatch.setattr(speeds, "_steps", lambda: lambda: 0.001 if torch.get_num_threads() > 1 else 0.02)
    assert speeds.threads(2)[0] == 2


def test_threads_that_were_asked_for_are_set(monkeypatch):
    monkeypatch.setattr(hardware, "helpful_threads", lambda most: pytest.fail("tried"))
    before = torch.get_num_threads()
    try:
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        assert hardware.set_threads() == 3 == torch.get_num_threads()
        assert hardware.set_threads(2) == 2 == torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def test_a_run_says_what_it_chose_and_by_which_figures(cache, monkeypatch, capsys):
    from aha.commands.run import _choose_for_cpu
    from aha.recipes import get_recipe

    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    monkeypatch.setattr(speeds, "measure", lambda: products((100, 300), (60, 150)))
    args = argparse.Namespace(dtype="auto", threads=0)
    _choose_for_cpu(args, get_recipe("r1_zero").build())
    told = capsys.readouterr().out
    assert "Type     float32: float32 100 decoding, 300 training; bfloat16 60 decoding, 150 training" in told
    assert f"Threads  {torch.get_num_threads()} of {hardware.cores()} cores" in told
    described = hardware.describe_machine()
    assert described["products_gflops"]["training"] == {"float32": 300, "bfloat16": 150}
    assert described["threads"] == torch.get_num_threads()
    args.dtype = "float32"
    _choose_for_cpu(args, get_recipe("r1_zero").build())
    assert "Type" not in capsys.readouterr().out


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_limits_of_control_groups_bound_what_may_be_had(tmp_path, monkeypatch):
    root, own = tmp_path / "cgroup", tmp_path / "own"
    own.write_text("0::/job/step\n")
    write(
        root / "job",
        memory__max="8000000000\n",
        memory__current="3000000000\n",
        memory__stat="inactive_file 1000000000\n",
    )
    write(root / "job/step", memory__max="max\n", memory__current="2000000000\n")
    assert hardware.group_memory(root, own) == [(8 * 10**9, 2 * 10**9)]
    monkeypatch.setattr(hardware, "group_memory", lambda: [(8 * 10**9, 2 * 10**9)])
    monkeypatch.setattr(hardware, "_meminfo", lambda: {"MemAvailable": 20 * 10**9})
    monkeypatch.setattr(hardware, "_installed", lambda: 24 * 10**9)
    assert hardware.free_bytes(CPU) == 6 * 10**9
    assert hardware.memory_bytes(CPU) == 8 * 10**9
    monkeypatch.setattr(hardware, "_meminfo", lambda: {"MemAvailable": 10**9})
    assert hardware.free_bytes(CPU) == 10**9
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert hardware.free_bytes(CPU) == 10**9 // 4


def test_groups_of_the_older_kind(tmp_path):
    root, own = tmp_path / "cgroup", tmp_path / "own"
    own.write_text("5:devices:/x\n4:memory:/outside/this\n0::/\n")
    files = {"memory__limit_in_bytes": "5000\n", "memory__usage_in_bytes": "1500\n"}
    write(root / "memory", **files, memory__stat="cache 700\ntotal_inactive_file 500\n")
    assert hardware.group_memory(root, own) == [(5000, 1000)]
    write(root / "memory", memory__limit_in_bytes=str(2**63 - 4096))
    assert hardware.group_memory(root, own) == []


def test_without_control_groups_memory_is_the_machines(tmp_path):
    assert hardware.group_memory(tmp_path / "none", tmp_path / "none") == []
    assert 0 < hardware.free_bytes(CPU) <= hardware.memory_bytes(CPU)
    assert hardware.free_bytes(SimpleNamespace(type="cpu")) > 1 << 20


@pytest.mark.parametrize(
    ("environment", "spins"),
    [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_that_wait_leave_the_core_to_others_unless_told_otherwise(environment, spins):
    env = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import aha, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    out = subprocess.run(
        [sys.executable, "-c", code], env=env | environment, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == str(spins)


PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.parametrize("asked", [None, "0"])
def test_large_tensors_stand_in_large_pages_unless_told_otherwise(asked):
    if not PAGES.exists() or "[madvise]" not in PAGES.read_text():
        pytest.skip("this system gives large pages to all or to none")
    env = {k: v for k, v in os.environ.items() if k != "THP_MEM_ALLOC_ENABLE"}
    code = (
        "import aha, re, torch; x = torch.ones(1 << 25);"
        "print(re.search(r'AnonHugePages: +(\\d+)', open('/proc/self/smaps_rollup').read()).group(1))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], env=env | ({"THP_MEM_ALLOC_ENABLE": asked} if asked else {}),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (int(out.stdout) > 100_000) == (asked is None)
