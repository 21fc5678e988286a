"""What is read off logits that never exist: held against float64, whatever the vocabulary, tokens and threads."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from comparing import near, random

from aha import kernels
from aha.kernels import build
from aha.modeling import Head
from aha.sampling.sampler import SamplingParams, draw, sample
from aha.training.policy import _LogprobHead

pytestmark = pytest.mark.skipif(
    build.library() is None or not kernels.matrix_units(), reason="no kernels on matrix units here"
)
WIDTH = 96
SIZES = pytest.mark.parametrize("outputs", [32, 33, 63, 100, 1024, 1543])
ROWS = pytest.mark.parametrize("rows", [1, 8, 17, 150])
BIASED = pytest.mark.parametrize("biased", [False, True])


def problem(rows, outputs, biased=False, scale=1.0):
    hidden = random(rows, WIDTH, dtype=torch.bfloat16, scale=scale)
    weight = random(outputs, WIDTH, dtype=torch.bfloat16, seed=1, scale=0.3)
    bias = random(outputs, dtype=torch.bfloat16, seed=2) if biased else None
    return hidden, weight, bias, torch.arange(rows) * 7919 % outputs


def exact(hidden, weight, bias, factor):
    """log softmax in float64."""
    z = F.linear(hidden.double(), weight.double(), None if bias is None else bias.double())
    return torch.log_softmax(z * factor, -1)


@BIASED
@SIZES
@ROWS
def test_log_probabilities_entropies_and_their_gradients(rows, outputs, biased):
    parts = problem(rows, outputs, biased)
    hidden, weight, bias, tokens = parts
    head, temperature = Head(weight, bias, scale=1.5), 0.8
    with torch.no_grad():
        assert kernels.can_fuse(hidden, weight)
    logprobs, entropies = _LogprobHead.apply(hidden, weight, bias, head, tokens, temperature)
    finer = [x if x is None else x.detach().double().requires_grad_() for x in parts[:3]]
    logp = exact(*finer, 1.5 / temperature)
    expected = logp.gather(1, tokens[:, None])[:, 0], -(logp.exp() * logp).sum(-1)
    near(logprobs, expected[0], torch.float32)
    near(entropies, expected[1], torch.float32)
    by = [random(rows, seed=s).detach() for s in (5, 6)]
    (logprobs * by[0] + entropies * by[1]).sum().backward()
    (expected[0] * by[0].double() + expected[1] * by[1].double()).sum().backward()
    for ours, right in zip(parts[:3], finer, strict=True):
        if ours is not None:
            near(ours.grad, right.grad, torch.bfloat16)


@BIASED
@SIZES
@ROWS
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_a_token_is_drawn_where_its_probability_lies(rows, outputs, biased, temperature):
    hidden, weight, bias, _ = (x if x is None else x.detach() for x in problem(rows, outputs, biased))
    uniform = torch.rand(rows, generator=torch.Generator().manual_seed(3))
    uniform[::5] = 0.0
    uniform[1::5] = 1 - 2.0**-24
    tokens, logprobs = kernels.draw(hidden, weight, bias, uniform, 1 / temperature)
    logp = exact(hidden, weight, bias, 1 / temperature)
    ends = logp.exp().cumsum(-1)
    upper = ends.gather(1, tokens[:, None])[:, 0]
    lower = upper - logp.gather(1, tokens[:, None])[:, 0].exp()
    assert (lower <= uniform + 1e-5).all()
    assert (upper >= uniform - 1e-5).all()
    near(logprobs, logp.gather(1, tokens[:, None])[:, 0], torch.float32)


@SIZES
@ROWS
def test_the_likeliest(rows, outputs):
    hidden, weight, _, _ = (x if x is None else x.detach() for x in problem(rows, outputs))
    tokens, logprobs = kernels.draw(hidden, weight, None, None, 1.0)
    logp = exact(hidden, weight, None, 1.0)
    near(logprobs, logp.max(-1).values, torch.float32)
    assert (logp.gather(1, tokens[:, None])[:, 0] >= logp.max(-1).values - 1e-5).all()


def test_what_cannot_be_is_not_drawn():
    """Probabilities of zero at both ends and in between, and of one."""
    weight = torch.zeros(200, WIDTH, dtype=torch.bfloat16)
    weight[70, 0] = weight[163, 0] = 200.0
    hidden = torch.zeros(40, WIDTH, dtype=torch.bfloat16)
    hidden[:, 0] = 1.0
    uniform = torch.linspace(0, 1 - 2.0**-24, 40)
    tokens, logprobs = kernels.draw(hidden, weight, None, uniform, 1.0)
    assert tokens.tolist() == [70] * 20 + [163] * 20
    assert torch.allclose(logprobs, torch.full((40,), 0.5).log())
    for score in (kernels.project_score(hidden, weight, None, torch.full((40,), 3), 1.0),):
        assert torch.equal(score[0], torch.full((40,), -200.0) - torch.tensor(2.0).log())
        assert torch.allclose(score[1], torch.tensor(2.0).log())


def test_bits_hang_neither_on_threads_nor_on_other_tokens():
    hidden, weight, _, tokens = (x if x is None else x.detach() for x in problem(150, 1543))
    uniform, before = torch.rand(150, generator=torch.Generator().manual_seed(3)), torch.get_num_threads()
    upstream = random(150, seed=5).detach(), random(150, seed=6).detach()

    def all_of(part):
        h, t = hidden[part], tokens[part]
        drawn = kernels.draw(h, weight, None, uniform[part], 1.0)
        score = kernels.project_score(h, weight, None, t, 1.0)
        by = upstream[0][part], upstream[1][part]
        return *drawn, *score, kernels.project_gradient(h, weight, None, t, 1.0, score[1:], by, 1.0)

    try:
        results = [all_of(slice(None))]
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(all_of(slice(None)))
        results.append(
            [torch.cat(both) for both in zip(all_of(slice(0, 33)), all_of(slice(33, 150)), strict=True)]
        )
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


def test_the_sampler_goes_without_logits_where_it_can(monkeypatch):
    hidden, weight, _, _ = (x if x is None else x.detach() for x in problem(30, 500))
    head, uniform = Head(weight, None, scale=0.7), torch.rand(30, generator=torch.Generator().manual_seed(4))
    for params in (SamplingParams(), SamplingParams(temperature=0.5), SamplingParams(temperature=0)):
        expected = sample(head.logits(hidden), uniform, params)
        with monkeypatch.context() as without:
            without.setattr(Head, "logits", None)
            drawn = draw(head, hidden, uniform, params)
        assert torch.equal(drawn[0], expected[0])
        assert torch.allclose(drawn[1], expected[1], atol=1e-5)
    for other, params, rows in (
        (head, SamplingParams(top_p=0.5), 30),
        (Head(weight, None, softcap=3.0), SamplingParams(), 30),
        (head, SamplingParams(), 5),
    ):
        drawn = draw(other, hidden[:rows], uniform[:rows], params)
        assert torch.equal(drawn[0], sample(other.logits(hidden[:rows]), uniform[:rows], params)[0])
