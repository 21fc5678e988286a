"""Layouts of public data sets, a few invented rows each: the gold that is read, a wrong answer graded wrong, a
right one right; and rows that cannot be graded set aside, with the others read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aha import aside
from aha.data.layouts import layout_of, map_row
from aha.tasks import get_task
from aha.types import AhaError, Outcome

REAL = Path(__file__).parents[3] / "shared" / "data" / "math"


def user(text):
    return [{"role": "user", "content": text}]


def verl(truth, **extra):
    return {
        "prompt": user("Add 30 and 42."),
        "reward_model": {"ground_truth": truth, "style": "rule"},
        **extra,
    }


DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer to the problem.\n\nAdd 30\nand 42.\n\nRemember to put your "
    'answer on its own line after "Answer:".'
)
# layout -> (row, golds, wrong, right, level, domain, language)
CASES = {
    "gsm8k": (
        {"question": "Ann has 30 pens and buys 42.", "answer": "30+42=<<30+42=72>>72\n#### 72"},
        ("72",), "71", "72.0", None, "", "en",
    ),
    "math": (
        {"problem": "Find $x$.", "level": "Level 5", "type": "Algebra", "solution": "So $x=\\boxed{\\frac12}$."},
        ("So $x=\\boxed{\\frac12}$.",), "2", "0.5", "Level 5", "Algebra", "en",
    ),
    "deepscaler": (
        verl("(3,4)", data_source="deepscaler", extra_info={"difficulty": 81.5, "index": 0}),
        ("(3,4)",), "12", "(3, 4)", 81.5, "deepscaler", "en",
    ),
    "dapo-math": (
        verl("72", data_source="math_dapo", ability="MATH", extra_info={"index": "a1"}) | {"prompt": user(DAPO)},
        ("72",), "42", "72", None, "math_dapo", "en",
    ),
    "skywork-or1": (
        verl('["72"]', data_source="train-math-numina", extra_info={"index": 1, "model_difficulty": {"a": 3}}),
        ("72",), "[72, 1]", "72", None, "train-math-numina", "en",
    ),
    "verl": (
        verl(["1/2", "0.5 m"], data_source="openai/gsm8k", extra_info={"split": "train", "answer": "x"}),
        ("1/2", "0.5 m"), "2", "\\frac{1}{2}", None, "openai/gsm8k", "en",
    ),
    "orz": (
        {"0": {"from": "human", "value": "Add 30 and 42."},
         "1": {"from": "assistant", "ground_truth": {"value": "72"}}},
        ("72",), "73", "72", None, "", "en",
    ),
    "big-math": (
        {"problem": "Add.", "answer": "72", "source": "orca_math", "domain": ["Arithmetic"],
         "llama8b_solve_rate": 0.25},
        ("72",), "73", "72", 0.75, "Arithmetic", "en",
    ),
    "deepmath": (
        {"question": "Integrate.", "final_answer": "\\dfrac{\\pi}{4}", "difficulty": 6.5, "topic": "Calculus",
         "r1_solution_1": "...", "r1_solution_2": "..."},
        ("\\dfrac{\\pi}{4}",), "\\pi", "\\frac{\\pi}{4}", 6.5, "Calculus", "en",
    ),
    "open-r1-math": (
        {"problem": "Add.", "solution": "30+42 is seventy-two.", "answer": "72", "problem_type": "Algebra",
         "generations": ["<think>..</think>72"], "correctness_math_verify": [True], "source": "olympiads"},
        ("72",), "73", "72", None, "Algebra", "en",
    ),
    "numina-1.5": (
        {"problem": "Add.", "solution": "It is so.", "answer": "72", "problem_is_valid": "Yes", "source": "aops_forum",
         "problem_type": "Number Theory"},
        ("72",), "73", "72", None, "Number Theory", "en",
    ),
    "numina": (
        {"problem": "Add.", "solution": "It is $\\boxed{72}$.", "source": "cn_k12",
         "messages": [*user("Add."), {"role": "assistant", "content": "It is $\\boxed{72}$."}]},
        ("It is $\\boxed{72}$.",), "73", "72", None, "cn_k12", "en",
    ),
    "s1k": (
        {"question": "Add.", "solution": "128", "cot_type": "math", "source_type": "AI-MO", "attempt": "So 128.",
         "thinking_trajectories": ["First ..."], "metadata": "None"},
        ("128",), "127", "128", None, "math", "en",
    ),
    "limo": (
        {"question": "Add.", "solution": "Let me add. **Final Answer** \\boxed{4}", "answer": "4"},
        ("4",), "5", "4", None, "", "en",
    ),
    "mgsm": (
        {"question": "アンは三十本のペンを持っています。さらに四十二本買いました。",
         "answer": None, "answer_number": 72, "equation_solution": None},
        ("72",), "71", "72", None, "", "ja",
    ),
    "cmath": (
        {"question": "小明有三个苹果，又买了五个，一共几个？", "golden": "8", "grade": 1, "reasoning_step": 1},
        ("8",), "7", "8", 1, "", "zh",
    ),
    "reasoning-gym": (
        {"question": "What is 3 + 4?", "answer": "7", "metadata": {"source_dataset": "chain_sum", "source_index": 1}},
        ("7",), "8", "7", None, "chain_sum", "en",
    ),
    "open-r1-problem": (
        {"problem": "Add.", "answer": 27.0, "url": "u", "id": 1}, ("27",), "28", "27", None, "", "en",
    ),
    "question-answer": (
        {"question": "计算三十加四十二的和是多少", "answer": ["72", "七十二"]},
        ("72", "七十二"), "73", "72", None, "", "zh",
    ),
}  # fmt: skip


def put(folder, rows, name="rows.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", list(CASES))
def test_layouts_are_read_and_graded(tmp_path, name):
    row, golds, wrong, right, level, domain, language = CASES[name]
    assert layout_of(row).name == name
    assert map_row(row, 1).answers == golds
    task = get_task("math", put(tmp_path, [row]))
    [problem] = task.load("all", 10, 0)
    assert task.verify(problem, f"<think>so</think> \\boxed{{{wrong}}}").outcome is Outcome.WRONG
    for answer in (right, *(gold for gold in golds if "boxed" not in gold)):
        assert task.verify(problem, f"<think>so</think> \\boxed{{{answer}}}").outcome is Outcome.CORRECT
    assert (problem.metadata.get("level"), problem.metadata["domain"]) == (level, domain)
    assert problem.language == language


def test_what_stands_around_a_question_for_another_grader_is_left_away():
    assert map_row(CASES["dapo-math"][0], 1).question == "Add 30\nand 42."


def test_system_messages_of_a_prompt_are_kept():
    told = {"role": "system", "content": "Be brief."}
    row = verl("72") | {"prompt": [told, *user("Add.")]}
    assert map_row(row, 1).messages == (told, *user("Add."))
    assert map_row({"question": "q", "answer": "1", "system": "Be brief."}, 1).messages[0] == told


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("x\n#### (3, 4)", "(3, 4)"), ("x\n#### 3, 5", "3, 5"), ("x\n#### \\{1,2\\}", "\\{1,2\\}"),
        ("x\n#### 110\nThe answer is: 110", "110"), ("x\n#### 1,234", "1234"), ("#### -12,345.5", "-12345.5"),
        ("12,345,678", "12345678"), ("1,23", "1,23"), ("[1,2]", "[1,2]"), ("['3', '4']", "3"), ('["a\\\\b"]', "a\\b"),
        (7, "7"), (7.0, "7"), (0.25, "0.25"), (1e22, "10000000000000000000000"), (True, "True"),
    ],
)  # fmt: skip
def test_golds_are_read_as_they_are_meant(answer, gold):
    assert map_row({"question": "q", "answer": answer}, 1).answer == gold


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"answer": None, "solution": "We add and get 12."},
            "its answer is null. its solution states no answer",
        ),
        ({"answer": float("nan")}, "its answer is null"),
        ({"answer": float("nan"), "solution": "We add and get 12."}, "states no answer"),
        ({"answer": float("inf")}, "its answer is inf"),
        ({"answer": {"target": 5}}, "an object with the keys target"),
        ({"answer": [["1"], ["2"]]}, "holds lists"),
        ({"answer": []}, "its list of answers is empty"),
        ({"answer": [None]}, "null"),
        ({"answer": ""}, "its answer is empty"),
        ({"answer": "nan"}, "its answer is 'nan'"),
        ({"answer": "proof"}, "its answer is 'proof'"),
        ({"answer": "First " + "we add and add " * 30}, "states no answer"),
        ({"reward_model": {"ground_truth": {"target": 98, "numbers": [1, 2]}}}, "target, numbers"),
    ],
)
def test_what_is_no_answer_is_set_aside_with_its_reason(tmp_path, row, words):
    good = [{"question": f"What is {i} + 1?", "answer": i + 1} for i in range(30)]
    source = put(tmp_path, [*good, {"question": "q", **row}])
    said = []
    with aside.settings(folder=tmp_path / "run", say=said.append):
        assert len(get_task("math", source).load("all", 100, 0)) == 30
    [line] = [text for text in said if "set aside" in text]
    assert "1 of 31 rows set aside" in line
    [file] = (tmp_path / "run" / "set_aside").glob("*.jsonl")
    parsed = json.loads(file.read_text())
    assert parsed["where"] == "line 31"
    assert words in parsed["reason"]


def test_a_solution_that_is_an_answer_is_one():
    assert map_row({"prompt": "q", "solution": "34"}, 1).answer == "34"
    assert (
        map_row({"problem": "q", "answer": None, "solution": "so \\boxed{12}"}, 1).answer == "so \\boxed{12}"
    )


def test_above_a_share_it_stops_and_the_share_can_be_set(tmp_path):
    rows = [{"question": f"q {i}", "answer": None if i < 3 else i} for i in range(20)]
    task = get_task("math", put(tmp_path, rows))
    with pytest.raises(AhaError, match=r"3 of 20 rows cannot be used .*line 1: .*aha data check"):
        task.load("all", 100, 0)
    with aside.settings(share=0.2, say=lambda text: None):
        assert len(task.load("all", 100, 0)) == 17
    assert [aside.allowed(n, 0.05) for n in (1, 2, 12, 100, 7500)] == [0, 1, 1, 5, 375]


def test_one_bad_row_never_refuses_a_small_file(tmp_path):
    rows = [{"question": "q", "answer": None}, {"question": "r", "answer": "2"}]
    assert [p.answer for p in get_task("math", put(tmp_path, rows)).load("all", 9, 0)] == ["2"]


def test_golds_that_their_own_grader_refuses_are_set_aside(tmp_path):
    rows = [{"question": "q", "answer": "\\frac{1}{2"}, {"question": "r", "answer": "2"}]
    [problem] = get_task("math", put(tmp_path, rows)).load("all", 9, 0)
    assert problem.answer == "2"


def test_options_are_proven_too(tmp_path):
    good = {"question": "q", "choices": ["one", "two", "three"], "answer": 1}
    rows = [good | {"question": f"q{i}"} for i in range(40)]
    rows += [good | {"answer": 7}, good | {"choices": ["one", "one", "two"]}]
    problems = get_task("choice", put(tmp_path, rows)).load("all", 100, 0)
    assert len(problems) == 40
    assert {p.answer for p in problems} == {"B"}


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data sets are not beside this checkout")
@pytest.mark.parametrize(
    ("file", "rows", "least", "language"),
    [
        ("math_train.jsonl.gz", 7500, 7480, "en"), ("aime24.jsonl", 30, 30, "en"), ("amc23.jsonl", 40, 40, "en"),
        ("cmath.jsonl", 600, 598, "zh"), ("gsm8k_test.jsonl.gz", 1319, 1319, "en"),
    ],
)  # fmt: skip
def test_real_files_are_proven(file, rows, least, language):
    problems = get_task("math", str(REAL / file)).load("all", 10_000, 0)
    assert least <= len(problems) <= rows
    assert {p.language for p in problems} == {language}
