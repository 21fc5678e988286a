"""Every planted bug is seen by the check that is meant for it; the same patient without it is well."""

from __future__ import annotations

import copy

import pytest
from bugs import BUGS, TOKENIZER
from conftest import make_model
from patients import describe, findings, patient

CLASSICS = {
    "stale_weights_after_sync", "off_by_one_in_the_policy", "pad_tokens_in_the_loss", "normalised_per_micro_batch",
    "baseline_over_different_problems", "std_of_a_zero_variance_group", "clip_on_the_wrong_side", "kl_sign",
    "k3_with_swapped_policies", "temperature_missing_in_the_policy", "top_p_without_renormalising",
    "eos_dropped_from_the_loss", "double_bos", "completion_tokenized_again", "advantage_broadcast_to_the_prompt",
    "reference_not_refreshed", "optimizer_state_lost_on_resume", "sampler_seed_repeated_across_steps", "dropout_on",
    "positions_run_on_over_the_packed_row", "attention_leaks_across_segments",
    "reward_of_one_rollout_given_to_another", "timeouts_scored_zero", "learning_rate_schedule_restarted_on_resume",
    "gradients_not_summed_over_ranks",
}  # fmt: skip


def admitted(tokenizer, folder, settings):
    """A patient with a bug's settings."""
    options = dict(settings)
    if options.pop("bos", False):
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.bos_token = tokenizer.pad_token
    model = None
    if rate := options.pop("dropout", 0.0):
        model = make_model(tokenizer, attention_dropout=rate).train()
    return patient(tokenizer, folder, model=model, **options)


def test_the_classics_are_planted():
    assert set(BUGS) >= CLASSICS
    assert len(BUGS) >= 60


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_seen(name, tokenizer, tmp_path, monkeypatch):
    TOKENIZER.value = tokenizer
    bug = BUGS[name]
    bug.plant(monkeypatch)
    results = findings(admitted(tokenizer, tmp_path, bug.patient), bug.check)
    failed = [f for f in results if f.ok is False]
    assert failed, "\n".join(f"{f.compared}: {f.figure}" for f in results)
    assert {f.name for f in failed} == {bug.check}
    assert any(f.threshold != "no error" for f in failed), f"only an exception told: {failed[0].figure}"
    assert all(f.cause and f.fix and f.figure and f.threshold for f in failed)


@pytest.mark.parametrize("check", sorted({bug.check for bug in BUGS.values()} - {"dropout"}))
def test_without_a_bug_the_same_check_is_well(check, tokenizer, tmp_path):
    settings = {k: v for bug in BUGS.values() if bug.check == check for k, v in bug.patient.items()}
    results = findings(admitted(tokenizer, tmp_path, settings), check)
    assert not describe(results), describe(results)
    assert any(f.ok for f in results)
