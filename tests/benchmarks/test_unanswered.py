"""Rows that an endpoint refuses, where the model behind it is a real one with a context of 1,024 tokens: they are not
graded, counted and named, asked again later, and end nothing as long as another row is answered."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from aha.benchmarks import opening, session
from aha.benchmarks.catalogue import read_names
from aha.benchmarks.session import Protocol
from aha.sampling.http import Programs, Server
from aha.sampling.http.model import ModelBackend
from aha.sampling.http.refusing import RequestRefusedError
from aha.types import AhaError

GREEDY = Protocol(1, temperature=0.0, max_tokens=8)
LONG = "one and " * 1200


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    source = opening.open_model("tiny", tmp_path_factory.mktemp("m"), "auto", "cpu", "float32", 1)
    with Server(ModelBackend(source.engine, source.tokenizer, "tiny")) as server:
        yield server


def written(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def sums(*texts):
    return [{"question": f"{text} What is 2 + 2?", "answer": "4"} for text in texts]


def graded(result):
    return {r.problem: [(s.right, s.lenient, s.unanswered) for s in r.samples] for r in result.records}


def behind(server, folder):
    return opening.open_model(f"{server.url}#tiny", folder, "bare", "cpu", "float32", 1)


def test_a_prompt_that_does_not_fit_is_not_graded_and_asked_again(server, tmp_path, caplog):
    (asked,) = read_names(f"math={written(tmp_path / 'rows.jsonl', sums('', LONG, 'Say it.'))}")
    source = behind(server, tmp_path)
    result = session.run("tiny", source, asked, GREEDY, tmp_path / "e")
    refused = [name for name, marks in graded(result).items() if marks[0][2]]
    assert len(refused) == 1
    assert graded(result)[refused[0]] == [(None, None, "abort")]
    assert result.figures["ungradable"] == pytest.approx(1 / 3)
    assert result.data["too_long"] == 1
    told = [record.getMessage() for record in caplog.records]
    assert any(
        f"1 of 3 problems have no room in the context, and were not graded there: {refused[0]}" in t
        for t in told
    )
    spent = source.engine.client.usage.requests
    again = session.run("tiny", source, asked, GREEDY, tmp_path / "e")
    assert graded(again) == graded(result)
    assert source.engine.client.usage.requests == spent, "only the refused row was asked again"
    assert len(again.file.read_text().splitlines()) == 3, "it stands in the file once"


def test_more_tokens_than_the_context_has_are_asked_for_again(server, tmp_path, caplog):
    (asked,) = read_names(f"math={written(tmp_path / 'rows.jsonl', sums('', 'Say it.'))}")
    result = session.run(
        "tiny", behind(server, tmp_path), asked, replace(GREEDY, max_tokens=5000), tmp_path / "e"
    )
    assert [s.unanswered for r in result.records for s in r.samples] == ["", ""]
    assert any("2 of 2 requests have no room for max_tokens=5000" in r.getMessage() for r in caplog.records)


def test_where_nothing_is_answered_it_ends(server, tmp_path):
    (asked,) = read_names(f"math={written(tmp_path / 'rows.jsonl', sums(LONG, LONG + '!'))}")
    with pytest.raises(
        AhaError, match=r"answered none of the 2 problems of math: 2 have no room.*--max-model-len"
    ):
        session.run("tiny", behind(server, tmp_path), asked, GREEDY, tmp_path / "e")


def test_options_of_a_prompt_that_does_not_fit_are_not_scored(server, tmp_path):
    rows = [
        {"question": f"{text} What is 2 + 2?", "choices": ["3", "4"], "answer": "B"} for text in ("", LONG)
    ]
    (asked,) = read_names(f"choice={written(tmp_path / 'rows.jsonl', rows)}")
    scored = replace(GREEDY, choice="letters")
    result = session.run("tiny", behind(server, tmp_path), asked, scored, tmp_path / "e")
    assert sorted(marks[0][2] for marks in graded(result).values()) == ["", "abort"]
    assert result.figures["acc"] in (0.0, 1.0)


def test_a_conversation_is_broken_off_where_it_no_longer_fits(server, tmp_path):
    rows = [{"prompt": ["What is 2 + 2?", f"{text} And 3 + 3?"], "answer": ["4", "6"]} for text in ("", LONG)]
    (asked,) = read_names(f"math={written(tmp_path / 'rows.jsonl', rows)}")
    result = session.run("tiny", behind(server, tmp_path), asked, GREEDY, tmp_path / "e")
    turns = {s.unanswered: [t.right for t in s.turns] for r in result.records for s in r.samples}
    assert turns["abort"][1] is None
    assert None not in (turns[""] + turns["abort"][:1])
    assert result.data["too_long"] == 1


def test_a_turn_that_is_filtered_breaks_its_conversation_off(tmp_path):
    def model(messages, seed):
        if "bad" in messages[-1]["content"]:
            raise RequestRefusedError("not that", code="content_filter")
        return "4"

    rows = [{"prompt": ["2 + 2?", text, "And now?"], "answer": ["4", "4", "4"]} for text in ("bad", "good")]
    (asked,) = read_names(f"math={written(tmp_path / 'rows.jsonl', rows)}")
    with Server(Programs({"tiny": model})) as server:
        result = session.run(
            "m", behind(server, tmp_path), asked, replace(GREEDY, strict=False), tmp_path / "e"
        )
    rights = {s.unanswered: [t.lenient for t in s.turns] for r in result.records for s in r.samples}
    assert rights == {"error": [True, None, None], "": [True, True, True]}
    assert result.data["filtered"] == 1
