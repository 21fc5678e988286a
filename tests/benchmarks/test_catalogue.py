"""Benchmarks by name, with the paper's figures beside them."""

from __future__ import annotations

import re

import pytest

from aha.benchmarks import imported, published, tables
from aha.benchmarks.catalogue import BENCHMARKS, REVISIONS, read_names
from aha.benchmarks.session import Protocol
from aha.tasks import TASKS
from aha.types import AhaError


def test_every_benchmark_is_read_by_a_task_or_says_why_not():
    for benchmark in BENCHMARKS.values():
        graded = (
            benchmark.judged in ("reference", "correctness", "pair", "conversation")
            or benchmark.task in TASKS
        )
        assert not benchmark.imported or benchmark.imported in imported.READERS
        assert graded if benchmark.task else benchmark.why, benchmark.name
        assert benchmark.hub or benchmark.why, benchmark.name


def test_the_papers_figures_are_those_of_its_tables():
    assert published.figures("aime24")["R1-Zero"] == 77.9  # v2; 71.0 was v1's
    assert published.figures("math500")["R1"] == 97.3
    assert published.figures("gpqa")["R1-Distill-Qwen-32B"] == 62.1
    assert published.figures("gsm8k") == {}
    assert set(published._TABLE) <= BENCHMARKS.keys()


def test_names_with_files_folders_and_tasks(tmp_path):
    (tmp_path / "aime24.jsonl").write_text("{}\n")
    asked = read_names(f"aime24,math500={tmp_path}/rows.jsonl,countdown,gsm8k", tmp_path)
    assert [(a.name, a.split) for a in asked] == [
        ("aime24", "all"), ("math500", "all"), ("countdown", "test"), ("gsm8k", "test")
    ]  # fmt: skip
    assert asked[0].source == str(tmp_path / "aime24.jsonl")
    assert asked[2].source is None
    assert asked[3].source == f"openai/gsm8k:main@{REVISIONS['openai/gsm8k']}"


def test_a_set_on_the_hub_is_read_at_its_revision_unless_another_is_named():
    hubs = {b.hub.partition(":")[0] for b in BENCHMARKS.values() if b.hub}
    assert REVISIONS.keys() <= hubs
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in REVISIONS.values())
    assert len(set(REVISIONS.values())) == len(REVISIONS)
    pins = {name: read_names(name)[0].source for name in ("mmlu", "math500", "drop")}
    assert pins == {
        "mmlu": f"cais/mmlu:all@{REVISIONS['cais/mmlu']}",
        "math500": f"HuggingFaceH4/MATH-500@{REVISIONS['HuggingFaceH4/MATH-500']}",
        "drop": "ucinlp/drop",
    }
    assert read_names("mmlu@main")[0].source == "cais/mmlu:all@main"
    assert read_names("mmlu=cais/mmlu:all")[0].source == "cais/mmlu:all"
    assert read_names("mmlu")[0].examples == f"cais/mmlu:all@{REVISIONS['cais/mmlu']}#dev"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("mmlu_por", "Did you mean 'mmlu_pro'"),
        ("gsm8k,gsm8k", "twice"),
        (" , ", "No benchmark is named"),
        ("swe_verified", "SWE-bench Verified cannot be evaluated here: it runs repositories in containers"),
        ("cnmo24", "give --data"),
    ],
)
def test_what_cannot_be_asked_says_so(names, said):
    with pytest.raises(AhaError, match=said):
        read_names(names)


def test_a_benchmark_without_a_hub_copy_takes_a_file(tmp_path):
    file = tmp_path / "cnmo.jsonl"
    file.write_text("{}\n")
    assert read_names(f"cnmo24={file}")[0].source == str(file)


def test_what_differs_from_the_paper_is_told():
    paper = Protocol(64, 0.6, 0.95, 32_768)
    assert tables.differences("aime24", paper) == [BENCHMARKS["aime24"].differs]
    said = tables.differences("aime24", Protocol(4, 1.0, 1.0, 440, problems=10))
    assert said[:5] == [
        "samples of each problem 4 (paper: 64)", "temperature 1 (paper: 0.6)", "top-p 1 (paper: 0.95)",
        "tokens at most 440 (paper: 32768)", "10 of 30 problems",
    ]  # fmt: skip
