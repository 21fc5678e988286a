"""Whether something is a JSON Schema at all, told when it is read and not when answers are graded.

Keywords that are not known say nothing of a value, as the standard has it; neither does ``format``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aha.rewards.json_schema.automaton import compiled
from aha.rewards.json_schema.references import REFERENCES, SchemaReferences, inside, is_schema
from aha.types import AhaError

TYPES = ("object", "array", "string", "boolean", "null", "number", "integer")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains",
           "maxContains")  # fmt: skip
_NUMBERS = ("minimum", "maximum", "multipleOf")
_SAME_VALUE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
"""Keywords whose schemas are held against the same value."""


def check_schema(schema: Any, place: str = "the schema") -> None:
    """Raise AhaError for what is no schema, for patterns that cannot be matched, for references to what is not in it,
    and for those that lead back to themselves."""
    try:
        references = SchemaReferences(schema)
        _check(schema, place, references, set())
        _check_circles(references)
    except RecursionError:
        raise AhaError(f"{place} lies too deep.") from None


def _check(schema: Any, place: str, references: SchemaReferences, seen: set[int]) -> None:
    if isinstance(schema, bool) or id(schema) in seen:
        return
    if not isinstance(schema, Mapping):
        raise AhaError(f"{place} is {type(schema).__name__}: a schema is an object, true or false.")
    seen.add(id(schema))
    for keyword, of_kind in _KINDS.items():
        if keyword in schema and not of_kind(schema[keyword]):
            raise AhaError(f"{place}: {keyword} is {str(schema[keyword])[:60]!r}, which it cannot be.")
    _check_type(schema, place)
    _check_patterns(schema, place)
    for where, inner in inside(schema):
        _check(inner, f"{place}, {where}", references, seen)
    for keyword in REFERENCES:
        if isinstance(reference := schema.get(keyword), str):
            try:
                target = references.lookup(schema, reference)
            except AhaError as error:
                raise AhaError(f"{place} refers to {error}.") from None
            _check(target, f"{place}, {reference}", references, seen)


def _check_type(schema: Mapping[str, Any], place: str) -> None:
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if strange := [kind for kind in kinds if kind not in TYPES]:
        raise AhaError(f"{place} names an unknown type '{strange[0]}'.")


def _check_patterns(schema: Mapping[str, Any], place: str) -> None:
    patterns = [schema["pattern"]] if "pattern" in schema else []
    for pattern in (*patterns, *schema.get("patternProperties", ())):
        try:
            compiled(pattern)
        except AhaError as error:
            raise AhaError(f"{place}: {error}.") from None


def _is_count(value: Any) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 and value == int(value)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _dependencies(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_names(one) or is_schema(one) for one in value.values())


def _mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(_COUNTS, _is_count),
    **dict.fromkeys(_NUMBERS, _is_number),
    "multipleOf": lambda v: _is_number(v) and v > 0,
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), lambda v: _is_number(v) or isinstance(v, bool)),
    "type": lambda v: isinstance(v, str) or _names(v),
    "enum": lambda v: isinstance(v, list),
    "pattern": lambda v: isinstance(v, str),
    "required": lambda v: _names(v) or isinstance(v, bool),  # a boolean in draft 3: demands nothing here
    "uniqueItems": lambda v: isinstance(v, bool),
    **dict.fromkeys(REFERENCES, lambda v: isinstance(v, str)),
    **dict.fromkeys(
        ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"), _mapping
    ),
    **dict.fromkeys(("allOf", "anyOf", "oneOf"), lambda v: isinstance(v, list) and bool(v)),
    "prefixItems": lambda v: isinstance(v, list),
    "items": lambda v: is_schema(v) or isinstance(v, list),
    "dependentRequired": lambda v: _mapping(v) and all(map(_names, v.values())),
    "dependencies": _dependencies,
}
"""What the value of a keyword must be."""


def _check_circles(references: SchemaReferences) -> None:
    """Raise AhaError for schemas that lead back to themselves without looking into the value: they would never end."""
    through: set[int] = set()

    def follow(schema: Any, path: tuple[int, ...], reference: str) -> None:
        if not isinstance(schema, Mapping) or id(schema) in through:
            return
        if id(schema) in path:
            raise AhaError(f"The schema refers to {reference}, which refers back to itself.")
        for keyword in _SAME_VALUE:
            of = schema.get(keyword)
            for inner in of if isinstance(of, list) else [of]:
                follow(inner, (*path, id(schema)), reference)
        for inner in (schema.get("dependentSchemas") or {}).values():
            follow(inner, (*path, id(schema)), reference)
        for keyword in REFERENCES:
            if isinstance(schema.get(keyword), str):
                follow(references.lookup(schema, schema[keyword]), (*path, id(schema)), schema[keyword])
        through.add(id(schema))

    waiting, seen = [references.root], set[int]()
    while waiting:
        schema = waiting.pop()
        if not isinstance(schema, Mapping) or id(schema) in seen:
            continue
        seen.add(id(schema))
        follow(schema, (), "")
        waiting += [inner for _, inner in inside(schema)]
        waiting += references.targets(schema)
