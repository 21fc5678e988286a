"""Stored rollouts graded by other rewards from the page."""

from __future__ import annotations

import json
import shutil

import pytest
from served import client, make_run, say

from aha.files import claimed_name
from aha.types import AhaError
from aha.view import aside, rescoring

OWN = """
def against(problem, text):
    return -len(text) / 100
"""


@pytest.fixture
def place(tmp_path):
    run = make_run(tmp_path / "runs" / "zero", steps=3)
    stored = run / "rl" / "rollouts"
    shutil.copy(stored / "after.jsonl", stored / "step_00002.jsonl")
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


def lines(place, **said):
    answer = say(client(place / "runs"), "rescore", {"run": "zero", "rewards": {"accuracy": 1}, **said})
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_the_page_is_told_what_was_paid_and_what_there_is(place):
    answer = client(place / "runs").get("/api/rescorable", params={"run": "zero"}).json()
    assert answer["stages"] == {"rl": 2}
    assert answer["paid"] == {"rl": {"accuracy": 1.0, "format": 0.1}}
    assert {"accuracy", "repetition"} <= set(answer["rewards"])


@pytest.mark.slow
def test_a_rescoring_tells_its_progress_and_what_flips_and_keeps_every_rollout(place):
    rewards = {"accuracy": 1, f"{place / 'own.py'}:against": 5}
    for name in ("rescored_zero.jsonl", "rescored_zero-2.jsonl"):
        said = lines(place, rewards=rewards)
        assert [line["progress"] for line in said[:-1]] == [[1, 2], [2, 2]]
        blocks = {block["heading"]: block for block in said[-1]["blocks"]}
        assert "correlate" in blocks["Agreement"]["texts"][0]
        assert [row[0] for row in blocks["Step by step"]["rows"]] == ["1", "2", "all"]
        written = (place / "runs" / ".aha-view" / name).read_text().splitlines()
        assert len(written) == 320
    label, filters = blocks["Advantages that flip most"]["links"][0]
    assert "advantage" in label
    answer = client(place / "runs").get("/api/rollouts", params={"run": "zero", **filters})
    assert answer.status_code == 200


@pytest.mark.slow
def test_what_cannot_be_graded_is_told_in_the_commands_words(place):
    assert "Unknown reward 'nothing'" in lines(place, rewards={"nothing": 1})[-1]["error"]


@pytest.mark.parametrize(
    "said",
    [
        {"rewards": {}}, {"rewards": {"accuracy": "x"}}, {"rewards": {"accuracy": float("inf")}}, {"steps": 0},
        {"steps": "x"}, {"run": ".."}, {"rewards": ["accuracy"]}, {"run": "\ud800"}, {"stage": "../zero"},
        {"stage": "a\0b"}, {"stage": "\ud800"}, {"rewards": {"\ud800": "x"}},
    ],
)  # fmt: skip
def test_what_is_no_question_is_told_at_once(place, said):
    body = json.dumps({"run": "zero", "rewards": {"accuracy": 1}, **said})
    answer = client(place / "runs").post(
        "/api/rescore", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert not (place / "runs" / ".aha-view").exists()


def test_a_command_that_cannot_begin_is_told_and_keeps_nobody_from_the_next(place, monkeypatch):
    def refused(*args, **more):
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patched:
        patched.setattr(aside.subprocess, "Popen", refused)
        assert "allocate" in lines(place)[-1]["error"]
    assert aside._one.acquire(blocking=False)
    aside._one.release()


def test_two_rescorings_that_end_at_once_have_a_file_each(tmp_path):
    claimed = [claimed_name(tmp_path / "new" / "rescored_zero.jsonl") for _ in range(2)]
    assert [path.name for path in claimed] == ["rescored_zero.jsonl", "rescored_zero-2.jsonl"]
    assert all(path.exists() for path in claimed)


def test_a_file_within_a_file_is_told_and_not_looked_for_without_end(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(AhaError, match="file"):
        claimed_name(tmp_path / "file" / "rescored.jsonl")


def test_words_of_the_command_are_values_and_no_options():
    words = rescoring.asked_words({"rewards": {"--output": 1.0}, "stage": "rl", "steps": 5})
    assert words == ["--rewards", '{"--output": 1.0}', "--steps", "5", "--stage", "rl"]
