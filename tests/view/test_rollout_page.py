"""One rollout: what is marked in it, why it was paid, and a grader's mistake that goes into a file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from served import HOSTILE, client, make_run, say, write_lines

from aha import chat
from aha.cli import main
from aha.rewards import get_rewards
from aha.rewards.reflection import count_reflections, find_reflections
from aha.sampling.rollouts import score_group
from aha.stages.evaluation.evaluate import rollout_rows
from aha.tasks import countdown, get_task, math_word
from aha.types import Finish, Problem, Rollout, TestCase
from aha.view import chain, notes, rollouts
from aha.view.index.asked import RolloutQuery
from aha.view.why.path import explain, opened


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def rollout(text, tokens=12):
    zeros = np.zeros(tokens, np.int64)
    return Rollout(zeros, zeros, np.full(tokens, -0.5, np.float32), text, Finish.STOP)


def graded_run(folder, problem, texts, task, weights, place="tags"):
    """A run with one group, graded and written by the very functions that training uses."""
    from dataclasses import replace

    problem = replace(problem, metadata={**problem.metadata, chat.PLACE: place})
    rewards = get_rewards(weights, task.verify, task.verify_lenient)
    group = score_group(problem, [rollout(text) for text in texts], rewards)
    write_lines(
        folder / "rl" / "rollouts" / "step_00001.jsonl", rollout_rows(1, [group], [np.zeros(len(texts))])
    )
    settings = {"name": "rl", "task": task.name, "rewards": weights, "seed": 0, "train_problems": 8}
    (folder / "config.json").write_text(json.dumps({"recipe": "r1_zero", "stages": {"rl": settings}}))
    (folder / "rl" / "final").mkdir(parents=True)
    (folder / "rl" / "final" / "aha.json").write_text(json.dumps({"prompt": "x", "place": place}))
    return group


def why(folder, member):
    answer = say(client(folder.parent), "why", {"run": folder.name, "id": member + 1})
    assert answer.status_code == 200, answer.text
    return answer.json()


WEIGHTS = {"accuracy": 1.0, "format": 0.2, "lenient": 0.1, "language": 0.1, "kimi_length": 0.5}
COUNTDOWN = [
    "<think>8*10=80</think> <answer>(16-8)*10</answer>", "<think>?</think> <answer>8+10+16</answer>", "so (16-8)*10",
    "<think>等等。wait</think> <answer>8*10</answer>", "<think>never closed <answer>(16-8)*10</answer>",
]  # fmt: skip


def test_what_is_said_now_is_what_was_paid_in_training(tmp_path):
    problem = countdown.make_problem([8, 10, 16], 80, countdown.TINY)
    task = get_task("countdown")
    group = graded_run(tmp_path / "a", problem, COUNTDOWN, task, WEIGHTS)
    for at, (member, text) in enumerate(zip(group.members, COUNTDOWN, strict=True)):
        explained = why(tmp_path / "a", at)
        assert explained["faults"] == []
        assert [line["name"] for line in explained["rewards"]] == list(WEIGHTS)
        for line in explained["rewards"]:
            assert line["same"] is True
            assert line["now"] == member.scores[line["name"]].value
        assert explained["verdict"]["outcome"] == str(task.verify(problem, text).outcome)
    assert dict(why(tmp_path / "a", 0)["steps"])["Extracted"] == "(16-8)*10"
    assert why(tmp_path / "a", 2)["lenient"]["outcome"] == "correct"
    assert "never closed" in dict(why(tmp_path / "a", 4)["steps"])["Thinking"]


def test_a_score_that_is_another_one_now_is_shown_beside_what_was_paid(tmp_path):
    problem = countdown.make_problem([8, 10, 16], 80, countdown.TINY)
    graded_run(tmp_path / "a", problem, COUNTDOWN, get_task("countdown"), {"accuracy": 1.0})
    file = tmp_path / "a" / "rl" / "rollouts" / "step_00001.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["scores"]["accuracy"] = {"value": 0.0, "note": "an older grader"}
    write_lines(file, rows)
    line = why(tmp_path / "a", 0)["rewards"][0]
    assert (line["stored"], line["stored_note"], line["now"], line["same"]) == (
        0.0,
        "an older grader",
        1.0,
        False,
    )


def test_the_math_verifiers_path_is_shown(tmp_path):
    row = {"question": "A half and a quarter?", "answer": "3/4"}
    problem = math_word.make_problem(row, 1)
    texts = [
        r"<think>.</think> <answer>\boxed{0.75}</answer>",
        "<think>.</think> <answer>0.8</answer>",
        "0.75",
    ]
    graded_run(tmp_path / "m", problem, texts, get_task("math", data="none.jsonl"), {"accuracy": 1.0})
    first = why(tmp_path / "m", 0)
    steps = dict(first["steps"])
    assert steps["Extracted"] == "0.75"
    assert "3/4" in steps["Reference"]
    assert steps["Read as"] != steps["Reference read as"] != ""
    assert first["verdict"]["outcome"] == "correct"
    assert why(tmp_path / "m", 1)["verdict"]["outcome"] == "wrong"
    assert why(tmp_path / "m", 2)["verdict"]["outcome"] == "no_answer"


def test_a_failing_test_is_shown_with_what_the_program_did(tmp_path):
    tests = (
        TestCase("function", [3], 9, "square"), TestCase("function", [-2], 4, "square"),
        TestCase("stdio", "5\n", "25\n"), TestCase("asserts", "assert square(1) == 2", None, "square"),
    )  # fmt: skip
    question = {"role": "user", "content": "Write square(x)."}
    problem = Problem("code-1", "code", (question,), tests)
    program = (
        "def square(x):\n    print(x)\n    return x * abs(x)\nif __name__ == '__main__':\n    print('hm')"
    )
    texts = [
        f"<think>.</think> <answer>\n```python\n{program}\n```\n</answer>",
        "<think>.</think> no program",
    ]
    graded_run(tmp_path / "c", problem, texts, get_task("code"), {"accuracy": 1.0, "code": 1.0})
    explained = why(tmp_path / "c", 0)
    assert explained["program"].strip() == program
    assert [test["passed"] for test in explained["tests"]] == [True, False, False, False]
    assert explained["tests"][1]["input"] == "[-2]"
    assert "-4" in explained["tests"][1]["output"]
    assert "hm" in explained["tests"][2]["output"]
    assert "AssertionError" in explained["tests"][3]["output"]
    assert [line["same"] for line in explained["rewards"]] == [True, True]
    assert explained["rewards"][1]["now"] == pytest.approx(0.25)  # one of four
    assert why(tmp_path / "c", 1)["tests"] == []


def test_code_that_a_run_names_is_never_run(tmp_path):
    trap = tmp_path / "own.py"
    trap.write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\n\ndef reward(text):\n    return 1.0\ntask = reward\n"
    )
    row = {
        "text": "x",
        "question": "q",
        "problem_id": "p",
        "scores": {f"{trap}:reward": {"value": 1.0, "note": ""}},
    }
    problem = {"task": "countdown", "question": "q", "answer": "1"}
    for settings in ({"task": f"{trap}:task"}, {"task": "countdown", "rewards": {f"{trap}:reward": 1.0}}):
        explain([row], 0, problem, tmp_path, settings)
        explain([row], 0, problem | {"task": settings["task"]}, tmp_path, settings)
    logic = {"task": "logic", "question": "q", "answer": "A is a knight"}
    for mixture in (f"{trap}:task:0.5,logic:0.5", "logic:0.5,gsm8k:0.5", "logic:0.5,math=rows.jsonl:0.5"):
        explained = explain([row], 0, logic, tmp_path, {"task": mixture, "train_problems": 8, "seed": 0})
        assert "not among those" in explained["faults"][0]  # nothing is loaded or fetched for it
    asked = countdown.make_problem([8, 10, 16], 80, countdown.TINY)
    weights = {"accuracy": 1.0}
    graded_run(tmp_path / "a", asked, COUNTDOWN, get_task("countdown"), weights)
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    config["stages"]["rl"]["rewards"] = {f"{trap}:reward": 1.0, "accuracy": 1.0}
    (tmp_path / "a" / "config.json").write_text(json.dumps(config))
    lines = why(tmp_path / "a", 0)["rewards"]
    assert "not run here" in lines[0]["note"]
    assert lines[1]["same"] is True
    assert not (tmp_path / "ran").exists()


# --- what is marked ---


def test_reflections_and_switches_are_marked_and_the_text_stays_whole():
    text = "<think>Let me see. Wait, 等等，再试一次 now. x = y + 1; ABC. Awaiting\n这个不对。</think>"
    text += " <answer>5</answer>"
    parts = chain.parts(text, "en")
    assert "".join(run for part in parts for run, _ in part["runs"]) == text
    marks = [(run, mark) for part in parts for run, mark in part["runs"] if mark]
    assert marks == [
        ("Wait", "reflection"), ("等等", "reflection"), ("再试", "reflection"), ("一次", "switch"), ("这个", "switch"),
        ("不对", "reflection"),
    ]  # fmt: skip
    assert [part["kind"] for part in parts] == ["tag", "think", "tag", "plain", "tag", "answer", "tag"]
    chinese = [m for p in chain.parts("我们 think about it 再看", "zh") for m in p["runs"] if m[1]]
    assert chinese == [["think about it", "switch"]]


def test_reflections_are_found_where_they_are_counted():
    text = "Wait, but awaiting CHECK. 等等 不对 wait"
    reflections = [text[start:end].lower() for start, end, _ in find_reflections(text)]
    assert reflections == [word for _, _, word in find_reflections(text)]
    assert {word: reflections.count(word) for word in reflections} == count_reflections(text)


def test_tokens_are_coloured_where_a_run_wrote_them():
    row = {"token_texts": ["a", "b"], "logprobs": [-0.1, -2.0], "policy_logprobs": [-0.2, None]}
    assert chain.pieces(row) == [["a", -0.1, -0.2, None], ["b", -2.0, None, None]]
    assert chain.pieces({"token_texts": ["a"], "logprobs": [1, 2]}) == []
    assert chain.pieces({}) == []


def test_a_prompt_that_opened_the_thinking_is_seen_by_the_end_of_it():
    assert opened("so.</think> <answer>1</answer>")
    assert not opened("<think>so.</think>")
    assert not opened("no tags")


def test_a_group_without_signal_says_why():
    members = [
        {
            "reward": 0.0,
            "finish": "length",
            "scores": {"accuracy": {"value": 0.0, "note": "equals 5, not 80"}},
        },
        {"reward": 0.0, "finish": "stop", "scores": {"accuracy": {"value": 0.0, "note": "equals 7, not 80"}}},
    ]
    said = rollouts.signal(members)
    assert not said["has"]
    assert said["words"] == (
        "No signal: all 2 graded members were paid 0. 2 x accuracy: equals N, not N; 1 cut at the length limit."
    )
    assert rollouts.signal([{"reward": None}])["words"] == "No signal: no member could be graded."
    assert rollouts.signal([*members, {"reward": 1.0}])["has"]


@pytest.mark.parametrize("text", ["wait", '"不对 wait"', "abs* -x"])
def test_an_excerpt_shows_the_hit_and_loses_nothing_around_it(text):
    whole = "x " * 300 + "Absent. 不对, WAIT for it " + "y " * 300
    pieces = rollouts.excerpt(whole, RolloutQuery(text=text))
    assert [mark for _, mark in pieces] == ["", "hit", ""]
    assert "".join(piece for piece, _ in pieces).strip(".") in whole


# --- the page of one, and mistakes ---


def test_a_rollout_comes_with_its_group_and_hostile_text_stays_text(tmp_path):
    run = make_run(tmp_path / "zero")
    browser = client(tmp_path)
    row = {"text": HOSTILE, "problem_id": "p", "member": 0, "step": 9, "question": HOSTILE, "finish": HOSTILE}
    write_lines(run / "rl" / "rollouts" / "step_00009.jsonl", [row, {**row, "member": 1, "reward": 1.0}])
    line = browser.get("/api/rollouts", params={"run": "zero", "step_from": 9}).json()["rows"][0]
    answer = browser.get("/api/rollout", params={"run": "zero", "id": line["id"]}).json()
    assert [member["member"] for member in answer["members"]] == [0, 1]
    assert answer["members"][0]["question"] == HOSTILE  # JSON: the page makes text of it, never markup
    assert "\x1b" not in answer["members"][0]["text"]
    assert browser.get("/api/rollout", params={"run": "zero", "id": 10**9}).status_code == 400
    assert browser.get("/api/rollout", params={"run": "zero", "id": "1 OR 1"}).status_code == 400
    groups = browser.get(
        "/api/groups", params={"run": "zero", "stage": "rl", "part": "steps", "step": 9}
    ).json()
    assert [(g["members"], g["ungraded"], g["right"], g["signal"]) for g in groups] == [(2, 1, 1, False)]


def test_what_an_expression_found_comes_from_the_server_in_time(tmp_path):
    """A browser's own expressions have no time limit: (a+)+$ would hold the page for ever."""
    run = make_run(tmp_path / "zero")
    browser = client(tmp_path)
    texts = ["<b>12</b> and 345 and 12", "a" * 60 + "!"]
    rows = [
        {"text": text, "problem_id": "p", "member": i, "step": 9, "question": "q"}
        for i, text in enumerate(texts)
    ]
    write_lines(run / "rl" / "rollouts" / "step_00009.jsonl", rows)
    line = browser.get("/api/rollouts", params={"run": "zero", "step_from": 9}).json()["rows"][0]
    for expression, hits in ((r"\d+", ["345", "12"]), (r"(a+)+$", []), (r"x*", []), ("", [])):
        asked = {"run": "zero", "id": line["id"], "regex": expression}
        assert browser.get("/api/rollout", params=asked).json()["hits"] == hits
    for path, more in (("groups", {"step": 10**30}), ("rollouts", {"after": "-" + "9" * 30})):
        assert browser.get(f"/api/{path}", params={"run": "zero", **more}).status_code == 400


