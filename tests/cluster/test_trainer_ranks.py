"""Trainer ranks that are Ray actors, and workers for several ranks: real processes, SIGKILL, SIGSTOP, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from rank_runs import (
    RL,
    alive,
    assert_same_run,
    children,
    ended,
    metrics,
    start,
    start_ranks,
    words_of,
)

from aha.files import read_jsonl

EXAMPLES = Path(__file__).parents[2] / "examples"
pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The folder of a run on one process."""
    folder = tmp_path_factory.mktemp("one")
    code, out = ended(start(folder))
    assert code == 0, out
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder of an undisturbed run on two ranks that are Ray actors."""
    folder = tmp_path_factory.mktemp("two")
    code, out = ended(start(folder, "--ray-ranks", 2))
    assert code == 0, out
    assert out.count("step 4/4") == 1  # the first rank's lines, and nobody else's
    return folder


def warned(folder, key):
    return [w["text"] for w in read_jsonl(folder / RL / "warnings.jsonl") if w["key"] == key]


def ranks_of(process):
    """Process ids of the ranks that are there, by their number."""
    by_rank = {}
    for pid in children(process.pid):
        words, environment = words_of(pid)
        if "aha.cluster.rank_process" in words:
            numbers = [e for e in environment.split("\0") if e.startswith("RANK=")]
            by_rank |= {int(e.removeprefix("RANK=")): pid for e in numbers}
    return by_rank


def strike_at(process, folder, step, who, sent):
    """In a thread: once ``step`` is done send ``sent`` to the process that ``who`` names, by an id that was known
    before; it comes in the list."""
    struck = []

    def strike():
        pid = None
        while process.poll() is None and (pid is None or len(metrics(folder)) < step):
            pid = pid or who()
            time.sleep(0.02)
        if process.poll() is None and pid is not None:
            os.kill(pid, sent)
            struck.append(pid)

    threading.Thread(target=strike, daemon=True).start()
    return struck


def actor(kind, process):
    """The process of a worker, once it is there: Ray names it so."""
    pids = [p for p in children(process.pid) if words_of(p)[0].startswith(f"ray::{kind}")]
    return next(iter(pids), None)


# --- workers for several ranks ----------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["replicated", "sharded"])
def test_two_ranks_with_a_worker_are_the_local_run(one, tmp_path, layout):
    processes = start_ranks(
        tmp_path, "rl.engine=ray", "rl.rollout_workers=1", "rl.cluster.reward_workers=1", "--parallel", layout
    )
    ends = [ended(p) for p in processes]
    assert [code for code, _ in ends] == [0, 0], ends
    assert_same_run(tmp_path, one)
    assert [row["workers/restarted"] for row in metrics(tmp_path)] == [0] * 4


def test_two_ranks_sample_ahead(tmp_path):
    processes = start_ranks(tmp_path, "rl.engine=ray", "rl.rollout_workers=1", "rl.max_staleness=1")
    ends = [ended(p) for p in processes]
    assert [code for code, _ in ends] == [0, 0], ends
    rows = metrics(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(row["stale/versions"] <= 2 for row in rows)  # two mini-batches a step
    assert any(row["stale/tokens"] > 0 for row in rows)
    problems = [
        {row["problem_id"] for row in read_jsonl(tmp_path / RL / f"rollouts/step_{s:05d}.jsonl")}
        for s in range(1, 5)
    ]
    assert sum(map(len, problems)) == len(set().union(*problems)) == 16


def test_workers_of_ranks_are_lost_and_replaced(one, tmp_path):
    """Ranks and workers on one cluster: a rollout worker and a reward worker are killed."""
    process = start(
        tmp_path, "--ray-ranks", 2, "rl.engine=ray", "rl.rollout_workers=1", "rl.cluster.reward_workers=1"
    )
    strike_at(process, tmp_path, 1, lambda: actor("RolloutWorker", process), signal.SIGKILL)
    strike_at(process, tmp_path, 2, lambda: actor("RewardWorker", process), signal.SIGKILL)
    code, out = ended(process)
    assert code == 0, out
    assert_same_run(tmp_path, one)
    lost = warned(tmp_path, "workers/restarted")
    assert {text.partition(" was lost")[0] for text in lost} == {"rollout worker 0", "reward worker 0"}
    assert warned(tmp_path, "ranks/restarted") == []


# --- ranks as actors --------------------------------------------------------------------------------------


def test_ranks_that_are_actors_train_with_own_parts(tmp_path):
    """Task, rewards, algorithm and engine from files outside the package, on every rank."""
    rewards = {
        "accuracy": 1,
        f"{EXAMPLES / 'own_reward.py'}:short": 0.2,
        f"{EXAMPLES / 'own_reward.py'}:asks_a_service": 0.1,
    }
    process = start(
        tmp_path, "--ray-ranks", 2, f"rl.task={EXAMPLES / 'own_task.py'}:Digits", f"rl.rewards={json.dumps(rewards)}",
        f"rl.algorithm={EXAMPLES / 'own_algorithm.py'}:RANKED", f"rl.engine={EXAMPLES / 'own_engine.py'}:Plain",
        "rl.steps=1", "rl.eval_every=0", "rl.max_tokens=24",
    )  # fmt: skip
    code, out = ended(process)
    assert code == 0, out
    (row,) = metrics(tmp_path)
    assert {"rewards/short/mean", "rewards/asks_a_service/mean"} <= row.keys()
    assert row["sampler_mismatch/max"] < 1e-3  # each rank's engine has the policy's weights
    kept = {file.name for file in (tmp_path / RL / "own").iterdir()}
    assert kept == {"own_task.py", "own_reward.py", "own_algorithm.py", "own_engine.py"}


def test_ranks_that_are_actors_train_as_one_process_does(one, two):
    assert_same_run(two, one)


def test_a_killed_rank_changes_nothing(two, tmp_path):
    process = start(tmp_path, "--ray-ranks", 2)
    struck = strike_at(process, tmp_path, 2, lambda: ranks_of(process).get(1), signal.SIGKILL)
    code, out = ended(process)
    assert code == 0, out
    assert struck
    assert_same_run(tmp_path, two, rel=1e-6, loss=1e-9)
    (text,) = warned(tmp_path, "ranks/restarted")
    assert "rank 1 was killed by SIGKILL" in text
    assert text in out
    assert "Continuing after step" in out


def test_a_hung_rank_is_replaced(two, tmp_path):
    process = start(tmp_path, "--ray-ranks", 2, "ranks.hang_timeout=240")
    struck = strike_at(process, tmp_path, 2, lambda: ranks_of(process).get(0), signal.SIGSTOP)
    code, out = ended(process)
    assert code == 0, out
    assert struck
    assert not alive(struck[0])
    assert_same_run(tmp_path, two, rel=1e-6, loss=1e-9)
    (text,) = warned(tmp_path, "ranks/restarted")
    assert "no rank made progress" in text


def test_an_error_of_the_settings_is_said_once_and_not_tried_again(tmp_path):
    code, out = ended(start(tmp_path, "--ray-ranks", 2, "rl.max_tokens=100000"))
    assert code == 1, out
    assert out.count("leaves no room") == 1
    assert "lost" not in out
    assert not (tmp_path / RL / "warnings.jsonl").exists()


def wait_for_ranks(process):
    while len(pids := ranks_of(process)) < 2:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.2)
    return pids


def test_ranks_end_with_what_watches_over_them(tmp_path):
    process = start(tmp_path, "--ray-ranks", 2)
    pids = wait_for_ranks(process)
    os.kill(pids[1], signal.SIGSTOP)  # not even a process that is stopped is left
    process.kill()
    process.wait()
    deadline = time.monotonic() + 120
    while any(map(alive, pids.values())) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not any(map(alive, pids.values()))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_reaches_the_ranks(tmp_path, sent):
    process = start(tmp_path, "--ray-ranks", 2, "rl.steps=2000")
    pids = wait_for_ranks(process)
    while len(metrics(tmp_path)) < 1 and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(sent)
    code, out = ended(process)
    assert code == 130, out
    assert out.count("Give the same command again to continue.") == 1
    assert not any(map(alive, pids.values()))
