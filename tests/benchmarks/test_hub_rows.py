"""Rows from the hub: a published split is asked whole, by its configuration and revision. The hub is a stand-in for
the library ``datasets``, whose calls are noted."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from aha.benchmarks import formats, revisions, session, shots
from aha.benchmarks.catalogue import BENCHMARKS, pinned, read_names
from aha.cli import main
from aha.data.sources import hub_set, is_file_name, read_rows
from aha.sampling.http import Programs, Server
from aha.types import AhaError

QUESTIONS = [{"problem": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(40)]
CHOICES = [{"question": f"Is {i} even?", "choices": ["yes", "no"], "answer": i % 2} for i in range(30)]
SETS = {
    ("HuggingFaceH4/aime_2024", None): {"train": QUESTIONS},
    ("HuggingFaceH4/MATH-500", None): {"test": QUESTIONS},
    ("cais/mmlu", "all"): {"auxiliary_train": CHOICES[:1], "dev": CHOICES[:4], "test": CHOICES[4:], "validation": []},
    ("edinburgh-dawg/mmlu-redux-2.0", "anatomy"): {"test": CHOICES[:10]},
    ("edinburgh-dawg/mmlu-redux-2.0", "virology"): {"test": [dict(r, error_type="expert") for r in CHOICES[10:15]]},
    ("ceval/ceval-exam", "law"): {"val": CHOICES[:7], "test": [], "dev": CHOICES[7:9]},
    ("tatsu-lab/alpaca_eval", "alpaca_eval_gpt4_baseline"): {
        "eval": [{"instruction": f"Name {i}.", "output": "It is so."} for i in range(25)]
    },
}  # fmt: skip


@pytest.fixture
def hub(monkeypatch):
    """What was asked of the hub, as (name, configuration, split, revision)."""
    asked = []

    def load_dataset(name, config=None, split=None, revision=None):
        asked.append((name, config, split, revision))
        if name == "tatsu-lab/alpaca_eval" and revision is None:
            raise RuntimeError("Dataset scripts are no longer supported, but found alpaca_eval.py")
        splits = SETS[name, config]
        if split is not None and split not in splits:
            raise ValueError(f"Unknown split '{split}'. Should be one of {list(splits)}.")
        return splits if split is None else splits[split]

    def get_dataset_config_names(name, revision=None):
        return [config for known, config in SETS if known == name]

    stand_in = SimpleNamespace(load_dataset=load_dataset, get_dataset_config_names=get_dataset_config_names)
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    return asked


@pytest.mark.parametrize(("name", "rows"), [("aime24", 40), ("math500", 40), ("mmlu", 26), ("ceval", 7)])
def test_a_published_split_is_asked_whole(hub, name, rows):
    """Nothing of it is held out for training, and no other split is read."""
    (asked,) = read_names(name)
    _, problems, read = session.load_problems(asked, None)
    assert len(problems) == rows
    assert {split for _, _, split, _ in hub} == {BENCHMARKS[name].split}
    assert (read["source"], read["split"]) == (pinned(BENCHMARKS[name].hub), BENCHMARKS[name].split)


def test_subjects_of_many_configurations_are_kinds_and_faulty_questions_are_left_out(hub, capsys):
    (asked,) = read_names("mmlu_redux")
    task, problems, _ = session.load_problems(asked, None)
    assert len(problems) == 10
    assert {task.facet(p) for p in problems} == {"anatomy"}
    assert "5 of 15 rows set aside (5 its annotators say expert)" in capsys.readouterr().err


def test_a_set_behind_a_program_is_read_from_the_hubs_tables(hub):
    assert len(read_rows("tatsu-lab/alpaca_eval:alpaca_eval_gpt4_baseline#eval")) == 25
    assert hub[-1][3] == "refs/convert/parquet"


def test_a_revision_and_a_split_can_be_named(hub):
    (asked,) = read_names("mmlu=cais/mmlu:all@0123abc#dev")
    assert len(session.load_problems(asked, None)[1]) == 4
    assert hub == [("cais/mmlu", "all", "dev", "0123abc")]
    (asked,) = read_names("mmlu=cais/mmlu:all")
    assert len(session.load_problems(asked, None)[1]) == 26


def test_examples_are_from_the_split_that_the_benchmark_keeps_for_them(hub):
    (asked,) = read_names("mmlu")
    assert len(shots.read_examples("choice", asked.examples)) == 4
    assert hub[0][2] == "dev"
    (asked,) = read_names("mmlu=cais/mmlu:all#test")
    assert asked.examples == "cais/mmlu:all#dev"


@pytest.mark.parametrize(
    ("source", "is_file"),
    [
        ("edinburgh-dawg/mmlu-redux-2.0", False), ("AI-MO/NuminaMath-1.5#train", False), ("gsm8k", False),
        ("owner/name:config@refs/convert/parquet#test", False), ("rows.jsonl", True), ("data/rows.jsonl.gz", True),
        ("./rows", True), ("a/b/c", True),
    ],
)  # fmt: skip
def test_a_number_in_a_name_ends_no_file(source, is_file):
    assert is_file_name(source) is is_file


def test_parts_of_a_hub_name():
    parts = hub_set("owner/name-2.0:main@v1#val")
    assert (parts.name, parts.config, parts.revision, parts.split) == ("owner/name-2.0", "main", "v1", "val")


def test_a_split_that_is_not_there_is_told(hub):
    with pytest.raises(AhaError, match=r"split nope.*Should be one of"):
        read_rows("cais/mmlu:all#nope")


COMMIT = "e53f048856ff4f594e959d75785d2c2d37b678ee"


class Table(list):
    """Rows as ``datasets`` gives them: from a file in a folder that is named by the commit."""

    cache_files = ({"filename": f"/c/cais___mmlu/all/0.0.0/{COMMIT}/mmlu-dev.arrow"},)


def test_a_benchmark_is_asked_at_one_revision(hub):
    (asked,) = read_names("mmlu@0123abc")
    assert asked.source == "cais/mmlu:all@0123abc"
    assert len(session.load_problems(asked, None)[1]) == 26
    assert hub == [("cais/mmlu", "all", "test", "0123abc")]
    (asked,) = read_names("mmlu@0123abc=cais/mmlu:all#dev")
    assert asked.source == "cais/mmlu:all@0123abc#dev"
    for wrong in ("mmlu@", "bfcl@0123", "mmlu@1=rows.jsonl", "mmlu@1=cais/mmlu:all@2"):
        with pytest.raises(AhaError, match="revision"):
            read_names(wrong)


def test_the_commit_that_was_read_stands_with_the_result(hub, monkeypatch):
    monkeypatch.setitem(SETS, ("cais/mmlu", "all"), {"test": Table(CHOICES[4:])})
    (asked,) = read_names("mmlu")
    read = session.load_problems(asked, None)[2]
    assert (read["commit"], read["rows"], len(read["sha256"])) == (COMMIT, 26, 64)
    protocol = session.Protocol(1)
    result = session.BenchmarkResult(
        "m", "mmlu", protocol, {"pass@1": 0.5, "problems": 26, "samples": 1}, (), None, read
    )
    (entry,) = formats.eval_results([result], "2026-12-01")["mmlu"]
    assert entry["dataset"]["revision"] == COMMIT


def test_other_rows_than_those_of_an_earlier_result_are_told(tmp_path, caplog):
    rows = [json.dumps({"question": f"{i} + 1?", "answer": str(i + 1)}) for i in range(3)]
    file = tmp_path / "rows.jsonl"
    with Server(Programs({"m": lambda messages, seed: "It is \\boxed{1}."})) as server:
        for name, content in (
            ("a", rows),
            ("b", rows),
            ("c", [rows[0], rows[1], rows[2].replace("2 +", "3 +")]),
        ):
            file.write_text("\n".join(content))
            words = [
                "eval",
                f"{server.url}#m",
                "--tasks",
                f"math={file}",
                "--k",
                "1",
                "--prompt",
                "boxed",
                "--json",
            ]
            caplog.clear()
            assert main([*words, "--results", str(tmp_path / "evals"), "--seed", str("abc".index(name))]) == 0
            assert ("different rows" in caplog.text) is (name == "c")


def test_models_that_were_asked_different_rows_are_told():
    def result(model, sha):
        read = {"source": "rows.jsonl", "rows": 3, "sha256": sha * 64}
        return session.BenchmarkResult(model, "math", session.Protocol(1), {}, (), None, read)

    assert revisions.differing([result("x", "a"), result("y", "a")]) == []
    (said,) = revisions.differing([result("x", "a"), result("y", "b")])
    assert said == (
        "math was not read alike: rows.jsonl, 3 rows, sha256 aaaaaaaaaaaa; rows.jsonl, 3 rows, sha256 bbbbbbbbbbbb."
    )
