"""Preference losses against numbers worked by hand, finite differences, and themselves however a step is packed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import make_model
from rank_jobs import make_tokenizer, new_policy

from aha.training.batching import pack, sequence_mean
from aha.training.preferences import (
    Preference,
    SequenceLogprobs,
    StepCompletions,
    log_odds,
    owners,
    preference_loss,
)
from aha.types import AhaError, Example


def rows(logprobs, reference=None, lengths=None):
    wide = lambda values: torch.tensor(values, dtype=torch.float64)  # noqa: E731
    n = len(logprobs)
    return SequenceLogprobs(
        wide(logprobs).requires_grad_(), wide(reference or [0.0] * n), wide(lengths or [1.0] * n)
    )


def of(preference, pairs, labels=None, kl=0.0):
    """(losses, the gradient of their sum by log probabilities)."""
    marks = torch.tensor(labels or [1.0, 0.0] * (len(pairs.logprobs) // 2), dtype=torch.float64)
    losses = preference.losses(pairs, marks, kl)
    (grad,) = torch.autograd.grad(losses.sum() / (2 if preference.paired else 1), pairs.logprobs)
    return losses.tolist(), grad.tolist()


def test_dpo_by_hand():
    # log ratios +2 and -1, beta 0.1: margin 0.3; -log sigma(.3) = log(1 + e^-.3) = 0.554355
    losses, grad = of(Preference("dpo"), rows([-8, -6], [-10, -5]))
    assert losses == pytest.approx([0.554355] * 2, abs=1e-6)
    # d/dm = -sigma(-.3) = -0.425557, times beta
    assert grad == pytest.approx([-0.0425557, 0.0425557], abs=1e-7)
    # swapped in a tenth: .9 * .554355 + .1 * log(1 + e^.3) = .554355 + .1 * .3
    losses, grad = of(Preference("dpo", label_smoothing=0.1), rows([-8, -6], [-10, -5]))
    assert losses[0] == pytest.approx(0.584355, abs=1e-6)
    assert grad[0] == pytest.approx(0.1 * (-0.425557 + 0.1), abs=1e-7)


def test_length_normalized_dpo_by_hand():
    # +2 over 4 tokens, -1 over 2: 0.5 + 0.5 = 1, times beta 5
    preference = Preference("dpo", beta=5.0, length_normalized=True)
    losses, grad = of(preference, rows([-8, -6], [-10, -5], [4, 2]))
    assert losses[0] == pytest.approx(math.log1p(math.exp(-5)))
    assert grad[1] / grad[0] == pytest.approx(-2.0)


def test_ipo_by_hand():
    # means of log ratios 2/4 and -1/2: h = 1; 1 / (2 * .1) = 5; (1 - 5)^2
    losses, grad = of(Preference("ipo"), rows([-8, -6], [-10, -5], [4, 2]))
    assert losses == pytest.approx([16.0] * 2)
    assert grad == pytest.approx([2 * -4 / 4, 2 * 4 / 2])
    assert of(Preference("ipo", beta=0.5), rows([-8, -6], [-10, -5], [4, 2])) == ([0.0, 0.0], [0.0, 0.0])


def test_orpo_by_hand():
    # mean probabilities 1/2 and 1/4: odds 1 and 1/3, their ratio 3; -log sigma(log 3) = log(4/3)
    pair = rows([2 * math.log(0.5), 3 * math.log(0.25)], lengths=[2, 3])
    losses, grad = of(Preference("orpo", nll_coef=0.0), pair)
    assert losses[0] == pytest.approx(0.1 * math.log(4 / 3))
    # d log odds / d log p = 1 / (1 - p): 2 and 4/3; d / d ratio = -.1 / 4; over 2 and 3 tokens
    assert grad == pytest.approx([-0.025 * 2 / 2, 0.025 * (4 / 3) / 3])
    losses, _ = of(Preference("orpo"), pair)
    assert losses[0] == pytest.approx(math.log(2) + 0.1 * math.log(4 / 3)), "with the SFT term of weight 1"


def test_odds_of_a_sure_completion_are_finite():
    sure = torch.tensor([0.0, -1e-12, -1.0], dtype=torch.float64, requires_grad=True)
    odds = log_odds(sure)
    odds.sum().backward()
    assert torch.isfinite(odds).all()
    assert sure.grad.tolist() == pytest.approx([0.0, 0.0, 1 / (1 - math.exp(-1))])


def test_simpo_by_hand():
    # means -2 and -3, beta 2, gamma 1: 2 - 1 = 1
    losses, grad = of(Preference("simpo"), rows([-8, -6], [-99, 7], [4, 2]))
    assert losses[0] == pytest.approx(math.log1p(math.exp(-1)))
    slope = 1 / (1 + math.e)
    assert grad == pytest.approx([-2 * slope / 4, 2 * slope / 2])


def test_kto_by_hand():
    # rewards .1 * 2 and .1 * -1; the estimate 1 makes a baseline of .1
    losses, grad = of(Preference("kto"), rows([-8, -6], [-10, -5]), [1, 0], kl=1.0)
    good, bad = 1 / (1 + math.exp(0.1)), 1 / (1 + math.exp(0.2))
    assert losses == pytest.approx([good, bad])
    assert grad == pytest.approx([-0.1 * good * (1 - good), 0.1 * bad * (1 - bad)])
    weighted, _ = of(
        Preference("kto", desirable_weight=2.0, undesirable_weight=0.5),
        rows([-8, -6], [-10, -5]),
        [1, 0],
        1.0,
    )
    assert weighted == pytest.approx([2 * good, 0.5 * bad])
    below, _ = of(Preference("kto"), rows([-8, -6], [-10, -5]), [1, 0], kl=-3.0)
    assert below == of(Preference("kto"), rows([-8, -6], [-10, -5]), [1, 0], kl=0.0)[0], (
        "an estimate is 0 at least"
    )


def test_the_sft_term_is_that_of_chosen_completions():
    plain = of(Preference("dpo"), rows([-8, -6], [-10, -5], [4, 2]))
    more = of(Preference("dpo", nll_coef=0.5), rows([-8, -6], [-10, -5], [4, 2]))
    assert more[0][0] - plain[0][0] == pytest.approx(0.5 * 2)
    assert np.subtract(more[1], plain[1]) == pytest.approx([-0.5 / 4, 0])


def test_figures_by_hand():
    pairs = rows([-8, -6, -3, -1], [-10, -5, -3, -2])
    labels = torch.tensor([1.0, 0, 1, 0], dtype=torch.float64)
    figures = {k: float(v.mean()) for k, v in Preference("dpo").figures(pairs, labels, 0.5).items()}
    assert figures == pytest.approx(
        {"rewards/chosen": 0.1, "rewards/rejected": 0.0, "logps/chosen": -5.5, "logps/rejected": -3.5,
         "rewards/accuracies": 0.5}
    )  # fmt: skip
    labels = torch.tensor([1.0, 1, 1, 0], dtype=torch.float64)
    figures = {k: float(v.mean()) for k, v in Preference("kto").figures(pairs, labels, 0.75).items()}
    assert figures["rewards/chosen"] == pytest.approx((0.2 - 0.1 + 0) / 3)
    assert figures["rewards/rejected"] == pytest.approx(0.1)
    assert "rewards/accuracies" not in figures


# --- packed ----------------------------------------------------------------------------------------------

LOSSES = [
    Preference("dpo", label_smoothing=0.1), Preference("ipo"), Preference("orpo"), Preference("simpo"),
    Preference("kto", desirable_weight=1.5), Preference("dpo", length_normalized=True, nll_coef=0.3),
]  # fmt: skip


@pytest.fixture(scope="module")
def tok():
    return make_tokenizer()


def step_of(pairs=5, seed=0):
    """Pairs of completions of one prompt each, of odd lengths, and what a loss needs of them."""
    rng = np.random.default_rng(seed)
    examples = []
    for group in range(pairs):
        prompt = rng.integers(5, 60, 3 + group)
        for _ in range(2):
            said = rng.integers(5, 60, rng.integers(2, 9))
            ids = np.concatenate([prompt, said])
            mask = np.arange(len(ids)) >= len(prompt)
            examples.append(Example(ids, mask, np.zeros(len(ids)), prompt_length=len(prompt), group=group))
    lengths = np.array([float(e.mask.sum()) for e in examples])
    reference = -4.0 * lengths + rng.normal(size=len(lengths))
    ends = np.cumsum([len(e.token_ids) for e in examples])
    return examples, StepCompletions(np.tile([1.0, 0.0], pairs), reference, lengths, ends, kl=0.7)


def gradient(policy, examples, step, preference, max_tokens):
    """(the loss, all gradients) of a step, packed in batches of so many tokens."""
    loss = preference_loss(preference, step)
    totals = [policy.backward(b, loss(b)) for b in pack(examples, sequence_mean, max_tokens)]
    grads = torch.cat([m.grad.flatten() for m in policy.masters]).clone()
    policy.zero_grad()
    return sum(t["loss"] for t in totals), grads, len(totals)


@pytest.mark.parametrize("preference", LOSSES, ids=lambda p: p.loss + "+" * bool(p.nll_coef))
def test_packing_leaves_loss_and_gradient(tok, preference):
    policy, (examples, step) = new_policy(tok, sharded=False), step_of()
    whole = gradient(policy, examples, step, preference, 4096)
    apart = gradient(policy, examples, step, preference, 24)
    assert whole[2] == 1
    assert apart[2] > 3
    assert apart[0] == pytest.approx(whole[0], rel=1e-5)
    assert (apart[1] - whole[1]).abs().max() < 2e-5 * whole[1].abs().max()
    assert whole[1].abs().max() > 1e-3


@pytest.mark.parametrize("preference", LOSSES, ids=lambda p: p.loss + "+" * bool(p.nll_coef))
def test_loss_and_gradient_are_those_of_each_completion_alone(tok, preference):
    """Every completion by itself through transformers' model and autograd, without packing or our attention."""
    policy, (examples, step) = new_policy(tok, sharded=False), step_of()
    loss, grads, _ = gradient(policy, examples, step, preference, 60)
    model, logprobs = make_model(tok), []  # the same weights, and no part of ours in it
    for e in examples:
        ids = torch.from_numpy(e.token_ids)[None]
        logp = torch.log_softmax(model(input_ids=ids).logits[0, :-1].double(), -1)
        logprobs.append(logp.gather(1, ids[0, 1:, None])[e.mask[1:], 0].sum())
    tensor = lambda values: torch.tensor(values, dtype=torch.float64)  # noqa: E731
    alone = SequenceLogprobs(torch.stack(logprobs), tensor(step.reference), tensor(step.lengths))
    expected = preference.losses(alone, tensor(step.labels), step.kl).mean()
    by_hand = torch.autograd.grad(expected, list(model.parameters()))
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    assert (grads - torch.cat([g.flatten() for g in by_hand])).abs().max() < 1e-4 * grads.abs().max()


def test_a_pair_that_is_split_is_refused(tok):
    policy, (examples, step) = new_policy(tok, sharded=False), step_of(2)
    from dataclasses import replace

    apart = [replace(e, group=-1) for e in examples]
    with pytest.raises(AhaError, match="split over two batches"):
        gradient(policy, apart, step, Preference("dpo"), max(len(e.token_ids) for e in apart))
    gradient(policy, apart, step, Preference("kto"), max(len(e.token_ids) for e in apart))


def test_completions_are_found_again_in_their_batches():
    examples, step = step_of(6)
    batches = pack(examples, sequence_mean, 30)
    indices = [int(i) for batch in batches for i in owners(batch, step.ends)]
    assert sorted(indices) == list(range(12))
    for batch in batches:
        ids = np.concatenate([examples[i].token_ids[examples[i].mask] for i in owners(batch, step.ends)])
        assert (batch.token_ids[batch.weights != 0] == ids).all()
