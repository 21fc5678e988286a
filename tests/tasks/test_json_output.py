"""JSON answers: the schema against the library jsonschema, and what is refused."""

from __future__ import annotations

import itertools
import json

import pytest

from aha.rewards.json_schema import check_schema, violation
from aha.tasks import json_output
from aha.types import AhaError, Outcome

SCHEMAS = [
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a"]},
    {"type": "object", "properties": {"a": {"type": "number", "minimum": 0}}, "additionalProperties": False},
    {"type": "array", "items": {"type": ["string", "null"]}, "minItems": 1, "uniqueItems": True},
    {"enum": [1, "x", None, [1]]},
    {"const": {"a": [1, 2.0]}},
    {"anyOf": [{"type": "string", "maxLength": 1}, {"type": "integer", "exclusiveMaximum": 3}]},
    {"oneOf": [{"type": "integer"}, {"minimum": 2}]},
    {"allOf": [{"type": "object"}, {"not": {"required": ["b"]}}], "maxProperties": 1},
    {"additionalProperties": {"type": "boolean"}},
    {"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}, "required": ["a"]},
    {
        "definitions": {"t": {"items": {"$ref": "#/definitions/t"}, "type": "array"}},
        "$ref": "#/definitions/t",
    },
    True,
    False,
]
VALUES = [
    None, True, False, 0, 1, 2, 3.0, -1, 2.5, "", "x", "xy", [], [1], ["a", "a"], ["a", None], [1, 1.0], [True, 1],
    {}, {"a": 1}, {"a": 1.0, "b": "x"}, {"a": -1}, {"b": True}, {"a": True}, {"a": [1, 2]}, {"a": "1", "b": 2},
]  # fmt: skip


@pytest.mark.parametrize(("schema", "value"), list(itertools.product(SCHEMAS, VALUES)), ids=str)
def test_values_are_judged_as_the_library_judges_them(schema, value):
    jsonschema = pytest.importorskip("jsonschema")
    check_schema(schema)
    library = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert (violation(value, schema) == "") is library


@pytest.mark.parametrize(
    "schema", [{"pattern": "(a)\\1"}, {"type": "text"}, {"allOf": [{"$ref": "#"}]}, {"items": 3}, {"enum": 1},
               {"$ref": "#/x"}, {"$ref": "http://json-schema.org/draft-07/schema#"}, {"pattern": "("}]
)  # fmt: skip
def test_what_is_not_understood_is_refused(schema):
    with pytest.raises(AhaError, match=r"[Tt]he schema"):
        check_schema(schema)


@pytest.mark.parametrize(
    ("pointer", "said"),
    [("#/$defs/b", "no part of"), ("https://example.org/x", "no part of"), ("#/$defs/a", "back to itself")],
)
def test_a_reference_that_leads_nowhere_is_refused(pointer, said):
    with pytest.raises(AhaError, match=said):
        check_schema({"$defs": {"a": {"$ref": pointer}}, "$ref": "#/$defs/a"})


def test_schemas_refer_to_their_definitions():
    """As pydantic writes them: a list of chained items."""
    item = {"type": "object", "properties": {"n": {"type": "integer"}, "next": {"anyOf": [
        {"$ref": "#/$defs/Item"}, {"type": "null"}]}}, "required": ["n"]}  # fmt: skip
    schema = {"$defs": {"Item": item}, "type": "array", "items": {"$ref": "#/$defs/Item"}}
    check_schema(schema)
    assert violation([{"n": 1, "next": {"n": 2, "next": None}}], schema) == ""
    assert violation([{"n": "1"}], schema) == "[0].n is no integer"
    assert violation([{"n": 1, "next": {"n": 0.5}}], schema)


def graded(text, **row):
    asked = {"question": "Who?", "schema": json.dumps(SCHEMAS[0]), **row}
    return json_output.verify(json_output.make_problem(asked, 1), text)


def test_answers():
    assert graded('{"a": 1}').outcome is Outcome.CORRECT
    assert graded('<think>hm</think>```json\n{"a": 1, "c": 2}\n```').outcome is Outcome.CORRECT
    assert graded('{"a": "1"}').note == "a is no integer"
    assert graded('Here: {"a": 1}').outcome is Outcome.WRONG
    assert graded("").outcome is Outcome.NO_ANSWER
    assert graded('{"a": 1, "b": "x"}', answer='{"a": 1}').outcome is Outcome.CORRECT
    assert graded('{"a": 2, "b": "x"}', answer={"a": 1}).note == "a is '2', not '1'"
    assert graded("[" * 30_000).outcome is Outcome.WRONG
