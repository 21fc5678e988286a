"""Evaluations that are killed go on and come to the same figures; every sample is kept with its reason."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from aha.benchmarks import formats, opening, page, session, tables
from aha.benchmarks.catalogue import read_names
from aha.benchmarks.session import Protocol
from aha.cli import main
from aha.types import AhaError

PROTOCOL = Protocol(k=2, max_tokens=32, problems=6)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return opening.open_model("tiny", tmp_path_factory.mktemp("m"), "auto", "cpu", "float32", 1)


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    (asked,) = read_names("countdown")
    return session.run("tiny", source, asked, PROTOCOL, tmp_path_factory.mktemp("evals"))


def again(source, folder, protocol=PROTOCOL):
    (asked,) = read_names("countdown")
    return session.run("tiny", source, asked, protocol, folder)


def test_what_was_graded_is_not_asked_again(source, whole, monkeypatch):
    monkeypatch.setattr(source.engine, "generate", None)
    repeated = again(source, whole.file.parent)
    assert repeated.figures == whole.figures
    assert repeated.records == whole.records


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_killed_evaluation_comes_to_the_same_figures(source, whole, tmp_path, cut):
    """Lines after ``cut`` are gone, and the last one is half written."""
    lines = whole.file.read_bytes().splitlines(keepends=True)
    (tmp_path / whole.file.name).write_bytes(b"".join(lines[:cut]) + lines[cut][: len(lines[cut]) // 2])
    continued = again(source, tmp_path)
    assert continued.figures == whole.figures
    assert continued.records == whole.records
    assert sorted(continued.file.read_text().splitlines()) == sorted(whole.file.read_text().splitlines())


def test_other_settings_have_a_file_of_their_own(source, whole):
    other = again(source, whole.file.parent, replace(PROTOCOL, seed=1))
    assert other.file != whole.file
    assert whole.file.exists()


def test_a_damaged_line_is_named(source, whole, tmp_path):
    lines = whole.file.read_text().splitlines(keepends=True)
    (tmp_path / whole.file.name).write_text(lines[0] + "{}\n" + "".join(lines[2:]))
    with pytest.raises(AhaError, match="line 2, is no graded problem"):
        again(source, tmp_path)


def test_rows_keep_texts_and_reasons(whole):
    row = json.loads(whole.file.read_text().splitlines()[0])
    assert row["question"]
    assert len(row["samples"]) == 2
    assert all(sample["text"] and sample["why"] for sample in row["samples"])
    assert whole.data["rows"] == 6
    assert len(whole.data["sha256"]) == 64


def test_other_programs_can_read_the_figures(whole, tmp_path):
    (one,) = formats.harness([whole])
    figures = one["results"]["countdown"]
    assert figures["exact_match,strict-match"] == whole.figures["pass@1"]
    assert figures["exact_match_stderr,strict-match"] > 0
    (index,) = formats.model_index([whole], "mine")
    assert index["results"][0]["metrics"][0] == {
        "type": "pass@1", "value": round(100 * whole.figures["pass@1"], 2), "name": "pass@1"
    }  # fmt: skip
    with (tmp_path / "page.html").open("w") as out:
        page.write(out, [whole], ["a < b"])
    text = (tmp_path / "page.html").read_text()
    assert "a &lt; b" in text
    assert text.count("<summary class=") == 12
    assert "countdown" in tables.markdown(tables.rows([whole]))


def test_one_sample_of_each_problem_has_its_rate_and_no_votes(source, tmp_path):
    (row,) = tables.rows([again(source, tmp_path, replace(PROTOCOL, k=1))])
    assert "%" in row["pass@1"]
    assert not any(name.startswith("cons") for name in row)


def test_the_command_prints_one_table_of_models_and_benchmarks(tmp_path, capsys):
    words = [
        "eval",
        "tiny",
        "world",
        "--tasks",
        "countdown,logic",
        "--k",
        "2",
        "--problems",
        "3",
        "--max-tokens",
        "24",
    ]
    words += ["--threads", "1", "--dtype", "float32", "--results", str(tmp_path / "evals")]
    assert main([*words, "--markdown", str(tmp_path / "t.md"), "--html", str(tmp_path / "p.html")]) == 0
    said = capsys.readouterr().out
    assert "countdown: tiny and world" in said or "countdown: world" in said or "countdown: tiny is" in said
    table = (tmp_path / "t.md").read_text()
    assert sum(line.startswith(("| tiny", "| world")) for line in table.splitlines()) == 4
    assert len(list((tmp_path / "evals").glob("*/*.jsonl"))) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["eval", "tiny", "world"], "Several models"),
        (["eval", "tiny", "--tasks", "countdown", "--k", "0"], "give 1 or more samples"),
        (["eval", "tiny", "--tasks", "countdown", "--samples", "0"], "give 1 or more samples"),
        (["eval", "tiny", "--samples", "0"], "give 1 or more samples"),
        (["eval", "tiny", "--k", "0"], "give 1 or more samples"),
        (["eval", "tiny", "--k", "4", "--samples", "8"], "give one of them"),
        (["eval", "tiny", "--tasks", "countdown", "--output", "x.jsonl"], "--output is for one task"),
        (["eval", "tiny", "--tasks", "gsm8k", "--data", "x.jsonl"], "the rows are named as NAME=FILE"),
        (
            ["eval", "tiny", "--tasks", "gsm8k", "--test-data", "x", "--split", "all"],
            "--test-data, --split are for",
        ),
        (["eval", "tiny", "--tasks", "gsm8k", "--task", "math"], "name it there"),
        (
            ["eval", "tiny", "--task", "gsm8k", "--shots", "4", "--judge", "x.py:f"],
            "--shots, --judge are for --tasks",
        ),
        (["eval", "tiny", "--markdown", "t.md"], "--markdown is for --tasks"),
        (["eval", "tiny", "--preset", "r1"], "--preset is for --tasks"),
        (["eval", "tiny", "--tasks", "gsm8k@"], "names no revision"),
    ],
)
def test_what_cannot_be_asked_says_so(words, said, capsys):
    assert main(words) != 0
    assert said in capsys.readouterr().err


def test_a_run_that_went_on_is_another_model(tmp_path):
    """A result of the run's first model is not that of the next one, though the run's name is the same."""
    (tmp_path / "config.json").write_text(json.dumps({"stages": {"sft": {}, "rl": {}}}))
    (asked,) = read_names("countdown")
    ids = []
    for stage in ("sft", "rl"):
        final = tmp_path / stage / "final"
        final.mkdir(parents=True)
        (final / "config.json").write_text("{}")
        ids.append(session.named(str(tmp_path), asked, Protocol(), {"sha256": "x"})["id"])
    assert ids[0] != ids[1]


def test_a_judge_that_was_edited_is_another_judge(tmp_path):
    codes = []
    for says in ("yes", "no"):
        (tmp_path / "mine.py").write_text(f"def judge(messages):\n    return {says!r}\n")
        codes.append(opening.open_judge(f"{tmp_path}/mine.py:judge", tmp_path).code)
    assert all(codes)
    assert codes[0] != codes[1]
