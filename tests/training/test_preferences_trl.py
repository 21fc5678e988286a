"""Preference losses and their gradients beside TRL's own trainers on the same batch, packed here and padded there:
`pytest -m peers` where TRL is installed (aha bench peers install trl)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_model
from test_preferences import step_of

from aha.bench import peers
from aha.training.batching import pack, sequence_mean
from aha.training.policy import OptimizerConfig, Policy
from aha.training.preferences import Preference, StepCompletions, preference_loss
from aha.training.reference import sequence_logprobs
from aha.types import Example

pytestmark = pytest.mark.peers

CASES = {
    "dpo": (Preference("dpo", beta=0.3), "dpo", {"beta": 0.3}),
    "conservative": (
        Preference("dpo", beta=0.2, label_smoothing=0.1), "cpo",
        {"beta": 0.2, "label_smoothing": 0.1, "loss_type": "sigmoid"},
    ),
    "length normalised": (
        Preference("dpo", beta=2.0, length_normalized=True), "dpo", {"beta": 2.0, "loss_type": ["sigmoid_norm"]},
    ),
    "ipo": (Preference("ipo", beta=0.2), "dpo", {"beta": 0.2, "loss_type": ["ipo"]}),
    "orpo": (Preference("orpo", beta=0.4, nll_coef=0.0), "orpo", {"beta": 0.4}),
    "simpo": (Preference("simpo", beta=2.0, gamma=0.7), "cpo", {"beta": 2.0, "simpo_gamma": 0.7}),
    "simpo, swaps": (
        Preference("simpo", beta=1.5, label_smoothing=0.2), "cpo",
        {"beta": 1.5, "simpo_gamma": 1.0, "label_smoothing": 0.2},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def trl():
    if not (peers.folder("trl") / "bin" / "python").exists():
        pytest.skip("trl is not installed: aha bench peers install trl")
    with peers.Peer.start("trl", 1, driver="trl_preference") as peer:
        yield peer


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    place = tmp_path_factory.mktemp("trl") / "model"
    make_model(tokenizer, vocab_size=len(tokenizer)).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture
def policy(tokenizer):
    return Policy(make_model(tokenizer), OptimizerConfig())


def ours(policy, examples, step, preference):
    """(loss, gradients by name) of the step in small batches."""
    loss = preference_loss(preference, step)
    totals = [policy.backward(b, loss(b)) for b in pack(examples, sequence_mean, 40)]
    names = [name for name, p in policy.model.named_parameters() if p.requires_grad]
    grads = {n: m.grad.flatten() for n, m in zip(names, policy.masters, strict=True)}
    return sum(t["loss"] for t in totals), grads


def same(ours, answered):
    loss, grads = ours
    assert loss == pytest.approx(answered["loss"], rel=1e-5, abs=1e-6)
    assert set(grads) == set(answered["grads"])
    largest = max(g.abs().max() for g in grads.values())
    assert largest > 1e-3
    for name, grad in grads.items():
        assert (grad - torch.tensor(answered["grads"][name])).abs().max() < 1e-5 * max(1.0, largest), name


def split(example):
    """(ids of the prompt, ids of the completion)."""
    at = example.prompt_length
    return example.token_ids[:at].tolist(), example.token_ids[at:].tolist()


@pytest.mark.parametrize("name", CASES)
def test_pairs(trl, folder, policy, name):
    preference, trainer, settings = CASES[name]
    examples, step = step_of(4)
    if name == "conservative":  # TRL has it without a reference alone
        step = replace(step, reference=0 * step.reference)
    job = {
        "folder": str(folder), "trainer": trainer, "settings": settings,
        "chosen": [split(e) for e in examples[0::2]], "rejected": [split(e) for e in examples[1::2]],
        "ref_chosen": step.reference[0::2].tolist(), "ref_rejected": step.reference[1::2].tolist(),
    }  # fmt: skip
    same(ours(policy, examples, step, preference), trl.ask(job))


def test_the_sft_term(trl, folder, policy):
    """TRL's is the mean over the batch's tokens: with completions of one length the mean over completions too."""
    rng = np.random.default_rng(1)
    examples = []
    for group in range(3):
        prompt = rng.integers(5, 60, 4 + group)
        for length in (6, 3 + group):
            ids = np.concatenate([prompt, rng.integers(5, 60, length)])
            mask = np.arange(len(ids)) >= len(prompt)
            examples.append(Example(ids, mask, np.zeros(len(ids)), prompt_length=len(prompt), group=group))
    lengths = np.array([float(e.mask.sum()) for e in examples])
    ends = np.cumsum([len(e.token_ids) for e in examples])
    step = StepCompletions(np.tile([1.0, 0.0], 3), -4 * lengths, lengths, ends)
    job = {
        "folder": str(folder), "trainer": "dpo",
        "settings": {"beta": 0.1, "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.3]},
        "chosen": [split(e) for e in examples[0::2]], "rejected": [split(e) for e in examples[1::2]],
        "ref_chosen": step.reference[0::2].tolist(), "ref_rejected": step.reference[1::2].tolist(),
    }  # fmt: skip
    same(ours(policy, examples, step, Preference("dpo", nll_coef=0.3)), trl.ask(job))


@pytest.mark.parametrize("off", [-1.0, 3.0])
def test_kto_with_its_estimate(trl, folder, policy, off):
    """The estimate is above 0, or below it and then 0; some rows are desirable, each with a prompt of its own."""
    pairs, _ = step_of(5)
    examples = [replace(e, group=i) for i, e in enumerate(pairs[0::2])]
    labels = [True, False, False, True, True]
    mismatched = [(split(e)[0], split(examples[i - 1])[1]) for i, e in enumerate(examples)]
    crossed = [
        Example(np.array(p + c), np.arange(len(p + c)) >= len(p), np.zeros(len(p + c)), prompt_length=len(p))
        for p, c in mismatched
    ]
    lengths = np.array([float(e.mask.sum()) for e in examples])
    now = sequence_logprobs(policy, examples, 100)
    reference, beside = now - np.linspace(-3, 3, 5), sequence_logprobs(policy, crossed, 100) - off
    kl = float((sequence_logprobs(policy, crossed, 100) - beside).mean())
    assert kl == pytest.approx(off, abs=1e-4)
    ends = np.cumsum([len(e.token_ids) for e in examples])
    step = StepCompletions(np.array(labels, float), reference, lengths, ends, kl)
    preference = Preference("kto", beta=0.4, desirable_weight=1.3, undesirable_weight=0.8)
    settings = {"beta": 0.4, "desirable_weight": 1.3, "undesirable_weight": 0.8}
    job = {
        "folder": str(folder), "trainer": "kto", "settings": settings, "rows": [split(e) for e in examples],
        "mismatched": mismatched, "labels": labels, "ref": reference.tolist(), "ref_mismatched": beside.tolist(),
    }  # fmt: skip
    same(ours(policy, examples, step, preference), trl.ask(job))
