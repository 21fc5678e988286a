"""Sampling ahead of the update: ages, order, halting, checkpoints. The engine is the in-process one."""

from __future__ import annotations

import pytest

from aha.rewards import get_reward
from aha.runs.pipeline import Context
from aha.sampling.local.engine import LocalEngine
from aha.sampling.rollouts import Prompter
from aha.sampling.sampler import SamplingParams
from aha.stages.rl import RL
from aha.stages.rl.asynchronous import AsynchronousRollouts
from aha.stages.rl.collect import Collector
from aha.stages.rl.partial_rollouts import staleness
from aha.tasks import get_task
from aha.training.algorithm import Algorithm
from aha.training.sequences import token_versions
from aha.types import AhaError

PROMPTS, GROUP = 3, 2
PARAMS = SamplingParams(max_tokens=40)


@pytest.fixture
def engine(model, tokenizer):
    return LocalEngine(model, tokenizer, max_rows=4)


def make(engine, limit, steps, **more):
    task = get_task("countdown", None, None)
    problems = task.load("train", 64, 0)
    rewards = {"format": (1.0, get_reward("format", task.verify))}
    algorithm = Algorithm.model_validate("grpo")
    collector = Collector(engine, Prompter(engine.tokenizer), problems, rewards, algorithm, 0)
    return AsynchronousRollouts(
        engine, lambda step: collector, limit=limit, prompts=PROMPTS, group_size=GROUP, steps=steps, **more
    )


def run(ahead, engine, steps, first=1):
    """The steps of a run whose policy has version ``step - 1`` at step ``step``: (groups, figures) of each."""
    results = []
    for step in range(first, first + steps):
        ahead.halt()
        engine.version = step - 1
        groups = ahead.collect(step, PARAMS, 0.0)
        results.append((groups, staleness(groups, engine.version) | ahead.figures()))
    ahead.halt()
    return results


@pytest.mark.parametrize("limit", [1, 2])
def test_no_token_is_older_than_the_limit_and_nothing_is_lost_or_used_twice(engine, limit):
    steps = 6
    ahead = make(engine, limit, steps)
    results = run(ahead, engine, steps)
    groups = [g for some, _ in results for g in some]
    assert len(groups) == steps * PROMPTS == ahead.trained == ahead.tickets
    assert len({g.problem.id for g in groups}) == len(groups)  # 64 problems: none came twice
    assert ahead.dropped == 0
    assert ahead.open == {}  # towards the end no more is begun than is trained on
    assert all(figures["stale/versions"] <= limit for _, figures in results)
    assert any(figures["stale/versions"] > 0 for _, figures in results)
    for group in groups:
        for member in group.members:
            r = member.rollout
            assert len(r.completion_ids) == len(r.logprobs) == len(token_versions(r))
            assert r.finish in ("stop", "length")


def test_each_step_waits_for_what_the_next_would_find_too_old(engine):
    ahead = make(engine, 1, 8)
    run(ahead, engine, 3)
    assert min(one.partial.step for one in ahead.open.values()) == 3


def test_with_weights_that_stand_still_the_numbers_are_those_of_one_call(engine, tokenizer):
    """Halted and continued again and again, a completion is the one that it would have been."""
    ahead = make(engine, 1, 4)
    for step in range(1, 5):
        ahead.halt()
        groups = ahead.collect(step, PARAMS, 0.0)
        for group in groups:
            assert all(m.rollout.version_spans == () for m in group.members)
    ahead.halt()
    whole = make(engine, 1, 4)
    whole._begin(1, 0.0)
    requests = [one.partial.request for one in whole.open.values()]
    expected = {r[0].prompt_ids.tobytes(): r for _, r in engine.generate(requests, PARAMS)}
    again = make(engine, 1, 4)
    for group in again.collect(1, PARAMS, 0.0):
        rollouts = expected[group.members[0].rollout.prompt_ids.tobytes()]
        for member, rollout in zip(group.members, rollouts, strict=True):
            assert member.rollout.completion_ids.tolist() == rollout.completion_ids.tolist()
    again.halt()


def test_a_checkpoint_holds_all_that_was_begun(engine):
    ahead = make(engine, 2, 6)
    before = run(ahead, engine, 2)
    kept = {t: one.partial for t, one in ahead.open.items()}
    assert len(kept) == 2 * PROMPTS
    restored = make(engine, 2, 6)
    restored.load_state(ahead.state())
    assert {t: one.partial.problem for t, one in restored.open.items()} == {
        t: c.problem for t, c in kept.items()
    }
    for ticket, one in restored.open.items():
        for a, b in zip(one.partial.request.partials, kept[ticket].request.partials, strict=True):
            assert a.completion_ids.tolist() == b.completion_ids.tolist()
            assert a.version_spans == b.version_spans
    # the curriculum's place is the session's to restore
    restored.collector_at(1).curriculum.load_state(ahead.collector_at(1).curriculum.state())
    after = run(restored, engine, 4, first=3)
    ids = [g.problem.id for groups, _ in [*before, *after] for g in groups]
    assert len(ids) == len(set(ids)) == 6 * PROMPTS
    assert all(figures["stale/versions"] <= 2 for _, figures in after)


def test_what_is_too_old_for_a_smaller_limit_is_dropped_and_counted(engine):
    ahead = make(engine, 3, 8)
    run(ahead, engine, 1)
    ahead.limit = 1
    ahead.halt()
    old = len(ahead.open)
    ahead.collect(4, PARAMS, 0.0)
    ahead.halt()
    assert old > 0
    assert ahead.dropped == ahead.dropped_now == ahead.figures()["asynchronous/dropped"] == old
    assert {one.partial.step for one in ahead.open.values()} == {4}


def test_what_goes_wrong_in_the_background_stops_the_run(engine):
    ahead = make(engine, 1, 4)
    with pytest.raises(AhaError, match="max_tokens"):
        ahead.collect(1, SamplingParams(max_tokens=100_000), 0.0)
    with pytest.raises(AhaError, match="max_tokens"):
        ahead.halt()


def stage(**changes):
    return RL.model_validate({"name": "rl", "algorithm": "grpo"} | changes)


def test_without_workers_it_is_refused(tmp_path, checkpoint):
    config = stage(model=str(checkpoint), max_staleness=1, steps=1, max_tokens=16)
    with pytest.raises(AhaError, match="needs workers"):
        config.run(Context(folder=tmp_path, device="cpu", plain=True))


@pytest.mark.parametrize("algorithm", ["remax", {"preset": "grpo", "oversample": 0.5}, "dapo"])
def test_what_cannot_go_with_it_is_refused(tmp_path, checkpoint, algorithm):
    config = stage(
        model=str(checkpoint), engine="ray", max_staleness=1, steps=1, max_tokens=16, algorithm=algorithm
    )
    with pytest.raises(AhaError, match="cannot be combined"):
        config.run(Context(folder=tmp_path, device="cpu", plain=True))


def test_it_is_corrected_for_unless_told_otherwise():
    assert stage(engine="ray").algorithm.importance_sampling == "none"
    assert stage(engine="ray", max_staleness=1).algorithm.importance_sampling == "truncated"
    assert (
        stage(
            engine="ray", max_staleness=1, algorithm={"importance_sampling": "none"}
        ).algorithm.importance_sampling
        == "none"
    )
