"""Checkpoints side by side: figures once, a table, and a stage that goes on where it was killed."""

from __future__ import annotations

import json

import pytest

from aha.runs.pipeline import Context
from aha.stages.evaluation import compare
from aha.stages.evaluation.compare import Compare, markdown, row_of
from aha.stages.rl import RL


def figures(**changes):
    return {
        "pass@1": 0.5, "pass@1_ci": [0.25, 0.75], "maj@4": 0.6, "pass@4": 0.8, "format": 1.0, "mean_length": 41.7,
        "reflections": 1.234, "n_problems": 10, "n_samples": 4, "language": 0.9,
    } | changes  # fmt: skip


def test_the_table_has_a_row_a_checkpoint_and_names_what_is_missing():
    text = markdown({"countdown": {"base": figures(), "r1": figures(unsafe=0.25, general=0.5)}})
    lines = text.splitlines()
    assert (
        "| | pass@1 | cons@k | pass@k | format | language | length | reflections | general | unsafe |"
        in lines
    )
    assert "| base | 50.0% [25.0%, 75.0%] | 60.0% | 80.0% | 100.0% | 90.0% | 42 | 1.23 | - | - |" in lines
    assert lines[-1].endswith("0.50 | 25.0% |")
    assert row_of(figures())["maj"] == 0.6


def test_what_a_table_measures_is_its_result():
    """Reinforcement learning measures beside its work with the same setting: its model is what it was."""
    strict, lenient = (
        Compare.model_validate({"name": "c", "require_format": value}) for value in (True, False)
    )
    assert strict.fingerprint() != lenient.fingerprint()
    trained = [RL.model_validate({"name": "rl", "require_format": value}) for value in (True, False)]
    assert trained[0].fingerprint() == trained[1].fingerprint()


def test_each_pair_is_evaluated_once(tmp_path, checkpoint, monkeypatch):
    stage = Compare.model_validate(
        {
            "name": "compare", "models": ("tiny", str(checkpoint)), "names": ("base", "random"), "problems": 3,
            "tasks": ("countdown", "general"), "samples": 2, "max_tokens": 16, "prompt": "r1_zero",
        }
    )  # fmt: skip
    opened, real = [], compare.engines.open_source

    def counted(context, model, *rest):
        opened.append(model)
        return real(context, model, *rest)

    monkeypatch.setattr(compare.engines, "open_source", counted)
    evaluate = compare.evaluate

    def dies(*args, **options):
        if len(opened) == 2:
            raise KeyboardInterrupt
        return evaluate(*args, **options)

    monkeypatch.setattr(compare, "evaluate", dies)
    with pytest.raises(KeyboardInterrupt):
        stage.run(Context(tmp_path, plain=True, threads=1))
    monkeypatch.setattr(compare, "evaluate", evaluate)
    summary = stage.run(Context(tmp_path, plain=True, threads=1))
    assert opened == ["tiny", str(checkpoint), str(checkpoint)]
    assert set(summary["figures"]) == {"countdown", "general"}
    assert set(summary["figures"]["general"]) == {"base", "random"}
    assert "general" in summary["figures"]["general"]["random"]
    assert json.loads((tmp_path / "compare.json").read_text()) == summary["figures"]
    assert "## countdown" in (tmp_path / "compare.md").read_text()
