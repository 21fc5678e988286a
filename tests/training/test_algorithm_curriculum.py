"""Which problems come, how often, and that a state written down continues the very same draws."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from aha.training.batching import OPTIONAL_COLUMNS
from aha.training.curriculum import FLOOR, START_SHARE, Curriculum
from aha.training.replay import Replay
from aha.types import AhaError, Example

RULES = ["shuffle", "easy_to_hard", "failure", "history", "pass_rate"]


def chi_square(observed, chances):
    total = sum(observed)
    return sum((o - total * p) ** 2 / (total * p) for o, p in zip(observed, chances, strict=True))


def test_shuffle_visits_each_problem_once_an_epoch():
    curriculum = Curriculum(13, seed=3)
    epochs = [curriculum.take(13) for _ in range(4)]
    assert all(sorted(epoch) == list(range(13)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4, "each in its own order"
    assert Curriculum(13, seed=3).take(13) == epochs[0]
    assert Curriculum(13, seed=4).take(13) != epochs[0]


def test_shuffle_does_not_depend_on_how_many_are_taken_at_once():
    one, many = Curriculum(7, seed=1), Curriculum(7, seed=1)
    assert [one.take(1)[0] for _ in range(20)] == many.take(3) + many.take(11) + many.take(6)


def test_shuffle_forgets_results():
    curriculum = Curriculum(5)
    for i in range(5):
        curriculum.note(i, 4, 4)
    assert sorted(curriculum.take(5)) == list(range(5))
    assert sorted(curriculum.take(5)) == list(range(5))


def test_easy_to_hard_grows_from_the_easiest_to_all():
    difficulty = [(i * 7) % 20 for i in range(20)]  # a shuffle of 0..19
    curriculum = Curriculum(20, "easy_to_hard", difficulty=difficulty, seed=0)
    for progress in (0.0, 0.25, 0.5, 1.0):
        asked = {difficulty[i] for i in curriculum.take(400, progress)}
        count = round(20 * (START_SHARE + (1 - START_SHARE) * progress))
        assert asked == set(range(count)), "all of the easiest and nothing beyond"


def test_easy_to_hard_needs_difficulties():
    with pytest.raises(AhaError, match="difficulty"):
        Curriculum(3, "easy_to_hard")


def test_failure_draws_in_proportion_to_one_minus_success():
    curriculum = Curriculum(6, "failure", seed=5)
    rates = [0.0, 0.25, 0.5, 0.75, 1.0]  # the sixth is new: as if it always failed
    for i, rate in enumerate(rates):
        curriculum.note(i, int(8 * rate), 8)
    weights = np.array([max(FLOOR, 1 - r) for r in [*rates, 0.0]])
    counts = Counter(curriculum.take(6000))
    observed = [counts[i] for i in range(6)]
    assert chi_square(observed, weights / weights.sum()) < 20.5, "5 degrees of freedom, p = 0.001"
    assert chi_square(observed, np.full(6, 1 / 6)) > 1000
    assert observed[4] > 0, "what is mastered still comes now and then"


def test_failure_counts_all_visits():
    curriculum = Curriculum(2, "failure")
    curriculum.note(0, 0, 4)
    curriculum.note(0, 4, 4)
    curriculum.note(0, 3, 8)
    assert curriculum.success(0) == 7 / 16
    curriculum.note(0, 0, 0)
    assert curriculum.success(0) == 7 / 16, "a visit without graded members says nothing"
    assert curriculum.success(1) == 0


def test_history_leaves_out_what_was_all_right_last_time_from_the_next_epoch():
    curriculum = Curriculum(6, "history")
    first = curriculum.take(3)
    for i in first:
        curriculum.note(i, 4, 4)
    rest = curriculum.take(3)
    assert sorted(first + rest) == list(range(6)), "not before the epoch is over"
    for i in rest:
        curriculum.note(i, 3, 4)
    assert sorted(curriculum.take(3)) == sorted(rest)
    curriculum.note(rest[0], 4, 4)
    assert sorted(curriculum.take(2)) == sorted(rest[1:])
    for i in rest:
        curriculum.note(i, 4, 4)
    assert sorted(curriculum.take(6)) == list(range(6)), "all, where none would stay"


def test_history_looks_at_the_last_visit_only():
    curriculum = Curriculum(2, "history")
    curriculum.take(2)
    curriculum.note(0, 4, 4)
    curriculum.note(0, 3, 4)  # forgotten again
    curriculum.note(1, 4, 4)
    assert curriculum.take(3) == [0, 0, 0]


def test_easy_share_brings_back_what_left():
    curriculum = Curriculum(10, "history", easy_share=0.25, seed=2)
    curriculum.take(10)
    for i in range(4):
        curriculum.note(i, 4, 4)
    for i in range(4, 10):
        curriculum.note(i, 1, 4)
    counts = Counter(curriculum.take(4000))
    easy = [counts[i] for i in range(4)]
    assert chi_square([sum(easy), 4000 - sum(easy)], [0.25, 0.75]) < 10.8, "1 degree of freedom, p = 0.001"
    assert chi_square(easy, [0.25] * 4) < 16.3
    hard = [counts[i] for i in range(4, 10)]
    assert max(hard) - min(hard) <= 1, "the others in epochs, as ever"


def test_without_easy_share_nothing_comes_back():
    curriculum = Curriculum(4, "history")
    curriculum.take(4)
    curriculum.note(0, 4, 4)
    assert 0 not in curriculum.take(300)


def test_pass_rate_keeps_a_band():
    curriculum = Curriculum(6, "pass_rate", keep=(0.2, 0.8))
    curriculum.take(6)
    for i, right in enumerate([0, 1, 4, 6, 7]):  # of 8: 0, 0.125, 0.5, 0.75, 0.875; the last was never noted
        curriculum.note(i, right, 8)
    for _ in range(3):
        assert sorted(curriculum.take(3)) == [2, 3, 5]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("cut", [1, 7, 23])
def test_a_state_through_json_continues_the_same_draws(rule, cut):
    def fresh():
        return Curriculum(9, rule, seed=7, difficulty=list(range(9)), easy_share=0.2, keep=(0.1, 0.9))

    def go_on(curriculum, first, last):
        drawn = []
        for step in range(first, last):
            chosen = curriculum.take(2, step / 40)
            for i in chosen:
                curriculum.note(i, (i + step) % 5, 4)
            drawn += chosen
        return drawn

    whole = fresh()
    expected = go_on(whole, 0, 40)
    before, after = fresh(), fresh()
    start = go_on(before, 0, cut)
    after.load_state(json.loads(json.dumps(before.state())))
    assert start + go_on(after, cut, 40) == expected
    assert json.dumps(after.state()) == json.dumps(whole.state())
    assert len(set(expected)) > 1


# --- replay -------------------------------------------------------------------------------------------------


def rollout(step, groups=4, silent=()):
    """A step's examples; token ids tell step and group, advantages differ within a group unless silent."""
    rows = []
    for g in range(groups):
        for i in range(2):
            ids = np.array([100 * step + g, i, 5])
            mask = np.array([False, True, True])
            value = 0.5 if g in silent else float(i)
            sampler = np.array([0, -0.5 - i, -1.0], np.float32)
            rows.append(Example(ids, mask, np.where(mask, value, 0.0), sampler, 1, g))
    return rows


