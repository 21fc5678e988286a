"""Both scaling laws as figures and as a page: against numbers worked by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aha.checkpoints import runs
from aha.cli import main
from aha.stages.evaluation.figures import interval
from aha.thinking import figures, page, training
from aha.thinking.methods import SpentPoint, ThinkingRow


def test_a_figure_is_the_mean_over_problems_that_could_be_graded():
    rows = [
        ThinkingRow("a", (SpentPoint("w", 1, 1.0, 10.0), SpentPoint("w", 2, 0.5, 20.0))),
        ThinkingRow("b", (SpentPoint("w", 1, 0.0, 30.0), SpentPoint("w", 2, None, 40.0))),
    ]
    one, two = figures.figures(rows)
    assert (one.accuracy, one.tokens, one.problems) == (0.5, 20.0, 2)
    assert (two.accuracy, two.tokens, two.problems) == (0.5, 30.0, 1)
    assert (one.low, one.high) == interval(np.array([1.0, 0.0]))


def test_of_a_curve_the_table_has_powers_of_two_and_its_end():
    rows = [ThinkingRow("a", tuple(SpentPoint("majority vote", k, 1.0, k) for k in range(1, 7)))]
    assert [row["setting"] for row in figures.rows(figures.figures(rows))] == ["1", "2", "4", "6"]


@pytest.fixture
def run(tmp_path):
    """A run of two stages, as folders: 100 and 300 tokens after steps 1 and 2, then 50 more."""
    folder = tmp_path / "run"
    for name, tokens, evals in (
        ("rl", {1: 100, 2: 300}, {0: 0.1, 2: 0.6}),
        ("more", {1: 50}, {1: 0.7}),
    ):
        stage = folder / name
        (stage / "final").mkdir(parents=True)
        (stage / "metrics.jsonl").write_text(
            "".join(json.dumps({"step": s, "num_tokens": n}) + "\n" for s, n in tokens.items())
        )
        (stage / "evals.jsonl").write_text(
            "".join(
                json.dumps({"step": s, "split": "validation", "pass@1": a, "pass@1_ci": [a - 0.1, a + 0.1]})
                + "\n"
                for s, a in evals.items()
            )
        )
    (folder / "config.json").write_text(json.dumps({"stages": {"rl": {}, "more": {}}}))
    return folder


def test_training_compute_is_six_n_d(run):
    curve = training.curve(run, 1000)
    assert [(p.stage, p.step, p.flop, p.accuracy) for p in curve] == [
        ("rl", 0, 0.0, 0.1),
        ("rl", 2, 6 * 1000 * 300.0, 0.6),
        ("more", 1, 6 * 1000 * 350.0, 0.7),
    ]
    assert (curve[1].low, curve[1].high) == (0.5, 0.7)


def test_a_stage_that_starts_again_from_the_base_has_no_compute_before_it(run):
    stages = {"rl": {"model": "tiny"}, "more": {"model": "tiny"}}
    (run / "config.json").write_text(json.dumps({"stages": stages}))
    assert training.curve(run, 1000)[-1].flop == 6 * 1000 * 50.0
    for source in ("<rl>", str(run / "rl" / "final")):
        stages["more"]["model"] = source
        (run / "config.json").write_text(json.dumps({"stages": stages}))
        assert training.curve(run, 1000)[-1].flop == 6 * 1000 * 350.0


def test_a_stage_of_another_size_counts_its_own_parameters(run):
    import torch
    from safetensors.torch import save_file

    weights = {"model.embed_tokens.weight": torch.zeros(10, 4), "model.norm.weight": torch.zeros(4)}
    save_file(weights, run / "more" / "final" / "model.safetensors")
    assert training.stored_parameters(run / "more" / "final") == 44
    assert training.curve(run, 1000)[-1].flop == 6 * 1000 * 300.0 + 6 * 44 * 50.0
    save_file(weights | {"lm_head.weight": torch.zeros(10, 4)}, run / "more" / "final" / "model.safetensors")
    assert training.stored_parameters(run / "more" / "final") == 44
    for wrong in (
        b"",
        b"nothing",
        b"\xff" * 20,
        b"\x02" + b"\0" * 7 + b"[]",
        b"\x07" + b"\0" * 7 + b'{"a":1}',
    ):
        (run / "more" / "final" / "model.safetensors").write_bytes(wrong)
        assert training.stored_parameters(run / "more" / "final") == 0


def test_a_checkpoint_knows_its_run_and_a_run_its_last_checkpoint(run):
    assert training.run_of(str(run / "rl" / "final")) == run.resolve()
    assert training.run_of("tiny") is None
    for stage in ("rl", "more"):
        (run / stage / "final" / "config.json").write_text("{}")
    assert runs.model_of(str(run)) == str(run / "more" / "final")
    (run / "more" / "final" / runs.SCORES).touch()  # a reward model answers nothing
    assert runs.model_of(str(run)) == str(run / "rl" / "final")
    assert runs.model_of("tiny") == "tiny"


def test_parameters_leave_out_an_embedding_that_is_only_read():
    from torch import nn

    class Two(nn.Module):
        def __init__(self, tied):
            super().__init__()
            self.a, self.b = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
            self.c = nn.Linear(4, 4, bias=False)
            if tied:
                self.b.weight = self.a.weight

        def get_input_embeddings(self):
            return self.a

        def get_output_embeddings(self):
            return self.b

    assert training.parameters(Two(tied=False)) == 40 + 16
    assert training.parameters(Two(tied=True)) == 40 + 16


def test_ticks_of_a_log_axis():
    assert page.log_ticks(1.0, 2.31) == [10, 20, 50, 100, 200]
    assert page.log_ticks(8.0, 11.0) == [1e8, 1e9, 1e10, 1e11]
    assert [page.log_name(x) for x in (20, 2000, 1e9)] == ["20", "2k", "1e9"]


def test_points_stand_where_their_logarithm_is():
    curves = {"w": [page.LogPoint(x, 0.5, 0.4, 0.6, "p") for x in (10.0, 100.0, 1000.0)]}
    drawn = page.plot("t", "n", "tokens", curves)
    at = [float(part.split('"')[0]) for part in drawn.split('cx="')[1:]]
    assert at[1] - at[0] == pytest.approx(at[2] - at[1], abs=0.11)
    assert page.plot("t", "n", "u", {}) == ""


def test_the_command_shows_both_laws(tmp_path, run, capsys):
    words = [
        "think",
        "tiny",
        "--task",
        "countdown",
        "--problems",
        "3",
        "--n",
        "3",
        "--samples",
        "2",
        "--seed",
        "1",
    ]
    words += [
        "--methods",
        "votes,length",
        "--lengths",
        "16",
        "--max-tokens",
        "32",
        "--dtype",
        "float32",
        "--threads",
        "1",
    ]
    words += [
        "--results",
        str(tmp_path / "e"),
        "--html",
        str(tmp_path / "p.html"),
        "--markdown",
        str(tmp_path / "t.md"),
    ]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "majority vote" in said
    assert "length asked for, exact" in said
    assert (tmp_path / "t.md").read_text().startswith("| way | setting | tokens | accuracy | problems |")
    whole = page.html("a <b>", [], training.curve(run, 1000), ["x & y"])
    assert "a &lt;b&gt;" in whole
    assert "x &amp; y" in whole
    assert whole.count('<svg viewBox="0 0 620') == 1
    assert (tmp_path / "p.html").read_text().count("<circle") == 7


def test_what_cannot_be_is_refused(capsys):
    assert main(["think", "tiny", "--methods", "beam"]) == 1
    assert "--value" in capsys.readouterr().err
    assert main(["think", "tiny", "--methods", "vote"]) == 1
    assert "votes" in capsys.readouterr().err
