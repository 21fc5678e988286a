"""No false alarm: other models, other data, both compute types; and a run is not changed by being examined."""

from __future__ import annotations

import pytest
import torch
from conftest import make_model
from patients import describe, findings, patient

from aha.doctor.finding import Check, Finding, NotApplicable, examine, failures, raise_on_failure
from aha.doctor.suite import CHECKS, at_start, choose
from aha.types import AhaError

SEEDLESS = ("verifiers", "sandbox", "network", "sharded", "resources")  # do not depend on the model
STAGES = ("steps", "update", "reference", "stage_resume")
MODEL = [c.name for c in CHECKS if c.name not in (*SEEDLESS, "sampling_settings")]


@pytest.mark.parametrize("seed", range(2))  # the slow suite's five are of every check
def test_no_false_alarm_in_float32(seed, tokenizer, tmp_path):
    results = findings(patient(tokenizer, tmp_path, seed=seed, data_seed=seed), *MODEL)
    assert not describe(results), describe(results)
    assert {f.name for f in results if f.ok} == set(MODEL)


@pytest.mark.parametrize("seed", range(2))  # the slow suite's five are of every check
def test_no_false_alarm_in_bf16(seed, tokenizer, tmp_path):
    subject = patient(tokenizer, tmp_path, seed=seed, data_seed=seed, dtype=torch.bfloat16)
    results = findings(
        subject, *(c.name for c in CHECKS if c.quick), "weights_after_step", "optimizer", "seeds"
    )
    assert not describe(results), describe(results)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seed", range(5))
def test_no_false_alarm_of_any_check(seed, dtype, tokenizer, tmp_path):
    results = findings(patient(tokenizer, tmp_path, seed=seed, data_seed=seed, dtype=dtype))
    assert not describe(results), describe(results)


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_other_families_are_well(family, tokenizer, tmp_path):
    model = make_model(tokenizer, family=family, tie_word_embeddings=False)
    results = findings(patient(tokenizer, tmp_path, model=model), "logprobs", "packing", "weights_after_step")
    assert not describe(results), describe(results)


@pytest.mark.parametrize("algorithm", ["cispo", "kimi", "vapo", "raft", "remax", "grpo_plus", "reinforce_pp"])
def test_other_algorithms_are_well(algorithm, tokenizer, tmp_path):
    subject = patient(tokenizer, tmp_path, algorithm=algorithm)
    results = findings(subject, "packing", "advantages", "masks")
    assert not describe(results), describe(results)


def test_the_quick_checks_leave_the_run_as_it_was(tokenizer, tmp_path):
    subject = patient(tokenizer, tmp_path)
    weights = [p.detach().clone() for p in subject.model.parameters()]
    generator, numpy_state = torch.random.get_rng_state(), repr(__import__("numpy").random.get_state())
    at_start(subject)
    assert all(torch.equal(a, b) for a, b in zip(weights, subject.model.parameters(), strict=True))
    assert all(not m.grad.any() for m in subject.policy.masters)
    assert torch.equal(generator, torch.random.get_rng_state())
    assert numpy_state == repr(__import__("numpy").random.get_state())
    assert subject.policy.last_logprobs is None
    assert not subject.model.training


def test_a_failure_at_the_start_names_check_figure_cause_and_fix(tokenizer, tmp_path):
    subject = patient(tokenizer, tmp_path)
    with torch.no_grad():
        subject.model.get_input_embeddings().weight.mul_(1.5)  # the masters are left behind
    with pytest.raises(AhaError) as caught:
        at_start(subject)
    for part in ("weights failed", "hash", "threshold: equal", "Likely cause", "Fix:", "--no-doctor"):
        assert part in str(caught.value)


def test_checks_that_raise_or_do_not_apply_are_findings():
    def broken(subject):
        yield Finding("", True, "first")
        raise ZeroDivisionError("by zero")

    def elsewhere(subject):
        raise NotApplicable("no engine here")
        yield

    results = examine([Check("a", "about a", broken), Check("b", "about b", elsewhere)], None)  # type: ignore[arg-type]
    assert [(f.name, f.ok) for f in results] == [("a", True), ("a", False), ("b", None)]
    assert "ZeroDivisionError: by zero" in results[1].figure
    assert results[2].cause == "no engine here"
    assert failures(results) == [results[1]]
    with pytest.raises(AhaError, match="a failed"):
        raise_on_failure(results)
    raise_on_failure([results[0], results[2]])


def test_checks_are_chosen_by_name():
    assert [c.name for c in choose(CHECKS, ["packing"], quick=True)] == ["packing"]
    assert all(c.quick for c in choose(CHECKS, [], quick=True))
    assert len(choose(CHECKS, [], quick=False)) == len(CHECKS)
    assert len({c.name for c in CHECKS}) == len(CHECKS)
    with pytest.raises(AhaError, match="Did you mean 'packing'"):
        choose(CHECKS, ["paking"], quick=False)
