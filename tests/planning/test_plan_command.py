"""``aha plan`` as it is called, without a network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aha.cli import main
from aha.planning import table

DOCS = Path(__file__).parents[2] / "docs" / "scale.md"


def plan(capsys, *words):
    code = main(["plan", *words])
    return code, capsys.readouterr().out


def test_a_published_model_is_planned_without_a_download(capsys):
    code, out = plan(
        capsys, "--base", "Qwen/Qwen2.5-7B", "--gpus", "8", "--gpu", "h100", "rl.max_tokens_per_batch=4096"
    )
    assert code == 0
    assert "fits" in out
    assert "published shape" in out
    assert "sharded" in out


def test_what_does_not_fit_fits_after_the_change_it_names(capsys):
    words = ("--base", "Qwen/Qwen2.5-3B", "--gpu", "rtx-4090", "--json")
    code, out = plan(capsys, *words)
    assert code == 1
    (row,) = json.loads(out)
    assert not row["fits"]
    settings = [change.split() for change in row["change"] if change.startswith("rl.")]
    assert settings
    for change in settings:
        code, out = plan(capsys, *words, *change)
        assert code == 0, out


def test_the_change_that_leaves_the_reference_out_does(capsys):
    """Also in a recipe that sets more of its algorithm than the preset."""
    words = ("--base", "Qwen/Qwen2.5-0.5B", "--json")
    _, plain = plan(capsys, *words)
    (before,) = json.loads(plain)
    assert "reference model" in before["resident_bytes"]
    _, without = plan(capsys, *words, "rl.algorithm.kl_coef=0")
    (after,) = json.loads(without)
    assert "reference model" not in after["resident_bytes"]


def test_options_change_the_stages(capsys):
    base = ("--base", "Qwen/Qwen2.5-0.5B", "--json")
    _, plain = plan(capsys, *base)
    _, small = plan(
        capsys, *base, "--max-tokens", "256", "--group-size", "4", "--lora", "8", "--gradient-checkpointing"
    )
    (plain,), (small,) = json.loads(plain), json.loads(small)
    assert small["longest_sequence"] < plain["longest_sequence"]
    assert small["resident_bytes"]["Adam moments"] < 0.1 * plain["resident_bytes"]["Adam moments"]
    assert small["training_bytes"]["activations"] < plain["training_bytes"]["activations"]


def test_every_training_stage_of_a_recipe(capsys):
    _, out = plan(capsys, "--base", "Qwen/Qwen2.5-1.5B", "--recipe", "r1", "--gpu", "h200", "--json")
    kinds = {row["kind"] for row in json.loads(out)}
    assert kinds == {"rl", "sft"}


def test_a_folder_is_counted(capsys, checkpoint):
    from transformers import AutoModelForCausalLM

    parameters = sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(checkpoint).parameters())
    _, out = plan(capsys, "--base", str(checkpoint), "--max-tokens", "64", "--json")
    (row,) = json.loads(out)
    assert row["parameters"] == parameters


def test_an_embedded_base_is_planned_too(capsys):
    code, out = plan(capsys, "--base", "tiny", "--gpu-memory", "16")
    assert code == 0
    assert "config.json" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--base", "nobody/no-such-model"), "No config of 'nobody/no-such-model'"),
        (("--base", "Qwen/Qwen2.5-7B", "--gpu", "h10"), "Did you mean"),
        (("--base", "Qwen/Qwen2.5-7B", "--gpus", "0"), "at least one GPU"),
        (("--base", "Qwen/Qwen2.5-7B", "rl.no_such=1"), "Unknown setting"),
        ((), "Which model?"),
    ],
)
def test_errors_name_the_way_out(capsys, words, said):
    assert main(["plan", *words]) == 1
    assert said in capsys.readouterr().err


def test_adapters_are_not_sharded(capsys):
    words = ("--base", "Qwen/Qwen2.5-7B", "--gpus", "8", "--lora", "16", "--parallel", "sharded")
    code, out = plan(capsys, *words)
    assert code == 1
    assert "cannot be sharded" in out


def test_ranks_that_share_passes_divide_the_gpus(capsys):
    words = ("--base", "Qwen/Qwen2.5-0.5B", "--gpus", "8", "rl.context_parallel_size=3")
    code, out = plan(capsys, *words)
    assert code == 1
    assert "context_parallel_size=3 does not divide 8 GPUs" in out


def test_a_plan_of_machines_needs_no_torch():
    code = (
        "import sys; from aha.cli import main; main(['plan', '--table']); "
        "print([m for m in ('torch', 'numpy', 'transformers') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_the_documented_table_is_what_the_command_prints(capsys):
    code, out = plan(capsys, "--table")
    assert code == 0
    text = DOCS.read_text(encoding="utf-8")
    shown = text.split(table.BEGIN)[1].split(table.END)[0]
    assert shown.strip() == out.strip()
