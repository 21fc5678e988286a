"""Rows from files: schemas, bad rows, held-out questions."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from aha.data.layouts import map_row
from aha.tasks import get_task
from aha.types import AhaError, Outcome

REAL = Path(__file__).parents[3] / "shared" / "data" / "math"


def write(path, rows):
    text = "".join(json.dumps(r) + "\n" for r in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return str(path)


ROWS = [
    {"question": f"What is {i} + {i}?", "answer": f"It is {i}+{i}=<<{i}+{i}={2 * i}>>\n#### {2 * i}"}
    for i in range(200)
]


@pytest.mark.parametrize(
    ("row", "question", "answer"),
    [
        ({"question": "q", "answer": "so\n#### 1,234"}, "q", "1234"),
        ({"problem": "q", "solution": "\\boxed{7}", "answer": "7"}, "q", "7"),
        ({"prompt": [{"role": "user", "content": "q"}], "reward_model": {"ground_truth": "5"}}, "q", "5"),
        (
            {
                "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
                "answer": 3.5,
            },
            "q",
            "3.5",
        ),
        ({"question": "q", "answer": ["1/2", "0.5"]}, "q", "1/2"),
    ],
)
def test_schemas(row, question, answer):
    mapped = map_row(row, 1)
    assert (mapped.question, mapped.answer) == (question, answer)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_splits_of_a_file_are_disjoint(tmp_path, name):
    task = get_task("gsm8k", write(tmp_path / name, ROWS))
    outcomes = {
        s: {p.messages[0]["content"] for p in task.load(s, 1000, 0)} for s in ("train", "validation", "test")
    }
    assert sum(map(len, outcomes.values())) == 200
    assert not outcomes["train"] & outcomes["test"]
    assert not outcomes["train"] & outcomes["validation"]


def test_grading_in_box_and_in_tags(tmp_path):
    task = get_task("gsm8k", write(tmp_path / "rows.jsonl", ROWS))
    p = task.load("train", 1, 0)[0]
    right = str(p.answer)
    for text in (
        f"<think>hm</think> <answer>{right}</answer>",
        f"<think>hm</think> It is \\boxed{{{right}}}.",
    ):
        assert task.verify(p, text).outcome is Outcome.CORRECT
    assert task.verify(p, f"<think>hm</think> <answer>{right}1</answer>").outcome is Outcome.WRONG
    assert task.verify(p, f"<think>{right}").outcome is Outcome.NO_ANSWER
    assert task.verify_lenient(p, f"so it is {right}").outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"question": "q", "answer": "1"}\n{"question": \n{"question"', "line 2: not valid JSON"),
        ('{"question": "q", "answer": "1"}\n[1]\n7\n', "line 2: a JSON object was expected"),
        ('{"question": "q"}\n', "line 1: has no answer: its columns are ['question']"),
        ("", "has no rows"),
    ],
)
def test_bad_rows_are_named(tmp_path, content, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(AhaError) as error:
        get_task("math", str(path)).load("train", 10, 0)
    assert message in str(error.value)


def test_missing_file_and_missing_data():
    with pytest.raises(AhaError, match=r"No data file './none.jsonl'"):
        get_task("math", "./none.jsonl").load("train", 1, 0)
    with pytest.raises(AhaError, match="reads your questions"):
        get_task("math")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data sets are not beside this checkout")
def test_real_gsm8k_reads_whole_and_grades_itself():
    task = get_task("gsm8k", str(REAL / "gsm8k_train.jsonl.gz"), str(REAL / "gsm8k_test.jsonl.gz"))
    problems = task.load("test", 10_000, 0)
    assert len(problems) == 1319
    assert all(task.verify(p, f"\\boxed{{{p.answer}}}").outcome is Outcome.CORRECT for p in problems)


def test_rows_of_two_files_have_ids_of_their_own_and_are_asked_what_they_say(tmp_path):
    """Both files number their rows from 1: a prompter that saw the one's row 3 asks the other's row 3 its own."""
    from aha import modeling
    from aha.sampling.rollouts import Prompter

    other = [{"question": f"What is {i} times 3?", "answer": str(3 * i)} for i in range(40)]
    task = get_task("gsm8k", write(tmp_path / "a.jsonl", ROWS[:40]), write(tmp_path / "b.jsonl", other))
    train, test = task.load("train", 99, 0), task.load("test", 99, 0)
    assert not {p.id for p in train} & {p.id for p in test}
    tokenizer = modeling.load_tokenizer("tiny")
    for prompt in ("r1_zero", "boxed"):
        prompter = Prompter(tokenizer, prompt)
        for problem in [*train, *test]:
            asked = tokenizer.decode(prompter.encode(problem)[0])
            assert problem.messages[0]["content"] in asked


def test_a_prompter_does_not_trust_ids():
    """Problems of a task from outside may all have one id."""
    from aha import modeling
    from aha.sampling.rollouts import Prompter
    from aha.types import Problem

    prompter = Prompter(modeling.load_tokenizer("tiny"), "r1_zero")
    same = [Problem("id", "own", ({"role": "user", "content": text},), "1") for text in ("one?", "two?")]
    assert prompter.encode(same[0]) != prompter.encode(same[1])


@pytest.mark.parametrize(
    "text",
    [
        "<think>\nTwo and two.\n<answer>4</answer>",  # the thinking never ends
        "<think>So it is \\boxed{4}.</think>",  # nothing follows it
        "<think>It makes 4</think>\n",
        "4 apples",
    ],
)
def test_lenient_takes_an_answer_wherever_it_stands(tmp_path, text):
    task = get_task("gsm8k", write(tmp_path / "a.jsonl", [{"question": "2 + 2?", "answer": "4"}] * 30))
    (problem,) = task.load("all", 1, 0)
    assert task.verify_lenient(problem, text).outcome is Outcome.CORRECT
    assert task.verify_lenient(problem, text.replace("4", "5")).outcome is not Outcome.CORRECT
