"""Python values as typed JSON, for the channel between model code and the judge.

What comes out of the sandbox is only ever data: plain values are rebuilt, nothing is looked up or executed.
Types survive the trip (a tuple is no list, True is no 1), so that the judge can be strict about them.
"""

from __future__ import annotations

import json
from _json import (
    encode_basestring_ascii as _quote,  # the C function itself: patching ``json`` changes nothing
)
from collections.abc import Callable
from typing import Any

MAX_ITEMS = 100_000  # taken from an iterator that a function returns
_MAX_DEPTH = 100
_EXACT_IN_JSON = 2**63

# Bound here, so that model code that replaces builtins changes nothing in the encoder.
_type, _isinstance, _repr, _len, _abs, _hex = type, isinstance, repr, len, abs, hex
_ValueError = ValueError
_list, _tuple, _dict, _set, _frozenset = list, tuple, dict, set, frozenset
_int, _float, _str, _bytes, _complex, _bytearray = int, float, str, bytes, complex, bytearray
_PLAIN: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (int, int.__pos__),
    (float, float.__pos__),
    (str, str.__str__),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    (dict, lambda value: _dict(_dict.items(value))),
    (list, lambda value: _list(_list.__iter__(value))),
    (tuple, lambda value: _tuple(_tuple.__iter__(value))),
    (set, lambda value: _set(_set.__iter__(value))),
    (frozenset, lambda value: _frozenset(_frozenset.__iter__(value))),
)
_ITERATORS = (
    iter([]),
    iter(()),
    iter({}),
    iter(set()),
    (x for x in ()),
    map(abs, ()),
    zip(),
    filter(None, ()),
)
_VIEWS = (enumerate(()), reversed([]), {}.keys(), {}.values(), {}.items(), range(0))
_LAZY = {type(each) for each in (*_ITERATORS, *_VIEWS)}


_CONTAINERS = ("tuple", "dict", "set", "frozenset", "lazy")


class CannotTravel(TypeError):
    """A value of a type that the channel does not carry."""


class Opaque:
    """A value that is not one of the plain types; equal to nothing but itself."""

    def __init__(self, kind: str, value: Any = None) -> None:
        self.kind = kind
        self.value = value

    def __repr__(self) -> str:
        return f"<{self.kind}>"


