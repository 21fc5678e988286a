"""What cannot be computed here is refused before it is used, with the reason; nothing runs silently wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from families import SHAPE, make

from aha.attention import install
from aha.modeling import Head, check_head, load_model, max_context
from aha.sampling.engine import Request
from aha.sampling.local.engine import LocalEngine
from aha.sampling.local.fused import supports
from aha.sampling.sampler import SamplingParams
from aha.training.batching import pack, token_mean
from aha.training.policy import Policy
from aha.types import AhaError, Example

HYBRID = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 16,
    "factor": 4.0,
}


def build(config_name, **settings):
    import transformers

    config = getattr(transformers, config_name)(vocab_size=320, **settings)
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@pytest.mark.parametrize(
    ("config", "settings", "reason"),
    [
        ("Qwen3NextConfig", SHAPE | HYBRID | LINEAR, "layers 0 mix tokens by something else"),
        ("MambaConfig", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}, "Mamba"),
        ("Llama4TextConfig", SHAPE | {"attention_chunk_size": 8, "num_local_experts": 2}, "see other tokens"),
        ("StableLmConfig", SHAPE, "do not hand on to their attention"),
        ("NemotronConfig", SHAPE, "do not hand on to their attention"),
        ("BloomConfig", {"hidden_size": 32, "n_head": 4, "n_layer": 2}, "Bloom"),
        ("Gemma3TextConfig", SHAPE | {"use_bidirectional_attention": True, "sliding_window": 8}, "see other"),
    ],
    ids=["qwen3-next", "mamba", "llama4", "stablelm", "nemotron", "bloom", "bidirectional"],
)
def test_other_architectures_are_refused(config, settings, reason):
    with pytest.raises(AhaError, match=reason) as refusal:
        install(build(config, **settings))
    assert "cannot be sampled or trained" in str(refusal.value)


def test_attention_unlike_the_familys_own_is_refused(tokenizer, monkeypatch):
    """Were a family to do something to its scores that we do not know of, its trial would notice."""
    from transformers.models.llama import modeling_llama

    plain = modeling_llama.eager_attention_forward

    def twisted(module, query, key, value, mask, scaling, **kwargs):
        return plain(module, query, key, value, mask, scaling * 3, **kwargs)

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", twisted)
    with pytest.raises(AhaError, match="the attention of layer 0 is of a kind"):
        install(make("llama", tokenizer))


def test_a_multimodal_model_is_refused_and_its_text_class_named(tmp_path):
    from transformers import Gemma3Config

    Gemma3Config(text_config=SHAPE | {"vocab_size": 320}).save_pretrained(tmp_path)
    with pytest.raises(AhaError, match=r"reads more than text.*transformers\.Gemma3ForCausalLM"):
        load_model(str(tmp_path))


def test_a_head_that_does_more_is_refused(tokenizer):
    model = make("llama", tokenizer)
    check_head(model)
    model.lm_head.register_forward_hook(lambda module, args, out: out * torch.arange(out.shape[-1]))
    with pytest.raises(AhaError, match="makes logits in a way"):
        check_head(model)
    assert Head.of(model).softcap is None


def test_a_head_may_make_float32_of_a_bf16_product(tokenizer):
    model = make("llama", tokenizer, torch.bfloat16)
    model.lm_head.register_forward_hook(lambda module, args, out: out.float())
    check_head(model)


def test_a_head_behind_another_projection_is_refused(tokenizer):
    model = make("llama", tokenizer)
    size = model.config.hidden_size
    inner = torch.nn.Linear(size, 2 * size)
    outer = torch.nn.Linear(2 * size, len(tokenizer))
    model.lm_head = torch.nn.Sequential(inner, outer)
    model.get_output_embeddings = lambda: outer
    with pytest.raises(AhaError, match="makes logits in a way"):
        check_head(model)
    model.get_output_embeddings = lambda: None
    with pytest.raises(AhaError, match="makes logits in a way"):
        check_head(model)


def test_a_call_that_is_not_ours_is_told_how_to_go_on(tokenizer):
    model = make("llama", tokenizer)
    install(model)
    with pytest.raises(AhaError, match="set_attn_implementation"):
        model(torch.tensor([[1, 2, 3]]))
    model.set_attn_implementation("sdpa")
    assert model(torch.tensor([[1, 2, 3]])).logits.isfinite().all()


def test_long_rope_ends_where_its_frequencies_would_turn(tokenizer):
    """Beyond its original context such a model computes every token of a batch differently."""
    model = make(
        "phi3",
        tokenizer,
        rope_parameters=LONGROPE,
        sliding_window=None,
        original_max_position_embeddings=16,
    )
    assert max_context(model) == 16
    with pytest.raises(AhaError, match="context of 16 tokens"):
        dict(LocalEngine(model, tokenizer).generate([Request([1] * 8, 1, 0)], SamplingParams(max_tokens=9)))
    ids = np.arange(17)
    (batch,) = pack([Example(ids, ids > 0, np.ones(17))], token_mean, 100)
    with pytest.raises(AhaError, match="rotary positions stay fixed"):
        Policy(model).logprobs(batch)


def test_the_fused_decoder_leaves_windows_it_could_outgrow_to_the_modules(tokenizer):
    assert not supports(make("mistral", tokenizer))
    assert supports(make("mistral", tokenizer, sliding_window=512)), "the whole context fits the window"
    assert supports(make("mistral", tokenizer, sliding_window=None))


@pytest.mark.parametrize("error", [RuntimeError, IndexError, NotImplementedError])
def test_what_a_familys_own_code_raises_is_a_refusal_with_its_reason(tokenizer, monkeypatch, error):
    from transformers.models.llama import modeling_llama

    def broken(*args, **kwargs):
        raise error("the sizes do not fit")

    model = make("llama", tokenizer)
    monkeypatch.setattr(modeling_llama, "eager_attention_forward", broken)
    with pytest.raises(AhaError, match="the sizes do not fit"):
        install(model)
    with pytest.raises(AhaError, match=r"cannot compute \d+ tokens in transformers' own code: the sizes"):
        check_head(make("llama", tokenizer))
