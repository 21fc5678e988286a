"""What a sampler whose logits are a little off may say of a truncated distribution."""

from __future__ import annotations

import numpy as np
import pytest

from aha.doctor import ground_truth

CUTS = (
    {"top_p": 0.6},
    {"top_k": 5, "top_p": 0.8},
    {"min_p": 0.05},
    {"top_k": 3},
    {"min_p": 0.2, "top_p": 0.5},
)


@pytest.mark.parametrize("cut", CUTS, ids=str)
@pytest.mark.parametrize("slack", [1e-6, 0.02, 0.3])
def test_whatever_logits_that_are_off_by_less_make_is_within_the_bounds(cut, slack):
    rng = np.random.default_rng(3)
    for _ in range(200):
        row = rng.normal(0, 2, 40)
        off = row + 1.3 * rng.uniform(-slack, slack, 40)
        lowest, highest = ground_truth.restricted_bounds(row, 1.3, slack, **cut)
        said = ground_truth.restricted(off, 1.3, **cut)
        kept = np.isfinite(said)
        assert (said[kept] >= lowest[kept] - 2 * slack).all()
        assert (said[kept] <= highest[kept] + 2 * slack).all()


def test_by_hand():
    row = np.log([0.5, 0.3, 0.15, 0.05])
    lowest, highest = ground_truth.restricted_bounds(row, 1.0, 1e-9, top_p=0.7)
    np.testing.assert_allclose(np.exp(lowest), [0.625, 0.375, 0, 0], atol=1e-9)
    np.testing.assert_allclose(np.exp(highest), [0.625, 0.375, 0, 0], atol=1e-9)
    lowest, highest = ground_truth.restricted_bounds(row, 1.0, 1e-9, top_p=0.8)  # the third may just come in
    np.testing.assert_allclose(np.exp(lowest), np.array([0.5, 0.3, 0.15, 0]) / 0.95, atol=1e-9)
    np.testing.assert_allclose(np.exp(highest), [0.625, 0.375, 0.15 / 0.95, 0], atol=1e-9)


def test_a_sampler_that_does_not_truncate_is_outside():
    row = np.log([0.5, 0.3, 0.15, 0.05])
    lowest, highest = ground_truth.restricted_bounds(row, 1.0, 0.1, top_k=2)
    assert np.isneginf(highest[2:]).all()
    assert (row[:2] < lowest[:2] - 0.1).all()
