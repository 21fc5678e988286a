"""Conversations in every layout: nothing that was said, offered or called is lost without a word."""

from __future__ import annotations

import json

import pytest

from aha import aside
from aha.data import schemas

ASKED, SAID, BAD = (
    {"role": "user", "content": "What is it?"},
    {"role": "assistant", "content": "It is five."},
    {"role": "assistant", "content": "It is six."},
)
TOLD = {"role": "system", "content": "Be brief."}
TURNS = [{"from": "human", "value": "What is it?"}, {"from": "gpt", "value": "It is five."}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
CALL = {"type": "function", "function": {"name": "look", "arguments": {"at": 3}}}


def read(row):
    return schemas.read_record(row, 1)[0]


@pytest.mark.parametrize(
    ("schema", "row"),
    [
        ("sharegpt", {"conversations": TURNS, "system": "Be brief."}),
        ("sharegpt", {"conversations": [{"from": "system", "value": "Be brief."}, *TURNS]}),
        ("sharegpt", {"conversations": [TOLD, ASKED, SAID], "system": "Be brief."}),
        ("messages", {"messages": [ASKED, SAID], "system_prompt": "Be brief."}),
        ("messages", {"messages": [{"role": "developer", "content": "Be brief."}, ASKED, SAID]}),
        (
            "trl-prompt-completion",
            {"prompt": "What is it?", "completion": "It is five.", "system": "Be brief."},
        ),
        ("trl-prompt-completion", {"prompt": [TOLD, ASKED], "completion": [SAID]}),
        (
            "alpaca",
            {"instruction": "What is it?", "input": "", "output": "It is five.", "system": "Be brief."},
        ),
    ],
)
def test_what_the_system_says_stands_in_front(schema, row):
    record, layout = schemas.read_record(row, 1)
    assert layout.name == schema
    assert record.messages == (TOLD, ASKED, SAID)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "What is it?", "chosen": [ASKED, SAID], "rejected": [ASKED, BAD]},
        {"prompt": [ASKED], "chosen": [ASKED, SAID], "rejected": [ASKED, BAD]},
        {"prompt": [ASKED], "chosen": [SAID], "rejected": "It is six."},
        {"prompt": None, "chosen": [ASKED, SAID], "rejected": [ASKED, BAD]},
        {"chosen": [ASKED, SAID], "rejected": [ASKED, BAD], "messages": [ASKED, SAID]},
        {"chosen": "What is it? It is five.", "rejected": "What is it? It is six."},
        {"instruction": "What is it?", "completions": [
            {"response": "It is six.", "overall_score": 2.0}, {"response": "It is five.", "overall_score": 9.5},
            {"response": "Five?", "overall_score": 5.0}, {"response": "no", "overall_score": None}]},
    ],
)  # fmt: skip
def test_a_pair_has_its_prompt_once_and_answers_alone(row):
    record = read(row)
    assert [m["content"].strip() for m in record.rejected][-1] in ("It is six.", "six.")
    assert sum(m["role"] == "user" for m in record.messages) == 1
    assert all(m["role"] == "assistant" for m in record.rejected)
    assert "".join(m["content"] for m in record.messages).replace(" ", "") == "Whatisit?Itisfive."


def test_the_prompt_of_a_text_pair_is_what_both_share():
    record = read({"chosen": "The sky is blue.", "rejected": "The sky is green."})
    assert [m["content"] for m in (*record.messages, *record.rejected)] == ["The sky is", " blue.", " green."]


def test_transcripts_are_conversations():
    text = "\n\nHuman: What is it?\n\nAssistant: Five: 5.\n\nHuman: Sure?\n\nAssistant: "
    record = read({"chosen": text + "Yes.", "rejected": text + "No."})
    assert [m["role"] for m in record.messages] == ["user", "assistant", "user", "assistant"]
    assert (record.messages[-1]["content"], record.rejected[0]["content"]) == ("Yes.", "No.")


def test_calls_and_tools_are_kept():
    row = {
        "tools": json.dumps([TOOL]),
        "messages": [
            ASKED,
            {"role": "assistant", "content": None, "tool_calls": [CALL | {"id": "c1"}]},
            {"role": "tool", "content": "5", "tool_call_id": "c1", "name": "look"},
            SAID,
        ],
    }
    record = read(row)
    assert record.tools == (TOOL,)
    assert record.messages[1]["tool_calls"] == [CALL | {"id": "c1"}]
    assert record.messages[2] == {"role": "tool", "content": "5", "tool_call_id": "c1", "name": "look"}
    again = read(schemas.convert(record, "messages"))
    assert (again.messages, again.tools) == (record.messages, record.tools)


