"""Rows that ask several turns, in the layouts that they are published in."""

from __future__ import annotations

import json

import pytest

from aha.tasks import TASKS, get_task, math_word, rows, turns
from aha.types import AhaError


def problems_of(tmp_path, task, *lines):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in lines))
    return get_task(task, str(file), None).load("all", 99, 0)


def asked(problem):
    return [turn.messages[-1]["content"] for turn in (problem, *turns.later(problem))]


def test_columns_of_numbered_turns_are_turns_with_the_rules_of_each(tmp_path):
    message = {"role": "user", "content": "Write small."}
    row = {
        "turn_1_prompt": json.dumps(message), "turn_1_instruction_id_list": '["change_case:english_lowercase"]',
        "turn_1_kwargs": '["{}"]', "turn_2_prompt": json.dumps({**message, "content": "Two paragraphs."}),
        "turn_2_instruction_id_list": '["change_case:english_lowercase", "length_constraints:number_paragraphs"]',
        "turn_2_kwargs": '["{}", "{\\"num_paragraphs\\": 2}"]', "turn_3_prompt": "", "language": "English",
    }  # fmt: skip
    (problem,) = problems_of(tmp_path, "ifeval", row)
    assert asked(problem) == ["Write small.", "Two paragraphs."]
    (second,) = turns.later(problem)
    assert second.metadata["instructions"][1] == (
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
    )
    now = turns.at_turn(problem, ["first"])
    assert [(m["role"], m["content"]) for m in now.messages] == [
        ("user", "Write small."), ("assistant", "first"), ("user", "Two paragraphs.")
    ]  # fmt: skip
    assert now.id != problem.id
    assert not turns.later(now)


def test_a_list_of_questions_has_an_answer_for_each_or_for_the_last(tmp_path):
    each, last, none = problems_of(
        tmp_path, "math",
        {"prompt": ["2 + 2?", "And one more?"], "reference": ["4", "5"], "category": "math"},
        {"turns": ["Think of 2.", {"content": "Double it."}], "answer": "4"},
        {"prompt": ["2 + 3?", "Explain.", "6 + 1?"], "reference": ["5", None, "7"]},
    )  # fmt: skip
    by_turns = {tuple(asked(p)): [t.answer for t in (p, *turns.later(p))] for p in (each, last, none)}
    assert by_turns == {
        ("2 + 2?", "And one more?"): ["4", "5"],
        ("Think of 2.", "Double it."): [None, "4"],
        ("2 + 3?", "Explain.", "6 + 1?"): ["5", None, "7"],
    }
    by_question = {asked(p)[0]: p for p in (each, last, none)}
    assert turns.without_rules(by_question["Think of 2."])
    assert turns.without_rules(turns.later(by_question["2 + 3?"])[0])
    assert not turns.without_rules(by_question["2 + 2?"])


def test_a_turn_whose_answer_cannot_be_graded_sets_the_row_aside(tmp_path):
    with pytest.raises(AhaError, match="no prompt, instruction_id_list and kwargs"):
        problems_of(tmp_path, "ifeval", {"turns": ["Write small.", "Now large."]})


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [{"role": "user", "content": "2 + 2?"}], "answer": "4"},
        {"messages": [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"},
                      {"role": "user", "content": "2 + 2?"}], "answer": "4"},
        {"turns": ["2 + 2?"], "prompt": "2 + 2?", "answer": "4"},
    ],
)  # fmt: skip
def test_one_question_and_a_conversation_up_to_one_are_asked_as_they_are(tmp_path, row):
    (problem,) = problems_of(tmp_path, "math", row)
    assert not turns.later(problem)
    assert problem.messages[-1]["content"] == "2 + 2?"


def test_a_stored_conversation_is_split_where_the_user_speaks(tmp_path):
    row = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"},
                        {"role": "assistant", "content": "2"}, {"role": "user", "content": "2 + 2?"}],
           "answer": "4"}  # fmt: skip
    (problem,) = problems_of(tmp_path, "math", row)
    whole = turns.split(problem)
    assert [m["role"] for m in whole.messages] == ["system", "user"]
    assert turns.without_rules(whole)
    (last,) = turns.later(whole)
    assert (last.messages, last.answer) == (({"role": "user", "content": "2 + 2?"},), "4")
    assert turns.split(whole) is whole


def test_a_problem_of_turns_is_read_again_from_its_row(tmp_path):
    row = {"prompt": ["2 + 2?", "Why?", "3 + 3?"], "answer": ["4", None, "6"]}
    (problem,) = problems_of(tmp_path, "math", row)
    (again,) = problems_of(tmp_path, "math", rows.as_row(problem))
    assert rows.as_row(again) == rows.as_row(problem)
    assert asked(again) == ["2 + 2?", "Why?", "3 + 3?"]


def test_stages_that_ask_one_question_say_so(tmp_path):
    from aha.sampling.rollouts import stream_groups

    (problem,) = problems_of(tmp_path, "math", {"prompt": ["2 + 2?", "3 + 3?"], "answer": ["4", "6"]})
    with pytest.raises(AhaError, match="asks several turns"):
        next(stream_groups(None, None, [problem], 1, None, {}, seed=0))
    assert "ifeval" in TASKS


def test_a_rows_turns_are_read_once_and_columns_that_were_only_looked_at_are_not_used(tmp_path, monkeypatch):
    reads, rows_of = [], turns.rows_of
    monkeypatch.setattr(turns, "rows_of", lambda row: reads.append(1) or rows_of(row))
    single = {"question": "What is 2 + 2?", "answer": "4", "turns": 3}
    several = {"turns": ["What is 2 + 2?", "And 3 + 3?"], "answer": ["4", "6"]}
    for number, (row, unused) in enumerate([(single, ["turns"]), (several, [])]):
        file = tmp_path / f"{number}.jsonl"
        file.write_text(json.dumps(row) + "\n")
        assert rows.read(str(file), math_word.READER, "math").unused == unused
    assert len(reads) == 2
