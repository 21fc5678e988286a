"""Keywords of JSON Schema, draft 2020-12 and what older ones called otherwise: each with values that keep it and that
do not, as the standard says."""

# ruff: noqa: E501
from __future__ import annotations

import time

import pytest

from aha.rewards.json_schema import check_schema, violation
from aha.tasks import json_output
from aha.types import AhaError, Outcome

TREE = {"type": "object", "properties": {"kids": {"items": {"$ref": "#"}}}, "required": ["n"]}
LIST = {"properties": {"head": {}, "tail": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["head"],
        "additionalProperties": False}  # fmt: skip
EXTENSIBLE = {
    "$id": "https://example.org/strict", "$dynamicAnchor": "node", "$ref": "tree", "unevaluatedProperties": False,
    "$defs": {"tree": {"$id": "tree", "$dynamicAnchor": "node", "type": "object",
                       "properties": {"data": True, "kids": {"items": {"$dynamicRef": "#node"}}}}},
}  # fmt: skip
CASES = [
    (TREE, [{"n": 1}, {"n": 1, "kids": [{"n": 2, "kids": []}]}], [{"n": 1, "kids": [{"kids": []}]}, []]),
    (LIST, [{"head": 1, "tail": {"head": 2, "tail": None}}], [{"head": 1, "tail": {"head": 2, "x": 1}}]),
    ({"pattern": "^[A-Z]{2}$"}, ["AB", 3], ["ab", "ABC"]),
    ({"multipleOf": 0.1}, [0.3, 1, 2.0, "x"], [0.35]),
    ({"multipleOf": 3}, [9, 3.0], [4, 1e308]),
    ({"if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}, "else": {"required": ["c"]}},
     [{"a": 1, "b": 0}, {"a": 2, "c": 0}], [{"a": 1}, {"a": 2, "b": 0}]),
    ({"then": False}, [1], []),
    ({"dependentRequired": {"a": ["b"]}}, [{}, {"a": 1, "b": 2}], [{"a": 1}]),
    ({"dependentSchemas": {"a": {"minProperties": 2}}}, [{"b": 1}, {"a": 1, "b": 2}], [{"a": 1}]),
    ({"dependencies": {"a": ["b"], "c": {"required": ["d"]}}}, [{"a": 1, "b": 1}], [{"a": 1}, {"c": 1}]),
    ({"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False}, [[], [1], [1, "a"]], [["a"], [1, "a", 2]]),
    ({"items": [{"type": "integer"}], "additionalItems": {"type": "string"}}, [[1, "a"], []], [[1, 2], ["a"]]),
    ({"contains": {"type": "integer"}}, [[1], ["a", 2]], [[], ["a"]]),
    ({"contains": {"const": 1}, "minContains": 2, "maxContains": 3}, [[1, 1], [1, 1, 1, 2]], [[1], [1, 1, 1, 1]]),
    ({"contains": {"const": 1}, "minContains": 0}, [[], [2]], []),
    ({"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False}, [{"x1": 1}, {}], [{"x": "a"}, {"y": 1}]),
    ({"properties": {"xa": {"minimum": 3}}, "patternProperties": {"^x": {"maximum": 5}}}, [{"xa": 4}], [{"xa": 6}, {"xa": 2}]),
    ({"propertyNames": {"maxLength": 2}}, [{"ab": 1}], [{"abc": 1}]),
    ({"allOf": [{"properties": {"a": True}}], "properties": {"b": True}, "unevaluatedProperties": False},
     [{"a": 1, "b": 2}], [{"c": 1}]),
    ({"anyOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": True}}], "unevaluatedProperties": False},
     [{"a": 1, "b": 1}, {"b": 2}], [{"a": 2, "b": 1}]),
    ({"prefixItems": [True], "contains": {"type": "string"}, "unevaluatedItems": False}, [[1, "a"], ["a"]], [[1, "a", 2]]),
    ({"unevaluatedProperties": {"type": "integer"}}, [{"a": 1}], [{"a": "x"}]),
    ({"not": {"type": "integer"}}, ["a", 1.5], [1, 1.0]),
    ({"oneOf": [{"multipleOf": 2}, {"multipleOf": 3}]}, [2, 9], [6, 5]),
    ({"$defs": {"n": {"$anchor": "whole", "type": "integer"}}, "$ref": "#whole"}, [1], ["a"]),
    ({"$id": "https://example.org/root", "$defs": {"n": {"$id": "number", "$defs": {"m": {"minimum": 3}}, "type": "number"}},
      "allOf": [{"$ref": "number"}, {"$ref": "number#/$defs/m"}]}, [4], ["a", 2]),
    (EXTENSIBLE, [{"data": 1, "kids": [{"data": 2}]}], [{"daat": 1}, {"kids": [{"daat": 1}]}]),
    ({"$ref": "#/parts/a~1b%25/0", "parts": {"a/b%": [{"type": "integer"}]}}, [1], ["a"]),
    ({"$ref": "#/components/x", "components": {"x": {"type": "integer"}}}, [1], ["a"]),
    ({"$ref": "#/$defs/a", "maximum": 3, "$defs": {"a": {"minimum": 1}}}, [2], [0, 4]),
    ({"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {"minimum": 1}},
      "properties": {"n": {"$ref": "#/definitions/a", "maximum": 3}}}, [{"n": 4}], [{"n": 0}]),
    ({"$id": "https://example.org/strict2019", "$recursiveAnchor": True, "$ref": "tree", "unevaluatedProperties": False,
      "$defs": {"tree": {"$id": "tree", "$recursiveAnchor": True, "properties": {"n": True, "kids": {
          "items": {"$recursiveRef": "#"}}}}}}, [{"n": 1, "kids": [{"n": 2}]}], [{"kids": [{"m": 1}]}]),
    ({"minimum": 3, "exclusiveMinimum": True}, [4], [3]),
    ({"maximum": 3, "exclusiveMaximum": False}, [3], [4]),
    ({"definitions": {"p": {"id": "#p", "type": "integer"}}, "$schema": "http://json-schema.org/draft-04/schema#",
      "properties": {"id": {"$ref": "#p"}}}, [{"id": 1}], [{"id": "a"}]),
    ({"enum": [[1, {"a": True}]]}, [[1.0, {"a": True}]], [[1, {"a": 1}], [1]]),
    ({"uniqueItems": True}, [[1, True, "1", [1], {"a": 1}], [[1], [True]]], [[1, 1.0], [{"a": 1}, {"a": 1.0}]]),
    ({"type": "integer"}, [10**400, 3.0, -1], [1.5, True, 1e400]),
    ({"minLength": 2, "maxLength": 2}, ["\U0001f600\U0001f600"], ["\U0001f600"]),
    ({"title": "said", "format": "email", "x-own": 1, "deprecated": True, "readOnly": True}, ["no address"], []),
    ({"properties": {"$ref": {"type": "string"}, "pattern": {"type": "integer"}}}, [{"$ref": "a", "pattern": 1}], [{"$ref": 1}]),
    ({"required": ["__proto__", "constructor"]}, [{"__proto__": 1, "constructor": 2}], [{}]),
    ({"const": 0}, [0, 0.0, -0.0], [False, None]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "kept", "broken"), CASES, ids=[str(case[0])[:50] for case in CASES])
def test_a_keyword_holds(schema, kept, broken):
    check_schema(schema)
    assert [violation(value, schema) for value in kept] == [""] * len(kept)
    assert all(violation(value, schema) for value in broken)


def test_many_ways_to_the_same_part_are_gone_once():
    """Each level has two alternatives that lead to the next one: 2^40 ways."""
    schema = {"anyOf": [{"properties": {"n": {"$ref": "#"}}, "required": ["no"]},
                        {"properties": {"n": {"$ref": "#"}}, "required": ["nor"]}]}  # fmt: skip
    value = {}
    for _ in range(40):
        value = {"n": value}
    started = time.perf_counter()
    assert violation(value, schema)
    assert time.perf_counter() - started < 2


def test_a_value_that_lies_too_deep_is_wrong_and_ends_nothing():
    value = {"n": 1}
    for _ in range(3000):
        value = {"n": 1, "kids": [value]}
    assert violation(value, TREE) == "the value lies too deep"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"properties": {"a": {"$ref": "other.json"}}}, "another document"),
        ({"$ref": "#nowhere"}, "no part of the schema"),
        ({"$defs": {"a": 3}, "$ref": "#/$defs/a"}, "a schema is an object"),
        ({"$ref": "#/title", "title": "x"}, "no schema"),
        ({"$ref": "#"}, "back to itself"),
        ({"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"not": {"$ref": "#"}}}}, "back to itself"),
        ({"multipleOf": 0}, "cannot be"),
        ({"required": "a"}, "cannot be"),
        ({"minItems": -1}, "cannot be"),
        ({"allOf": []}, "cannot be"),
        ({"patternProperties": {"(": True}}, "not closed"),
    ],
)
def test_what_is_no_schema_is_refused(schema, words):
    with pytest.raises(AhaError, match=words):
        check_schema(schema)


def test_what_is_too_much_is_not_graded():
    row = {"question": "?", "schema": {"pattern": "(a?){1000}b"}}
    problem = json_output.make_problem(row, 1)
    assert json_output.verify(problem, '"' + "a" * 20_000 + '"').outcome is Outcome.UNKNOWN
    assert json_output.verify(problem, '"ab"').outcome is Outcome.CORRECT
    assert json_output.verify(problem, "NaN").outcome is Outcome.WRONG
