"""Beside lm-evaluation-harness in an environment of its own: the same prompts, the same log probabilities, the same
greedy answers. `aha bench peers install lm-eval` makes it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import lm_eval_harness
import pytest

from aha import modeling
from aha.benchmarks import formats, opening, session
from aha.benchmarks.catalogue import read_names
from aha.benchmarks.session import Protocol
from aha.chat import R1_ZERO_TEMPLATE

pytestmark = pytest.mark.peers
MODEL = str(modeling.EMBEDDED["tiny"])
SUMS = [(a, b) for a in range(3, 9) for b in (2, 11, 25)]
CHOICE = """\
task: aha_choice
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS, dev: ROWS}}
test_split: test
fewshot_split: dev
fewshot_config: {sampler: first_n}
output_type: multiple_choice
description: "The following are multiple choice questions (with answers) about {{subject}}.\\n\\n"
doc_to_text: "{{question.strip()}}\\nA. {{choices[0]}}\\nB. {{choices[1]}}\\nC. {{choices[2]}}\\nAnswer:"
doc_to_choice: ["A", "B", "C"]
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
WORDS = """\
task: aha_words
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS}}
test_split: test
output_type: generate_until
doc_to_text: PROMPT
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["NEVER"], do_sample: false, max_gen_toks: 48}
metric_list: [{metric: exact_match}]
"""


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    """(task, its YAML, more options) -> the samples of each of its problems, by the words that were asked."""
    lm_eval_harness.python()
    folder = tmp_path_factory.mktemp("harness")

    def run(name, yaml, *more):
        of_rows = lm_eval_harness.samples(MODEL, name, yaml, folder, *more)
        return {s["arguments"]["gen_args_0"]["arg_0"]: s for s in of_rows}

    return run


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return opening.open_model("tiny", tmp_path_factory.mktemp("m"), "r1_zero", "cpu", "float32", 1)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    drawn = [
        {"question": f"What is {a} + {b}?", "choices": [str(a), str(a + b), str(a * b)], "answer": "B",
         "subject": "sums"}
        for a, b in SUMS
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in drawn))
    return file


@pytest.mark.parametrize("shots", [0, 2])
def test_options_have_the_same_log_probabilities(harness, source, rows, tmp_path, shots):
    theirs = harness("aha_choice", CHOICE.replace("ROWS", str(rows)), "--num_fewshot", str(shots))
    (asked,) = read_names(f"choice={rows}")
    protocol = Protocol(1, choice="letters", shots=shots, shots_from=str(rows) if shots else "")
    result = session.run("tiny", source, asked, protocol, tmp_path)
    ours = [json.loads(line) for line in result.file.read_text().splitlines()]
    shared = [row for row in ours if row["question"] in theirs]
    # With examples the harness may show a question itself as its own example, which is never done here.
    assert len(shared) == (len(ours) if not shots else len(ours) - shots)
    for row in shared:
        sample = theirs[row["question"]]
        assert row["logprobs"] == pytest.approx([float(r[0][0]) for r in sample["resps"]], abs=1e-4)
        assert (row["samples"][0]["right"], row["samples"][0]["lenient"]) == (
            sample["acc"],
            sample["acc_norm"],
        )


def test_its_own_table_reads_our_figures(harness, source, rows, tmp_path):
    (asked,) = read_names(f"choice={rows}")
    result = session.run("tiny", source, asked, Protocol(1, choice="letters"), tmp_path)
    (document,) = formats.harness([result])
    (tmp_path / "r.json").write_text(json.dumps(document, allow_nan=False))
    script = (
        "import json,sys;from lm_eval.utils import make_table;print(make_table(json.load(open(sys.argv[1]))))"
    )
    words = [str(lm_eval_harness.python()), "-c", script, str(tmp_path / "r.json")]
    table = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in table.splitlines() if "|acc " in line]
    assert f"{result.figures['acc']:.4f}" in line
    assert "↑" in line


def test_greedy_answers_are_the_same_words(harness, source, tmp_path):
    file = Path(tmp_path / "rows.jsonl")
    file.write_text(
        "".join(json.dumps({"question": f"{a} + {b} = ?", "answer": str(a + b)}) + "\n" for a, b in SUMS)
    )
    prompt = json.dumps(R1_ZERO_TEMPLATE.format(prompt="{{question}}"))
    theirs = harness("aha_words", WORDS.replace("ROWS", str(file)).replace("PROMPT", prompt))
    (asked,) = read_names(f"math={file}")
    result = session.run("tiny", source, asked, Protocol(1, temperature=0.0, max_tokens=48), tmp_path / "e")
    ours = [json.loads(line) for line in result.file.read_text().splitlines()]
    by_question = {s["doc"]["question"]: s["resps"][0][0] for s in theirs.values()}
    assert {row["question"]: row["samples"][0]["text"].strip() for row in ours} == {
        question: text.strip() for question, text in by_question.items()
    }
