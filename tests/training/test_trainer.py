"""Packing, prompt sharing, micro-batches and chunks change nothing; the shift is right; masters are kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import make_model

from aha.training import accumulate, batching, policy
from aha.training.batching import constant_length, pack, sequence_mean, token_mean
from aha.training.losses import clipped_loss, negative_log_likelihood
from aha.training.policy import OptimizerConfig, Policy
from aha.types import AhaError, Example


def examples(tokenizer, groups=3, members=4, seed=0, share=True):
    rng = np.random.default_rng(seed)
    rows = []
    for g in range(groups):
        prompt = rng.integers(0, 300, rng.integers(2, 9))
        for _ in range(members):
            completion = rng.integers(0, 300, rng.integers(1, 30))
            ids = np.concatenate([prompt, completion])
            mask = np.arange(len(ids)) >= len(prompt)
            advantage = np.where(mask, rng.normal(), 0.0)
            sampler = np.where(mask, -np.abs(rng.normal(size=len(ids))), 0.0).astype(np.float32)
            rows.append(Example(ids, mask, advantage, sampler, len(prompt), g if share else -1))
    return rows


def gradients(model, batches, loss):
    p = Policy(model, OptimizerConfig())
    for batch in batches:
        p.backward(batch, loss)
    return [m.grad.clone() for m in p.masters]


def assert_close(a, b, tolerance=2e-5):
    for x, y in zip(a, b, strict=True):
        assert (x - y).abs().max() <= tolerance * max(1e-3, y.abs().max().item())


def test_logprobs_equal_plain_transformers(tokenizer):
    model = make_model(tokenizer)
    expected = {}
    for i, e in enumerate(rows := examples(tokenizer)):
        with torch.no_grad():
            logits = model(torch.tensor(e.token_ids)[None]).logits[0]
        logp = (logits / 0.7).log_softmax(-1)
        expected[i] = logp[np.arange(len(e.token_ids) - 1), e.token_ids[1:]].numpy()
    p = Policy(model)
    for share in (True, False):
        for batch in pack(examples(tokenizer, share=share), sequence_mean, 64):
            got = p.logprobs(batch, temperature=0.7)
            for index in np.unique(batch.sequence[batch.sequence >= 0]):
                where = batch.sequence == index
                ids = batch.token_ids[where]
                match = [
                    i
                    for i, e in enumerate(rows)
                    if len(e.token_ids) - e.prompt_length == len(ids)
                    and (e.token_ids[e.prompt_length :] == ids).all()
                ]
                reference = expected[match[0]][rows[match[0]].prompt_length - 1 :]
                assert got[where] == pytest.approx(reference, abs=2e-5)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_gradient_equals_one_by_one_through_plain_transformers(tokenizer, family):
    """The packed loss against sdpa attention, one sequence at a time, with autograd all the way."""
    rows = examples(tokenizer)
    model = make_model(tokenizer, family=family)
    total = 0.0
    for e, w in zip(rows, sequence_mean(rows), strict=True):
        logp = model(torch.tensor(e.token_ids)[None]).logits[0].log_softmax(-1)
        chosen = logp[torch.arange(len(e.token_ids) - 1), torch.tensor(e.token_ids[1:])]
        ratio = (chosen - torch.tensor(e.sampler_logprobs[1:])).exp()
        a = torch.tensor(e.advantage[1:], dtype=torch.float32)
        term = -torch.minimum(ratio * a, ratio.clamp(0.8, 1.2) * a)
        total = total + (term * torch.tensor(w[1:], dtype=torch.float32)).sum()
    total.backward()
    expected = [p.grad.clone() for p in model.parameters()]
    got = gradients(make_model(tokenizer, family=family), pack(rows, sequence_mean, 10_000), clipped_loss())
    assert_close(got, expected, 1e-4)


@pytest.mark.parametrize("weighting", [sequence_mean, token_mean, constant_length(50)])
@pytest.mark.parametrize("share", [True, False])
def test_gradient_does_not_depend_on_packing(tokenizer, weighting, share):
    whole = gradients(make_model(tokenizer), pack(examples(tokenizer), weighting, 10_000), clipped_loss())
    batches = pack(examples(tokenizer, share=share), weighting, 48)
    assert len(batches) > 3
    assert_close(gradients(make_model(tokenizer), batches, clipped_loss()), whole)


def test_leaving_out_zero_advantages_leaves_the_gradient(tokenizer):
    rows = examples(tokenizer)
    silenced = [
        Example(
            e.token_ids, e.mask, e.advantage * (e.group != 1), e.sampler_logprobs, e.prompt_length, e.group
        )
        for e in rows
    ]
    full = pack(silenced, sequence_mean, 100)
    fewer = pack(silenced, sequence_mean, 100, skip_zero_advantage=True)
    assert sum(len(b.token_ids) for b in fewer) < sum(len(b.token_ids) for b in full)
    assert_close(
        gradients(make_model(tokenizer), fewer, clipped_loss()),
        gradients(make_model(tokenizer), full, clipped_loss()),
    )


def test_chunked_head_changes_nothing(tokenizer, monkeypatch):
    batches = pack(examples(tokenizer), token_mean, 10_000)
    whole = gradients(make_model(tokenizer), batches, clipped_loss(entropy_coef=0.1))
    monkeypatch.setattr(policy, "HEAD_CHUNK_ELEMENTS", 7 * len(tokenizer))
    assert_close(gradients(make_model(tokenizer), batches, clipped_loss(entropy_coef=0.1)), whole)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_sums_in_blocks_are_the_sums(dtype):
    torch.manual_seed(0)
    for shape in ((3, accumulate.BLOCK + 5), (7, 11)):
        total, part = torch.randn(shape), torch.randn(shape).to(dtype)
        expected = total + part
        for more in (part, part.t().contiguous().t()):  # as it lies in memory, and otherwise
            assert torch.equal(accumulate.accumulate(total.clone(), more), expected)


def test_entropy_gradient_by_autograd(tokenizer):
    """The written-out backward of the head, entropy included, against autograd on full logits."""
    from aha.modeling import Head

    torch.manual_seed(0)
    hidden = torch.randn(9, 8, requires_grad=True)
    weight = torch.randn(11, 8, requires_grad=True)
    tokens = torch.randint(0, 11, (9,))
    for softcap in (None, 5.0):
        head = Head(weight, None, 0.5, softcap)
        z = head.logits(hidden) / 0.8
        logp = z.log_softmax(-1)
        mixed = logp.gather(1, tokens[:, None])[:, 0].sin().sum() + 0.3 * (logp.exp() * logp).sum()
        expected = torch.autograd.grad(mixed, (hidden, weight))
        values, entropy = policy._LogprobHead.apply(hidden, weight, None, head, tokens, 0.8)
        got = torch.autograd.grad(values.sin().sum() - 0.3 * entropy.sum(), (hidden, weight))
        for a, b in zip(got, expected, strict=True):
            assert torch.allclose(a, b, atol=1e-5)


def test_packed_segments_do_not_see_each_other(tokenizer):
    rows = examples(tokenizer, share=False)
    changed = [
        Example(e.token_ids if i else e.token_ids[::-1].copy(), e.mask, e.advantage, e.sampler_logprobs)
        for i, e in enumerate(rows)
    ]
    p = Policy(make_model(tokenizer))
    before, after = (pack(x, token_mean, 10_000)[0] for x in (rows, changed))
    a, b = p.logprobs(before), p.logprobs(after)
    spans = [slice(start, start + length) for start, length, _, _ in before.segments]
    assert sum(not np.array_equal(a[span], b[span]) for span in spans) == 1


def test_weights_hold_the_whole_normalisation(tokenizer):
    rows = examples(tokenizer)
    for weighting, total in ((sequence_mean, 1.0), (token_mean, 1.0)):
        batches = pack(rows, weighting, 40)
        assert sum(b.weights.sum() for b in batches) == pytest.approx(total, rel=1e-5)
    tokens = sum(e.mask.sum() for e in rows)
    assert sum(b.weights.sum() for b in pack(rows, constant_length(10), 40)) == pytest.approx(
        tokens / (10 * len(rows)), rel=1e-5
    )


def test_packing_shares_prompts_and_wastes_nothing(tokenizer):
    rows = examples(tokenizer, groups=2, members=6)
    (batch,) = pack(rows, token_mean, 10_000)
    prompts = {e.group: e.prompt_length for e in rows}
    completions = sum(len(e.token_ids) - e.prompt_length for e in rows)
    assert len(batch.token_ids) == completions + sum(prompts.values())


def test_too_long_a_sequence_is_refused(tokenizer):
    with pytest.raises(AhaError, match="does not fit"):
        pack(examples(tokenizer), token_mean, 5)


def test_bf16_steps_smaller_than_its_rounding_still_add_up(tokenizer):
    """A learning rate far below bf16's resolution must still move the model: that is what masters are for."""
    model = make_model(tokenizer, dtype=torch.bfloat16)
    p = Policy(model, OptimizerConfig(lr=1e-4))
    start = [x.detach().clone() for x in model.parameters()]
    batches = pack(examples(tokenizer), token_mean, 10_000)
    for _ in range(40):
        for batch in batches:
            p.backward(batch, negative_log_likelihood)
        p.step()
    moved = sum(int((a != b).sum()) for a, b in zip(start, model.parameters(), strict=True))
    assert moved > 0.1 * sum(a.numel() for a in start)
    for param, master in zip(p.params, p.masters, strict=True):
        assert torch.equal(param, master.to(torch.bfloat16))