def sources(examples):
    """(step, group of origin) of each group, by its number in the mix."""
    by_group = {}
    for e in examples:
        by_group.setdefault(e.group, set()).add(divmod(int(e.token_ids[0]), 100))
    assert all(len(origins) == 1 for origins in by_group.values()), "groups stay apart"
    return {group: next(iter(origins)) for group, origins in by_group.items()}


def test_a_share_of_the_groups_comes_from_earlier_steps():
    replay = Replay(0.5, 3, seed=1)
    assert len(replay.mix(1, rollout(1))) == 8, "nothing to mix in yet"
    mixed = replay.mix(2, rollout(2))
    origins = sources(mixed)
    assert len(origins) == 8
    assert {origin[0] for group, origin in origins.items() if group >= 4} == {1}
    assert len(set(origins.values())) == 8, "no group twice"
    quarter = Replay(0.25, 3)
    quarter.mix(1, rollout(1, 6))
    assert len(sources(quarter.mix(2, rollout(2, 6)))) == 8, "two of eight"


def test_old_groups_are_forgotten():
    replay = Replay(0.9, 2)
    ages = []
    for step in range(1, 9):
        ages += [step - s for s, _ in sources(replay.mix(step, rollout(step))).values()]
    assert set(ages) == {0, 1, 2}


def test_groups_without_signal_are_not_kept():
    replay = Replay(0.9, 4)
    replay.mix(1, rollout(1, silent=(0, 2)))
    later = sources(replay.mix(2, rollout(2)))
    assert {origin[1] for origin in later.values() if origin[0] == 1} == {1, 3}


def test_without_a_share_nothing_is_kept():
    replay = Replay(0.0, 4)
    assert len(replay.mix(1, rollout(1))) == 8
    assert replay.state() == []


def test_a_replay_saved_and_loaded_continues_the_same(tmp_path):
    def same(a, b):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            for name in (field.name for field in fields(Example)):
                left, right = getattr(x, name), getattr(y, name)
                assert np.array_equal(left, right), name
                assert getattr(left, "dtype", type(left)) == getattr(right, "dtype", type(right)), name

    def every_column(examples):
        """All that an example can have, each column its own."""
        return [
            replace(
                e, right=i % 2 == 0, steps=((i, 0.5), (i + 1, -1.0)),
                **{name: e.advantage + n for n, name in enumerate(OPTIONAL_COLUMNS)},
            )
            for i, e in enumerate(examples)
        ]  # fmt: skip

    whole = Replay(0.5, 3, seed=4)
    for step in range(1, 4):
        whole.mix(step, every_column(rollout(step)))
    torch.save(whole.state(), tmp_path / "replay.pt")
    resumed = Replay(0.5, 3, seed=4)
    resumed.load_state(torch.load(tmp_path / "replay.pt", weights_only=True))
    for step in range(4, 9):
        a, b = (replay.mix(step, rollout(step)) for replay in (whole, resumed))
        assert len(a) == 16
        same(a, b)
