"""Calibration by hand, and against sums that are written out."""

from __future__ import annotations

import numpy as np
import pytest

from aha.stages.supervised.reliability import of_labels, of_pairs, reliability, sigmoid, table


def test_ten_bins_by_hand():
    said, happened = np.array([0.05, 0.05, 0.95, 0.85]), np.array([0.0, 1.0, 1.0, 0.0])
    rows = reliability(said, happened)
    assert [(r["from"], r["rows"], r["said"], r["happened"]) for r in rows] == [
        (0.0, 2, 0.05, 0.5), (0.8, 1, 0.85, 0.0), (0.9, 1, 0.95, 1.0)
    ]  # fmt: skip


def test_labels_by_hand():
    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    shown = of_labels([logit(0.95), logit(0.95), logit(0.15), logit(0.15)], [1, 0, 0, 0])
    assert shown["accuracy"] == 0.75
    assert shown["ece"] == pytest.approx(0.5 * 0.45 + 0.5 * 0.15)
    assert shown["brier"] == pytest.approx((0.05**2 + 0.95**2 + 2 * 0.15**2) / 4)
    assert shown["held_out_loss"] == pytest.approx(-np.mean(np.log([0.95, 0.05, 0.85, 0.85])), abs=1e-6)


def test_pairs_are_read_as_confidence_in_the_higher_score():
    logit = np.log(0.72 / 0.28)
    shown = of_pairs([logit, 0.0, 0.0, 1.0], [0.0, logit, logit, 1.0])
    assert shown["accuracy"] == pytest.approx((1 + 0 + 0 + 0.5) / 4), "a tie is half right"
    (tie, sure) = shown["reliability"]
    assert (tie["said"], tie["happened"], sure["rows"]) == (0.5, 0.5, 3)
    assert shown["ece"] == pytest.approx(0.75 * (0.72 - 1 / 3), abs=1e-5)


def test_a_model_that_means_what_it_says_has_little_error():
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, 20_000)
    labels = rng.random(20_000) < sigmoid(scores)
    assert of_labels(scores, labels)["ece"] < 0.01
    assert of_labels(3 * scores, labels)["ece"] > 0.08, "too sure"
    assert "Expected calibration error" in table(of_labels(scores, labels))


def test_large_scores_do_not_overflow():
    assert sigmoid(np.array([-800.0, 800.0])).tolist() == [0.0, 1.0]
    assert np.isfinite(of_labels([-800.0, 800.0], [1, 0])["held_out_loss"])
