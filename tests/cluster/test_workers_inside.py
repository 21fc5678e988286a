"""What runs inside the workers' processes, driven in this one: no Ray is needed for that."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch
from conftest import make_model

from aha import attention, plugins
from aha.cluster.engine import spec_of
from aha.cluster.settings import ClusterSettings
from aha.cluster.workers import RewardSpec, RewardWorker, RolloutWorker, pack, unpack
from aha.modeling import own_weights
from aha.sampling.engine import Request
from aha.sampling.hashes import digests
from aha.sampling.local.engine import LocalEngine
from aha.sampling.sampler import SamplingParams
from aha.tasks import get_task
from aha.types import AhaError, Finish, Rollout

PARAMS = SamplingParams(max_tokens=24)


def spec(model, tokenizer):
    return spec_of(model, tokenizer, ClusterSettings.model_validate({}), rows=8, threads=1)


@pytest.fixture
def worker(model, tokenizer):
    started = RolloutWorker()
    assert started.prepare(spec(model, tokenizer)).pid == os.getpid()
    return started


def requests(tokenizer, n=4):
    return [(10 + i, Request(tokenizer.encode(f"What is {i} + {i}?"), 3, i)) for i in range(n)]


def news_until_over(worker, number):
    items, taken = [], 0
    while True:
        news = worker.news(number, taken)
        items += news.items
        taken += len(news.items)
        if news.over:
            return items, news


def test_tensors_travel_bit_for_bit():
    tensors = {
        "a": torch.randn(3, 4),
        "b": torch.randn(5).to(torch.bfloat16),
        "none": torch.zeros(0, 2),
        "one": torch.tensor(2.5),
    }
    parcel = pack(tensors)
    assert all(torch.equal(unpack(parcel[name]), t) for name, t in tensors.items())


def test_a_worker_with_the_weights_samples_what_the_model_samples(worker, model, tokenizer):
    hashes = worker.load(pack(own_weights(model)), 7)
    assert hashes == digests(own_weights(model))
    asked = requests(tokenizer)
    worker.begin(1, asked, PARAMS, 5)
    items, news = news_until_over(worker, 1)
    assert not news.error + news.failure
    assert news.count > 0
    expected = dict(LocalEngine(model, tokenizer).generate([r for _, r in asked], PARAMS, seed=5))
    assert sorted(i for i, _ in items) == [10, 11, 12, 13]
    for index, rollouts in items:
        for a, b in zip(rollouts, expected[index - 10], strict=True):
            assert np.array_equal(a.completion_ids, b.completion_ids)
            assert np.allclose(a.logprobs, b.logprobs, atol=1e-5)
            assert a.policy_version == 7


def test_the_trainers_own_attention_does_not_travel(model, tokenizer):
    plain = model.config._attn_implementation
    attention.install(model)
    config = spec(model, tokenizer).config
    assert model.config._attn_implementation != plain
    assert config._attn_implementation in (plain, None)
    assert config.to_dict() == model.config.to_dict()


def test_the_hashes_are_of_what_the_model_holds_not_of_what_came(worker, model):
    worker.load(pack(own_weights(model)), 1)
    with torch.no_grad():
        next(iter(own_weights(worker.engine.model).values())).view(-1)[0] += 1e-3
    assert digests(own_weights(worker.engine.model)) != digests(own_weights(model))
    part = dict(list(own_weights(make_model(worker.spec.tokenizer, seed=3)).items())[:1])
    assert worker.load(pack(part), 2) != digests(own_weights(model))  # the rest is still there


def test_weights_of_another_model_are_refused(worker, tokenizer):
    other = make_model(tokenizer, hidden_size=16, head_dim=4)
    with pytest.raises(AhaError, match="no place for"):
        worker.load(pack(own_weights(other)), 1)


def test_a_job_that_is_cancelled_tells_what_there_is_and_is_continued_alike(worker, model, tokenizer):
    worker.load(pack(own_weights(model)), 0)
    asked, params = requests(tokenizer), SamplingParams(max_tokens=400)
    worker.begin(1, asked, params, 5)
    items = worker.news(1, 0).items
    done, left = worker.cancel(1, len(items))
    there = dict([*items, *done]) | left
    assert sorted(there) == [10, 11, 12, 13]
    again = [(i, Request(r.prompt_ids, r.n, r.key, partials=there[i], seed=5)) for i, r in asked]
    worker.begin(2, again, params, 99)
    items_now, _ = news_until_over(worker, 2)
    expected = dict(LocalEngine(model, tokenizer).generate([r for _, r in asked], params, seed=5))
    for index, rollouts in items_now:
        for a, b in zip(rollouts, expected[index - 10], strict=True):
            assert np.array_equal(a.completion_ids, b.completion_ids)


def test_a_call_that_comes_too_late_begins_nothing(worker, model, tokenizer):
    worker.load(pack(own_weights(model)), 0)
    assert worker.cancel(3, 0) == ([], {})
    worker.begin(3, requests(tokenizer), PARAMS, 0)  # was sent before the cancelling, in another thread
    assert worker.job is None
    assert worker.news(3, 0).over


def test_what_goes_wrong_in_a_job_is_told(worker, model, tokenizer):
    worker.load(pack(own_weights(model)), 0)
    worker.begin(1, requests(tokenizer), SamplingParams(max_tokens=100_000), 0)
    _, news = news_until_over(worker, 1)
    assert "max_tokens" in news.error
    worker.begin(2, [(0, None)], PARAMS, 0)
    _, news = news_until_over(worker, 2)
    assert "Traceback" in news.failure


def test_a_reward_worker_grades_as_the_trainer_does():
    task = get_task("countdown", None, None)
    problem = task.load("train", 1, 0)[0]
    nothing = np.zeros(1, np.int32)
    texts = ["<think>one is too little</think> <answer>1</answer>", "nothing"]
    rollouts = [Rollout(nothing, nothing, nothing.astype(np.float32), t, Finish.STOP) for t in texts]
    worker = RewardWorker()
    worker.prepare(RewardSpec("countdown", None, None, {"accuracy": 1.0, "format": 0.5}))
    worker.begin(1, problem, rollouts)
    items, news = news_until_over(worker, 1)
    assert not news.error + news.failure
    assert [reward for _, reward in items[0]] == [0.5, 0.0]
    assert news.count >= len(rollouts)  # it moves with every answer that is verified


def test_a_worker_grades_by_a_package_that_its_machine_has_not(tmp_path):
    folder = tmp_path / "rewards"
    folder.mkdir()
    (folder / "own.py").write_text("from .helper import size\ndef length(problem, text): return size(text)\n")
    (folder / "helper.py").write_text("def size(text): return len(text)\n")
    name = f"{folder / 'own.py'}:length"
    files = plugins.parcel([name])
    shutil.rmtree(folder)
    problem, nothing = get_task("countdown").load("train", 1, 0)[0], np.zeros(1, np.int32)
    worker = RewardWorker()
    worker.prepare(RewardSpec("countdown", None, None, {name: 1.0}, files))
    worker.begin(1, problem, [Rollout(nothing, nothing, nothing.astype(np.float32), "four", Finish.STOP)])
    items, news = news_until_over(worker, 1)
    assert not news.error + news.failure
    assert [reward for _, reward in items[0]] == [4.0]
