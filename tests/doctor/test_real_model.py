"""The doctor on a pretrained model in bf16: well without a bug, and planted bugs are seen by the same thresholds."""

from __future__ import annotations

import pytest
import torch
from bugs import BUGS, TOKENIZER
from patients import describe, findings, patient

from aha import modeling
from aha.doctor import miniature
from aha.sampling.rollouts import Prompter

SEEN = {
    "off_by_one_in_the_sampler": "logprobs",
    "temperature_missing_in_the_policy": "logprobs",
    "positions_run_on_over_the_packed_row": "logprobs",
    "off_by_one_in_the_policy": "logprobs",
    "attention_leaks_across_segments": "logprobs",
    "completions_do_not_see_their_shared_prompt": "logprobs",
    "temperature_applied_twice": "draws",
    "temperature_missing_in_the_gradient": "packing",
    "stale_weights_after_sync": "weights_after_step",
    "eos_dropped_from_the_completion": "masks",
    "prompt_is_trained": "masks",
    "normalised_per_micro_batch": "invariance",
    "numbers_depend_on_the_row": "seeds",
}
"""Bugs, and the check that sees them on a model of thirty layers; the first few in every run of the tests."""
DAILY = 2


@pytest.fixture(scope="module")
def pretrained(smollm2):
    return modeling.load_model(str(smollm2), dtype=torch.bfloat16), modeling.load_tokenizer(str(smollm2))


def admitted(pretrained, folder, **plan):
    model, tokenizer = pretrained
    subject = patient(tokenizer, folder, model=model, **plan)
    subject.prompter = Prompter(
        tokenizer, "bare"
    )  # half as long: thirty layers in bf16 take their time on a CPU
    subject._sizes = (8, 2)
    return subject


def test_it_is_well(pretrained, tmp_path):
    results = findings(
        admitted(pretrained, tmp_path),
        "logprobs",
        "tokens",
        "masks",
        "weights",
        "weights_after_step",
        "packing",
    )
    assert not describe(results), describe(results)
    beside = [f for f in results if f.name == "logprobs" and "transformers' own" in f.figure]
    assert len(beside) == 4, "each figure of ours stands beside transformers' own"


@pytest.mark.parametrize(
    "name", [name if i < DAILY else pytest.param(name, marks=pytest.mark.slow) for i, name in enumerate(SEEN)]
)
def test_a_planted_bug_is_seen(name, pretrained, tmp_path, monkeypatch):
    TOKENIZER.value = pretrained[1]
    BUGS[name].plant(monkeypatch)
    results = findings(admitted(pretrained, tmp_path, **BUGS[name].patient), SEEN[name])
    failed = [f for f in results if f.ok is False]
    assert failed, "\n".join(f"{f.compared}: {f.figure}" for f in results)
    assert any(f.threshold != "no error" for f in failed), f"only an exception told: {failed[0].figure}"


def test_its_miniature_has_its_width_and_its_weights(pretrained, tmp_path):
    small = miniature.of(admitted(pretrained, tmp_path)).model
    layer, own = small.model.layers[1].mlp.up_proj.weight, pretrained[0].model.layers[1].mlp.up_proj.weight
    assert torch.equal(layer, own)
    assert len(small.model.layers) == 2
    assert small.config.vocab_size < 1000
