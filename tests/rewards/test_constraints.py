"""Rules on an answer's form that a row states: JSON by a schema, calls of tools, instructions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aha.rewards import get_reward
from aha.rewards.constraints import against_schema, against_tools, constraints_of
from aha.rewards.json_schema import violation
from aha.types import AhaError, Finish, Problem, Rollout

CAT = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0},
       "likes": {"type": "array", "items": {"enum": ["milk", "sun"]}, "maxItems": 2}},
       "required": ["name"], "additionalProperties": False}  # fmt: skip
FORMAT = {"type": "json_schema", "json_schema": {"name": "cat", "schema": CAT}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]  # fmt: skip


def rollout(text):
    return Rollout(np.array([1]), np.arange(3), np.zeros(3), text, Finish.STOP)


def problem(row):
    return Problem("p", "general", ({"role": "user", "content": "?"},), metadata=constraints_of(row))


VALUES = [
    {"name": "Tom"}, {"name": "Tom", "age": 3, "likes": ["milk"]}, {"age": 3}, {"name": 3}, {"name": "T", "age": -1},
    {"name": "T", "age": True}, {"name": "T", "age": 2.0}, {"name": "T", "age": 2.5}, {"name": "T", "likes": ["rain"]},
    {"name": "T", "likes": ["milk", "sun", "sun"]}, {"name": "T", "colour": "red"}, [], "Tom", None, 3,
]  # fmt: skip


def test_values_are_held_against_a_schema():
    right = [not violation(value, CAT) for value in VALUES]
    assert right == [True, True, False, False, False, False, True, *[False] * 8]
    assert violation({"age": 3}, CAT) == "the value has no name"
    assert against_schema('{"name": "T", "likes": ["rain"]}', CAT) == [
        "the JSON schema (likes[0] is none of ['milk', 'sun'])"
    ]


def test_a_schema_may_have_patterns_and_refer_to_itself():
    tree = {"type": "object", "properties": {"id": {"pattern": "^[a-z]+-\\d+$"}, "kids": {"items": {"$ref": "#"}}},
            "required": ["id"]}  # fmt: skip
    row = {"response_format": {"type": "json_schema", "json_schema": {"schema": tree}}}
    schema = constraints_of(row)["json_schema"]
    assert against_schema('{"id": "a-1", "kids": [{"id": "b-22"}]}', schema) == []
    assert against_schema('{"id": "a-1", "kids": [{"id": "b-x"}]}', schema)
    assert against_schema("NaN", {}) == ["JSON"]


def test_json_may_stand_in_a_fence():
    assert against_schema('```json\n{"name": "Tom"}\n```', CAT) == []
    assert against_schema('Here: {"name": "Tom"}', CAT) == ["JSON"]
    assert against_schema("[" * 100_000, CAT) == ["JSON"], "nested beyond all measure"


def test_a_call_names_a_tool_and_gives_what_it_needs():
    tools = constraints_of({"tools": TOOLS})["tools"]
    call = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'
    assert against_tools(call, tools) == []
    assert against_tools("It may rain.", tools) == [], "words are an answer, too"
    for said, why in (
        (call.replace("weather", "stocks"), "there is no tool 'stocks'"),
        (call.replace("city", "town"), "has no city"),
        (call.replace("}}", "}"), "no JSON"), (call.removesuffix("</tool_call>"), "a closed <tool_call>"),
    ):  # fmt: skip
        (reason,) = against_tools(said, tools)
        assert why in reason


def test_parameters_in_the_types_of_a_language_are_checked_too():
    tool = {
        "name": "f",
        "parameters": {"type": "dict", "properties": {"n": {"type": "int"}, "x": {"type": "any"}}},
    }
    tools = constraints_of({"tools": [tool]})["tools"]
    call = '<tool_call>{"name": "f", "arguments": {"n": %s, "x": [1]}}</tool_call>'
    assert against_tools(call % "3", tools) == []
    assert against_tools(call % '"3"', tools) == ["the tool call (n is no integer)"]


def test_the_reward_is_the_share_that_is_kept():
    grade = get_reward("constraints", lambda p, t: None)
    row = {
        "instruction_id_list": ["punctuation:no_comma", "change_case:english_lowercase"],
        "kwargs": [{}, {}],
    }
    said = ["<think>A, b</think> <answer>all good</answer>", "<think>a</think> <answer>Good</answer>",
            "<think>a</think> <answer>Good, yes</answer>", "<think>a</think>"]  # fmt: skip
    assert [s.value for s in grade(problem(row), [rollout(t) for t in said])] == [1.0, 0.5, 0.0, 0.0]
    assert grade(problem({}), [rollout(said[0])])[0].note == "no constraint"
    (score,) = grade(
        problem({"response_format": FORMAT}),
        [rollout(f"<think>a</think> <answer>{json.dumps(VALUES[1])}</answer>")],
    )
    assert score.value == 1.0


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"instruction_id_list": ["no:such"], "kwargs": [{}]}, "'no:such' is not known"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, "no kwargs for each"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"pattern": "(a)\\1"}}}},
            "refers back",
        ),
        ({"tools": [{"function": {}}]}, "has no name"),
    ],
)
def test_what_cannot_be_checked_is_refused(row, why):
    with pytest.raises(AhaError, match=why):
        constraints_of(row)
