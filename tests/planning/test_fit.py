"""The largest passes that fit: one function for plans, stages and their examination."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from aha.cli import main
from aha.planning import advice, fit, machines, memory, published, table
from aha.planning.shapes import from_config
from aha.planning.workload import from_stage, sample_workload
from aha.recipes import get_recipe

SMALL = from_config(published.PUBLISHED["Qwen/Qwen2.5-0.5B"], "Qwen/Qwen2.5-0.5B")


def recipe_work(**changes):
    """What the recipe's defaults ask of a model of this size."""
    (stage,) = get_recipe("r1_zero").build(model="Qwen/Qwen2.5-0.5B")
    return replace(from_stage(stage), **changes)


@pytest.mark.parametrize(
    ("most", "least", "largest"),
    [
        (8192, 3072, [8192, 4096, 3072]),
        (512, 16, [512, 256, 128, 64, 32, 16]),
        (0, 16, [0]),
        (100, 200, [100]),
    ],
)
def test_halves(most, least, largest):
    assert list(fit.halves(most, least)) == largest


def test_where_there_is_room_nothing_changes():
    work = recipe_work()
    fitted = fit.fit(SMALL, work, 80e9)
    assert fitted.fits
    assert fitted.work == work
    assert not fit.changed(work, fitted.work)


def test_a_run_that_was_killed_fits():
    """0.5B in float32 with a reference and the recipe's passes, on 24 GB: as asked it would take more."""
    work = recipe_work(number_bytes=4)
    assert (work.reference, work.batch_tokens, work.recompute) == (True, 8192, False)
    assert memory.estimate(SMALL, work, 24e9, tensors_only=True).peak > 24e9
    fitted = fit.fit(SMALL, work, 0.9 * 24e9, whole=24e9, tensors_only=True)
    assert fitted.fits
    assert fitted.memory.peak < 0.9 * 24e9
    assert fitted.work.recompute or fitted.work.batch_tokens < 8192
    assert fit.changed(work, fitted.work)


def test_what_is_given_up_costs_least_first():
    work = recipe_work()
    assert work.least_pass == 1024 + 2048
    tried = list(fit.choices(work))
    assert tried[0] == work
    assert [t.batch_tokens for t in tried[:3]] == [8192, 4096, 3072], "smaller passes first,"
    assert not any(t.recompute for t in tried[:3])
    assert all(t.recompute for t in tried[3:6]), "then layers again,"
    assert {t.max_num_seqs for t in tried[:6]} == {512}
    assert tried[6].max_num_seqs == 256, "then fewer rows"
    assert min(t.batch_tokens for t in tried) == work.least_pass
    short = replace(work, prompt=32, completion=200, least_pass=300)
    plain = [t.batch_tokens for t in fit.choices(short) if not t.recompute and t.max_num_seqs == 512]
    assert plain == [8192, 4096, 2048], "passes that are still fast"
    again = [t.batch_tokens for t in fit.choices(short) if t.recompute and t.max_num_seqs == 512]
    assert again == [8192, 4096, 2048, 1024, 512, 300]


def test_a_model_that_cannot_compute_again_does_not():
    work = replace(recipe_work(), fields=frozenset())
    assert not any(t.recompute for t in fit.choices(work))


def test_where_nothing_fits_the_least_is_taken():
    fitted = fit.fit(SMALL, recipe_work(), 4e9)
    assert not fitted.fits
    assert (fitted.work.recompute, fitted.work.batch_tokens, fitted.work.max_num_seqs) == (True, 3072, 16)


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-1.5B", "Qwen/Qwen2.5-3B", "Qwen/Qwen2.5-7B"]
)
@pytest.mark.parametrize("gpu", ["rtx-4090", "h100", "h200"])
def test_table_and_plan_agree(name, gpu, capsys):
    """F of the table, by the plan of a run that is set as the table says."""
    shape, on = from_config(published.PUBLISHED[name], name), machines.machine(gpu, 1)
    settings = [
        "rl.max_tokens=2048",
        "rl.algorithm.kl_coef=0",
        "rl.gradient_checkpointing=true",
        "rl.max_prompt_tokens=256",
    ]
    code = main(["plan", "--base", name, "--gpu", gpu, "--json", *settings])
    (row,) = json.loads(capsys.readouterr().out)
    assert (code == 0) == row["fits"] == ("F" in table.cell(shape, on).split())


@pytest.mark.parametrize(
    "words",
    [
        ("--base", "Qwen/Qwen2.5-7B", "--gpus", "8", "--gpu", "h100"),
        ("--base", "Qwen/Qwen2.5-7B", "--gpu-memory", "24", "--lora", "32", "rl.max_tokens=2048"),
        ("--base", "Qwen/Qwen2.5-0.5B", "--gpu-memory", "24"),
        ("--base", "Qwen/Qwen2.5-0.5B", "--gpu-memory", "24", "rl.dtype=float32"),
    ],
)
def test_documented_examples_fit(words, capsys):
    assert main(["plan", *words]) == 0
    out = capsys.readouterr().out
    assert "  fits: " in out
    assert "  by itself  " in out


def test_a_reference_beside_adapters_is_a_copy_of_them():
    work = sample_workload("rl", lora=32, reference=True)
    bytes_held = memory.held_weights(SMALL, work)["reference model"]
    assert bytes_held == 2 * SMALL.adapter_parameters(32)
    assert memory.held_weights(SMALL, replace(work, lora=0))["reference model"] == 2 * SMALL.parameters


def test_advice_names_nothing_that_is_done_anyway():
    work = recipe_work()
    for words in advice.suggestions(SMALL, work, machines.machine(None, 1, 10)):
        assert "max_tokens_per_batch" not in words
        assert "gradient_checkpointing" not in words
