"""rollout_tokens: what is known of each token stands in the rollouts, and training is the same with it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from smallest import RL_SMALL

from aha.runs.pipeline import Context
from aha.stages.rl.loop import RL
from aha.stages.rl.token_rows import TokenRows, token_texts
from aha.types import Example, Finish, Rollout


def trained(folder, **settings):
    stage = RL(
        name="rl",
        model="tiny",
        task="countdown",
        rewards={"accuracy": 1.0, "format": 0.2},
        **(RL_SMALL | settings),
    )
    folder.mkdir()
    stage.run(Context(folder, device="cpu", dtype="float32", plain=True))
    steps = sorted((folder / "rollouts").glob("step_*.jsonl"))
    return [json.loads(line) for file in steps for line in file.read_text().splitlines()]


def test_tokens_are_written_and_training_is_the_same(tmp_path):
    rows = trained(tmp_path / "with", rollout_tokens=True, group_size=4)
    plain = trained(tmp_path / "without", group_size=4)
    assert [row["text"] for row in rows] == [row["text"] for row in plain]
    weights = [(tmp_path / name / "final" / "model.safetensors").read_bytes() for name in ("with", "without")]
    assert weights[0] == weights[1]
    assert "logprobs" not in plain[0]
    known = 0
    for row in rows:
        assert len(row["token_texts"]) == len(row["logprobs"]) == row["tokens"]
        assert "".join(row["token_texts"]).startswith(row["text"])  # what follows is the end of the turn
        assert np.mean(row["logprobs"]) == pytest.approx(row["mean_logprob"], abs=1e-4)
        if "policy_logprobs" in row:
            known += 1
            # the policy has not moved: what it gives its own samples is what the sampler said
            assert row["policy_logprobs"] == pytest.approx(row["logprobs"], abs=0.02)
            assert row["advantages"] == pytest.approx([row["advantage"]] * row["tokens"], abs=1e-3)
    assert known > 0


def test_a_completion_that_is_not_trained_on_has_what_was_sampled(tokenizer):
    ids = np.array(tokenizer.encode("wait"))
    rollout = Rollout(np.array([1, 2]), ids, np.full(len(ids), -0.5), "wait", Finish.STOP)
    rows = TokenRows(tokenizer)
    assert rows.columns(rollout).keys() == {"token_texts", "logprobs"}
    whole = np.concatenate([rollout.prompt_ids, ids])
    mask = np.arange(len(whole)) >= 2
    rows.note([Example(whole, mask, np.where(mask, 2.0, 0.0), policy_logprobs=np.arange(len(whole)) * -1.0)])
    columns = rows.columns(rollout)
    assert columns["advantages"] == [2.0] * len(ids)
    assert columns["policy_logprobs"] == [-2.0 - i for i in range(len(ids))]


def test_a_character_of_several_tokens_stands_at_its_last(tokenizer):
    text = "等 🙂 ok"
    ids = tokenizer.encode(text, add_special_tokens=False)
    texts = token_texts(tokenizer, ids)
    assert len(texts) == len(ids)
    assert "".join(texts) == tokenizer.decode(ids)
