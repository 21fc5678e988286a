"""Function calls by their syntax tree: cases after BFCL's rules."""

from __future__ import annotations

import pytest

from aha.tasks import function_calls as calls
from aha.types import AhaError, Outcome

FUNCTION = {
    "name": "geo.area",
    "description": "of a shape",
    "parameters": {
        "type": "dict",
        "properties": {"base": {"type": "integer"}, "height": {"type": "float"}, "unit": {"type": "string"}},
        "required": ["base", "height"],
    },
}
WANTED = {"geo.area": {"base": [10], "height": [5, 5.5], "unit": ["units", ""]}}


def graded(text, reference=(WANTED,)):
    row = {"question": [[{"role": "user", "content": "What is the area?"}]], "function": [FUNCTION]}
    return calls.verify(calls.make_problem(row | {"ground_truth": list(reference)}, 1), text)


@pytest.mark.parametrize(
    "text",
    [
        "[geo.area(base=10, height=5)]",
        "geo.area(height=5.0, base=10, unit='Units')",
        "```python\n[geo.area(base=10, height=5.5)]\n```",
        '{"name": "geo.area", "arguments": {"base": 10, "height": 5}}',
        '<tool_call>\n{"name": "geo.area", "arguments": "{\\"base\\": 10, \\"height\\": 5}"}\n</tool_call>',
        "<think>base 10</think>[geo.area(base=10, height=5)]",
    ],
)
def test_right_calls_in_every_notation(text):
    assert graded(text).outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[geo.area(base=10)]", "no height"),
        ("[geo.area(base=10, height=6)]", "height is '6'"),
        ("[geo.area(base=10, height=5, colour=1)]", "an unknown colour"),
        ("[area(base=10, height=5)]", "calls area"),
        ("[geo.area(base=True, height=5)]", "base is 'True'"),
        ("[]", "0 calls, not 1"),
        ("[geo.area(base=10, height=5), geo.area(base=10, height=5)]", "2 calls"),
        ("The area is 25.", "no list of calls"),
        ("[geo.area(10, 5)]", "no list of calls"),
        ("[geo.area(base=open('x'), height=5)]", "no list of calls"),
        ("[geo.area(base=10, **x)]", "no list of calls"),
    ],
)
def test_wrong_calls_are_named(text, why):
    verdict = graded(text)
    assert verdict.outcome is Outcome.WRONG
    assert why in verdict.note


def test_calls_may_come_in_any_order_and_each_answers_one():
    calls = [{"geo.area": {"base": [1], "height": [2]}}, {"geo.area": {"base": [3], "height": [4]}}]
    assert (
        graded("[geo.area(base=3, height=4), geo.area(base=1, height=2)]", calls).outcome is Outcome.CORRECT
    )
    assert graded("[geo.area(base=3, height=4), geo.area(base=3, height=4)]", calls).outcome is Outcome.WRONG


@pytest.mark.parametrize(
    ("value", "allowed", "equal"),
    [
        ("New York, NY", "new york ny", True), (5, 5.0, True), (5, "5", False), ([1, 2], [2, 1], False),
        (["A b"], ["ab"], True), ({"a": 1}, {"a": [1, 2], "b": [""]}, True), ({"a": 1, "c": 1}, {"a": [1]}, False),
        (None, None, True), (0, False, False), ((1, 2), [1, 2], True),
    ],
)  # fmt: skip
def test_values(value, allowed, equal):
    assert calls.same(value, allowed) is equal


def test_rows_without_what_is_needed_are_named():
    with pytest.raises(AhaError, match="Row 3 has no question, function"):
        calls.make_problem({"question": "x"}, 3)
    with pytest.raises(AhaError, match="not one name"):
        graded("[]", [{"a": {}, "b": {}}])


def test_deep_and_long_texts_are_read_in_no_time():
    for text in ("[" * 100_000, "f(" * 5_000, "f(x=" + "-" * 20_000 + "1)", '{"a":' * 50_000):
        assert calls.read_calls(text) is None
