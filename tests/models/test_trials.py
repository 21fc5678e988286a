"""Models are tried against the truth: what is as good as the family's own code passes, what is wrong does not."""

from __future__ import annotations

import logging

import pytest
import torch
from conftest import make_model

from aha import attention, kernels, modeling, trials
from aha.attention import modules, packed
from aha.kernels import build
from aha.types import AhaError

needs_kernels = pytest.mark.skipif(build.library() is None, reason="no C++ compiler here")


def with_large_keys(tokenizer, dtype):
    """As Qwen2's first layer: biases make keys so large that bf16 cannot tell their scores apart."""
    model = make_model(tokenizer, family="qwen2", head_dim=32, initializer_range=0.1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.k_proj.bias.normal_(0, 100, generator=generator)
            layer.self_attn.q_proj.bias.normal_(0, 3, generator=generator)
    return model.to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("compiled", [True, False], ids=["kernels", "rectangles"])
def test_large_keys_are_no_reason_to_refuse(tokenizer, dtype, compiled, caplog):
    model = with_large_keys(tokenizer, dtype)
    if not compiled:
        with kernels.without():
            attention.install(model)
        return
    with caplog.at_level(logging.WARNING):
        attention.install(model)
    assert not caplog.records, "and none to go without kernels"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("fault", [1.02, 0.5], ids=str)
def test_attention_of_another_scale_is_refused_in_either_type(tokenizer, dtype, fault, monkeypatch):
    plain = packed.Packed.attend

    def attend(self, layer, query, key, value, scale, variant=packed.PLAIN):
        return plain(self, layer, query, key, value, scale * fault, variant)

    monkeypatch.setattr(packed.Packed, "attend", attend)
    with pytest.raises(AhaError, match="the attention of layer 0 is of a kind that is not known"):
        attention.install(make_model(tokenizer, dtype=dtype))


def test_attention_that_rounds_more_than_the_familys_own_is_refused(tokenizer, monkeypatch):
    """Right in float32, and coarser than bf16 in bf16."""
    plain = packed.Packed.attend

    def attend(self, layer, query, *rest):
        out = plain(self, layer, query, *rest)
        return out.to(torch.float8_e4m3fn).to(out.dtype) if out.dtype == torch.bfloat16 else out

    monkeypatch.setattr(packed.Packed, "attend", attend)
    with pytest.raises(AhaError, match=r"layer 0 errs by \d.*% in torch.bfloat16, the family's own by 0"):
        attention.install(make_model(tokenizer, dtype=torch.bfloat16))


FAULTS = {
    "_norm": lambda out: out * 1.02,
    "_feed_forward": lambda out: out.roll(1, -1),
    "_attend": lambda out: (out[0].roll(1, 1), None),
}


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("name", FAULTS)
def test_a_kernel_with_a_fault_is_not_used(tokenizer, dtype, name, monkeypatch, caplog):
    right = getattr(modules, name)
    monkeypatch.setattr(modules, name, lambda *inputs, **more: FAULTS[name](right(*inputs, **more)))
    model = make_model(tokenizer, head_dim=32, dtype=dtype)
    with caplog.at_level(logging.WARNING):
        attention.install(model)
    assert "computes otherwise with kernels: it goes without" in caplog.text
    assert not any("forward" in vars(module) for module in model.modules())


@needs_kernels
def test_kernels_stay_where_many_layers_let_bf16_wander(tokenizer, caplog):
    """Thirty layers with large weights: without kernels, bf16 itself is a tenth away from float32."""
    settings = {"num_hidden_layers": 30, "head_dim": 32, "initializer_range": 0.5}
    model = make_model(tokenizer, dtype=torch.bfloat16, **settings)
    ids = trials.token_ids(model)
    with torch.no_grad():
        exact = make_model(tokenizer, **settings).to(torch.bfloat16).float()(ids, output_hidden_states=True)
        plain = model(ids, output_hidden_states=True)
    assert trials.error(plain.hidden_states[-1], exact.hidden_states[-1]) > 0.05
    with caplog.at_level(logging.WARNING):
        attention.install(model)
    assert not caplog.records
    assert any("forward" in vars(module) for module in model.modules())


def test_a_loaded_model_is_tried_on_text_of_its_own_tokenizer(checkpoint, tokenizer):
    model = modeling.load_model(str(checkpoint))
    ids = trials.token_ids(model)[0].tolist()
    text, odd = ids[: -trials.ODD_TOKENS], ids[-trials.ODD_TOKENS :]
    assert text == tokenizer.encode(trials.TEXT)[: trials.MOST_TOKENS]
    assert len(set(odd)) == trials.ODD_TOKENS
    assert max(odd) == len(tokenizer) - 1


def test_a_model_without_a_known_text_is_tried_on_odd_tokens(tokenizer):
    model = make_model(tokenizer)
    assert trials.token_ids(model).shape == (1, trials.ODD_TOKENS)


def test_errors_are_those_of_every_token():
    truth = torch.ones(1, 4, 8)
    truth[0, 0] = 1e6  # a sink: its error alone would be the whole
    wrong = truth.clone()
    wrong[0, 3] = 0
    assert trials.error(wrong, truth) == pytest.approx(0.25)
    assert trials.error(truth, truth) == 0
    assert trials.error(truth * float("nan"), truth) == float("inf")
