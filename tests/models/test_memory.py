"""What saves memory changes nothing else: layers computed again, and adapters instead of whole weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from families import make

from aha.attention.modules import FAMILIES
from aha.sampling.engine import Request
from aha.sampling.local.engine import LocalEngine
from aha.sampling.sampler import SamplingParams
from aha.training.batching import pack, token_mean
from aha.training.checkpoint import save_model
from aha.training.losses import negative_log_likelihood
from aha.training.policy import OptimizerConfig, Policy
from aha.types import AhaError, Example


def batch_of(seed=0, n=4):
    rng = np.random.default_rng(seed)
    peaks = []
    for _ in range(n):
        ids = rng.integers(0, 300, rng.integers(10, 30))
        peaks.append(Example(ids, np.arange(len(ids)) >= 4, np.ones(len(ids)), None, 4, -1))
    (batch,) = pack(peaks, token_mean, 10_000)
    return batch


def gradients(family, tokenizer, **settings):
    policy = Policy(make(family, tokenizer), OptimizerConfig(**settings))
    policy.backward(batch_of(), negative_log_likelihood)
    return [m.grad for m in policy.masters]


@pytest.mark.parametrize("family", ["llama", "qwen3-moe", "gemma2", "gpt-oss"])
def test_layers_computed_again_give_the_same_gradients(tokenizer, family):
    whole, again = (gradients(family, tokenizer, gradient_checkpointing=x) for x in (False, True))
    for a, b in zip(again, whole, strict=True):
        assert (a - b).abs().max() <= 1e-5 * max(1e-2, b.abs().max().item())


def test_layers_computed_again_keep_only_their_inputs(tokenizer):
    """The elements that autograd holds between the passes, attention's own included."""
    storages = {}
    for again in (False, True):
        model = make("llama", tokenizer, num_hidden_layers=6)
        policy = Policy(model, OptimizerConfig(gradient_checkpointing=again))
        weights, sizes = {p.data_ptr() for p in model.parameters()}, []

        def keep(x, weights=weights, sizes=sizes):
            if x.data_ptr() not in weights:
                sizes.append(x.numel())
            return x

        batch = batch_of()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            policy._hidden(batch, np.flatnonzero(batch.predictor >= 0))
        storages[again] = sum(sizes)
        layer = model.base_model.layers[0]
        assert not layer.training, "and the sampler's layers are left as they were"
        assert not layer.gradient_checkpointing
    assert storages[True] < 0.15 * storages[False]


# --- adapters --------------------------------------------------------------------------------------------


def adapted(family, tokenizer, dtype=torch.float32, move=True):
    """A policy with adapters that already do something."""
    pytest.importorskip("peft")
    from aha.training.lora import Adapters, LoraSettings

    model = make(family, tokenizer, dtype)
    adapters = Adapters(model, LoraSettings(rank=4, alpha=8))
    if move:
        with torch.no_grad():
            for name, p in model.named_parameters():
                if "lora_B" in name:
                    p.normal_(std=0.1)
    return Policy(model, OptimizerConfig(lr=1e-2), adapters)


def rollouts(policy, tokenizer):
    engine = LocalEngine(policy.model, tokenizer)
    assert engine.fused == (policy.model.config.model_type in FAMILIES)
    return sampled(engine)


def sampled(engine):
    (group,) = dict(engine.generate([Request([4, 5, 6], 3, 0)], SamplingParams(max_tokens=16))).values()
    return group


def logprobs(policy, r):
    ids = np.concatenate([r.prompt_ids, r.completion_ids]).astype(np.int64)
    mask = np.arange(len(ids)) >= len(r.prompt_ids)
    (batch,) = pack([Example(ids, mask, mask * 1.0)], token_mean, 1000)
    return policy.logprobs(batch)[mask]


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "qwen3-moe", "deepseek-v3", "gpt-oss"])
def test_adapters_are_sampled_with_and_alone_are_trained(tokenizer, family):
    policy = adapted(family, tokenizer)
    base = {n: p.detach().clone() for n, p in policy.model.named_parameters() if "lora_" not in n}
    assert sum(p.numel() for p in policy.params) < 0.5 * sum(p.numel() for p in base.values())
    for _ in range(2):
        for r in rollouts(policy, tokenizer):
            assert logprobs(policy, r) == pytest.approx(r.logprobs, abs=5e-4)
        before = policy.logprobs(batch_of())
        policy.backward(batch_of(), negative_log_likelihood)
        policy.step()
        assert not np.allclose(policy.logprobs(batch_of()), before, atol=1e-3)
    now = dict(policy.model.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in base.items())


def test_adapter_gradients_with_layers_computed_again(tokenizer):
    """Nothing before the first layer wants a gradient; checkpointing must reach the adapters all the same."""
    sizes = []
    for again in (False, True):
        policy = adapted("llama", tokenizer)
        policy.config = OptimizerConfig(gradient_checkpointing=again)
        policy.backward(batch_of(), negative_log_likelihood)
        sizes.append([m.grad for m in policy.masters])
    assert all(g.any() for g in sizes[0])
    for a, b in zip(*sizes, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_adapters_merged_sample_the_same_and_leave_no_trace(tokenizer):
    policy = adapted("llama", tokenizer, torch.bfloat16)
    before = {name: value.clone() for name, value in policy.model.state_dict().items()}
    exact = adapted("llama", tokenizer)
    apart = rollouts(exact, tokenizer)
    with exact.adapters.merged():
        together = rollouts(exact, tokenizer)
    for a, b in zip(apart, together, strict=True):
        assert a.completion_ids.tolist() == b.completion_ids.tolist()
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-3)
    with policy.adapters.merged():
        rollouts(policy, tokenizer)
    assert all(torch.equal(before[name], value) for name, value in policy.model.state_dict().items())


