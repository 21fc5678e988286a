"""Replies are compared as text that nobody trusts: as Python compares values, in time that the expected one bounds."""

from __future__ import annotations

import collections
import contextlib
import copy
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.sandbox import same_value
from aha.sandbox.inside import wire
from aha.sandbox.reply import Expected, is_constant, is_true

COLLIDING = [each * (2**61 - 1) for each in range(1, 80_001)]  # every one of them has the hash 0

_atom = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
_key = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, 1.0, -1.0, 0.5])
    | st.text(max_size=2),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
_value = st.recursive(
    _atom | _key,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(_key, inner, max_size=4)
        | st.sets(_key, max_size=4)
    ),
    max_leaves=12,
)


def reply(value) -> bytes:
    return wire.encode(value).encode()


@given(_value, _value)
def test_loosely_equal_is_what_python_says(one, other):
    assert Expected(one, strict=False).equals(reply(other)) == (one == other)
    assert Expected(one, strict=False).equals(reply(copy.deepcopy(one)))


@given(_value, _value)
def test_strictly_equal_is_what_same_value_says(one, other):
    assert Expected(one, strict=True).equals(reply(other)) == same_value(one, other)
    assert Expected(one, strict=True).equals(reply(one))


@given(_value)
def test_truth_is_what_python_says(value):
    assert is_true(reply(value)) == bool(value)
    assert is_constant(None, reply(value)) == (value is None)
    assert is_constant(True, reply(value)) == (value is True)


def test_what_subclasses_hold_is_equal_loosely_and_not_strictly():
    answer = reply(collections.Counter("aab"))
    assert Expected({"a": 2, "b": 1}, strict=False).equals(answer)
    assert not Expected({"a": 2, "b": 1}, strict=True).equals(answer)
    assert not is_true(reply(collections.Counter()))
    assert is_true(reply(iter([])))


LONG = pytest.mark.parametrize(
    "forged",
    [
        b'{"set":[' + b",".join(b'{"int":"%s"}' % hex(each).encode() for each in COLLIDING) + b"]}",
        b'{"dict":[' + b",".join(b'[{"int":"%s"},1]' % hex(each).encode() for each in COLLIDING) + b"]}",
        b"[" + b",".join([b"[]"] * 5_000_000) + b"]",
        b"[" + b",".join([b'{"set":[]}'] * 1_000_000) + b"]",
        b"[" * 1_000_000,
        b'{"sub":' * 1_000_000,
        b'{"int":"0x' + b"f" * 15_000_000 + b'"}',
        b"9" * 15_000_000,
        b"1." + b"9" * 15_000_000,
        b'"' + b"\\u0041" * 2_000_000 + b'"',
        b'{"' + b"x" * 15_000_000 + b'":1}',
        b'{"set":[' + b",".join([b'{"frozenset":[' * 200 + b"1" + b"]}" * 200] * 300) + b"]}",
    ],
    ids=[
        "set",
        "dict",
        "lists",
        "sets",
        "open",
        "sub",
        "int",
        "digits",
        "float",
        "text",
        "key",
        "nested sets",
    ],
)


@LONG
@pytest.mark.parametrize(
    "expected", [42, {1, 2}, [1] * 3000, set(range(30_000))], ids=["42", "set", "list", "big"]
)
def test_no_reply_takes_long(forged, expected):
    for strict in (True, False):
        start = time.thread_time()
        with contextlib.suppress(ValueError):
            assert not Expected(expected, strict=strict).equals(forged)
        assert time.thread_time() - start < 1


@LONG
def test_nor_does_its_truth(forged):
    start = time.thread_time()
    with contextlib.suppress(ValueError):
        is_true(forged)
    assert time.thread_time() - start < 1


@pytest.mark.parametrize(
    "forged",
    [
        b'{"set":[1,1]}',
        b'{"set":[1,true]}',
        b'{"set":[[1],[2]]}',
        b'{"dict":[[1,2],[1,2]]}',
        b'{"dict":[1,2]}',
        b'{"dict":[[1,2,3],[1,2,3]]}',
        b'{"set":3}',
        b'{"tuple":{"set":[1,2]}}',
        b'{"kept":"x"}',
        b'{"kept":1}',
        b'{"sub":{"set":[1]}}',
        b'{"lazy":[1,2]}',
        b"{}",
        b"NaN",
        b"\xff\xfe",
    ],
)
def test_a_lie_is_not_equal(forged):
    for expected in ({1, 2}, {1: 2, 3: 4}, [1, 2]):
        for strict in (True, False):
            with contextlib.suppress(ValueError):
                assert not Expected(expected, strict=strict).equals(forged)
