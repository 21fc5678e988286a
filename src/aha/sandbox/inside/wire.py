"""Python values as typed JSON, for the channel between model code and the judge.

What comes out of the sandbox is only ever data: plain values are rebuilt, nothing is looked up or executed.
Types survive the trip (a tuple is no list, True is no 1), so that the judge can be strict about them.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import json
import pathlib
import re
import uuid
from _json import (
    encode_basestring_ascii as _quote,  # the C function itself: patching ``json`` changes nothing
)
from collections.abc import Callable, Mapping
from typing import Any

MAX_ITEMS = 100_000  # taken from an iterator that a function returns
_MAX_DEPTH = 100
_EXACT_IN_JSON = 2**63

# Bound here, so that model code that replaces builtins changes nothing in the encoder.
_type, _isinstance, _repr, _len, _abs, _hex, _id = type, isinstance, repr, len, abs, hex, id
_map, _max, _min = map, max, min
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
_CONSUMED = {type(each) for each in (*_ITERATORS, enumerate(()), reversed([]))}
_SET_VIEWS = {type({}.keys()), type({}.items())}
# Values of the standard library that compare by what they hold: how to take one apart.
_STANDARD: dict[type, Callable[[Any], list[Any]]] = {
    decimal.Decimal: lambda value: [decimal.Decimal.__str__(value)],
    fractions.Fraction: lambda value: [value.numerator, value.denominator],
    collections.deque: lambda value: [_list(value), value.maxlen],
    datetime.date: lambda value: [value.year, value.month, value.day],
    datetime.timedelta: lambda value: [value.days, value.seconds, value.microseconds],
    datetime.datetime: lambda value: [*value.timetuple()[:6], value.microsecond, _zone(value)],
    datetime.time: lambda value: [value.hour, value.minute, value.second, value.microsecond, _zone(value)],
    datetime.timezone: lambda value: [value.utcoffset(None)],
    uuid.UUID: lambda value: [value.hex],
    pathlib.PurePosixPath: lambda value: [_str(value)],
    pathlib.PosixPath: lambda value: [_str(value)],
    re.Pattern: lambda value: [value.pattern, value.flags],
}
# Of these classes themselves, where both sides talk; in a reply that is compared outside they are what they hold.
_PASSED: dict[type, Callable[[Any], list[Any]]] = {
    collections.Counter: lambda value: [_dict(value)],
    collections.OrderedDict: lambda value: [_dict(value)],
    collections.defaultdict: lambda value: [value.default_factory, _dict(value)],
}
_MADE_OF: dict[str, Callable[..., Any]] = {kind.__name__: kind for kind in (*_STANDARD, *_PASSED)}
_MADE_OF["Pattern"] = re.compile


def _zone(value: Any) -> Any:
    return None if value.utcoffset() is None else datetime.timezone(value.utcoffset())


_LONGEST_STANDARD = 4096
REMOTE: set[type] = set()  # classes that stand for objects of the other side, each with a ``number``


_CONTAINERS = (
    *(
        "tuple",
        "dict",
        "set",
        "frozenset",
        "lazy",
        "view",
        "range",
        "standard",
        "array",
        "held",
        "graph",
        "changed",
        "alias",
    ),
)
CLASSES: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        int,
        float,
        str,
        bytes,
        bool,
        complex,
        list,
        tuple,
        dict,
        set,
        frozenset,
        bytearray,
        type(None),
    )
}
"""Python's own classes, which are the same on both sides."""
_CLASS_NAMES = {kind: name for name, kind in CLASSES.items()}


class CannotTravel(TypeError):
    """A value of a type that the channel does not carry."""


class OpaqueValue:
    """A value that is not one of the plain types; equal to nothing but itself."""

    def __init__(self, kind: str, value: Any = None) -> None:
        self.kind = kind
        self.value = value

    def __repr__(self) -> str:
        return f"<{self.kind}>"


