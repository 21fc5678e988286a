"""The local engine against transformers' own generate, against the policy, and against itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import make_model

from aha.sampling.engine import Request
from aha.sampling.local.engine import LocalEngine
from aha.sampling.sampler import SamplingParams
from aha.training.batching import pack, token_mean
from aha.training.policy import Policy
from aha.types import AhaError, Example, Finish


def prompts(n, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 300, rng.integers(1, 12)).tolist() for _ in range(n)]


def sample(engine, requests, seed=0, **params):
    sampled = dict(engine.generate(requests, SamplingParams(**params), seed=seed))
    return [sampled[i] for i in range(len(requests))]


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_greedy_equals_transformers_generate(tokenizer, family):
    model = make_model(tokenizer, family=family)
    expected = []
    for ids in (asked := prompts(6)):
        out = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False, pad_token_id=0)
        expected.append(out[0, len(ids) :].tolist())
    engine = LocalEngine(model, tokenizer, max_rows=4)  # fewer rows than prompts: they enter as rows leave
    got = sample(engine, [Request(p, 1, i) for i, p in enumerate(asked)], temperature=0, max_tokens=24)
    assert [r.completion_ids.tolist() for (r,) in got] == expected


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_are_the_policys(tokenizer, temperature):
    model = make_model(tokenizer)
    engine = LocalEngine(model, tokenizer, max_rows=5)
    requests = [Request(p, 3, i) for i, p in enumerate(prompts(4))]
    policy = Policy(model)
    for group in sample(engine, requests, temperature=temperature, max_tokens=30):
        for r in group:
            ids = np.concatenate([r.prompt_ids, r.completion_ids])
            mask = np.arange(len(ids)) >= len(r.prompt_ids)
            (batch,) = pack([Example(ids, mask, mask * 1.0)], token_mean, 1000)
            assert policy.logprobs(batch, temperature)[mask] == pytest.approx(r.logprobs, abs=2e-5)


def test_a_sample_does_not_depend_on_what_else_is_in_the_batch(tokenizer):
    model = make_model(tokenizer)
    requests = [Request(p, 4, 10 + i) for i, p in enumerate(prompts(5))]
    together = sample(LocalEngine(model, tokenizer), requests, seed=3, max_tokens=20)
    for i, request in enumerate(requests):
        (alone,) = sample(LocalEngine(model, tokenizer, max_rows=1), [request], seed=3, max_tokens=20)
        assert [r.completion_ids.tolist() for r in alone] == [r.completion_ids.tolist() for r in together[i]]


def test_seeds_and_samples_differ(tokenizer):
    engine = LocalEngine(make_model(tokenizer), tokenizer)
    request = Request(prompts(1)[0], 8, 0)
    (a,), (b,) = (sample(engine, [request], seed=s, max_tokens=16) for s in (0, 1))
    texts = [tuple(r.completion_ids) for r in (*a, *b)]
    assert len(set(texts)) == 16


def test_sampling_follows_the_distribution(tokenizer):
    model = make_model(tokenizer)
    engine = LocalEngine(model, tokenizer, max_rows=512)
    prompt = prompts(1)[0]
    with torch.no_grad():
        model.set_attn_implementation("sdpa")
        p = model(torch.tensor([prompt])).logits[0, -1].softmax(-1).numpy()
    (group,) = sample(engine, [Request(prompt, 4096, 0)], max_tokens=1)
    counts = np.bincount([r.completion_ids[0] for r in group], minlength=len(p))
    top = np.argsort(-p)[:8]
    spread = np.sqrt(4096 * p[top] * (1 - p[top]))
    assert (np.abs(counts[top] - 4096 * p[top]) < 4.5 * spread).all()


def test_eos_ends_and_is_kept_as_a_token_but_not_as_text(tokenizer):
    model = make_model(tokenizer)
    with torch.no_grad():
        model.model.norm.weight.mul_(0)  # every logit equal, so EOS comes soon enough
    engine = LocalEngine(model, tokenizer, max_rows=64)
    (group,) = sample(engine, [Request([1], 64, 0)], max_tokens=400)
    ended = [r for r in group if r.finish is Finish.STOP]
    assert ended
    for r in ended:
        assert r.completion_ids[-1] == tokenizer.eos_token_id
        assert tokenizer.eos_token_id not in r.completion_ids[:-1]
        assert "endoftext" not in r.text
    assert all(len(r.completion_ids) == 400 for r in group if r.finish is Finish.LENGTH)


def test_stop_strings_end_the_text_before_them(tokenizer):
    engine = LocalEngine(make_model(tokenizer), tokenizer)
    request = Request(prompts(1)[0], 1, 0)
    ((whole,),) = sample(engine, [request], max_tokens=40)
    stop = whole.text[12:15]
    ((cut,),) = sample(engine, [request], max_tokens=40, stop=(stop,))
    assert cut.finish is Finish.STOP
    assert cut.text == whole.text[: whole.text.find(stop)]
    assert np.array_equal(cut.completion_ids, whole.completion_ids[: len(cut.completion_ids)])


def test_the_engine_samples_with_the_weights_as_they_are_now(tokenizer):
    model = make_model(tokenizer)
    engine = LocalEngine(model, tokenizer)
    request = Request(prompts(1)[0], 1, 0)
    ((before,),) = sample(engine, [request], temperature=0, max_tokens=12)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.3)
    ((after,),) = sample(engine, [request], temperature=0, max_tokens=12)
    assert not np.array_equal(before.completion_ids, after.completion_ids)


def test_too_long_a_prompt_is_refused_with_its_number(tokenizer):
    engine = LocalEngine(make_model(tokenizer), tokenizer)
    with pytest.raises(AhaError, match=r"Prompt 1 has 500 tokens.*context of 512"):
        sample(engine, [Request([1], 1, 0), Request([1] * 500, 1, 1)], max_tokens=100)


def test_closing_the_stream_cancels_the_rest_and_the_engine_goes_on(model, tokenizer):
    engine = LocalEngine(model, tokenizer, max_rows=4)
    requests = [Request([5, 6, 7], 2, key) for key in range(6)]
    params = SamplingParams(max_tokens=12)
    whole = dict(engine.generate(requests, params, seed=1))
    stream = engine.generate(requests, params, seed=1)
    index, first = next(stream)
    stream.close()
    assert [r.completion_ids.tolist() for r in first] == [r.completion_ids.tolist() for r in whole[index]]
    again = dict(engine.generate(requests, params, seed=1))
    for i in whole:
        assert [r.text for r in again[i]] == [r.text for r in whole[i]]
