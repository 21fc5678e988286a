"""Every kind of algorithm through the whole stage: it runs, and stopped and resumed it ends the same."""

from __future__ import annotations

import json

import pytest

from aha.runs.pipeline import Context
from aha.stages.rl import RL
from aha.stages.rl.session import RLSession

SMALL = {
    "name": "rl", "model": "tiny", "task": "countdown", "steps": 4, "prompts_per_step": 4, "group_size": 4,
    "mini_batches": 2, "max_tokens": 48, "test_problems": 2, "test_samples": 1, "eval_every": 0, "save_every": 2,
    "train_problems": 32, "lr": 1e-4, "rewards": {"accuracy": 1.0, "format": 0.5},
}  # fmt: skip
KINDS = {
    "dapo": {"preset": "dapo", "dynamic_sampling_rounds": 3},
    "oversampled": {"preset": "grpo_no_kl", "oversample": 0.5},
    "partial_rollouts": {
        "preset": "grpo_no_kl",
        "oversample": 1.0,
        "partial_rollouts": 2,
        "importance_sampling": "truncated",
    },
    "remax": "remax",
    "ppo": "ppo",
    "vapo": {"preset": "vapo", "value_pretrain_steps": 2},
    "reinforce_pp": "reinforce_pp",
    "kimi": {"preset": "kimi", "importance_sampling": "truncated"},
    "magic": {"preset": "magic", "entropy_target": 5.0},
    "agro": "agro",
    "grpo_process": "grpo_process",
    "grpo_iterative": {"preset": "grpo_iterative", "reference_every": 2},
    "srpo": {"preset": "srpo", "easy_share": 0.2},
}
TIMES = ("step_time", "time/sampling", "time/training", "tokens_per_second")


class Killed(Exception):
    pass


def stage(algorithm):
    rewards = SMALL["rewards"] | ({"equations": 0.2} if algorithm == "grpo_process" else {})
    return RL.model_validate(SMALL | {"algorithm": algorithm, "rewards": rewards})


def result(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    rows = [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]
    return rows, (folder / "final" / "model.safetensors").read_bytes()


OFTEN = {"dapo", "ppo", "partial_rollouts", "grpo_iterative"}
"""Those that the quick suite has: together they keep every kind of state."""


@pytest.mark.parametrize(
    "kind", [k if k in OFTEN else pytest.param(k, marks=pytest.mark.slow) for k in sorted(KINDS)]
)
def test_stopped_and_resumed_it_ends_the_same(kind, tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    stage(KINDS[kind]).run(Context(whole, plain=True, threads=1))
    report = RLSession.report

    def dies_at_three(self, step, *args):
        if step == 3:
            raise Killed
        report(self, step, *args)

    with monkeypatch.context() as patch:
        patch.setattr(RLSession, "report", dies_at_three)
        with pytest.raises(Killed):
            stage(KINDS[kind]).run(Context(cut, plain=True, threads=1))
    stage(KINDS[kind]).run(Context(cut, plain=True, threads=1))
    assert result(cut) == result(whole)
    rows, _ = result(whole)
    check(kind, rows)


def check(kind, rows):
    """What this kind leaves in the metrics."""
    if kind == "dapo":
        assert max(row["groups"] for row in rows) > 4, "too few groups with signal: sampled on"
    if kind == "oversampled":
        assert all(row["groups"] == 4 for row in rows), "six are begun, and the slowest two cancelled"
    if kind == "partial_rollouts":
        assert all(row["groups"] >= 4 for row in rows)
        assert all(row["partial_rollouts/kept"] > 0 for row in rows)
        assert any(row["stale/tokens"] > 0 and row["stale/versions"] > 0 for row in rows)
        assert all(row["sampler_mismatch/mean"] < 0.02 for row in rows), "of fresh tokens alone"
    if kind in ("ppo", "vapo"):
        assert all(row["critic/loss"] > 0 for row in rows)
    if kind == "vapo":
        assert ["loss" in row for row in rows] == [False, False, True, True]
    if kind == "magic":
        assert [row["entropy_coef"] for row in rows] == pytest.approx([0.005, 0.01, 0.015, 0.02])
    if kind == "grpo_process":
        assert any(row["rewards/equations/mean"] != 0 for row in rows)
    if kind == "agro":
        assert all("loss" in row for row in rows)


def test_killed_between_a_checkpoint_and_its_evaluation_nothing_is_missing(tmp_path, monkeypatch):
    settings = SMALL | {"eval_every": 2, "eval_problems": 2, "eval_samples": 1, "algorithm": "grpo_no_kl"}
    folders = tmp_path / "whole", tmp_path / "cut"
    for folder in folders:
        folder.mkdir()
    RL.model_validate(settings).run(Context(folders[0], plain=True, threads=1))
    evaluation = RLSession.evaluation

    def dies(self, name, step):
        if name == "step":
            raise Killed
        return evaluation(self, name, step)

    with monkeypatch.context() as patch:
        patch.setattr(RLSession, "evaluation", dies)
        with pytest.raises(Killed):
            RL.model_validate(settings).run(Context(folders[1], plain=True, threads=1))
    RL.model_validate(settings).run(Context(folders[1], plain=True, threads=1))
    evals = [(folder / "evals.jsonl").read_text() for folder in folders]
    assert evals[0] == evals[1]
    assert [json.loads(line)["step"] for line in evals[0].splitlines()] == [0, 2, 4]
