"""The miniature in whose stead large models are stepped on, and sizes that are fitted to a model."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import make_model
from patients import findings, patient

from aha import attention, cli
from aha.checkpoints.names import EMBEDDED
from aha.doctor import exact, miniature


def test_a_small_model_is_its_own_miniature(tokenizer, tmp_path):
    subject = patient(tokenizer, tmp_path)
    assert miniature.of(subject) is subject


@pytest.mark.parametrize(
    ("kinds", "chosen"),
    [(["f"] * 9, [0, 1]), (["s", "s", "s", "f", "s", "f"], [0, 3]), (["f"], [0]), (None, [0, 1])],
)
def test_every_kind_of_layer_is_in_it(kinds, chosen):
    config = SimpleNamespace(num_hidden_layers=len(kinds) if kinds else 4, layer_types=kinds)
    assert miniature.chosen_layers(config) == chosen


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_a_miniature_is_a_model_like_others(family, tokenizer, tmp_path):
    model = make_model(tokenizer, family=family, num_hidden_layers=5, vocab_size=4000)
    small = miniature.cut(model, tokenizer)
    attention.install(small)
    small.save_pretrained(tmp_path / "small")
    again = type(small).from_pretrained(tmp_path / "small")
    assert torch.equal(again.model.layers[1].mlp.up_proj.weight, model.model.layers[1].mlp.up_proj.weight)
    assert again.get_input_embeddings().weight.shape == (len(tokenizer), 32)


def test_so_many_are_held_against_transformers_as_time_allows(tokenizer, tmp_path):
    subject = patient(tokenizer, tmp_path)
    rollouts = [SimpleNamespace(prompt_ids=np.zeros(90), completion_ids=np.zeros(10))] * 12
    for pace, count in ((1e-7, 12), (1e-3, 6), (1.0, 2)):
        subject._pace = pace
        chosen = subject.some_of(rollouts, 0.7)
        assert 2 <= len(chosen) <= max(2, count)
        assert count < 12 or len(chosen) == 12


def test_a_better_result_than_transformers_is_no_failure(tokenizer, tmp_path):
    model = make_model(tokenizer, dtype=torch.bfloat16, num_hidden_layers=12)
    subject = patient(tokenizer, tmp_path, model=model)
    rollouts = [m.rollout for g in subject.groups() for m in g.members]
    truth = exact.Exact(model).truth(rollouts, 1.0)
    assert all(f.ok for f in truth.compare("the truth itself", truth.true, cause="", fix=""))
    far = [x + 0.5 for x in truth.true]
    assert not any(f.ok for f in list(truth.compare("half a nat away", far, cause="", fix=""))[:1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_a_model_too_large_for_a_finer_copy_is_held_against_its_two_attentions(
    tokenizer, tmp_path, dtype, monkeypatch
):
    monkeypatch.setattr(exact, "_finer_copy", lambda model: None)
    results = findings(patient(tokenizer, tmp_path, dtype=dtype), "logprobs")
    assert results
    assert all(f.ok for f in results), results


def test_lengths_are_fitted_to_the_context(tmp_path, capsys, monkeypatch):
    """A model of 1,024 positions, under settings made for longer ones."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(EMBEDDED["tiny"], tmp_path / "copy")
    code = cli.main(["doctor", "--model", "./copy", "--only", "resources", "--only", "logprobs", "--json",
                     "--threads", "1", "rl.max_tokens=2048"])  # fmt: skip
    result = json.loads(capsys.readouterr().out)
    assert code == 0, result
    said = [f["cause"] for f in result["findings"] if f["ok"] is None and "2048" in f["compared"]]
    assert len(said) == 1
    assert "1024" in said[0]
