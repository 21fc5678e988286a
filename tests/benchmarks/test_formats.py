"""Figures in the forms of other programs, read back by those programs' own parsers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from aha.benchmarks import formats, statistics, tables
from aha.benchmarks.records import GradedAnswer, GradedProblem
from aha.benchmarks.session import BenchmarkResult, Protocol
from aha.cli import main


def result(name, marks, model="mine", source="", **protocol):
    records = tuple(
        GradedProblem(str(i), "", (GradedAnswer(mark, mark, True, "x", 9, False),))
        for i, mark in enumerate(marks)
    )
    figures = statistics.summary(records)
    data = {"source": source or f"{name}.jsonl", "split": "test", "rows": len(marks)}
    return BenchmarkResult(model, name, Protocol(1, **protocol), figures, records, Path("x.jsonl"), data)


RESULTS = [
    result("gpqa", [True, True, False], source="Idavidrein/gpqa:gpqa_diamond"),
    result("mmlu", [True, False], source="cais/mmlu:all@0123abcd#test"),
    result("math500", [True]),  # of a file: the set is that of its entry
    result("countdown", [False, True]),
    result("aime24", [None]),
]


def test_the_hubs_parser_reads_eval_results():
    hub = pytest.importorskip("huggingface_hub")
    written = formats.eval_results(RESULTS, "2026-12-01")
    assert list(written) == ["gpqa", "mmlu", "math500"]
    entries = {name: hub.parse_eval_result_entries(entry)[0] for name, entry in written.items()}
    assert (entries["gpqa"].dataset_id, entries["gpqa"].task_id) == ("Idavidrein/gpqa", "gpqa_diamond")
    assert entries["gpqa"].value == 66.67
    assert entries["mmlu"].dataset_revision == "0123abcd"
    assert (entries["math500"].dataset_id, entries["math500"].task_id) == (
        "HuggingFaceH4/MATH-500",
        "default",
    )
    assert "3 problems, 1 samples each, temperature 1" in entries["gpqa"].notes
    assert hub.eval_result_entries_to_yaml([entries["mmlu"]]) == written["mmlu"]


def test_the_hubs_card_reads_the_model_index():
    hub = pytest.importorskip("huggingface_hub")
    yaml = pytest.importorskip("yaml")
    index = yaml.safe_load(json.dumps(formats.model_index(RESULTS, "mine")))
    card = hub.ModelCardData(**{"model-index": index}, ignore_metadata_errors=False)
    read = {(r.dataset_type, r.metric_type): r for r in card.eval_results}
    one = read["cais/mmlu", "pass@1"]
    assert (one.metric_value, one.dataset_config, one.dataset_split) == (50.0, "all", "test")
    assert (one.dataset_revision, one.dataset_name) == ("0123abcd", "MMLU")
    assert ("HuggingFaceH4/aime_2024", "pass@1") not in read  # nothing was graded
    assert card.to_dict()["model-index"][0]["name"] == "mine"


def test_the_harness_has_its_fields():
    (document,) = formats.harness(RESULTS)
    json.dumps(document, allow_nan=False)
    entry = document["results"]["mmlu"]
    assert entry["exact_match,strict-match"] == 0.5
    assert entry["exact_match_stderr,strict-match"] > 0
    assert document["n-samples"]["gpqa"] == {"original": 3, "effective": 3}
    assert document["higher_is_better"]["gpqa"]["exact_match"] is True
    assert document["higher_is_better"]["gpqa"]["mean_tokens"] is False
    assert set(document["results"]) == set(document["versions"]) == set(document["n-shot"])
    assert "exact_match,strict-match" not in document["results"]["aime24"]


def test_each_result_of_a_sweep_has_a_name_of_its_own():
    sweep = [result("gpqa", [True]), result("gpqa", [False], shots=2)]
    (document,) = formats.harness(sweep)
    assert {name: document["n-shot"][name] for name in document["results"]} == {
        "gpqa_shots=0": 0,
        "gpqa_shots=2": 2,
    }


def test_a_bar_in_a_name_is_no_column():
    table = tables.markdown(tables.rows([replace(RESULTS[0], model="a|b")]))
    assert "| a\\|b |" in table.splitlines()[2]


def test_the_command_writes_them(tmp_path, capsys):
    hub = pytest.importorskip("huggingface_hub")
    yaml = pytest.importorskip("yaml")
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"question": "Is 2 even?", "choices": ["yes", "no"], "answer": 0}) + "\n")
    words = [
        "eval",
        "tiny",
        "world",
        "--tasks",
        f"mmlu={rows},countdown",
        "--k",
        "1",
        "--problems",
        "1",
        "--max-tokens",
    ]
    words += ["8", "--threads", "1", "--dtype", "float32", "--results", str(tmp_path / "evals")]
    words += ["--hub-results", str(tmp_path / "hub"), "--harness-json", str(tmp_path / "h.json")]
    assert main(words) == 0
    assert "countdown: of no set on the hub" in capsys.readouterr().err
    for model in ("tiny", "world"):
        folder = tmp_path / "hub" / model
        (entry,) = hub.parse_eval_result_entries(
            yaml.safe_load((folder / ".eval_results/mmlu.yaml").read_text())
        )
        assert (entry.dataset_id, entry.task_id) == ("cais/mmlu", "all")
        card = hub.ModelCardData(**yaml.safe_load((folder / "model-index.yaml").read_text()))
        assert {r.dataset_name for r in card.eval_results} == {"MMLU", "countdown"}
        assert json.loads((tmp_path / f"h-{model}.json").read_text())["model_name"] == model
