"""Does a JSON value keep a schema? The part of JSON Schema (2020-12) that describes data, without patterns.

What is not understood is refused when the schema is read, not passed over when answers are graded. Regular expressions
are among it: their time on model text has no bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
_SAID = frozenset(["title", "description", "default", "examples", "$schema", "$id", "$comment", "format"])
_NESTED = frozenset(["anyOf", "oneOf", "allOf"])
_KNOWN = frozenset(
    ["type", "enum", "const", "properties", "required", "additionalProperties", "items", "not", "uniqueItems"]
)
MAX_DEPTH = 40


def check_schema(schema: Any, place: str = "the schema") -> None:
    """Raise AhaError for what is no schema, and for what in it is not understood."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise AhaError(f"{place} is {type(schema).__name__}: a schema is an object, true or false.")
    if unknown := sorted(set(schema) - _KNOWN - _NESTED - set(_LIMITS) - _SAID):
        raise AhaError(f"{place} uses {', '.join(unknown)}, which is not understood here.")
    kinds = schema.get("type", [])
    if strange := [k for k in ([kinds] if isinstance(kinds, str) else kinds) if k not in _TYPES]:
        raise AhaError(f"{place} names an unknown type '{strange[0]}'.")
    for name, inner in (schema.get("properties") or {}).items():
        check_schema(inner, f"{place}, property {name}")
    for name in ("items", "not", "additionalProperties"):
        if name in schema:
            check_schema(schema[name], f"{place}, {name}")
    for name in _NESTED & schema.keys():
        for inner in schema[name]:
            check_schema(inner, f"{place}, {name}")


def violation(value: Any, schema: Any, place: str = "", depth: int = 0) -> str:
    """The first thing in which a value does not keep a schema, in words; "" where it keeps it."""
    if isinstance(schema, bool):
        return "" if schema else f"{place or 'the value'} may not be there"
    if depth > MAX_DEPTH:
        return f"{place} lies too deep"
    where = place or "the value"
    return (
        _wrong_value(value, schema, where)
        or _wrong_limit(value, schema, where)
        or (_wrong_object(value, schema, place, depth) if isinstance(value, dict) else "")
        or (_wrong_array(value, schema, place, depth) if isinstance(value, list) else "")
        or _wrong_choice(value, schema, place, depth)
    )


def _wrong_value(value: Any, schema: Mapping[str, Any], where: str) -> str:
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


def _wrong_limit(value: Any, schema: Mapping[str, Any], where: str) -> str:
    for name, (kind, holds) in _LIMITS.items():
        if name in schema and _TYPES[kind](value) and not holds(value, schema[name]):
            return f"{where} breaks {name} {schema[name]}"
    return ""


def _wrong_object(value: Mapping[str, Any], schema: Mapping[str, Any], place: str, depth: int) -> str:
    properties = schema.get("properties") or {}
    missing = next((name for name in schema.get("required") or () if name not in value), None)
    if missing is not None:
        return f"{place or 'the value'} has no {missing}"
    for name, inner in value.items():
        own = properties.get(name, schema.get("additionalProperties", True))
        if wrong := violation(inner, own, f"{place}.{name}".lstrip("."), depth + 1):
            return wrong
    return ""


def _wrong_array(value: Sequence[Any], schema: Mapping[str, Any], place: str, depth: int) -> str:
    if schema.get("uniqueItems") and any(equal(a, b) for i, a in enumerate(value) for b in value[:i]):
        return f"{place or 'the value'} has an item twice"
    inner = schema.get("items", True)
    faults = (violation(item, inner, f"{place}[{i}]", depth + 1) for i, item in enumerate(value))
    return next((wrong for wrong in faults if wrong), "")


def _wrong_choice(value: Any, schema: Mapping[str, Any], place: str, depth: int) -> str:
    where = place or "the value"
    kept = {
        name: [not violation(value, one, place, depth + 1) for one in schema[name]]
        for name in _NESTED & schema.keys()
    }
    if not all(kept.get("allOf", [True])) or not any(kept.get("anyOf", [True])):
        return f"{where} keeps not {'all' if not all(kept.get('allOf', [True])) else 'any'} of its schemas"
    if sum(kept.get("oneOf", [True])) != 1:
        return f"{where} keeps {sum(kept['oneOf'])} of schemas of which it must keep one"
    if "not" in schema and not violation(value, schema["not"], place, depth + 1):
        return f"{where} is what it must not be"
    return ""
