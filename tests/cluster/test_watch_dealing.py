"""Slow and hung, and who gets which requests: without any worker."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aha.cluster.load_balancing import cost, deal
from aha.cluster.watchdog import Watchdog
from aha.sampling.engine import Request
from aha.types import Finish, Rollout


def test_a_slow_worker_is_not_hung_and_a_hung_one_is():
    watch = Watchdog()
    watch.begin(now=100.0, limit=10.0)
    for step in range(50):  # one token in nine seconds
        watch.seen(step, 100.0 + 9 * step)
        assert not watch.hung(100.0 + 9 * step + 8)
    last = 100.0 + 9 * 49
    watch.seen(49, last + 9)  # it answers, and says the same
    assert not watch.hung(last + 10)
    assert watch.hung(last + 10.1)


def test_time_in_which_nobody_looked_is_not_held_against_it():
    watch = Watchdog()
    watch.begin(now=0.0, limit=10.0)
    watch.seen(5, 1.0)
    watch.unseen(60.0)  # the trainer was busy
    assert not watch.hung(62.0)
    assert watch.hung(72.0)


def test_new_work_has_its_own_limit():
    watch = Watchdog()
    watch.begin(0.0, 10.0)
    watch.seen(7, 1.0)
    watch.begin(50.0, 5.0)
    watch.seen(7, 54.0)  # the same number, but of new work: progress
    assert not watch.hung(58.0)
    assert watch.hung(60.0)


@given(st.lists(st.floats(0.1, 1000), max_size=60), st.integers(1, 8))
def test_every_request_is_dealt_once_and_loads_are_even(costs, workers):
    shares = deal(costs, workers)
    assert sorted(i for share in shares for i in share) == list(range(len(costs)))
    loads = [sum(costs[i] for i in share) for share in shares]
    # the last to be dealt went to the least loaded: no two differ by more than the dearest
    assert max(loads) - min(loads) <= max(costs, default=0) + 1e-6


def rollout(count, finish):
    return Rollout(np.arange(3), np.arange(count), np.zeros(count, np.float32), "", finish)


def test_what_is_there_already_costs_no_sampling():
    prompt = [1, 2, 3]
    fresh = Request(prompt, 2, 0)
    ended = Request(prompt, 2, 0, partials=(rollout(9, Finish.STOP), rollout(9, Finish.LENGTH)))
    half = Request(prompt, 2, 0, partials=(rollout(9, Finish.STOP), rollout(50, Finish.ABORT)))
    beyond = Request(prompt, 2, 0, partials=(rollout(9, Finish.STOP), rollout(150, Finish.ABORT)))
    costs = [cost(r, expected=100.0, longest=400) for r in (ended, half, fresh, beyond)]
    assert costs[0] < costs[1] < costs[3] < costs[2]
