"""Every family through the whole life of a model, against transformers' own plain attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from families import DAILY, FAMILIES, make

from aha import attention
from aha.modeling import load_model, load_tokenizer
from aha.sampling.engine import Request
from aha.sampling.local.engine import LocalEngine
from aha.sampling.sampler import SamplingParams
from aha.training.batching import pack, sequence_mean, token_mean
from aha.training.checkpoint import save_model
from aha.training.losses import clipped_loss, negative_log_likelihood
from aha.training.policy import OptimizerConfig, Policy
from aha.types import Example

every_family = pytest.mark.parametrize(
    "family", [f if f in DAILY else pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES]
)


def examples(groups=2, members=3, seed=0):
    """Completions longer than the families' windows, in groups that share prompts of various lengths."""
    rng = np.random.default_rng(seed)
    rollouts = []
    for g in range(groups):
        prompt = rng.integers(0, 300, 4 + 5 * g)
        for _ in range(members):
            ids = np.concatenate([prompt, rng.integers(0, 300, rng.integers(3, 24))])
            mask = np.arange(len(ids)) >= len(prompt)
            old = np.where(mask, -np.abs(rng.normal(size=len(ids))) - 3, 0.0).astype(np.float32)
            rollouts.append(Example(ids, mask, np.where(mask, rng.normal(), 0.0), old, len(prompt), g))
    return rollouts


def plain_logprobs(model, ids):
    """Log probability of each token after the first [L - 1], by transformers alone."""
    ids = torch.as_tensor(np.asarray(ids, np.int64))
    return model(ids[None]).logits[0, :-1].float().log_softmax(-1).gather(1, ids[1:, None])[:, 0]


def assert_close(a, b, tolerance=1e-4):
    for x, y in zip(a, b, strict=True):
        assert (x - y).abs().max() <= tolerance * max(1e-2, y.abs().max().item())


@every_family
def test_packed_equals_one_by_one_in_logprobs_and_gradients(tokenizer, family):
    members = examples()
    model = make(family, tokenizer)
    total, expected = 0.0, []
    for e, w in zip(members, sequence_mean(members), strict=True):
        chosen = plain_logprobs(model, e.token_ids)
        expected.append(chosen.detach())
        ratio = (chosen - torch.tensor(e.sampler_logprobs[1:])).exp()
        a = torch.tensor(e.advantage[1:], dtype=torch.float32)
        term = -torch.minimum(ratio * a, ratio.clamp(0.8, 1.2) * a)
        total = total + (term * torch.tensor(w[1:], dtype=torch.float32)).sum()
    total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert sum(g is not None and bool(g.any()) for g in gradients.values()) > 0.8 * len(gradients)

    policy = Policy(make(family, tokenizer), OptimizerConfig())
    (batch,) = pack(members, sequence_mean, 10_000)
    assert (batch.segments[:, 3] > 0).sum() == len(members), "every completion reads a shared prompt"
    got = np.zeros(sum(len(e.token_ids) for e in members), np.float32)
    got[batch.origin] = policy.logprobs(batch)
    got = np.split(got, np.cumsum([len(e.token_ids) for e in members])[:-1])
    for e, mine, theirs in zip(members, got, expected, strict=True):
        assert mine[e.mask] == pytest.approx(theirs[e.mask[1:]].numpy(), abs=2e-4)
    policy.backward(batch, clipped_loss())
    names = [name for name, _ in policy.model.named_parameters()]
    for name, master in zip(names, policy.masters, strict=True):
        theirs = gradients[name]
        theirs = torch.zeros_like(master) if theirs is None else theirs
        assert (master.grad - theirs).abs().max() <= 2e-4 * max(1e-2, theirs.abs().max().item()), name


@every_family
def test_samples_trains_saves_and_loads(tokenizer, family, tmp_path):
    make(family, tokenizer).save_pretrained(tmp_path / "start")
    tokenizer.save_pretrained(tmp_path / "start")
    model = load_model(str(tmp_path / "start"))
    policy = Policy(model, OptimizerConfig(lr=1e-3))
    engine = LocalEngine(model, tokenizer, max_rows=3)
    plain = make(family, tokenizer)
    for step in range(2):
        requests = [Request([5, 6, 7], 2, 0), Request(list(range(20, 31)), 3, 1)]
        sampled = dict(engine.generate(requests, SamplingParams(max_tokens=24), seed=step))
        rollouts = [r for i in sorted(sampled) for r in sampled[i]]
        batch = _imitation(rollouts)
        for r, mine in zip(rollouts, _logprobs(policy, rollouts), strict=True):
            assert mine == pytest.approx(r.logprobs, abs=5e-4), "the sampler's are the policy's"
            with torch.no_grad():
                theirs = plain_logprobs(plain, np.concatenate([r.prompt_ids, r.completion_ids]))
            assert r.logprobs == pytest.approx(theirs[len(r.prompt_ids) - 1 :].numpy(), abs=5e-4)
        if step == 0:
            policy.backward(batch, negative_log_likelihood)
            assert policy.step() > 0
            save_model(policy, load_tokenizer(str(tmp_path / "start")), tmp_path / "trained")
            plain = _loaded(tmp_path / "trained")
    assert any(
        not torch.equal(a, b)
        for a, b in zip(
            plain.state_dict().values(), make(family, tokenizer).state_dict().values(), strict=True
        )
    )