@pytest.mark.parametrize("where", ["merged", "disabled"])
def test_one_decoder_sees_adapters_merged_and_switched_off(tokenizer, where):
    """The engine that was made before them goes on with what the modules compute now."""
    policy = adapted("llama", tokenizer)
    engine = LocalEngine(policy.model, tokenizer)
    for _ in range(2):
        apart = sampled(engine)
        with getattr(policy.adapters, where)():
            now = sampled(engine)
            assert engine.fused
            engine.fused = False
            modules = sampled(engine)
        engine.fused = True
        assert [r.completion_ids.tolist() for r in now] == [r.completion_ids.tolist() for r in modules]
        for a, b in zip(now, modules, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-3)
        assert (where == "merged") == all(
            a.completion_ids.tolist() == b.completion_ids.tolist() for a, b in zip(apart, now, strict=True)
        )


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_in_bf16_the_decoder_with_adapters_is_as_near_the_truth_as_the_modules(tokenizer, family):
    policy = adapted(family, tokenizer, torch.bfloat16)
    exact = adapted(family, tokenizer, move=False)
    exact.model.load_state_dict(policy.model.state_dict())
    engine, errors = LocalEngine(policy.model, tokenizer), {}
    for fused in (True, False):
        engine.fused = fused
        errors[fused] = [np.abs(logprobs(exact, r) - r.logprobs) for r in sampled(engine)]
    ours, plain = (float(np.concatenate(errors[fused]).mean()) for fused in (True, False))
    assert 0 < ours < 1.3 * plain


@pytest.mark.parametrize(
    "change",
    [
        {"use_dora": True},
        {"lora_bias": True},
        {"target_modules": ["q_proj", "down_proj"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"lora_dropout": 0.5},
        {"use_rslora": True},
    ],
    ids=["dora", "bias", "some", "embedding", "dropout", "rslora"],
)
def test_other_adapters_of_peft_are_sampled_as_they_compute(tokenizer, change):
    peft = pytest.importorskip("peft")
    model = make("llama", tokenizer)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | change
    peft.get_peft_model(model, peft.LoraConfig(**settings))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name or "lora_embedding_B" in name:
                p.normal_(std=0.1)
    policy = Policy(model.eval())
    engine = LocalEngine(model, tokenizer)
    others = {"use_dora", "lora_bias"} & set(change) or "embed_tokens" in change.get("target_modules", ())
    assert engine.fused == (not others)
    for r in sampled(engine):
        assert logprobs(policy, r) == pytest.approx(r.logprobs, abs=5e-4)


def test_without_its_adapters_the_model_is_its_base(tokenizer):
    policy, base = adapted("llama", tokenizer), Policy(make("llama", tokenizer))
    with policy.adapters.disabled():
        assert policy.logprobs(batch_of()) == pytest.approx(base.logprobs(batch_of()), abs=1e-5)
    assert not np.allclose(policy.logprobs(batch_of()), base.logprobs(batch_of()), atol=1e-2)


@pytest.mark.parametrize("family", ["qwen3", "qwen3-moe", "deepseek-v3"])
def test_adapters_are_saved_alone_and_merged(tokenizer, family, tmp_path):
    from transformers import AutoModelForCausalLM

    policy = adapted(family, tokenizer)
    from peft import PeftModel

    save_model(policy, tokenizer, tmp_path / "final")
    ids = torch.arange(3, 30)[None]
    logits = []
    base = make(family, tokenizer)
    assert len(list((tmp_path / "final" / "adapters").iterdir())) == 2
    for model in (
        AutoModelForCausalLM.from_pretrained(tmp_path / "final", dtype=torch.float32),
        PeftModel.from_pretrained(base, tmp_path / "final" / "adapters"),
    ):
        with torch.no_grad():
            logits.append(model.eval()(ids).logits)
    assert torch.allclose(*logits, atol=1e-3)
    with torch.no_grad():
        assert not torch.allclose(logits[0], make(family, tokenizer)(ids).logits, atol=1e-1)
    policy.model.set_attn_implementation("eager")
    with torch.no_grad():
        assert torch.allclose(policy.model(ids).logits, logits[0], atol=1e-3)


def test_adapters_on_the_head_are_refused(tokenizer):
    pytest.importorskip("peft")
    from aha.training.lora import Adapters, LoraSettings

    with pytest.raises(AhaError, match="output head cannot have adapters"):
        Adapters(make("llama", tokenizer), LoraSettings(targets=("q_proj", "lm_head")))
    with pytest.raises(AhaError, match="No adapters for"):
        Adapters(make("llama", tokenizer), LoraSettings(targets=("no_such",)))
