"""Temperature and truncation by hand; the random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aha.sampling.sampler import SamplingParams, row_seeds, sample, uniforms
from aha.types import AhaError

P = torch.tensor([[0.5, 0.25, 0.15, 0.1]])


def draws(params, n=2000):
    uniform = (np.arange(n, dtype=np.float32) + 0.5) / n
    tokens, logprobs = sample(P.log().expand(n, -1).clone(), torch.from_numpy(uniform), params)
    return np.bincount(tokens.numpy(), minlength=4) / n, dict(
        zip(tokens.tolist(), logprobs.tolist(), strict=True)
    )


def test_plain_sampling_is_the_distribution():
    shares, logprobs = draws(SamplingParams())
    assert shares == pytest.approx([0.5, 0.25, 0.15, 0.1], abs=2e-3)
    assert logprobs[1] == pytest.approx(np.log(0.25), abs=1e-5)


def test_temperature_by_hand():
    shares, logprobs = draws(SamplingParams(temperature=0.5))
    expected = np.array([0.5, 0.25, 0.15, 0.1]) ** 2
    expected /= expected.sum()
    assert shares == pytest.approx(expected, abs=2e-3)
    assert logprobs[0] == pytest.approx(np.log(expected[0]), abs=1e-5)


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        (SamplingParams(top_k=2), [0.5, 0.25]),
        (SamplingParams(top_p=0.6), [0.5, 0.25]),
        (SamplingParams(top_p=0.5), [0.5]),
        (SamplingParams(min_p=0.25), [0.5, 0.25, 0.15]),
        (SamplingParams(top_k=3, top_p=0.55), [0.5]),
    ],
)
def test_truncation_renormalises(params, kept):
    shares, logprobs = draws(params)
    expected = np.array(kept) / sum(kept)
    assert shares[: len(kept)] == pytest.approx(expected, abs=2e-3)
    assert shares[len(kept) :].sum() == 0
    assert logprobs[0] == pytest.approx(np.log(expected[0]), abs=1e-5)


def test_greedy_reports_its_logprob():
    tokens, logprobs = sample(P.log(), torch.tensor([0.99]), SamplingParams(temperature=0))
    assert tokens.tolist() == [0]
    assert logprobs[0] == pytest.approx(np.log(0.5))


def test_the_ends_of_the_unit_interval_never_pick_an_excluded_token():
    for u in (0.0, 1.0 - 2**-24):
        tokens, logprobs = sample(P.log(), torch.tensor([u]), SamplingParams(top_k=1))
        assert tokens.tolist() == [0]
        assert logprobs[0] == pytest.approx(0.0, abs=1e-6)


def test_random_numbers_are_uniform_and_unrelated():
    seeds = row_seeds(7, np.arange(200))
    assert len(set(seeds.tolist())) == 200
    assert not set(seeds.tolist()) & set(row_seeds(8, np.arange(200)).tolist())
    u = np.stack([uniforms(seeds, np.full(200, t)) for t in range(300)])
    assert abs(u.mean() - 0.5) < 0.005
    assert abs(np.corrcoef(u[:-1].ravel(), u[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(u[:, :-1].ravel(), u[:, 1:].ravel())[0, 1]) < 0.02
    assert (u >= 0).all()
    assert (u < 1).all()


@pytest.mark.parametrize(
    "bad", [{"temperature": -1}, {"top_p": 0}, {"top_k": -1}, {"min_p": 1}, {"max_tokens": 0}]
)
def test_parameters_out_of_range_are_refused(bad):
    with pytest.raises(AhaError):
        SamplingParams(**bad)