def _imitation(rollouts):
    batches = []
    for r in rollouts:
        ids = np.concatenate([r.prompt_ids, r.completion_ids]).astype(np.int64)
        batches.append(Example(ids, np.arange(len(ids)) >= len(r.prompt_ids), np.ones(len(ids))))
    (batch,) = pack(batches, token_mean, 10_000)
    return batch


def _logprobs(policy, rollouts):
    """The policy's log probabilities of each rollout's completion, all packed together."""
    batch = _imitation(rollouts)
    ours = policy.logprobs(batch)
    flat = np.zeros(len(ours), np.float32)
    flat[batch.origin] = ours
    ends = np.cumsum([len(r.prompt_ids) + len(r.completion_ids) for r in rollouts])
    for r, part in zip(rollouts, np.split(flat, ends[:-1]), strict=True):
        yield part[len(r.prompt_ids) :]


def _loaded(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert AutoTokenizer.from_pretrained(folder).eos_token_id is not None
    return AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    ).eval()


@pytest.mark.parametrize("family", ["qwen3-moe", pytest.param("mixtral", marks=pytest.mark.slow)])
def test_router_losses_do_not_leak_into_ours(tokenizer, family):
    (batch,) = pack(examples(), token_mean, 10_000)
    losses = []
    for asked in (False, True):
        model = make(family, tokenizer, output_router_logits=asked, router_aux_loss_coef=10.0)
        policy = Policy(model, OptimizerConfig())
        policy.backward(batch, negative_log_likelihood)
        losses.append([m.grad for m in policy.masters])
    assert_close(losses[0], losses[1], 1e-6)


def test_bf16_stays_near_its_own_eager_attention(tokenizer):
    """Sampler and policy agree in the type that real models are run in, sinks and windows included."""
    model = make("gpt-oss", tokenizer, torch.bfloat16)
    policy, engine = Policy(model), LocalEngine(model, tokenizer)
    (group,) = dict(engine.generate([Request([1, 2, 3], 4, 0)], SamplingParams(max_tokens=20))).values()
    for r, mine in zip(group, _logprobs(policy, group), strict=True):
        assert np.abs(mine - r.logprobs).mean() < 0.1


def test_layers_know_their_shapes_and_windows(tokenizer):
    first, second = attention.layers(make("gemma2", tokenizer))
    assert (first.window, second.window) == (6, None)
    (layer, _) = attention.layers(make("deepseek-v3", tokenizer))
    assert (layer.kv_heads, layer.key_dim, layer.value_dim) == (4, 12, 6)


@every_family
def test_long_sequences_in_pieces_are_the_whole(tokenizer, family, monkeypatch):
    """Scores cut into pieces of 5 queries, across shared prompts and windows: logprobs, gradients, a cache."""
    members, ids = examples(), np.random.default_rng(2).integers(0, 300, 33)
    results = []
    for piece in (1000, 5):
        monkeypatch.setattr("aha.attention.layout.piece_length", lambda tokens, piece=piece: piece)
        monkeypatch.setattr(attention, "piece_length", lambda tokens, piece=piece: piece)
        policy = Policy(make(family, tokenizer), OptimizerConfig())
        (batch,) = pack(members, sequence_mean, 10_000)
        logprobs = policy.logprobs(batch)
        policy.backward(batch, clipped_loss())
        engine = LocalEngine(policy.model, tokenizer)
        ((_, (rollout,)),) = engine.generate([Request(ids, 1, 0)], SamplingParams(max_tokens=20), seed=1)
        results.append((logprobs, [m.grad.clone() for m in policy.masters], rollout))
    (whole, grads, sampled), (pieces, piece_grads, again) = results
    assert pieces == pytest.approx(whole, abs=1e-4)
    assert_close(piece_grads, grads, 5e-4)
    assert again.completion_ids.tolist() == sampled.completion_ids.tolist()
    assert again.logprobs == pytest.approx(sampled.logprobs, abs=1e-4)
