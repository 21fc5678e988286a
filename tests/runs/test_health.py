"""Figures that leave their healthy range: one warning an episode, with the reason and what to do."""

from __future__ import annotations

import math

from aha.runs.health import RULES, HealthRule, latest, warnings

HIGH = HealthRule("x", "x", enter=1.0, leave=0.5, reason="because", advice="do something")
LOW = HealthRule("x", "x", enter=0.1, leave=0.3, reason="because", advice="do something")


def rows(values, key="x"):
    return [{"step": i + 1, key: v} for i, v in enumerate(values)]


def steps(values, rule):
    return [w.step for w in warnings(rows(values), [rule])]


def test_one_warning_an_episode_with_hysteresis():
    assert steps([0.2, 1.2, 0.9, 1.3, 0.8, 2.0], HIGH) == [2], "0.9 and 0.8 are not back behind 0.5"
    assert steps([0.2, 1.2, 0.4, 1.3], HIGH) == [2, 4]
    assert steps([0.2, 1.0], HIGH) == []
    assert steps([1.0, 0.05, 0.2, 0.05, 0.4, 0.05], LOW) == [2, 6]


def test_patience_counts_steps_in_a_row():
    rule = HealthRule("x", "x", 1.0, 0.5, "because", "do", patience=3)
    assert steps([2, 2, 0, 2, 2, 2, 2], rule) == [6]


def test_bounds_relative_to_the_start_and_to_recent_steps():
    start = HealthRule("x", "x", 3.0, 2.0, "because", "do", against="start")
    assert steps([1, 1, 1, 1, 1, 2.9, 3.1], start) == [7]
    assert steps([50, 1, 1, 1], start) == [], "too early to compare"
    recent = HealthRule("x", "x", 10.0, 3.0, "because", "do", against="recent")
    assert steps([1.0] * 8 + [11.0] + [1.0] * 3 + [12.0], recent) == [9, 13]
    assert steps([0.0] * 8 + [11.0], recent) == [], "no multiple of nothing"


def test_what_is_no_number_is_passed_over():
    assert steps([None, math.nan, "x", True, 2.0], HIGH) == [5]
    assert warnings([{"step": 1}], RULES) == []
    assert warnings([], RULES) == []


def test_a_figure_over_several_steps_is_its_median():
    rule = HealthRule("x", "x", 1.0, 0.5, "because", "do", over=3)
    assert steps([9, 0, 0, 9, 0, 9, 9], rule) == [6], "the median of 9 0 9 is the first that is beyond"
    assert steps([9, 9], rule) == [], "there are no three yet"


def test_latest_are_those_of_the_last_row_and_all_agree_with_it():
    values = [0.2, 1.2, 0.4, 1.3, 1.4]
    said = [w.step for n in range(len(values) + 1) for w in latest(rows(values[:n]), [HIGH])]
    assert said == [2, 4]


def test_words_hold_figure_bound_reason_and_advice():
    (warning,) = warnings(rows([0.16, 0.17], "sampler_mismatch/mean"))
    for part in ("0.17", "above 0.1", "another distribution", "aha doctor"):
        assert part in warning.text
    assert (warning.key, warning.value, warning.step) == ("sampler_mismatch/mean", 0.17, 2)


def test_every_rule_fires_on_its_own_figure_and_is_quiet_on_a_healthy_run():
    healthy = {
        "sampler_mismatch/mean": 0.004,
        "clip_ratio/region_mean": 0.02,
        "entropy": 0.4,
        "kl": 0.02,
        "ungradable": 0.0,
        "language/mixed": 0.1,
        "completions/clipped_ratio": 0.1,
        "frac_reward_zero_std": 0.5,
        "grad_norm": 0.6,
        "rewards/format/mean": 0.6,
        "answers/missing": 0.3,
        "completions/repetition": 0.02,
        "paid/length": 0.02,
        "paid/repetition": 0.0,
        "chains/answer_only": 0.2,
        "chains/empty": 0.0,
        "chains/repeated": 0.02,
        "rewards/accuracy/mean": 0.5,
        "loss": 0.01,
    }
    calm = [{"step": i, **healthy} for i in range(1, 40)]
    assert warnings(calm) == []
    for rule in RULES:
        scale = healthy[rule.key] if rule.against else 1.0
        bad = rule.enter * scale * (1.5 if rule.enter > rule.leave else 0.5)
        sick = calm + [{"step": 40 + i, **healthy, rule.key: bad} for i in range(rule.patience + rule.over)]
        assert [w.key for w in warnings(sick, [rule])] == [rule.key]
        assert rule.reason in warnings(sick, [rule])[0].text