class RemoteObject:
    """An object that stays on the other side and can only be handed back."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"<object {self.number} inside the sandbox>"


class Changed:
    """A result, and what the arguments of the call became by it."""

    def __init__(self, value: Any, arguments: list[Any]) -> None:
        self.value = value
        self.arguments = arguments


class Same:
    """A result that is one of the arguments of the call itself."""

    def __init__(self, place: int) -> None:
        self.place = place


class WireSide:
    """What one side of a conversation knows of the other: objects kept by number, and classes that both have.

    ``shared`` names classes whose instances travel by value, attribute by attribute. With ``whole`` an instance
    of a subclass, and an iterator, stay here too, so that all that they can do can be asked for. Without ``keeps``
    nothing is kept: what cannot travel is refused.
    """

    def __init__(
        self, shared: Mapping[str, type] | None = None, *, whole: bool = False, keeps: bool = True
    ) -> None:
        self.keeps = keeps
        self.kept: list[Any] = []
        self.shared: Mapping[str, type] = shared if shared is not None else {}
        self.whole = whole
        self._numbers: dict[int, int] = {}

    def keep(self, value: Any) -> int:
        """The number of an object, the same whenever it is asked for."""
        number = self._numbers.setdefault(_id(value), _len(self.kept))
        if number == _len(self.kept):
            self.kept.append(value)
        return number


class _Message:
    """One text on its way: the instances of shared classes in it are numbered as they are met."""

    def __init__(self, side: WireSide | None) -> None:
        self.side = side
        self.instances: list[Any] = []
        self._numbers: dict[int, int] = {}

    def number(self, value: Any) -> int:
        number = self._numbers.setdefault(_id(value), _len(self.instances))
        if number == _len(self.instances):
            self.instances.append(value)
        return number


def encode(value: Any, side: WireSide | None = None) -> str:
    """A value as JSON text. A ``side`` keeps what cannot travel and sends its number.

    Raises CannotTravel for a value that cannot travel (without a side), ValueError for one nested too deep.
    """
    message = _Message(side)
    text = _encode(value, message, 0)
    rows: list[str] = []
    while _len(rows) < _len(message.instances):  # describing one may number more
        each = message.instances[_len(rows)]
        pairs = [_sequence(pair, message, 1) for pair in _attributes(each)]
        rows.append("[" + _quote(_type(each).__name__) + ",[" + ",".join(pairs) + "]]")
    return '{"graph":[' + text + ",[" + ",".join(rows) + "]]}" if rows else text


def _attributes(value: Any) -> list[tuple[str, Any]]:
    attributes = list(getattr(value, "__dict__", {}).items())
    for kind in _type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if _isinstance(slots, _str) else slots:
            if hasattr(value, name) and name != "__dict__":
                attributes.append((name, getattr(value, name)))
    return attributes


def _encode(value: Any, message: _Message, depth: int) -> str:
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
        return _sequence(value, message, depth)
    if kind is _tuple:
        return '{"tuple":' + _sequence(value, message, depth) + "}"
    if kind is _dict:
        pairs = [_sequence(pair, message, depth + 1) for pair in _dict.items(value)]
        return '{"dict":[' + ",".join(pairs) + "]}"
    if kind is _set or kind is _frozenset:
        name = "set" if kind is _set else "frozenset"
        return '{"' + name + '":' + _sequence(_list(value), message, depth) + "}"
    if kind is _bytes or kind is _bytearray:
        return '{"' + kind.__name__ + '":"' + kind.hex(value) + '"}'
    if kind is _complex:
        return '{"complex":' + _sequence([value.real, value.imag], message, depth) + "}"
    if kind is RemoteObject or kind in REMOTE:
        return '{"kept":' + _repr(value.number) + "}"
    if kind in _LAZY and not (kind in _CONSUMED and message.side and message.side.whole):
        name = "view" if kind in _SET_VIEWS else "range" if kind is range else "lazy"
        if kind is range:
            return '{"range":' + _sequence([value.start, value.stop, value.step], message, depth) + "}"
        return '{"' + name + '":' + _sequence(_take(value), message, depth) + "}"
    return _encode_other(value, kind, message, depth)


def _encode_other(value: Any, kind: type, message: _Message, depth: int) -> str:
    side = message.side
    if kind is _type and value in _CLASS_NAMES and side:
        return '{"class":' + _quote(_CLASS_NAMES[value]) + "}"
    if side and kind.__name__ in side.shared:
        return '{"node":' + _repr(message.number(value)) + "}"
    apart = _STANDARD.get(kind) or (_PASSED.get(kind) if side and (side.whole or not side.keeps) else None)
    if apart is not None:
        return '{"standard":' + _sequence([kind.__name__, *apart(value)], message, depth) + "}"
    if kind.__module__ == "numpy":
        return _encode_array(value, message, depth)
    # A subclass travels as what it holds, read past its own methods, and is marked: it is not the plain type.
    for base, plain in _PLAIN:
        if _isinstance(value, base) and kind is not bool:
            text = _encode(plain(value), message, depth + 1)
            if side and side.whole:
                return '{"held":[' + text + "," + _repr(side.keep(value)) + "]}"
            return '{"sub":' + text + "}"
    if side is None or not side.keeps:
        raise CannotTravel("a value of type " + kind.__name__ + " cannot leave the sandbox")
    return '{"kept":' + _repr(side.keep(value)) + "}"


def _encode_array(value: Any, message: _Message, depth: int) -> str:
    """numpy's numbers travel as those they hold; its arrays as lists with a type."""
    listed = value.tolist()
    if _type(listed) is not _list and not hasattr(value, "ndim"):
        raise _ValueError("not an array")
    if getattr(value, "ndim", 0) == 0:
        return '{"sub":' + _encode(listed, message, depth + 1) + "}"
    return '{"array":' + _sequence([value.dtype.str, listed], message, depth) + "}"


