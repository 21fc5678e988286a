"""Changes to a model's config at load reach what the model computes, and travel with its checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from families import make

from aha.modeling import load_model, max_context
from aha.sampling.engine import Request
from aha.sampling.local.engine import LocalEngine
from aha.sampling.sampler import SamplingParams
from aha.types import AhaError

LONG = {"rope_theta": 300_000, "max_position_embeddings": 32_768}


@pytest.fixture
def folder(tokenizer, tmp_path):
    make("qwen2", tokenizer).save_pretrained(tmp_path / "start")
    return tmp_path / "start"


def test_rope_theta_and_context_are_what_the_model_computes_with(tokenizer, folder, tmp_path):
    model = load_model(str(folder), changes=LONG)
    frequencies = 300_000.0 ** -(torch.arange(0, 8, 2) / 8)
    assert torch.allclose(model.base_model.rotary_emb.inv_freq, frequencies)
    assert max_context(model) == 32_768
    ids = torch.arange(5, 45)[None]
    with torch.no_grad():
        assert not torch.allclose(model(ids).logits, load_model(str(folder))(ids).logits, atol=1e-2)
    model.save_pretrained(tmp_path / "changed")
    back = load_model(str(tmp_path / "changed"))
    assert torch.allclose(back.base_model.rotary_emb.inv_freq, frequencies)
    assert max_context(back) == 32_768


def test_the_fused_decoder_turns_by_the_same_angles(tokenizer, folder):
    from transformers import AutoModelForCausalLM

    model = load_model(str(folder), changes=LONG)
    engine = LocalEngine(model, tokenizer)
    assert engine.fused
    (group,) = dict(engine.generate([Request([1, 2, 3], 3, 0)], SamplingParams(max_tokens=40))).values()
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    plain.config.rope_parameters["rope_theta"] = 300_000.0
    plain.base_model.rotary_emb.__init__(plain.config)
    for r in group:
        ids = torch.tensor(np.concatenate([r.prompt_ids, r.completion_ids]))[None].long()
        with torch.no_grad():
            logp = plain(ids).logits[0, 2:-1].log_softmax(-1).gather(1, ids[0, 3:, None])[:, 0]
        assert r.logprobs == pytest.approx(logp.numpy(), abs=2e-4)


def test_rope_scaling_keeps_theta_and_takes_the_older_word_for_its_type(tokenizer, folder):
    scaling = {"type": "linear", "factor": 4.0}
    model = load_model(str(folder), changes={"rope_scaling": scaling})
    plain = load_model(str(folder))
    assert torch.allclose(model.base_model.rotary_emb.inv_freq * 4, plain.base_model.rotary_emb.inv_freq)
    assert scaling == {"type": "linear", "factor": 4.0}, "the caller's settings stay as they were"


def test_where_layers_differ_the_full_ones_are_meant(tokenizer, tmp_path):
    make("gemma3", tokenizer).save_pretrained(tmp_path)
    changed = load_model(str(tmp_path), changes={"rope_theta": 5e6}).config.rope_parameters
    before = load_model(str(tmp_path)).config.rope_parameters
    assert changed["full_attention"]["rope_theta"] == 5e6
    assert changed["sliding_attention"] == before["sliding_attention"]


def test_a_field_that_does_not_exist_is_named(folder):
    with pytest.raises(AhaError, match="qwen2 model has no field 'rope_tehta'"):
        load_model(str(folder), changes={"rope_tehta": 1e6})
