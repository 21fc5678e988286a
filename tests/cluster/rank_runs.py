"""Small runs of the command line on one process, on torchrun's ranks, and on ranks that are Ray actors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aha import ranks
from aha.files import read_jsonl

SMALL = [
    "rl.steps=4", "rl.prompts_per_step=4", "rl.group_size=4", "rl.max_tokens=48", "rl.mini_batches=2",
    "rl.test_problems=4", "rl.test_samples=1", "rl.eval_every=2", "rl.eval_problems=4", "rl.eval_samples=1",
    "rl.save_every=1", "rl.train_problems=64", "rl.algorithm=grpo", "rl.dtype=float32",
]  # fmt: skip
PATIENCE = 900
"""Seconds that one run may take where the machine is busy."""
RL = "runs/zero/rl"
TIMED = ("time", "tokens_per_second", "seconds", "workers/", "sampling/", "asynchronous/")


def start(folder, *words, rank=None, **environment):
    """``aha run r1_zero`` on the embedded base with these words, in ``folder``."""
    command = [sys.executable, "-m", "aha", "run", "r1_zero", "--device", "cpu", "--plain", "--threads", "1"]
    path = os.pathsep.join(p for p in (os.environ.get("PYTHONPATH"), *sys.path) if p)
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, **environment}
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [*command, "--no-doctor", *SMALL, *map(str, words)],
        cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells ignore it in the background
    )  # fmt: skip


def start_ranks(folder, *words, size=2):
    """The same as the ranks that torchrun would start."""
    port = str(ranks.free_port())
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(size)}
    shared["LOCAL_WORLD_SIZE"] = str(size)
    return [start(folder, *words, RANK=str(i), LOCAL_RANK=str(i), **shared) for i in range(size)]


def ended(process, timeout=PATIENCE):
    """(exit code, all that it said)."""
    out, _ = process.communicate(timeout=timeout)
    return process.returncode, out


def metrics(folder):
    return read_jsonl(folder / RL / "metrics.jsonl")


def sampled(folder):
    """What was sampled in every step and evaluation, in order."""
    files = [*sorted((folder / RL / "rollouts").glob("step_*")), folder / RL / "rollouts/after.jsonl"]
    rows = [row for path in files for row in read_jsonl(path)]
    return [(row["problem_id"], row["member"], row["text"], row["finish"], row["reward"]) for row in rows]


def assert_same_run(folder, reference, rel=1e-3, loss=1e-4):
    """The same samples and rewards throughout, and figures that agree to rounding."""
    assert sampled(folder) == sampled(reference)
    here, there = metrics(folder), metrics(reference)
    assert [row["step"] for row in here] == [row["step"] for row in there]
    for a, b in zip(here, there, strict=True):
        for key, value in b.items():
            if isinstance(value, float | int) and not any(t in key for t in TIMED):
                assert a[key] == pytest.approx(value, rel=rel, abs=loss), (b["step"], key)
    evals = [[(r["name"], r["step"], r["pass@1"]) for r in read_jsonl(f / RL / "evals.jsonl")]
             for f in (folder, reference)]  # fmt: skip
    assert evals[0] == evals[1]


def children(pid):
    """Ids of a process's children, and theirs."""
    ids = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if parent == pid:
            ids += [int(stat.parent.name), *children(int(stat.parent.name))]
    return ids


def words_of(pid):
    """A process's command line and environment, "" where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(), Path(f"/proc/{pid}/environ").read_text()
    except OSError:
        return "", ""


def alive(pid):
    stat = Path(f"/proc/{pid}/stat")
    try:
        return ") Z " not in stat.read_text(encoding="utf-8")
    except OSError:
        return False
