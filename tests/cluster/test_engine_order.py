"""The order in which workers' answers come must not matter: workers in this process, their answers held back."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from aha.cluster import engine as engines
from aha.cluster.engine import RayEngine
from aha.cluster.settings import ClusterSettings
from aha.cluster.workers import News
from aha.sampling.engine import Request
from aha.sampling.local.engine import LocalEngine
from aha.sampling.sampler import SamplingParams

PARAMS = SamplingParams(max_tokens=8)


class Reference:
    """An answer that is there, but not seen before it is let through."""

    def __init__(self, number, method, answer):
        self.number, self.method, self.answer = number, method, answer


class Cluster:
    """Workers in this process. ``held(reference)``: whether an answer is still on its way."""

    def __init__(self, *args, **options):
        errors = {name: type(name, (Exception,), {}) for name in (
            "RayActorError", "WorkerCrashedError", "ObjectLostError", "RayTaskError", "RayError")}  # fmt: skip
        self.ray = SimpleNamespace(
            put=lambda value: value,
            get=lambda reference: reference.answer,
            exceptions=SimpleNamespace(**errors),
        )
        self.held = lambda reference: False

    def actor(self, kind, bundle, resources):
        worker = kind()

        def call(name):
            method = getattr(worker, name)
            return SimpleNamespace(remote=lambda *args: Reference(bundle, name, _apart(method(*args))))

        names = ("hello", "prepare", "load", "held", "begin", "news", "cancel")
        return SimpleNamespace(**{name: call(name) for name in names})

    def ready(self, references, wait):
        time.sleep(0.001)
        return [reference for reference in references if not self.held(reference)]

    def kill(self, actor, bundle, pid):
        raise AssertionError("no worker was lost")

    def close(self):
        pass


def _apart(answer):
    """News of a job's end alone, after those of what it finished."""
    return replace(answer, over=False) if isinstance(answer, News) and answer.items else answer


@pytest.fixture
def engine(model, tokenizer, monkeypatch):
    monkeypatch.setattr(engines, "Cluster", Cluster)
    started = RayEngine(model, tokenizer, ClusterSettings.model_validate({}), workers=2, rows=8)
    started.load_weights(started.weights_of(model), 1)
    return started


def requests(tokenizer, n=4):
    return [Request(tokenizer.encode(f"What is {i} + {i}?"), 2, i) for i in range(n)]


def texts(groups):
    return {index: [r.text for r in rollouts] for index, rollouts in groups}


def last_news(reference):
    return reference.method == "news" and reference.answer.over


def test_the_last_news_of_a_worker_may_come_after_the_call_has_ended(engine, model, tokenizer):
    engine.cluster.held = lambda reference: reference.number == 0 and last_news(reference)
    answered = texts(engine.generate(requests(tokenizer), PARAMS))
    late = engine.pool.members[0].asked
    assert late is not None, "the call has ended, and a worker still has something to say"
    assert last_news(late)
    turns = itertools.count()
    engine.cluster.held = lambda reference: reference is late and next(turns) < 3
    proven = engine.prove(engine.weights_of(model))
    assert proven.hash == engine.hash
    assert answered == texts(LocalEngine(model, tokenizer).generate(requests(tokenizer), PARAMS))


def test_late_news_are_no_news_of_the_next_call(engine, model, tokenizer):
    engine.cluster.held = last_news
    expected = texts(LocalEngine(model, tokenizer).generate(requests(tokenizer, 6), PARAMS, seed=3))
    texts(engine.generate(requests(tokenizer), PARAMS))
    answered = texts(engine.generate(requests(tokenizer, 6), PARAMS, seed=3))
    assert answered == expected
    engine.cluster.held = lambda reference: False
    engine.load_weights(engine.weights_of(model), 2)
    assert texts(engine.generate(requests(tokenizer, 6), PARAMS, seed=3)) == expected


def test_a_call_that_is_closed_early_leaves_no_news_behind(engine, model, tokenizer):
    left = {}
    stream = engine.generate(requests(tokenizer), PARAMS, leftovers=left)
    index, _ = next(stream)
    stream.close()
    assert set(left) == set(range(4)) - {index}
    engine.prove(engine.weights_of(model))
