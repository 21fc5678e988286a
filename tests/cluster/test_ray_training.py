"""Reinforcement learning through real Ray workers: equal to the local run in step, bounded when ahead."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from aha.files import read_jsonl
from aha.runs.pipeline import Context
from aha.stages import engines
from aha.stages.rl import RL
from aha.types import AhaError

STEPS = 4


def train(folder, checkpoint, **changes):
    settings = {
        "name": "rl", "model": str(checkpoint), "task": "countdown", "algorithm": "grpo", "steps": STEPS,
        "prompts_per_step": 4, "group_size": 4, "max_tokens": 24, "lr": 1e-3, "train_problems": 64,
        "test_problems": 4, "test_samples": 1, "eval_every": 2, "eval_problems": 4, "eval_samples": 1,
        "rewards": {"format": 1.0, "tag_count": 1.0}, "save_every": 2, "dtype": "float32",
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    context = Context(folder=folder, device="cpu", threads=1, plain=True)
    summary = RL.model_validate(settings | changes).run(context)
    return summary, read_jsonl(folder / "metrics.jsonl")


@pytest.fixture
def caught(monkeypatch):
    """The engines that runs make."""
    engines_made, make = [], engines.for_policy

    def keep(*args, **more):
        engines_made.append(make(*args, **more))
        return engines_made[-1]

    monkeypatch.setattr(engines, "for_policy", keep)
    return engines_made


def sampled(folder):
    rows = [row for path in sorted((folder / "rollouts").glob("step_*")) for row in read_jsonl(path)]
    return [(row["problem_id"], row["member"], row["text"], row["finish"]) for row in rows]


def test_without_ray_it_is_told_how_to_get_it(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(AhaError, match="pip install ray"):
        train(tmp_path, checkpoint, engine="ray")


def test_in_step_it_is_the_local_run(tmp_path, checkpoint):
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    _, local = train(tmp_path / "local", checkpoint)
    _, remote = train(tmp_path / "ray", checkpoint, engine="ray", cluster={"reward_workers": 1})
    assert sampled(tmp_path / "ray") == sampled(tmp_path / "local")
    assert len(remote) == len(local) == STEPS
    timed = ("time", "tokens_per_second", "seconds", "workers/", "sampling/")
    for a, b in zip(remote, local, strict=True):
        for key, value in b.items():
            if isinstance(value, float | int) and not any(t in key for t in timed):
                assert a[key] == pytest.approx(value, rel=1e-4, abs=1e-5), key
        assert a["workers/restarted"] == 0


@pytest.mark.slow
def test_ahead_ages_are_bounded_and_a_killed_worker_changes_nothing_of_that(tmp_path, checkpoint, caught):
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")

    def strike():
        while not (tmp_path / "metrics.jsonl").exists():
            time.sleep(0.2)
        os.kill(caught[0].pool.members[0].pid, signal.SIGKILL)

    threading.Thread(target=strike, daemon=True).start()
    _, rows = train(tmp_path, checkpoint, engine="ray", max_staleness=1, steps=6)
    assert [r["step"] for r in rows] == list(range(1, 7))
    assert all(r["stale/versions"] <= 1 for r in rows)
    assert any(r["stale/tokens"] > 0 for r in rows)
    assert sum(r["asynchronous/dropped"] for r in rows) == 0
    assert rows[-1]["asynchronous/open"] == 0
    assert all(len(read_jsonl(tmp_path / f"rollouts/step_{s:05d}.jsonl")) == 16 for s in range(1, 7))
    lost = [w for w in read_jsonl(tmp_path / "warnings.jsonl") if w["key"] == "workers/restarted"]
    assert len(lost) >= 1
    assert "rollout worker 0" in lost[0]["text"]


@pytest.mark.slow
def test_ahead_a_run_that_stops_continues_from_its_checkpoint(tmp_path, checkpoint, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    update = RL._update

    def fails_at_four(self, s, step, examples):
        if step == 4:
            raise AhaError("The gradient is not finite.")
        return update(self, s, step, examples)

    monkeypatch.setattr(RL, "_update", fails_at_four)
    with pytest.raises(AhaError, match="not finite"):
        train(tmp_path, checkpoint, engine="ray", max_staleness=1, steps=6)
    monkeypatch.setattr(RL, "_update", update)
    _, rows = train(tmp_path, checkpoint, engine="ray", max_staleness=1, steps=6)
    assert [r["step"] for r in rows] == list(range(1, 7))  # 3 was taken back and done again
    problems = [
        {row["problem_id"] for row in read_jsonl(tmp_path / f"rollouts/step_{s:05d}.jsonl")}
        for s in range(1, 7)
    ]
    assert sum(map(len, problems)) == len(set().union(*problems)) == 24
