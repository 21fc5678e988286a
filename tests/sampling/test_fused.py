"""The fused decoder is the model: same numbers as transformers, on the very weights that are trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import make_model

from aha import kernels
from aha.kernels import compiled, join
from aha.sampling.engine import Request
from aha.sampling.local.engine import LocalEngine
from aha.sampling.local.fused import supports
from aha.sampling.sampler import SamplingParams
from aha.training.batching import pack, token_mean
from aha.training.losses import negative_log_likelihood
from aha.training.policy import OptimizerConfig, Policy
from aha.types import Example

ROPE = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.0}


def sampled(model, tokenizer, fused=True):
    engine = LocalEngine(model, tokenizer, max_rows=5)
    assert engine.fused
    engine.fused = fused
    requests = [Request([5, 6, 7], 3, 0), Request([9, 8, 7, 6, 5, 4], 4, 1)]
    sampled = dict(engine.generate(requests, SamplingParams(max_tokens=20), seed=3))
    return [r for i in sorted(sampled) for r in sampled[i]]


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"attention_bias": True}, {"rope_parameters": ROPE}, {"head_dim": 32, "attention_bias": True}],
    ids=["", "bias", "rope", "kernels"],
)
def test_sampled_logprobs_are_those_of_plain_transformers(tokenizer, family, changes):
    for rollout in sampled(make_model(tokenizer, family=family, **changes), tokenizer):
        ids = torch.tensor(np.concatenate([rollout.prompt_ids, rollout.completion_ids]))[None].long()
        with torch.no_grad():
            logp = make_model(tokenizer, family=family, **changes)(ids).logits[0].log_softmax(-1)
        first = len(rollout.prompt_ids) - 1
        expected = logp[first:-1].gather(1, ids[0, first + 1 :, None])[:, 0]
        assert rollout.logprobs == pytest.approx(expected.numpy(), abs=2e-4)


@pytest.mark.parametrize("dim", [8, 32])
def test_the_modules_themselves_sample_the_same(tokenizer, dim):
    fused, plain = (sampled(make_model(tokenizer, head_dim=dim), tokenizer, f) for f in (True, False))
    for a, b in zip(fused, plain, strict=True):
        assert a.completion_ids.tolist() == b.completion_ids.tolist()
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def test_joined_projections_are_the_parameters_themselves(tokenizer):
    model = make_model(tokenizer)
    layer = model.base_model.layers[0].self_attn
    before = torch.cat([p.weight.detach().clone() for p in (layer.q_proj, layer.k_proj, layer.v_proj)])
    joined, bias = join([layer.q_proj, layer.k_proj, layer.v_proj])
    assert torch.equal(joined, before)
    assert bias is None
    with torch.no_grad():
        layer.k_proj.weight.fill_(7.0)
    assert (joined[32:48] == 7).all()
    again, _ = join([layer.q_proj, layer.k_proj, layer.v_proj])
    assert again.data_ptr() == joined.data_ptr(), "joined once, not at every step"
    layer.k_proj.weight.data = torch.zeros_like(layer.k_proj.weight)  # somebody replaced a parameter's tensor
    fresh, _ = join([layer.q_proj, layer.k_proj, layer.v_proj])
    assert (fresh[32:48] == 0).all()


def test_weights_that_were_replaced_are_noticed_at_the_next_token(tokenizer):
    """Looked up once for many steps, they must not be used when others stand in their place."""
    params = SamplingParams(max_tokens=12)

    def logprobs(change_at, fused=True):
        model = make_model(tokenizer)
        engine, steps = LocalEngine(model, tokenizer), []
        engine.fused = fused

        def progress(_):
            steps.append(1)
            if len(steps) == change_at:
                for layer in model.base_model.layers:
                    for linear in (layer.mlp.down_proj, layer.self_attn.v_proj):
                        linear.weight.data = linear.weight.data * 2

        ((_, (rollout,)),) = engine.generate([Request([5, 6, 7], 1, 0)], params, progress=progress)
        return rollout.logprobs

    for change_at in (1, 4):
        changed, plain = logprobs(change_at), logprobs(change_at, fused=False)
        assert changed == pytest.approx(plain, abs=1e-4)
        assert logprobs(0)[:change_at] == pytest.approx(changed[:change_at], abs=1e-4)
        assert logprobs(0) != pytest.approx(changed, abs=1e-2)


@pytest.mark.parametrize("dim", [8, 32])
def test_a_training_step_reaches_the_joined_weights(tokenizer, dim):
    model = make_model(tokenizer, head_dim=dim)
    sampled(model, tokenizer)
    policy = Policy(model, OptimizerConfig(lr=1e-2))
    ids = np.arange(40) % 300
    (batch,) = pack([Example(ids, np.arange(40) > 0, np.ones(40))], token_mean, 100)
    policy.backward(batch, negative_log_likelihood)
    policy.step()
    for fused in (True, False):
        rollout = sampled(model, tokenizer, fused)[0]
        whole = np.concatenate([rollout.prompt_ids, rollout.completion_ids]).astype(np.int64)
        mask = np.arange(len(whole)) >= len(rollout.prompt_ids)
        (check,) = pack([Example(whole, mask, np.ones(len(whole)))], token_mean, 100)
        assert policy.logprobs(check)[mask] == pytest.approx(rollout.logprobs, abs=2e-4)


def test_a_joined_model_saves_and_loads_as_any_other(tokenizer, tmp_path):
    from transformers import AutoModelForCausalLM

    model = make_model(tokenizer)
    expected = {k: v.clone() for k, v in model.state_dict().items()}
    sampled(model, tokenizer)
    model.save_pretrained(tmp_path)
    back = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(expected[k], back[k]) for k in expected)
    size = sum(v.numel() * 4 for k, v in expected.items() if k != "lm_head.weight")
    assert (tmp_path / "model.safetensors").stat().st_size < size + 10_000, "views must not be saved whole"


def test_what_it_does_not_compute_is_left_to_transformers(tokenizer):
    assert not supports(make_model(tokenizer, hidden_act="gelu"))
    dynamic = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}
    assert not supports(make_model(tokenizer, rope_parameters=dynamic))
    qwen = make_model(
        tokenizer, family="qwen2", use_sliding_window=True, sliding_window=16, max_window_layers=0
    )
    assert not supports(qwen)


@pytest.mark.skipif(not compiled(), reason="no C++ compiler here")
def test_prompts_that_groups_share_are_read_once_while_rows_come_and_go(tokenizer, monkeypatch):
    """Rows of a group enter together or later, end at various times and move: the samples are the modules' own."""
    seen = []
    of = kernels.Groups.of

    def note(families, shared):
        seen.append((families.tolist(), shared.tolist()))
        return of(families, shared)

    monkeypatch.setattr(kernels.Groups, "of", note)
    model = make_model(tokenizer, head_dim=32)
    prompts = [[(7 * i + j) % 300 for j in range(size)] for i, size in enumerate((40, 70, 33))]
    requests = [Request(prompt, 5, i) for i, prompt in enumerate(prompts)]
    results = {}
    for fused in (True, False):
        engine = LocalEngine(model, tokenizer, max_rows=7)
        engine.fused, engine.eos_ids = fused, frozenset(range(0, 300, 9))
        done = dict(engine.generate(requests, SamplingParams(max_tokens=40), seed=3))
        results[fused] = [r for i in sorted(done) for r in done[i]]
    for a, b in zip(results[True], results[False], strict=True):
        assert a.completion_ids.tolist() == b.completion_ids.tolist()
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
    assert any(len(set(families)) < len(families) for families, _ in seen)
    for families, shared in seen:
        assert len(set(zip(families, shared, strict=True))) == len(set(families)), "a family has one prompt"


def test_no_weights_are_held_between_calls(tokenizer):
    engine = LocalEngine(make_model(tokenizer, head_dim=32), tokenizer)
    requests = [Request([5, 6, 7], 2, i) for i in range(2)]
    list(engine.generate(requests, SamplingParams(max_tokens=4)))
    decoder, before = engine._decoder, engine._decoder.lookups
    assert decoder.layers == []
    assert decoder.whole is None
    stream = engine.generate(requests, SamplingParams(max_tokens=4))
    next(stream)
    assert decoder.layers
    stream.close()
    assert decoder.layers == []
    assert decoder.lookups == before, "they stand where they stood"
