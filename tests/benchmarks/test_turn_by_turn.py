"""Conversations that are asked turn by turn: the model's own answers between the questions, each turn graded by its own
rules; killed and taken up again; the same on every engine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from public_rows import multi_if

from aha.benchmarks import formats, opening, page, session, tables
from aha.benchmarks.catalogue import read_names
from aha.benchmarks.records import GradedAnswer, GradedProblem, GradedTurn
from aha.benchmarks.session import Protocol
from aha.benchmarks.turns import figures
from aha.cli import main
from aha.sampling.http import Programs, Server
from aha.sampling.http.model import ModelBackend
from aha.tasks import turns
from aha.types import AhaError

ROOT = Path(__file__).parents[2]
SMALL, NO_COMMA = "change_case:english_lowercase", "punctuation:no_comma"
SALT = ("It must hold the word salt.", "keywords:existence", {"keywords": ["salt"]})
ROWS = [
    multi_if(
        (f"Describe {what} in small letters.", SMALL, {}), ("Now without any comma.", NO_COMMA, {}), SALT
    )
    for what in ("the sea", "a dog", "tea", "the moon", "bread")
] + [multi_if(("Name a colour.", SMALL, {}), ("No comma.", NO_COMMA, {}), language="French")]
SAMPLED = Protocol(2, max_tokens=12)
GREEDY = Protocol(1, temperature=0.0, max_tokens=12)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    file = tmp_path_factory.mktemp("rows") / "multiif.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (asked,) = read_names(f"multiif={file}")
    return asked


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return opening.open_model("tiny", tmp_path_factory.mktemp("m"), "auto", "cpu", "float32", 1)


@pytest.fixture(scope="module")
def whole(source, asked, tmp_path_factory):
    return session.run("tiny", source, asked, SAMPLED, tmp_path_factory.mktemp("evals"))


def sampled(result):
    rows = [json.loads(line) for line in result.file.read_text().splitlines()]
    return {row["problem"]: [[turn["text"] for turn in s["said"]] for s in row["samples"]] for row in rows}


def test_a_models_own_answers_stand_between_the_questions_without_their_thinking(asked, tmp_path):
    seen = []

    def model(messages, seed):
        seen.append([(m["role"], m["content"]) for m in messages])
        return f"<think>hm, </think>said {len(messages) // 2 + 1}"

    with Server(Programs({"m": model})) as server:
        source = opening.open_model(f"{server.url}#m", tmp_path, "bare", "cpu", "float32", 1)
        result = session.run("m", source, asked, replace(GREEDY, problems=None), tmp_path)
    (third,) = [s for s in seen if len(s) == 5 and "the sea" in s[0][1]]
    assert third[1::2] == [("assistant", "said 1"), ("assistant", "said 2")]
    assert [len(s) for s in seen] == sorted(
        len(s) for s in seen
    )  # all first turns, then all second ones, ...
    assert len(seen) == 17
    assert [one["pass@1"] for one in result.figures["turns"]] == [1.0, 1.0, 0.0]
    assert (result.figures["pass@1"], result.figures["ungradable"]) == (pytest.approx(1 / 6), 0.0)


def test_figures_are_those_of_the_benchmark(asked, tmp_path):
    """Worked out by hand: of six conversations five have a third turn; what is said has capitals in the second turn."""

    def model(messages, seed):
        return ("small", "Large", "salt, and more")[len(messages) // 2]

    with Server(Programs({"m": model})) as server:
        source = opening.open_model(f"{server.url}#m", tmp_path, "bare", "cpu", "float32", 1)
        result = session.run("m", source, asked, GREEDY, tmp_path)
    first, second, third = result.figures["turns"]
    assert (first["average"], first["problems"]) == (1.0, 6)
    assert (second["pass@1"], second["instructions"], second["average"]) == (0.0, 0.5, 0.25)
    assert (second["consistency"], second["forgotten"]) == (0.0, 1.0)
    assert (third["problems"], third["pass@1"], third["instructions"]) == (5, 0.0, pytest.approx(2 / 3))
    # the comma was not there in turn 2 and is in turn 3; nothing else was kept in turn 2 that was carried
    assert (third["consistency"], third["forgotten"]) == (None, 1.0)
    assert result.figures["turns_mean"] == pytest.approx((1 + 0.25 + 1 / 3) / 3)
    assert result.figures["turns_by"]["French"]["turn_2"] == 0.25
    (row,) = tables.rows([result])
    assert (row["turn 1"], row["turn 2"], row["turns mean"]) == ("100.0%", "25.0%", "52.8%")
    assert tables.turns(result.figures)[1]["forgotten"] == "100.0%"
    (document,) = formats.harness([result])
    assert document["results"]["multiif"]["turn_2,none"] == 0.25
    with (tmp_path / "page.html").open("w") as out:
        page.write(out, [result], [])
    text = (tmp_path / "page.html").read_text()
    assert "forgotten" in text
    assert "Assistant: Large" in text


def test_what_was_said_before_a_kill_is_not_asked_again(source, asked, whole, tmp_path, monkeypatch):
    generate, asked_before = source.engine.generate, []

    def killed(requests, *args, **more):
        for number, answer in enumerate(generate(requests, *args, **more)):
            if len(asked_before) == 20:  # 12 first turns, 8 second ones
                raise KeyboardInterrupt
            asked_before.append(number)
            yield answer

    monkeypatch.setattr(source.engine, "generate", killed)
    with pytest.raises(KeyboardInterrupt):
        session.run("tiny", source, asked, SAMPLED, tmp_path)
    (left,) = tmp_path.glob("*.turns.jsonl")
    with left.open("a") as out:
        out.write('{"problem": "[\\"half')  # as a kill leaves it
    asked_after = []
    monkeypatch.setattr(
        source.engine,
        "generate",
        lambda requests, *a, **k: (asked_after.extend(requests), generate(requests, *a, **k))[1],
    )
    continued = session.run("tiny", source, asked, SAMPLED, tmp_path)
    assert len(asked_after) == 34 - 20
    assert sampled(continued) == sampled(whole)
    assert continued.figures == whole.figures
    assert not list(tmp_path.glob("*.turns*"))


def test_an_evaluation_that_is_repeated_asks_nothing(source, asked, whole, monkeypatch):
    monkeypatch.setattr(source.engine, "generate", None)
    again = session.run("tiny", source, asked, SAMPLED, whole.file.parent)
    assert (again.figures, again.records) == (whole.figures, whole.records)


def test_samples_of_a_problem_are_conversations_of_their_own(whole):
    first, second = zip(*sampled(whole).values(), strict=True)
    assert first != second


def test_an_endpoint_and_an_engine_of_ones_own_say_the_same(source, asked, tmp_path):
    local = session.run("tiny", source, asked, GREEDY, tmp_path / "local")
    plain = opening.EvaluationEngine(f"{ROOT / 'examples/own_engine.py'}:Plain")
    own = opening.open_model("tiny", tmp_path, "auto", "cpu", "float32", 1, plain)
    other = session.run("tiny", own, asked, GREEDY, tmp_path / "own")
    assert sampled(other) == sampled(local)
    with Server(ModelBackend(source.engine, source.tokenizer, "tiny")) as server:
        behind = opening.open_model(f"{server.url}#tiny", tmp_path, "bare", "cpu", "float32", 1)
        remote = session.run("served", behind, asked, GREEDY, tmp_path / "remote")
    bare = lambda said: {  # noqa: E731
        name: [["".join(re.sub("</?think>", "", text).split()) for text in of] for of in samples]
        for name, samples in said.items()
    }
    assert bare(sampled(remote)) == bare(sampled(local))


def test_a_conversation_without_room_is_not_graded_from_there_on(source, asked, tmp_path, caplog):
    (problem, *_) = session.load_problems(asked, None)[1]
    room = len(source.prompter.encode(problem)[0]) + 24
    result = session.run("tiny", replace(source, context=room), asked, GREEDY, tmp_path)
    assert "no room left for turn 2" in caplog.text
    assert result.figures["turns"][1]["pass@1"] is None or result.figures["turns"][1]["problems"] == 6
    assert {s.turns[-1].right for r in result.records for s in r.samples} == {None}


def test_stored_answers_are_replaced_by_the_models_own_where_that_is_asked(tmp_path):
    row = {"messages": [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "stored"},
                        {"role": "user", "content": "2 + 2?"}], "answer": "4"}  # fmt: skip
    file, seen = tmp_path / "rows.jsonl", []
    file.write_text(json.dumps(row) + "\n")

    def model(messages, seed):
        seen.append([m["content"] for m in messages])
        return "It is \\boxed{4}."

    with Server(Programs({"m": model})) as server:
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
        assert main([*words, "--results", str(tmp_path / "stored")]) == 0
        assert main([*words, "--results", str(tmp_path / "own"), "--own-turns"]) == 0
    assert [len(one) for one in seen] == [3, 1, 3]
    assert [one[1] for one in seen if len(one) == 3] == ["stored", "It is \\boxed{4}."]
    (result,) = (tmp_path / "own").glob("*/math-*.json")
    by_turn = json.loads(result.read_text())["figures"]["turns"]
    assert [one["pass@1"] for one in by_turn] == [None, 1.0]


def test_options_are_not_scored_over_several_turns(source, tmp_path):
    file = tmp_path / "rows.jsonl"
    one = {"question": "Which?", "choices": ["a", "b"], "answer": "A"}
    file.write_text(json.dumps({"turns": [one, one]}) + "\n")
    (asked,) = read_names(f"choice={file}")
    with pytest.raises(AhaError, match="asks several turns"):
        session.run("tiny", source, asked, Protocol(1, choice="letters"), tmp_path)


def test_a_turn_that_could_not_be_graded_is_left_out_of_its_figure():
    marks = [(True, None), (True, False), (False, True)]
    records = [
        GradedProblem(str(i), "", (GradedAnswer(None, None, True, "", 2, False, turns=tuple(
            GradedTurn(right, right, 1) for right in of)),)) for i, of in enumerate(marks)
    ]  # fmt: skip
    first, second = figures.figures(records)["turns"]
    assert first["pass@1"] == pytest.approx(2 / 3)
    assert (second["pass@1"], second["consistency"]) == (0.5, 0.0)
    assert second["average"] == 0.5


@pytest.mark.real
def test_a_chat_model_says_the_same_behind_an_endpoint_and_hears_its_own_answers(asked, tmp_path):
    source = opening.open_model("smollm2", tmp_path, "bare", "cpu", "float32", 1)
    greedy = Protocol(1, temperature=0.0, max_tokens=16, problems=2)
    local = session.run("smollm2", source, asked, greedy, tmp_path / "local")
    with Server(ModelBackend(source.engine, source.tokenizer, "smollm2")) as server:
        behind = opening.open_model(f"{server.url}#smollm2", tmp_path, "bare", "cpu", "float32", 1)
        remote = session.run("served", behind, asked, greedy, tmp_path / "remote")
    assert sampled(remote) == sampled(local)
    assert remote.figures["turns"] == local.figures["turns"]
    (first, *_), *_ = sampled(local).values()
    problem = session.load_problems(asked, 2)[1][0]
    heard = source.prompter.render(turns.at_turn(problem, first[:1])).text
    assert f"<|im_start|>assistant\n{first[0].strip()}<|im_end|>" in heard


@pytest.mark.slow
def test_ranks_say_the_same_also_when_they_were_killed(asked, tmp_path):
    words = ["eval", "tiny", "--tasks", f"multiif={asked.source}", "--k", "3", "--max-tokens", "24", "--json",
             "--dtype", "float32", "--threads", "1", "--results"]  # fmt: skip
    command = [sys.executable, "-m", "aha", *words]

    def figures_of(folder, *more):
        out = subprocess.run(
            [*command, str(folder), *more], capture_output=True, text=True, check=True, cwd=ROOT
        )
        return json.loads(out.stdout)

    one = figures_of(tmp_path / "one")
    assert figures_of(tmp_path / "two", "--ranks", "2") == one
    killed = subprocess.Popen(
        [*command, str(tmp_path / "killed"), "--ranks", "2"],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    part, until = tmp_path / "killed" / "tiny", time.monotonic() + 120
    while time.monotonic() < until and not any(f.read_bytes() for f in part.glob("*.turns.rank*.jsonl")):
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert figures_of(tmp_path / "killed") == one
    assert not list(part.glob("*.turns*"))
