"""The Python API: runs, results, models, from functions and from files; and the commands beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import aha
from aha.types import AhaError

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = {"prompts_per_step": 4, "group_size": 4, "mini_batches": 1, "test_problems": 2, "test_samples": 2,
         "max_tokens": 24, "max_tokens_schedule": (), "eval_every": 0, "steps": 1, "doctor": False}  # fmt: skip
OWN = {
    "task": f"{EXAMPLES / 'own_task.py'}:Digits",
    "rewards": {"accuracy": 1, f"{EXAMPLES / 'own_reward.py'}:short": 0.2,
                f"{EXAMPLES / 'own_reward.py'}:asks_a_service": 0.1},
    "algorithm": f"{EXAMPLES / 'own_algorithm.py'}:RANKED",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_importing_is_cheap():
    code = "import aha, sys; print([m for m in ('torch', 'numpy', 'pydantic', 'transformers') if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
    assert {"zero", "r1", "sft", "run", "evaluate", "load"} <= set(dir(aha))


def test_own_parts_from_files_train_with_an_own_engine():
    result = aha.zero(**OWN, engine=f"{EXAMPLES / 'own_engine.py'}:Plain", dtype="float32", **SMALL)
    rows = [*result["rl"]._rows("metrics.jsonl")]
    assert {"rewards/short/mean", "rewards/asks_a_service/mean"} <= rows[0].keys()
    assert rows[0]["sampler_mismatch/max"] < 1e-3  # it samples from the policy's weights
    kept = {file.name for file in (result["rl"].folder / "own").iterdir()}
    assert kept == {"own_task.py", "own_reward.py", "own_algorithm.py", "own_engine.py"}
    assert len(result.rollouts("after")) == 4
    assert isinstance(result.model.generate("What is 1 + 1?", max_tokens=8), str)
    assert [len(texts) for texts in result.model.generate(["a", "b"], n=2, max_tokens=4)] == [2, 2]


def test_functions_train_and_faults_end_nothing():
    def boom(problem, text):
        raise RuntimeError("no service")

    def kind(completions, **columns):
        return [1.0 for _ in completions]

    result = aha.zero(rewards={kind: 1.0, boom: 1.0}, **SMALL)
    row = result["rl"]._rows("metrics.jsonl")[0]
    assert (row["ungradable"], row["rewards/kind/mean"], row["groups_trained"]) == (1.0, 1.0, 0)
    with pytest.raises(AhaError, match="is in no file"):
        aha.zero(rewards=kind, ranks=2, **SMALL)


def test_two_processes_train_with_own_parts():
    engine = f"{EXAMPLES / 'own_engine.py'}:Plain"
    result = aha.zero(**OWN, engine=engine, dtype="float32", ranks=2, run="two", **SMALL)
    assert result.summary["steps"] == 1
    assert result["rl"]._rows("metrics.jsonl")[0]["sampler_mismatch/max"] < 1e-3
    assert json.loads((result.folder / "config.json").read_text())["ranks"] == 2


def test_fine_tuning_and_a_reward_model_on_rows():
    from transformers import AutoModelForCausalLM

    traces = [
        {"prompt": f"What is {i} + {i}?", "completion": f"<think>x</think> <answer>{2 * i}</answer>"}
        for i in range(60)
    ]
    tuned = aha.sft(traces, epochs=1)
    losses = tuned.summary["validation_loss"]
    assert losses["after"] < losses["before"]
    assert AutoModelForCausalLM.from_pretrained(tuned.checkpoint).config.model_type
    pairs = [
        {"prompt": f"What is {i}?", "chosen": f"It is {i}.", "rejected": "no idea at all"} for i in range(40)
    ]
    judged = aha.reward_model(pairs)
    assert 0 < judged.summary["held_out_loss"] < 1
    assert AutoModelForCausalLM.from_pretrained(judged.checkpoint).config.model_type
    with pytest.raises(AhaError, match="no data"):
        aha.sft([])


def test_evaluating_with_a_task_of_ones_own():
    class Never:
        problems = [(f"q{i}", i) for i in range(100)]  # noqa: RUF012

        def verify(self, problem, text):
            return False

    evaluated = aha.evaluate("tiny", Never, problems=2, samples=2, max_tokens=8)
    assert evaluated.figures["pass@1"] == 0
    assert len(evaluated.rollouts) == 4


@pytest.mark.slow
def test_ray_workers_train_with_own_parts():
    pytest.importorskip("ray")
    result = aha.zero(
        **OWN, engine="ray", rollout_workers=1, settings={"rl.cluster.reward_workers": 1}, run="ray", **SMALL
    )
    assert "rewards/short/mean" in result["rl"]._rows("metrics.jsonl")[0]
