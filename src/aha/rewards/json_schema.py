"""Does a JSON value keep a schema? The part of JSON Schema (2020-12) that describes data, without patterns.

What is not understood is refused when the schema is read, not passed over when answers are graded. Regular expressions
are among it: their time on model text has no bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aha.types import AhaError

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "integer": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and float(v).is_integer(),
}
_LIMITS: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minimum": ("number", lambda v, n: v >= n),
    "maximum": ("number", lambda v, n: v <= n),
    "exclusiveMinimum": ("number", lambda v, n: v > n),
    "exclusiveMaximum": ("number", lambda v, n: v < n),
    "minLength": ("string", lambda v, n: len(v) >= n),
    "maxLength": ("string", lambda v, n: len(v) <= n),
    "minItems": ("array", lambda v, n: len(v) >= n),
    "maxItems": ("array", lambda v, n: len(v) <= n),
    "minProperties": ("object", lambda v, n: len(v) >= n),
    "maxProperties": ("object", lambda v, n: len(v) <= n),
}
_SAID = frozenset(
    ["title", "description", "default", "examples", "$schema", "$id", "id", "$comment", "format"]
)
_NESTED = frozenset(["anyOf", "oneOf", "allOf"])
_REF, _DEFINED = "$ref", ("$defs", "definitions")
_KNOWN = frozenset(
    ["type", "enum", "const", "properties", "required", "additionalProperties", "items", "not", "uniqueItems"]
    + [_REF, *_DEFINED]
)
MAX_DEPTH = 40


def check_schema(schema: Any, place: str = "the schema", root: Any = None) -> None:
    """Raise AhaError for what is no schema, and for what in it is not understood. ``root``: the schema that it is a
    part of, in which references are looked up."""
    root = schema if root is None else root
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise AhaError(f"{place} is {type(schema).__name__}: a schema is an object, true or false.")
    if unknown := sorted(set(schema) - _KNOWN - _NESTED - set(_LIMITS) - _SAID):
        raise AhaError(f"{place} uses {', '.join(unknown)}, which is not understood here.")
    if _REF in schema:
        _check_reference(schema, place, root)
    kinds = schema.get("type", [])
    if strange := [k for k in ([kinds] if isinstance(kinds, str) else kinds) if k not in _TYPES]:
        raise AhaError(f"{place} names an unknown type '{strange[0]}'.")
    for name, inner in (schema.get("properties") or {}).items():
        check_schema(inner, f"{place}, property {name}", root)
    for group in _DEFINED:
        for name, inner in (schema.get(group) or {}).items():
            check_schema(inner, f"{place}, {name} of its {group}", root)
    for name in ("items", "not", "additionalProperties"):
        if name in schema:
            check_schema(schema[name], f"{place}, {name}", root)
    for name in _NESTED & schema.keys():
        for inner in schema[name]:
            check_schema(inner, f"{place}, {name}", root)


def _check_reference(schema: Mapping[str, Any], place: str, root: Any) -> None:
    """Raise AhaError for a reference to what is not in the schema, and for one that leads back to itself."""
    passed: list[str] = []
    while isinstance(schema, Mapping) and _REF in schema:
        pointer = str(schema[_REF])
        if pointer in passed:
            raise AhaError(f"{place} refers to {pointer}, which refers back to itself.")
        passed.append(pointer)
        try:
            schema = referred(root, pointer)
        except (KeyError, IndexError, TypeError, ValueError):
            raise AhaError(f"{place} refers to {pointer}, which is no part of the schema.") from None


def referred(root: Any, pointer: str) -> Any:
    """What a JSON pointer (``#/$defs/name``) names in a schema. Raises KeyError, IndexError, TypeError or ValueError
    where there is nothing."""
    if not pointer.startswith("#/"):  # "#", the whole within itself, is not understood
        raise ValueError(pointer)
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        root = root[int(name)] if isinstance(root, list) else root[name]
    return root


@dataclass(frozen=True, slots=True)
class _ValuePlace:
    """Where in a value it is looked, how deep, and the whole schema."""

    root: Any
    path: str = ""
    depth: int = 0

    def __str__(self) -> str:
        return self.path or "the value"

    def inside(self, path: str = "") -> _ValuePlace:
        """A part of the value, or the same again under another schema."""
        return replace(self, path=f"{self.path}{path}".lstrip("."), depth=self.depth + 1)


def violation(value: Any, schema: Any) -> str:
    """The first thing in which a value does not keep a schema, in words; "" where it keeps it."""
    return _violation(value, schema, _ValuePlace(schema))


def _violation(value: Any, schema: Any, place: _ValuePlace) -> str:
    if isinstance(schema, bool):
        return "" if schema else f"{place} may not be there"
    if place.depth > MAX_DEPTH:
        return f"{place} lies too deep"
    return (
        _wrong_value(value, schema, place)
        or _wrong_limit(value, schema, place)
        or (_wrong_object(value, schema, place) if isinstance(value, dict) else "")
        or (_wrong_array(value, schema, place) if isinstance(value, list) else "")
        or _wrong_choice(value, schema, place)
        or (_violation(value, referred(place.root, schema[_REF]), place.inside()) if _REF in schema else "")
    )


def _wrong_value(value: Any, schema: Mapping[str, Any], where: _ValuePlace) -> str:
    kinds = schema.get("type")
    named = [kinds] if isinstance(kinds, str) else kinds
    if named is not None and not any(_TYPES[kind](value) for kind in named):
        return f"{where} is no {' or '.join(named)}"
    if "enum" in schema and not any(equal(value, one) for one in schema["enum"]):
        return f"{where} is none of {str(schema['enum'])[:60]}"
    if "const" in schema and not equal(value, schema["const"]):
        return f"{where} is not {schema['const']!r}"
    return ""


def equal(a: Any, b: Any) -> bool:
    """Equal as JSON values: true is not 1, and 1.0 is 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    return a == b


def _wrong_limit(value: Any, schema: Mapping[str, Any], where: _ValuePlace) -> str:
    for name, (kind, holds) in _LIMITS.items():
        if name in schema and _TYPES[kind](value) and not holds(value, schema[name]):
            return f"{where} breaks {name} {schema[name]}"
    return ""


def _wrong_object(value: Mapping[str, Any], schema: Mapping[str, Any], place: _ValuePlace) -> str:
    properties = schema.get("properties") or {}
    missing = next((name for name in schema.get("required") or () if name not in value), None)
    if missing is not None:
        return f"{place} has no {missing}"
    for name, inner in value.items():
        own = properties.get(name, schema.get("additionalProperties", True))
        if wrong := _violation(inner, own, place.inside(f".{name}")):
            return wrong
    return ""


def _wrong_array(value: Sequence[Any], schema: Mapping[str, Any], place: _ValuePlace) -> str:
    if schema.get("uniqueItems") and any(equal(a, b) for i, a in enumerate(value) for b in value[:i]):
        return f"{place} has an item twice"
    inner = schema.get("items", True)
    faults = (_violation(item, inner, place.inside(f"[{i}]")) for i, item in enumerate(value))
    return next((wrong for wrong in faults if wrong), "")


def _wrong_choice(value: Any, schema: Mapping[str, Any], place: _ValuePlace) -> str:
    kept = {
        name: [not _violation(value, one, place.inside()) for one in schema[name]]
        for name in _NESTED & schema.keys()
    }
    if not all(kept.get("allOf", [True])) or not any(kept.get("anyOf", [True])):
        return f"{place} keeps not {'all' if not all(kept.get('allOf', [True])) else 'any'} of its schemas"
    if sum(kept.get("oneOf", [True])) != 1:
        return f"{place} keeps {sum(kept['oneOf'])} of schemas of which it must keep one"
    if "not" in schema and not _violation(value, schema["not"], place.inside()):
        return f"{place} is what it must not be"
    return ""
