"""``aha eval`` on rows: all of a file unless something else is asked for, and how many of how many."""

from __future__ import annotations

import json

import pytest

from aha.cli import main

QUICK = ["--samples", "1", "--max-tokens", "4", "--threads", "1"]


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "thirty.jsonl"
    path.write_text("".join(json.dumps({"problem": f"Add {i}.", "answer": str(i)}) + "\n" for i in range(30)))
    return str(path)


@pytest.mark.parametrize(
    ("asked", "said", "n"),
    [
        (["--data", "ROWS"], "30 of 30 problems of ROWS", 30),
        (["--test-data", "ROWS"], "30 of 30 problems of ROWS, split test", 30),
        (["--data", "ROWS", "--problems", "7"], "7 of 30 problems of ROWS", 7),
        (["--data", "ROWS", "--split", "all"], "30 of 30 problems of ROWS", 30),
        (["--data", "ROWS", "--test-data", "ROWS"], "30 of 30 problems of ROWS, split test", 30),
    ],
)
def test_a_file_is_graded_whole(rows, capsys, asked, said, n):
    words = [rows if word == "ROWS" else word for word in asked]
    assert main(["eval", "tiny", "--task", "math", *words, *QUICK, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["n_problems"] == n
    assert said.replace("ROWS", rows) in err


def test_a_share_is_asked_for_by_its_split(rows, capsys):
    assert main(["eval", "tiny", "--task", "math", "--data", rows, "--split", "train", *QUICK, "--json"]) == 0
    out, err = capsys.readouterr()
    n = json.loads(out)["n_problems"]
    assert 20 <= n < 30
    assert f"{n} of {n} problems of {rows}, split train" in err


def test_rows_that_cannot_be_used_are_said(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({"problem": f"Add {i}.", "answer": i or None}) + "\n" for i in range(3))
    )
    assert main(["eval", "tiny", "--task", "math", "--data", str(path), *QUICK, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["n_problems"] == 2
    assert "1 of 3 rows set aside" in err


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--task", "math"], "reads your questions"),
        (["--task", "logic", "--test-data", "ROWS"], "makes its own problems"),
        (["--task", "math", "--data", "ROWS", "--problems", "0"], "give 1 or more"),
        (["--task", "math", "--data", "ROWS", "--split", "dev"], "no split 'dev'"),
    ],
)
def test_what_cannot_be_asked_is_said(rows, capsys, asked, words):
    assert main(["eval", "tiny", *[rows if word == "ROWS" else word for word in asked], *QUICK]) == 1
    assert words in capsys.readouterr().err