class Reference:
    """An object that stays on the other side and can only be handed back."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"<object {self.number} inside the sandbox>"


def encode(value: Any, keep: Callable[[Any], int] | None = None) -> str:
    """A value as JSON text. ``keep`` stores an object that cannot travel and gives its number.

    Raises CannotTravel for a value that cannot travel (without ``keep``), ValueError for one nested too deep.
    """
    return _encode(value, keep, 0)


def _encode(value: Any, keep: Callable[[Any], int] | None, depth: int) -> str:
    if depth > _MAX_DEPTH:
        raise _ValueError("the value is nested too deep")
    kind = _type(value)
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is _int:
        return _repr(value) if _abs(value) < _EXACT_IN_JSON else '{"int":"' + _hex(value) + '"}'
    if kind is _float:
        finite = value - value == 0
        return _repr(value) if finite else '{"float":"' + _repr(value) + '"}'
    if kind is _str:
        return _quote(value)
    if kind is _list:
        return _sequence(value, keep, depth)
    if kind is _tuple:
        return '{"tuple":' + _sequence(value, keep, depth) + "}"
    if kind is _dict:
        pairs = [_sequence(pair, keep, depth + 1) for pair in _dict.items(value)]
        return '{"dict":[' + ",".join(pairs) + "]}"
    if kind is _set or kind is _frozenset:
        name = "set" if kind is _set else "frozenset"
        return '{"' + name + '":' + _sequence(_list(value), keep, depth) + "}"
    if kind is _bytes or kind is _bytearray:
        return '{"' + kind.__name__ + '":"' + kind.hex(value) + '"}'
    if kind is _complex:
        return '{"complex":' + _sequence([value.real, value.imag], keep, depth) + "}"
    if kind is Reference:
        return '{"kept":' + _repr(value.number) + "}"
    if kind in _LAZY:
        return '{"lazy":' + _sequence(_take(value), keep, depth) + "}"
    return _encode_other(value, keep, depth)


def _encode_other(value: Any, keep: Callable[[Any], int] | None, depth: int) -> str:
    # A subclass travels as what it holds, read past its own methods, and is marked: it is not the plain type.
    for base, plain in _PLAIN:
        if _isinstance(value, base) and _type(value) is not bool:
            return '{"sub":' + _encode(plain(value), keep, depth + 1) + "}"
    if keep is None:
        raise CannotTravel("a value of type " + _type(value).__name__ + " cannot leave the sandbox")
    return '{"kept":' + _repr(keep(value)) + "}"


def _sequence(values: Any, keep: Callable[[Any], int] | None, depth: int) -> str:
    return "[" + ",".join([_encode(each, keep, depth + 1) for each in values]) + "]"


def _take(values: Any) -> list[Any]:
    taken: list[Any] = []
    for each in values:
        if _len(taken) == MAX_ITEMS:
            raise _ValueError("the iterator gives too many items")
        taken.append(each)
    return taken


class Typed:
    """A value of a type that JSON has not, as it stands on the wire: its tag and what stands below it."""

    __slots__ = ("body", "tag")

    def __init__(self, tag: str, body: Any) -> None:
        self.tag = tag
        self.body = body


def parse(text: str | bytes) -> Any:
    """What ``encode`` wrote, as lists, plain values and ``Typed``; nothing in it is hashed.

    Whoever writes the text may choose values whose hashes are all equal, so that a set of them takes hours;
    the time for this is linear in the length. Raises ValueError for anything that ``encode`` does not write.
    """
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_typed)
    except (RecursionError, TypeError, KeyError, UnicodeDecodeError, AttributeError) as error:
        raise ValueError(f"not a value: {error}") from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not written so")


def _typed(pairs: list[tuple[str, Any]]) -> Any:
    if _len(pairs) != 1:
        raise ValueError("not a typed value")
    tag, body = pairs[0]
    if tag == "int":
        return int(body, 16)
    if tag == "float":
        return {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}[body]
    if tag in ("bytes", "bytearray"):
        return (bytes if tag == "bytes" else bytearray).fromhex(body)
    if tag == "complex":
        return complex(*body)
    if tag == "kept":
        return Typed(tag, int(body))
    if tag == "dict" and any(_type(pair) is not list or _len(pair) != 2 for pair in body):
        raise ValueError("not a dictionary")
    if tag in _CONTAINERS and _type(body) is not list:
        raise ValueError("not a container")
    if tag not in _CONTAINERS and tag != "sub":
        raise ValueError(f"unknown type {tag!r}")
    return Typed(tag, body)


def decode(text: str | bytes, *, strict: bool, kept: Callable[[int], Any] = Reference) -> Any:
    """The value that ``encode`` wrote.

    Only for text of one's own side, or in a process that has a deadline: see ``parse``. ``strict`` makes
    subclasses and iterators Opaque; otherwise they become the plain value they hold, as Python's own ``==``
    sees them. Raises ValueError for anything that ``encode`` does not write.
    """
    try:
        return _build(parse(text), strict, kept)
    except (RecursionError, TypeError, KeyError) as error:
        raise ValueError(f"not a value: {error}") from None


def _build(value: Any, strict: bool, kept: Callable[[int], Any]) -> Any:
    if _type(value) is list:
        return [_build(each, strict, kept) for each in value]
    if _type(value) is not Typed:
        return value
    tag, body = value.tag, value.body
    if tag == "kept":
        return kept(body)
    if tag == "dict":
        return {_build(key, strict, kept): _build(each, strict, kept) for key, each in body}
    inner = _build(body, strict, kept)
    if tag == "tuple":
        return tuple(inner)
    if tag == "set":
        return set(inner)
    if tag == "frozenset":
        return frozenset(inner)
    if tag == "sub":
        return Opaque("a subclass", inner) if strict else inner
    return Opaque("an iterator", inner) if strict else iter(inner)
