"""Multiple choice: schemas, answers in every form, real rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.tasks import choice, get_task, rows
from aha.types import AhaError, Outcome

REAL = Path(__file__).parents[3] / "shared" / "data" / "general"
OPTIONS = ("a dog", "a cat", "both", "12")
ROW = {"question": "Which?", "choices": list(OPTIONS), "answer": 1}


@pytest.mark.parametrize(
    "row",
    [
        ROW,
        {"question": "Which?", "A": "a dog", "B": "a cat", "C": "both", "D": "12", "answer": "B"},
        {"question": "Which?", "choices": {"text": list(OPTIONS), "label": list("ABCD")}, "answerKey": "B"},
        {"question": "Which?", "choices": {"text": list(OPTIONS), "label": list("1234")}, "answerKey": "2"},
        {"question": "Which?", "options": [f"{c}. {o}" for c, o in zip("ABCD", OPTIONS, strict=True)], "answer": "b"},
        {"question": "Which?", "options": dict(zip("ABCD", OPTIONS, strict=True)), "answer": "B"},
        {"question": "Which?", "choices": list(OPTIONS), "answer": "a cat"},
        {"problem": "Which?", "options": list(OPTIONS), "answer_index": 1},
    ],
)  # fmt: skip
def test_schemas(row):
    p = choice.make_problem(row, 1)
    assert p.answer == "B"
    assert p.metadata["options"] == OPTIONS
    assert "Which?\nA. a dog\nB. a cat\nC. both\nD. 12\n" in p.messages[0]["content"]


def test_gpqa_rows_are_shuffled_by_their_question():
    row = {"Question": "Q?", "Correct Answer": "right"} | {
        f"Incorrect Answer {i}": f"wrong {i}" for i in (1, 2, 3)
    }
    problems = [choice.make_problem({**row, "Question": f"Q{i}?"}, i) for i in range(40)]
    assert all(p.metadata["options"]["ABCD".index(p.answer)] == "right" for p in problems)
    assert {p.answer for p in problems} == set("ABCD")
    assert problems[0].answer == choice.make_problem({**row, "Question": "Q0?"}, 99).answer


@pytest.mark.parametrize(
    ("stated", "letter"),
    [
        ("B", "B"), ("b", "B"), ("(B)", "B"), ("B.", "B"), ("[B]", "B"), ("**B**", "B"), ("\\text{B}", "B"),
        ("B. a cat", "B"), ("B) a cat", "B"), ("B: a cat", "B"), ("a cat", "B"), ("A cat.", "B"), ("12", "D"),
        ("the answer is B", "B"), ("option (C)", "C"), ("答案是B", "B"), ("选B", "B"), ("Answer: D", "D"),
        ("E", None), ("a mouse", None), ("", None), ("A or B", None), ("cat", None),
    ],
)  # fmt: skip
def test_letters_are_read_in_every_form(stated, letter):
    assert choice.read_choice(stated, OPTIONS) == letter


def test_an_option_that_is_a_letter_is_read_as_a_letter():
    assert choice.read_choice("B", ("B", "A", "C", "D")) == "B"


def test_grading():
    p = choice.make_problem(ROW, 1)
    tagged = ("<think>x</think> <answer>B</answer>", "<answer>\\boxed{B}</answer>")
    for text in (*tagged, "So \\boxed{B}", "\\boxed{\\text{(B) a cat}}"):
        assert choice.verify(p, text).outcome is Outcome.CORRECT, text
    assert choice.verify(p, "<answer>C</answer>").outcome is Outcome.WRONG
    assert choice.verify(p, "<answer>dunno</answer>").outcome is Outcome.WRONG
    assert choice.verify(p, "The answer is B.").outcome is Outcome.NO_ANSWER
    assert choice.verify_lenient(p, "The answer is B.").outcome is Outcome.CORRECT
    assert choice.verify_lenient(p, "A is wrong. So I pick B").outcome is Outcome.CORRECT
    assert choice.verify_lenient(p, "no idea").outcome is Outcome.NO_ANSWER
    assert choice.vote(p, "<answer>(b)</answer>") == choice.vote(p, "\\boxed{a cat}") == "B"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "q"}, "no options"),
        ({"choices": ["a", "b"], "answer": 0}, "no question"),
        ({"question": "q", "choices": ["a", "b"], "answer": 5}, "no options with a right one"),
        ({"question": "q", "choices": ["a"], "answer": 0}, "has 1 options"),
    ],
)
def test_bad_rows_are_named(row, message):
    with pytest.raises(AhaError, match="Row 3") as error:
        choice.make_problem(row, 3)
    assert message in str(error.value)


def test_the_task_needs_data(tmp_path):
    with pytest.raises(AhaError, match="questions with options"):
        get_task("choice")
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({**ROW, "question": f"Q{i}?"}) + "\n" for i in range(100)), encoding="utf-8"
    )
    task = get_task("choice", str(path))
    contents = [
        {p.metadata["content"] for p in task.load(s, 100, 0)} for s in ("train", "validation", "test")
    ]
    assert sum(map(len, contents)) == 100 == len(set().union(*contents))


def test_a_chinese_question_is_asked_in_chinese():
    p = choice.make_problem({"question": "下面哪个是猫？", "choices": ["狗", "猫"], "answer": 1}, 1)
    assert p.language == "zh"
    assert "字母" in p.messages[0]["content"]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data sets are not beside this checkout")
def test_real_mmlu_reads_whole_and_grades_itself():
    problems = rows.read(str(REAL / "mmlu_dev.jsonl"), choice.READER, "choice").problems
    assert len(problems) == 285
    problems = problems + rows.read(str(REAL / "mmlu_val.jsonl.gz"), choice.READER, "choice").problems
    assert len(problems) >= 285 + 1528
    for p in problems:
        assert choice.verify(p, f"\\boxed{{{p.answer}}}").outcome is Outcome.CORRECT
        wrong = "ABCD"[("ABCD".index(p.answer) + 1) % 4]
        assert choice.verify(p, f"<answer>{wrong}</answer>").outcome is Outcome.WRONG


@given(st.text(max_size=120))
def test_reading_never_raises(text):
    assert choice.read_choice(text, OPTIONS) in (None, *"ABCD")


def test_ten_options_with_their_letter_and_index():
    """MMLU-Pro's columns: ten options, a letter and an index that agree, and notes beside them."""
    options = [f"{i} m" for i in range(10)]
    row = {"question_id": 7, "question": "How long is it?", "options": options, "answer": "I", "answer_index": 8,
           "cot_content": "", "category": "physics", "src": "made"}  # fmt: skip
    p = choice.make_problem(row, 1)
    assert (p.answer, len(p.metadata["options"])) == ("I", 10)
    assert choice.verify(p, "\\boxed{I}").outcome is Outcome.CORRECT
    assert choice.verify(p, "\\boxed{J}").outcome is Outcome.WRONG
    with pytest.raises(AhaError):
        choice.make_problem({**row, "answer_index": 3}, 1)


