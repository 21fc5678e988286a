"""Pretrained models beside lm-evaluation-harness on public rows: the same prompts, the same greedy words and the same
letters, asked here and through `aha serve` (`make test-peers` has the harness in an environment of its own)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import lm_eval_harness
import pytest

from aha.benchmarks import opening, session
from aha.benchmarks.catalogue import read_names
from aha.benchmarks.session import Protocol
from aha.checkpoints import public
from aha.files import write_jsonl

pytestmark = [pytest.mark.peers, pytest.mark.real, pytest.mark.timeout(3600)]
ROWS = Path(__file__).parents[3] / "shared/data"
PROBLEMS, TOKENS = 16, 96
ANSWERED = {
    "gsm8k": ("math/gsm8k_test.jsonl.gz", "boxed"),
    "math": ("math/math_train.jsonl.gz", "boxed"),
    "aime24": ("math/aime24.jsonl", "boxed"),
    "cmath": ("math/cmath.jsonl", "boxed"),
    "ifeval": ("general/ifeval.jsonl", "bare"),
    "humaneval": ("code/humaneval.jsonl", "auto"),
}
WORDS = """\
task: aha_words
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS}}
test_split: test
output_type: generate_until
doc_to_text: "{{prompt}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["NEVER WRITTEN"], do_sample: false, max_gen_toks: TOKENS}
metric_list: [{metric: exact_match}]
"""
LETTERS = """\
task: aha_words
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{prompt}}"
doc_to_choice: ["A", "B", "C", "D"]
doc_to_target: answer
metric_list: [{metric: acc}]
"""


@pytest.fixture(scope="module", params=["smollm2", "qwen"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def checkpoint(name):
    return str(public.checkpoint(name))


@pytest.fixture(scope="module")
def served(name):
    """The address of the model behind ``aha serve``."""
    words = [sys.executable, "-m", "aha", "serve", name, "--port", "0", "--dtype", "float32"]
    server = subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    )
    try:
        assert server.stdout is not None
        line = next(line for line in server.stdout if "Serving" in line)
        yield re.search(r"http://\S+", line)[0] + f"#{name}"
    finally:
        server.kill()


def harness(checkpoint, yaml, rows, folder):
    """The harness' sample of each row."""
    write_jsonl(folder / "asked.jsonl", rows)
    task = yaml.replace("ROWS", str(folder / "asked.jsonl")).replace("TOKENS", str(TOKENS))
    of_rows = {s["doc"]["id"]: s for s in lm_eval_harness.samples(checkpoint, "aha_words", task, folder)}
    return [of_rows[row["id"]] for row in rows]


def asked_of(source, asked):
    """The prompts of the problems, as text."""
    _, problems, _ = session.load_problems(asked, PROBLEMS)
    requests = source.prompter.requests(problems, 1)
    texts = [source.prompter.tokenizer.decode(list(r.prompt_ids)) for r in requests]
    questions = [p.messages[-1]["content"] for p in problems]
    return [{"id": q, "prompt": text, "answer": ""} for q, text in zip(questions, texts, strict=True)]


def rows_of(result):
    return [json.loads(line) for line in result.file.read_text().splitlines()]


@pytest.mark.parametrize("task", ANSWERED)
def test_greedy_words_are_the_same_here_and_behind_an_address(
    task, name, checkpoint, served, tmp_path, capsys
):
    file, prompt = ANSWERED[task]
    if not (ROWS / file).exists():
        pytest.skip("the public rows are not here")
    (asked,) = read_names(f"{task}={ROWS / file}")
    protocol = Protocol(1, temperature=0.0, max_tokens=TOKENS, prompt=prompt, problems=PROBLEMS)
    source = opening.open_model(checkpoint, tmp_path, prompt, "cpu", "float32", 0)
    theirs = harness(checkpoint, WORDS, asked_of(source, asked), tmp_path)
    expected = {s["doc"]["id"]: s["resps"][0][0].strip() for s in theirs}
    far = opening.open_model(served, tmp_path, prompt, "cpu", "float32", 0)
    for place, one in (("here", source), ("served", far)):
        rows = rows_of(session.run(name, one, asked, protocol, tmp_path / place))
        words = {row["question"]: row["samples"][0]["text"].strip() for row in rows}
        same = sum(text == expected[question] for question, text in words.items())
        right = sum(row["samples"][0]["right"] for row in rows)
        with capsys.disabled():
            print(json.dumps([name, task, place, len(rows), {"same": same, "right": right}]))
        assert words == expected


def test_letters_have_the_same_log_probabilities(name, checkpoint, tmp_path, capsys):
    file = ROWS / "general/mmlu_val.jsonl.gz"
    if not file.exists():
        pytest.skip("the public rows are not here")
    (asked,) = read_names(f"mmlu={file}")
    source = opening.open_model(checkpoint, tmp_path, "auto", "cpu", "float32", 0)
    protocol = Protocol(1, choice="letters", problems=PROBLEMS)
    rows = rows_of(session.run(name, source, asked, protocol, tmp_path / "here"))
    shown = [{"id": i, "prompt": row["question"], "answer": 0} for i, row in enumerate(rows)]
    theirs = [[float(r[0][0]) for r in s["resps"]] for s in harness(checkpoint, LETTERS, shown, tmp_path)]
    apart = max(
        abs(a - b)
        for row, b4 in zip(rows, theirs, strict=True)
        for a, b in zip(row["logprobs"], b4, strict=True)
    )
    with capsys.disabled():
        print(json.dumps([name, "mmlu", len(rows), {"apart": apart}]))
    assert apart < 1e-4
