"""Whether the figures of a run have moved, and one at another's cost."""

from __future__ import annotations

import numpy as np

from aha.diagnosis import figures, motion


def walk(rng, steps=20, drift=0.0):
    return [
        {"step": i, "reward": 0.2 + 0.02 * rng.normal() + drift * i, "entropy": 0.4 + 0.01 * rng.normal(),
         "frac_reward_zero_std": 0.1, "lr": 1e-9}
        for i in range(1, steps + 1)
    ]  # fmt: skip


def test_what_stands_still_has_too_low_a_learning_rate():
    still = walk(np.random.default_rng(3))
    assert "lr 1e-09" in motion.unmoved(still, 20)
    assert motion.unmoved(walk(np.random.default_rng(3), drift=0.01), 20) == ""
    assert motion.unmoved(still, 100) == "", "before half of the planned steps it is too early to say"
    assert motion.unmoved(still[:8], 8) == ""
    assert motion.unmoved([row | {"frac_reward_zero_std": 1.0} for row in still], 20) == "", (
        "no signal is another cause"
    )


def steps_of(accuracy, shape, **more):
    return [
        {"step": i, "rewards/accuracy/mean": a, "rewards/format/mean": f} | more
        for i, (a, f) in enumerate(zip(accuracy, shape, strict=True), 1)
    ]


def test_form_that_drives_out_right_answers_is_seen_in_training_alone():
    falling = [0.375, 0.188, 0.266, 0.281, 0.203, 0.078, 0.109, 0.062, 0.094]
    rising = [0.766, 0.547, 0.828, 0.75, 0.781, 0.812, 1.0, 0.922, 1.0]
    words = motion.exchanged(steps_of(falling, rising), figures.CORRECTNESS)
    assert "accuracy/mean fell from 0.276 to 0.0883" in words
    assert "format/mean rose from 0.714 to 0.974" in words
    steady = [0.25, 0.2, 0.28, 0.22, 0.26, 0.21, 0.24, 0.23, 0.25]
    for accuracy, shape in ((steady, rising), (falling, steady), (falling, falling), (rising, rising)):
        assert motion.exchanged(steps_of(accuracy, shape), figures.CORRECTNESS) == ""
    assert motion.exchanged(steps_of(falling, rising)[:8], figures.CORRECTNESS) == "", "too early to say"
    grown = [row | {"max_tokens": 100 * row["step"]} for row in steps_of(falling, rising)]
    assert motion.exchanged(grown, figures.CORRECTNESS) == ""