def test_a_graders_mistake_goes_into_a_file_that_aha_grade_takes(tmp_path, capsys):
    problem = math_word.make_problem({"question": "A half?", "answer": "1/2"}, 1)
    texts = [r"<think>.</think> \boxed{0.5}", r"<think>.</think> \boxed{0.6}"]
    graded_run(
        tmp_path / "m", problem, texts, get_task("math", data="none.jsonl"), {"accuracy": 1.0}, "boxed"
    )
    browser = client(tmp_path)
    said = say(browser, "flag", {"run": "m", "id": 1, "expected": "wrong", "comment": "as a test"}).json()
    assert (said["gold"], said["prediction"], said["expected"]) == ("1/2", texts[0], "wrong")
    say(browser, "flag", {"run": "m", "id": 2, "expected": "wrong"})
    assert (
        browser.get("/api/rollout", params={"run": "m", "id": 1}).json()["members"][0]["flag"]["comment"]
        == "as a test"
    )
    file = tmp_path / ".aha-view" / "grader_mistakes.jsonl"
    assert main(["grade", str(file)]) == 1
    told = capsys.readouterr().err
    assert "line 1: correct, should be wrong" in told
    assert "1 of 2 graded as expected" in told
    say(browser, "flag", {"run": "m", "id": 1, "expected": "correct"})  # said anew, it is one line still
    assert len(file.read_text().splitlines()) == 2
    assert main(["grade", str(file)]) == 0
    assert say(browser, "flag", {"run": "m", "id": 1, "remove": True}).json() == {"removed": True}
    assert [row["gold"] for row in browser.get("/api/mistakes").json()] == ["1/2"]
    assert say(browser, "flag", {"run": "m", "id": 1, "expected": "perhaps"}).status_code == 400


def test_another_graders_mistake_goes_into_a_file_of_its_own(tmp_path):
    problem = countdown.make_problem([8, 10, 16], 80, countdown.TINY)
    graded_run(tmp_path / "a", problem, COUNTDOWN, get_task("countdown"), {"accuracy": 1.0})
    browser = client(tmp_path)
    assert (
        say(browser, "flag", {"run": "a", "id": 2, "expected": "correct"}).json()["kept_in"] == notes.OTHERS
    )
    assert sorted(file.name for file in (tmp_path / ".aha-view").iterdir()) == [notes.OTHERS]
    assert browser.get("/api/mistakes").json()[0]["problem"]["task"] == "countdown"
