"""Workers as real processes of a local Ray cluster: equal samples, proven weights, SIGKILL and SIGSTOP."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_model

from aha.cluster.connect import Cluster
from aha.cluster.engine import RayEngine
from aha.cluster.settings import ClusterSettings
from aha.cluster.workers import RewardSpec
from aha.rewards import get_reward
from aha.sampling.engine import Request
from aha.sampling.local.engine import LocalEngine
from aha.sampling.rollouts import Prompter, stream_groups
from aha.sampling.sampler import SamplingParams
from aha.tasks import get_task
from aha.types import AhaError

pytest.importorskip("ray", reason="Ray is not installed: pip install ray")

PARAMS = SamplingParams(max_tokens=200)
REWARDS = {"accuracy": 1.0, "format": 0.5}


@pytest.fixture(scope="module")
def trained(tokenizer):
    return make_model(tokenizer)


@pytest.fixture(scope="module")
def engine(tokenizer, trained):
    settings = ClusterSettings(hang_timeout=60.0, reward_workers=1)
    rewards = RewardSpec("countdown", None, None, REWARDS)
    with RayEngine(trained, tokenizer, settings, workers=2, rows=8, rewards=rewards) as started:
        yield started


@pytest.fixture
def loaded(engine, trained):
    """The engine with the weights of version 3, and nothing to tell of before."""
    engine.load_weights(engine.weights_of(trained), 3)
    engine.events()
    return engine


def requests(tokenizer, n=8):
    return [Request(tokenizer.encode(f"What is {i} + {2 * i}?"), 3, i) for i in range(n)]


def assert_equal(sampled, expected):
    assert sorted(sampled) == sorted(expected)
    for index, rollouts in sampled.items():
        for a, b in zip(rollouts, expected[index], strict=True):
            assert np.array_equal(a.completion_ids, b.completion_ids)
            assert np.allclose(a.logprobs, b.logprobs, atol=1e-4)
            assert (a.text, a.finish) == (b.text, b.finish)


def test_nothing_is_sampled_before_weights_were_proven(engine, tokenizer):
    if engine.version == -1:
        with pytest.raises(AhaError, match="no weights"):
            next(engine.generate(requests(tokenizer), PARAMS))


def test_samples_are_those_of_one_process(loaded, trained, tokenizer):
    asked = requests(tokenizer)
    sampled = dict(loaded.generate(asked, PARAMS, seed=5))
    assert_equal(sampled, dict(LocalEngine(trained, tokenizer).generate(asked, PARAMS, seed=5)))
    assert {r.policy_version for rollouts in sampled.values() for r in rollouts} == {3}
    assert all(r.completion_ids.flags.writeable for rollouts in sampled.values() for r in rollouts)


def test_new_weights_are_sampled_from(loaded, tokenizer):
    other, asked = make_model(tokenizer, seed=1), requests(tokenizer, 4)
    before = loaded.hash
    assert loaded.load_weights(loaded.weights_of(other), 4) != before
    sampled = dict(loaded.generate(asked, PARAMS, seed=5))
    assert_equal(sampled, dict(LocalEngine(other, tokenizer).generate(asked, PARAMS, seed=5)))


def test_weights_that_are_not_held_whole_are_noticed(loaded, trained, tokenizer):
    sound = loaded.weights_of(trained)
    name = list(sound)[len(sound) // 2]
    flipped = sound[name].clone()
    flipped.view(-1)[0] += 1e-3
    with pytest.raises(AhaError, match=f"does not hold the policy's weights: 1 of .*{name}"):
        loaded.load_weights(sound | {name: flipped}, 5, expected=sound)
    part = dict(list(loaded.weights_of(make_model(tokenizer, seed=2)).items())[:-1])
    with pytest.raises(AhaError, match="does not hold the policy's weights"):
        loaded.load_weights(part, 5)
    with pytest.raises(AhaError, match="no weights"):
        next(loaded.generate(requests(tokenizer), PARAMS))
    loaded.load_weights(loaded.weights_of(trained), 3)
    assert loaded.prove(sound).hash == loaded.hash
    with pytest.raises(AhaError, match=name):
        loaded.prove(sound | {name: flipped})


def test_what_was_begun_is_continued_alike(loaded, trained, tokenizer):
    asked, left = requests(tokenizer), {}
    stream = loaded.generate(asked, PARAMS, seed=5, leftovers=left)
    first = next(stream)
    stream.close()
    assert sorted([first[0], *left]) == list(range(len(asked)))
    rest = sorted(left)
    again = [replace(asked[i], partials=left[i], seed=5) for i in rest]
    sampled = {rest[n]: rollouts for n, rollouts in loaded.generate(again, PARAMS, seed=99)} | dict([first])
    assert_equal(sampled, dict(LocalEngine(trained, tokenizer).generate(asked, PARAMS, seed=5)))


@pytest.mark.parametrize(
    ("sent", "reason"),
    [(signal.SIGKILL, "died"), pytest.param(signal.SIGSTOP, "hung", marks=pytest.mark.slow)],
)
def test_a_lost_worker_is_replaced_and_its_work_done_again(loaded, trained, tokenizer, sent, reason):
    asked, lost = requests(tokenizer), loaded.pool.members[1]
    pid, told = lost.pid, []

    def strike(tokens):
        if tokens and not told:
            told.append(tokens)
            os.kill(pid, sent)

    sampled = dict(loaded.generate(asked, PARAMS, seed=5, progress=strike))
    assert told
    assert_equal(sampled, dict(LocalEngine(trained, tokenizer).generate(asked, PARAMS, seed=5)))
    deadline = time.monotonic() + 300  # it may have been lost after its last request
    while not (events := loaded.events()) and time.monotonic() < deadline:
        loaded.load_weights(loaded.weights_of(trained), 3)
    assert [e.worker for e in events] == ["rollout worker 1"]
    assert reason in events[0].reason
    loaded.load_weights(loaded.weights_of(trained), 3)
    assert lost.pid not in (0, pid)
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or ") Z " in stat.read_text(encoding="utf-8")


def test_groups_are_graded_beside_the_sampling(loaded, tokenizer):
    task = get_task("countdown", None, None)
    problems = task.load("train", 6, 0)
    prompter = Prompter(tokenizer)
    asked = prompter.requests(problems, 3)
    rewards = {name: (weight, get_reward(name, task.verify)) for name, weight in REWARDS.items()}

    def scores(**more):
        stream = stream_groups(loaded, prompter, problems, 3, PARAMS, rewards, seed=1, requests=asked, **more)
        return {i: [(dict(m.scores), m.reward) for m in group.members] for i, group in stream}

    expected = scores()
    assert scores(grader=loaded.graders) == expected
    worker = loaded.graders.pool.members[0]
    blow = threading.Timer(0.2, os.kill, (worker.pid, signal.SIGKILL))
    blow.start()
    assert scores(grader=loaded.graders) == expected
    blow.join()  # not later, at whoever then has that number


def test_a_cluster_without_room_is_refused(loaded):
    with pytest.raises(AhaError, match="want 500 CPUs"):
        Cluster([{"CPU": 250.0}] * 2)