def test_calls_that_are_a_turn_of_their_own_are_calls():
    row = {
        "conversations": [
            TURNS[0],
            {"from": "function_call", "value": '{"name": "look", "arguments": {"at": 3}}'},
            {"from": "observation", "value": "5"},
            TURNS[1],
        ],
        "tools": '[{"name": "look", "parameters": {}}]',
    }
    record = read(row)
    assert record.messages[1] == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert record.messages[2] == {"role": "tool", "content": "5"}
    assert record.tools == ({"name": "look", "parameters": {}},)


def test_thoughts_in_marks_are_reasoning():
    said = "<|begin_of_thought|>\n\nHm.\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\nFive.\n\n<|end_of_solution|>"
    row = {"system": "Think.", "conversations": [TURNS[0], {"from": "assistant", "value": said}]}
    assert read(row).messages[-1] == {"role": "assistant", "content": "Five.", "reasoning": "Hm."}
    traced = {
        "question": "What is it?",
        "solution": "5",
        "thinking_trajectories": ["Hm."],
        "attempt": "Five.",
    }
    assert read(traced).messages[-1] == {"role": "assistant", "content": "Five.", "reasoning": "Hm."}
    mixed = {
        "messages": [ASKED, {"role": "assistant", "content": "<think>Hm.</think>Five."}],
        "num_tokens": 9,
    }
    assert read(mixed).messages[-1]["content"] == "<think>Hm.</think>Five."


def test_history_and_input_of_an_instruction():
    row = {"instruction": "Add", "input": "2 and 3", "output": "5", "history": [["Hi", "Hello"]]}
    assert [m["content"] for m in read(row).messages] == ["Hi", "Hello", "Add\n2 and 3", "5"]


def test_labels_of_single_answers():
    assert read({"prompt": "q", "completion": "a", "label": True}).label == 1.0
    assert read({"instruction": "q", "input": "", "output": "a", "kto_tag": False}).label == 0.0
    assert read({"prompt": "q", "completion": "a"}).label is None
    assert read({"messages": [ASKED, SAID], "label": False}).label == 0.0, "LLaMA-Factory's kto_en_demo"
    assert read({"messages": [ASKED, SAID], "label": "geography"}).label is None, (
        "a kind, no word on the answer"
    )
    assert read({"prompt": "q", "completion": "a", "label": "False"}).label == 0.0, "a CSV's"


JUDGED = {
    "prompt": "q",
    "response_0": "a",
    "response_1": "b",
    "is_response_0_safe": True,
    "is_response_1_safe": False,
}


def test_judged_answers_of_safety_sets():
    record = read(JUDGED | {"better_response_id": 1, "safer_response_id": 0})
    assert (record.messages[-1]["content"], record.rejected[0]["content"]) == ("b", "a")
    assert read({"prompt": "q", "response": "a", "is_safe": False, "category": {}}).label == 0.0


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": None}, "its rejected side is null"),
        ({"messages": [ASKED, {"role": "assistant", "tool_calls": [{"id": "1"}]}]}, "names no function"),
        ({"messages": [ASKED, SAID], "tools": "look"}, "its tools are no JSON"),
        ({"conversations": [TURNS[0], {"from": "function_call", "value": "look(3)"}]}, "no JSON"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "part of type image_url"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "role is 'wizard'"),
        ({"prompt": "q", "completion": "a", "label": "fine"}, "its label is 'fine', not true or false"),
        (JUDGED, "does not say which response is better"),
        ({"nothing": 1}, "fits no schema"),
    ],
)
def test_what_cannot_be_kept_is_set_aside(tmp_path, row, words):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in [{"messages": [ASKED, SAID]}] * 30 + [row]))
    with aside.settings(folder=tmp_path, say=lambda text: None):
        records, _ = schemas.read_source(str(path))
    assert len(records) == 30
    [file] = (tmp_path / "set_aside").glob("*")
    assert words in json.loads(file.read_text())["reason"]
