"""Rows that outgrow the cache, calls that end early and go on later, prompts in pieces: the same samples."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from conftest import make_model

from aha import attention
from aha.attention import layout as plan_module
from aha.sampling.engine import Request
from aha.sampling.local.engine import LocalEngine
from aha.sampling.local.kv_cache import GROWTH, SlotCache, buffer_bytes_per_token
from aha.sampling.sampler import SamplingParams
from aha.types import AhaError, Finish


def requests_of(n, samples=3, seed=0, longest=12):
    rng = np.random.default_rng(seed)
    return [
        Request(rng.integers(0, 300, rng.integers(1, longest)).tolist(), samples, 100 + i) for i in range(n)
    ]


def sample(engine, requests, seed=5, **params):
    sampled = dict(engine.generate(requests, SamplingParams(**params), seed=seed))
    return [sampled[i] for i in range(len(requests))]


def same(got, expected):
    for a, b in zip(got, expected, strict=True):
        assert [r.completion_ids.tolist() for r in a] == [r.completion_ids.tolist() for r in b]
        for one, other in zip(a, b, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=2e-5)
            assert (one.finish, one.text) == (other.finish, other.text)


# --- memory ------------------------------------------------------------------------------------------------


def budget(model, tokens):
    return tokens * buffer_bytes_per_token(model)


def test_rows_that_outgrow_the_cache_wait_and_draw_what_they_would_have(tokenizer):
    model, asked = make_model(tokenizer), requests_of(6)
    expected = sample(LocalEngine(model, tokenizer), asked, max_tokens=200)
    tight = LocalEngine(model, tokenizer, cache_bytes=budget(model, 600))
    same(sample(tight, asked, max_tokens=200), expected)
    assert tight.preempted > 0


def test_the_cache_never_takes_more_than_its_budget_whatever_arrives(tokenizer, monkeypatch):
    model, rng, seen = make_model(tokenizer), random.Random(0), []
    original = SlotCache.begin_step

    def begin_step(self, lengths, longest):
        original(self, lengths, longest)
        seen.append((self.used * self.room, self.tokens))

    monkeypatch.setattr(SlotCache, "begin_step", begin_step)
    for trial in range(12):
        limit = budget(model, rng.randint(100, 600))
        engine = LocalEngine(model, tokenizer, cache_bytes=limit, max_rows=rng.choice([3, 16, 512]))
        for _ in range(2):  # the second call finds the first's cache
            asked = requests_of(rng.randint(1, 9), rng.randint(1, 6), trial, rng.choice([3, 40]))
            groups = sample(engine, asked, max_tokens=rng.randint(1, 50))
            assert [len(g) for g in groups] == [r.n for r in asked]
            cache = engine._cache
            buffers = [x for layer in cache.layers for x in layer] + list(cache.spares.values())
            assert sum(x.numel() * x.element_size() for x in buffers) <= limit
    assert all(used <= there for used, there in seen)


def test_a_completion_that_cannot_fit_is_refused_before_anything_is_sampled(tokenizer):
    model = make_model(tokenizer)
    engine = LocalEngine(model, tokenizer, cache_bytes=budget(model, 50))
    with pytest.raises(AhaError, match="cache_bytes"):
        sample(engine, requests_of(1), max_tokens=60)


def test_many_short_rows_share_the_cache_that_few_long_ones_would_fill(tokenizer):
    """Rows are admitted by what they have, not by what they might come to."""
    model = make_model(tokenizer)
    engine = LocalEngine(model, tokenizer, cache_bytes=budget(model, 40 * 4 * GROWTH * 3))
    most = 0

    def note(sampled):
        nonlocal most
        most = max(most, sampled)

    list(engine.generate(requests_of(40, 1), SamplingParams(max_tokens=400), progress=note))
    assert most > 2 * 40 * 4 * GROWTH * 3 // 400


# --- calls that end early ----------------------------------------------------------------------------------


def interrupted(engine, asked, after, **params):
    """The groups that a call gives until it is closed, and what it leaves."""
    left, sampled = {}, {}
    stream = engine.generate(asked, SamplingParams(**params), seed=5, leftovers=left)
    for index, group in stream:
        sampled[index] = group
        if len(sampled) >= after:
            stream.close()
            break
    return sampled, left


@pytest.mark.parametrize("after", [1, 4, 7])
def test_what_a_closed_call_left_goes_on_as_if_it_had_not_been_closed(tokenizer, after):
    model, asked = make_model(tokenizer), requests_of(8)
    expected = sample(LocalEngine(model, tokenizer), asked, max_tokens=40)
    engine = LocalEngine(model, tokenizer, max_rows=9)
    sampled, left = interrupted(engine, asked, after, max_tokens=40)
    assert set(sampled) | set(left) == set(range(8))
    assert not set(sampled) & set(left)
    again = [
        Request(asked[i].prompt_ids, 3, asked[i].key, partials=rollouts, seed=5)
        for i, rollouts in left.items()
    ]
    rest = sample(engine, again, seed=77, max_tokens=40)  # the seed of their own call counts
    sampled |= dict(zip(left, rest, strict=True))
    same([sampled[i] for i in range(8)], expected)
    assert all(not r.version_spans for g in sampled.values() for r in g)  # one version sampled it all


def test_stretches_say_which_version_sampled_what(tokenizer):
    model, asked = make_model(tokenizer), requests_of(4)
    engine = LocalEngine(model, tokenizer, max_rows=5)
    _, left = interrupted(engine, asked, 1, max_tokens=40)
    before = {i: [len(r.completion_ids) for r in rollouts] for i, rollouts in left.items()}
    assert any(r.finish is Finish.ABORT and len(r.completion_ids) for g in left.values() for r in g)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.mul_(-1)
    engine.version = 3
    again = [Request(asked[i].prompt_ids, 3, asked[i].key, partials=g, seed=5) for i, g in left.items()]
    for (i, old), group in zip(left.items(), sample(engine, again, max_tokens=40), strict=True):
        for was, prior, now in zip(old, before[i], group, strict=True):
            assert now.completion_ids[:prior].tolist() == was.completion_ids.tolist()
            assert now.logprobs[:prior].tolist() == was.logprobs.tolist()
            if was.finish is not Finish.ABORT:
                assert now is was
            elif prior:
                assert now.version_spans == ((0, 0), (prior, 3))
                assert now.policy_version == 3
            else:
                assert now.version_spans == ()
                assert now.policy_version == 3


def test_a_lowered_limit_ends_what_is_longer_already(tokenizer):
    model, asked = make_model(tokenizer), requests_of(4)
    engine = LocalEngine(model, tokenizer)
    _, left = interrupted(engine, asked, 1, max_tokens=60)
    again = [Request(asked[i].prompt_ids, 3, asked[i].key, partials=g, seed=5) for i, g in left.items()]
    for group in sample(engine, again, max_tokens=2):
        assert all(r.finish is not Finish.ABORT for r in group)


# --- pieces ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_prompt_in_pieces_is_the_prompt(tokenizer, family, monkeypatch):
    model = make_model(tokenizer, family=family)
    rng = np.random.default_rng(1)
    asked = [Request(rng.integers(0, 300, n).tolist(), 2, n) for n in (301, 5, 200)]
    expected = sample(LocalEngine(model, tokenizer), asked, max_tokens=12)
    monkeypatch.setattr(plan_module, "MAX_BUCKET_SCORES", 70 * 300)
    assert attention.piece_length(301) == 69
    monkeypatch.setattr("aha.sampling.local.scheduler.PREFILL_TOKENS", 100)
    same(sample(LocalEngine(model, tokenizer), asked, max_tokens=12), expected)