def _sequence(values: Any, message: _Message, depth: int) -> str:
    if _type(values) in (_list, _tuple) and _len(values) > 8 and depth < _MAX_DEPTH:
        kinds = {*_map(_type, values)}
        if kinds == {_int} and _max(values) < _EXACT_IN_JSON and _min(values) > -_EXACT_IN_JSON:
            return "[" + ",".join(_map(_repr, values)) + "]"
        if kinds == {_str}:
            return "[" + ",".join(_map(_quote, values)) + "]"
    return "[" + ",".join([_encode(each, message, depth + 1) for each in values]) + "]"


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
    if tag in ("kept", "node", "same"):
        return Typed(tag, int(body))
    if tag == "class" and _type(body) is _str:
        return Typed(tag, body)
    if tag == "dict" and any(_type(pair) is not list or _len(pair) != 2 for pair in body):
        raise ValueError("not a dictionary")
    if tag in ("held", "graph", "array", "changed", "alias") and _len(body) != 2:
        raise ValueError(f"not a value of type {tag}")
    if tag in _CONTAINERS and _type(body) is not list:
        raise ValueError("not a container")
    if tag not in _CONTAINERS and tag != "sub":
        raise ValueError(f"unknown type {tag!r}")
    return Typed(tag, body)


def number_of(value: Typed) -> Any:
    """The Decimal or Fraction that a parsed value stands for; None if it is neither, or too long to be one."""
    if value.tag != "standard" or not value.body or value.body[0] not in ("Decimal", "Fraction"):
        return None
    parts = value.body[1:]
    if any(_len(part if _type(part) is str else hex(part)) > _LONGEST_STANDARD for part in parts):
        return None
    return _MADE_OF[value.body[0]](*parts)


def decode(
    text: str | bytes,
    *,
    strict: bool = False,
    kept: Callable[[int], Any] = RemoteObject,
    proxy: Callable[[Any, int], Any] | None = None,
    shared: Mapping[str, type] | None = None,
    alias: Callable[[Any, int], Any] | None = None,
) -> Any:
    """The value that ``encode`` wrote.

    Only for text of one's own side, or in a process that has a deadline: see ``parse``. ``strict`` makes
    subclasses and iterators OpaqueValue; otherwise they become the plain value they hold, as Python's own ``==``
    sees them. ``kept``, ``proxy`` and ``alias`` give what stands for objects and containers of the other side.
    Raises ValueError for anything that ``encode`` does not write.
    """
    builder = _Builder(strict, kept, proxy, shared or {}, alias)
    try:
        return builder.build(parse(text))
    except (RecursionError, TypeError, KeyError, IndexError, ArithmeticError, AttributeError) as error:
        raise ValueError(f"not a value: {error}") from None


class _Builder:
    """Builds values of a parsed text."""

    def __init__(
        self,
        strict: bool,
        kept: Callable[[int], Any],
        proxy: Callable[[Any, int], Any] | None,
        shared: Mapping[str, type],
        alias: Callable[[Any, int], Any] | None,
    ) -> None:
        self.alias = alias
        self.strict = strict
        self.kept = kept
        self.proxy = proxy
        self.shared = shared
        self.instances: list[Any] = []

    def build(self, value: Any) -> Any:
        if _type(value) is list:
            return [self.build(each) for each in value]
        if _type(value) is not Typed:
            return value
        tag, body = value.tag, value.body
        if tag == "kept":
            return self.kept(body)
        if tag == "node":
            return self.instances[body]
        if tag == "graph":
            return self._graph(*body)
        if tag == "dict":
            return {self.build(key): self.build(each) for key, each in body}
        if tag == "changed":
            return Changed(*(self.build(each) for each in body))
        if tag == "class":
            return CLASSES[body]
        if tag == "same":
            return Same(body)
        if tag == "alias":
            inner = self.build(body[0])
            return self.alias(inner, body[1]) if self.alias else inner
        if tag == "held":
            inner = self.build(body[0])
            return self.proxy(inner, body[1]) if self.proxy else inner
        return self._container(tag, self.build(body))

    def _container(self, tag: str, inner: Any) -> Any:
        if tag in ("tuple", "set", "frozenset"):
            return {"tuple": tuple, "set": set, "frozenset": frozenset}[tag](inner)
        if tag == "sub":
            return OpaqueValue("a subclass", inner) if self.strict else inner
        if tag == "standard":
            return _MADE_OF[inner[0]](*inner[1:])
        if tag == "array":
            import numpy

            return numpy.array(inner[1], dtype=inner[0])
        if self.strict:
            return OpaqueValue("an iterator", inner)
        if tag == "range":
            return range(*inner)
        return dict.fromkeys(inner).keys() if tag == "view" else iter(inner)

    def _graph(self, value: Any, rows: list[Any]) -> Any:
        kinds = [self.shared[name] for name, _ in rows]
        self.instances = [object.__new__(kind) for kind in kinds]
        for instance, (_, pairs) in zip(self.instances, rows, strict=True):
            for name, each in pairs:
                object.__setattr__(instance, name, self.build(each))
        return self.build(value)
