"""Values on the wire and their comparison: types survive, lies do not."""

from __future__ import annotations

import collections
import contextlib
import enum
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.sandbox import same_output, same_value
from aha.sandbox.inside import wire

_leaf = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
_hashable = st.none() | st.booleans() | st.integers() | st.text()
_values = st.recursive(
    _leaf,
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(_hashable, inner) | st.sets(_hashable)
    ),
    max_leaves=20,
)


@given(_values)
def test_plain_values_come_back_as_they_were(value):
    again = wire.decode(wire.encode(value), strict=True)
    assert again == value
    assert type(again) is type(value)
    assert same_value(value, again)


@given(st.text())
def test_garbage_is_a_value_error_or_a_value(text):
    with contextlib.suppress(ValueError):
        wire.decode(text, strict=True)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "9" * 10_000,
        '{"int":"zz"}',
        '{"a":1,"b":2}',
        "NaN",
        '{"set":[[]]}',
        '{"dict":[1]}',
        '{"float":"x"}',
    ],
)
def test_forged_text_is_refused(text):
    with pytest.raises(ValueError):
        wire.decode(text, strict=True)


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        (1, True),
        (True, 1),
        (1, 1.0),
        (1.0, 1),
        (42, "42"),
        ([1], {1}),
        ({"1": 2}, {1: 2}),
        ({1: 1}, {True: 1}),
        (0.0, math.nan),
        ("a", b"a"),
        (None, 0),
    ],
)
def test_types_and_values_differ(expected, value):
    assert not same_value(expected, value)


def test_policy_on_nan_zero_and_tuples():
    assert same_value(math.nan, math.nan)
    assert same_value(0.0, -0.0)
    assert same_value([1, [2]], (1, (2,)))


def test_subclasses_are_not_the_plain_type_but_hold_its_value():
    class Sly(list):
        def __eq__(self, other):
            return True

        def __iter__(self):
            return iter([42])

    class Colour(enum.IntEnum):
        RED = 3

    for value, plain in ((Sly([1]), [1]), (collections.Counter("aab"), {"a": 2, "b": 1}), (Colour.RED, 3)):
        text = wire.encode(value)
        assert isinstance(wire.decode(text, strict=True), wire.OpaqueValue)
        assert wire.decode(text, strict=False) == plain


def test_what_cannot_travel():
    with pytest.raises(wire.CannotTravel):
        wire.encode(object())
    with pytest.raises(ValueError, match="items"):
        wire.encode(map(abs, iter(range(wire.MAX_ITEMS + 1))))
    cycle: list = []
    cycle.append(cycle)
    with pytest.raises(ValueError, match="deep"):
        wire.encode(cycle)


@pytest.mark.parametrize(
    ("expected", "output", "same"),
    [
        ("42", b"42\n", True),
        ("42\n", b"42  \r\n\n", True),
        ("1\n2", b"1\n2\n", True),
        ("42", b"", False),
        ("", b"", True),
        ("42", b"42\n42\n", False),
        ("42", b" 42", False),
        ("42", b"42.0", False),
        ("42", b"nan", False),
        ("42", b"42\0", False),
    ],
)
def test_outputs(expected, output, same):
    assert same_output(expected, output) is same
