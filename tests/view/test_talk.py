"""Talking to the models of runs: the real embedded base in a process of its own, streamed, cut, and ended."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import threading
import time

import pytest
from served import change, client, make_run, say

from aha.checkpoints.names import EMBEDDED
from aha.view.talk import children

ASKED = {"model": "base:tiny", "max_tokens": 60, "temperature": 0.6, "seed": 7}
QUESTION = [{"role": "user", "content": "24 7 3 -> 171"}]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A page over a run that began from the embedded base and ended with a model; its talk, for a look inside."""
    place = tmp_path_factory.mktemp("talk")
    make_run(place / "zero", steps=3)
    shutil.copytree(EMBEDDED["tiny"], place / "zero" / "rl" / "final")
    with client(place) as browser:
        yield browser, place


def told(browser, **said):
    """Every line of an answer."""
    answer = say(browser, "talk", {**ASKED, "messages": QUESTION, **said})
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_models_are_what_runs_made_and_what_they_began_from(served):
    models = served[0].get("/api/models").json()["models"]
    assert [(m["id"], m["run"]) for m in models] == [("zero:rl/final", "zero"), ("base:tiny", "zero")]
    assert models[0]["bytes"] > 3_000_000


def test_an_answer_is_streamed_and_ends_with_what_was_said(served):
    lines = told(served[0])
    pieces = [line["text"] for line in lines if "text" in line]
    assert any("ready" in line for line in lines)
    assert len(pieces) > 5
    assert "".join(pieces).split() == lines[-1]["end"]["said"].split()
    assert lines[-1]["end"]["tokens"] <= 60
    again = told(served[0])
    assert again[-1] == lines[-1]  # the same seed, the same answer
    assert told(served[0], seed=8)[-1] != lines[-1]


def test_thinking_is_ended_where_its_budget_is_used_up(served):
    before = [{"role": "user", "content": "Use 3, 7 and 24 once each, with + - *, to make 171."}]
    lines = told(served[0], messages=before, think_budget=4, max_tokens=30)
    end = lines[-1]["end"]
    assert 4 < end["tokens"] <= 30
    assert end["said"]


def test_earlier_turns_are_shown_to_the_model_and_left_out_where_there_is_no_room(served):
    turn = [*QUESTION, {"role": "assistant", "content": "I give up."}]
    few = told(served[0], messages=[*turn, *QUESTION])
    assert not any("note" in line for line in few)
    assert few[-1]["end"]["prompt_tokens"] > told(served[0])[-1]["end"]["prompt_tokens"] + 20
    many = told(served[0], messages=[*turn * 60, *QUESTION])
    assert any("oldest" in line.get("note", "") for line in many)
    assert "end" in many[-1]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"messages": []}, "list of messages"), ({"messages": [{"role": "tool", "content": "x"}]}, "list of messages"),
        ({"model": "/etc"}, "no model"), ({"model": "base:../x"}, "no model"),
    ],
)  # fmt: skip
def test_what_is_no_question_is_told_at_once(served, said, words):
    answer = say(served[0], "talk", {**ASKED, "messages": QUESTION, **said})
    assert answer.status_code == 400
    assert words in answer.json()["error"]


@pytest.mark.parametrize(
    ("said", "words"),
    [({"temperature": -1}, "temperature"), ({"think_budget": "x"}, "budget"), ({"seed": "x"}, "seed")],
)
def test_what_the_model_cannot_take_is_told_in_its_words(served, said, words):
    assert words in told(served[0], **said)[-1]["error"]


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_told_in_words(served):
    browser, place = served
    shutil.copytree(place / "zero" / "rl" / "final", place / "zero" / "rl" / "best")
    (place / "zero" / "rl" / "best" / "model.safetensors").write_bytes(b"nothing")
    said = told(browser, model="zero:rl/best")[-1]["error"]
    assert "model.safetensors" in said
    shutil.rmtree(place / "zero" / "rl" / "best")


def test_a_base_that_is_no_name_is_not_offered(served, tmp_path):
    make_run(tmp_path / "zero", steps=3)
    for model in ("<pretrain>", "https://elsewhere#x", 3, "a\0b", "\ud800"):
        config = json.loads((tmp_path / "zero" / "config.json").read_text())["stages"]
        config["rl"]["model"] = model
        change(tmp_path / "zero" / "config.json", stages=config)
        assert client(tmp_path).get("/api/models").json()["models"] == []


def test_a_stage_that_is_no_folder_of_its_run_offers_no_model(served, tmp_path):
    _, place = served
    make_run(tmp_path / "zero", steps=3)
    config = json.loads((tmp_path / "zero" / "config.json").read_text())["stages"]
    for name in (str(place / "zero" / "rl"), "a\0b", "../x"):
        change(tmp_path / "zero" / "config.json", stages={name: config["rl"]})
        assert client(tmp_path).get("/api/models").json()["models"] == []


def test_a_long_question_waits_for_nobody_and_one_who_leaves_does_not_either(served):
    """A model that is stopped reads nothing: what is sent to it stays where it is."""
    child, heard = children.ModelChild("tiny"), queue.Queue()
    os.kill(child.pid, signal.SIGSTOP)

    def asked():
        number = child.ask({"messages": [{"role": "user", "content": "x" * (1 << 19)}]}, heard.put)
        child.cancel(number)
        child.ask({"messages": QUESTION}, heard.put)

    asking = threading.Thread(target=asked, daemon=True)
    asking.start()
    asking.join(60)
    assert not asking.is_alive(), "it waits for a model that does not read"
    child.end()
    assert heard.get(timeout=60) == {
        "error": "The model was taken out of memory. Ask again, and it is loaded."
    }


@pytest.mark.slow
def test_a_model_that_nobody_asks_gives_its_memory_back():
    models = children.ModelChildren(idle=0.5)
    child = models.of("tiny")
    until = time.monotonic() + 60
    while models.children and time.monotonic() < until:
        time.sleep(0.1)
    assert models.loaded() == []
    assert not child.alive


@pytest.mark.slow
def test_a_second_model_stands_beside_the_first_and_a_third_takes_the_place_of_the_idlest(served):
    browser, place = served
    told(browser)
    told(browser, model="zero:rl/final")
    loaded = {m["id"]: m for m in browser.get("/api/models").json()["loaded"]}
    assert set(loaded) == {"base:tiny", "zero:rl/final"}
    shutil.copytree(place / "zero" / "rl" / "final", place / "zero" / "rl" / "best", dirs_exist_ok=True)
    told(browser, model="zero:rl/best")
    now = {m["id"] for m in browser.get("/api/models").json()["loaded"]}
    assert now == {"zero:rl/final", "zero:rl/best"}
    with pytest.raises(ProcessLookupError):
        os.kill(loaded["base:tiny"]["pid"], 0)
    shutil.rmtree(place / "zero" / "rl" / "best")