def test_a_loss_that_is_not_finite_raises_before_the_step(tokenizer):
    model = make_model(tokenizer)
    p = Policy(model, OptimizerConfig())
    (batch,) = pack(examples(tokenizer), token_mean, 10_000)

    def broken(logprobs, entropy, view):
        return logprobs / 0.0, {}

    before = [x.clone() for x in p.masters]
    with pytest.raises(AhaError, match="not finite"):
        p.backward(batch, broken)
    assert all(torch.equal(a, b) for a, b in zip(before, p.masters, strict=True))


def test_foreign_attention_is_replaced_before_a_forward(tokenizer):
    model = make_model(tokenizer)
    p = Policy(model)
    (batch,) = pack(examples(tokenizer, share=False), token_mean, 10_000)
    expected = p.logprobs(batch)
    model.set_attn_implementation("sdpa")  # would let packed sequences see each other
    assert np.array_equal(p.logprobs(batch), expected)


def test_best_fit_bins_are_full(tokenizer):
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(300):
        n = int(rng.lognormal(4, 0.6)) + 2
        rows.append(Example(rng.integers(0, 9, n), np.arange(n) > 0, np.ones(n)))
    batches = batching.pack(rows, token_mean, 2048)
    used = sum(len(b.token_ids) for b in batches)
    assert used / (len(batches) * 2048) > 0.95