def test_chinese_options_in_columns():
    """C-Eval's columns: four options, a letter, and an explanation that may be empty."""
    row = {
        "id": 0,
        "question": "下列哪一个是素数？",
        "A": "四",
        "B": "六",
        "C": "七",
        "D": "九",
        "answer": "C",
        "explanation": "",
    }
    p = choice.make_problem(row, 1)
    assert (p.answer, p.language) == ("C", "zh")
    assert choice.verify(p, "\\boxed{C}").outcome is Outcome.CORRECT
    assert choice.verify(p, "\\boxed{七}").outcome is Outcome.CORRECT
    assert choice.verify(p, "\\boxed{A}").outcome is Outcome.WRONG


def test_cluewsc_is_asked_as_yes_or_no(tmp_path):
    text = "裂开的伤口涂满尘土。人会帮助他们从疼痛中解脱。他们用力气去遮蔽它们。"
    target = {"span1_index": 3, "span1_text": "伤口", "span2_index": 31, "span2_text": "它们"}
    swapped = {"span1_text": "它们", "span2_text": "伤口"}
    written = [
        {"text": text, "target": target, "label": "false"},
        {"text": text, "target": target, "label": 0},
        {"text": text + "。", "target": swapped, "label": "true"},
        {"text": text, "target": target, "label": -1},
    ]
    file = tmp_path / "wsc.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in written))
    problems = rows.read(str(file), choice.READER, "choice")
    assert [p.answer for p in problems.problems] == ["B", "A", "A"]
    asked = problems.problems[2].messages[-1]["content"]
    assert "“它们”指的是“伤口”吗" in asked
    assert "A. 是\nB. 不是" in asked
    assert "hidden test" in problems.aside[0].reason
    task = get_task("choice", str(file))
    right = [task.verify(p, "\\boxed{A}").outcome for p in problems.problems]
    assert right == [Outcome.WRONG, Outcome.CORRECT, Outcome.CORRECT]
