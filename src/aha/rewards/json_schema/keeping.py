"""Values held against a schema: the first thing in which one does not keep it, in words.

Every keyword of draft 2020-12 that asserts something, and what older drafts called otherwise. A part of a value is held
against a schema once, however many ways lead there, so the time is bounded by value times schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from aha.rewards.json_schema.automaton import TooMuchError, found
from aha.rewards.json_schema.references import SchemaReferences

__all__ = ["CheckedSchema", "TooMuchError", "equal", "violation"]


def _is_whole(value: Any) -> bool:
    return _is_number(value) and (isinstance(value, int) or value.is_integer())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "number": _is_number,
    "integer": _is_whole,
}


def _is_multiple(value: float, of: float) -> bool:
    """By the numbers as they are written: 0.3 is a multiple of 0.1."""
    try:
        return Fraction(repr(value)) % Fraction(repr(of)) == 0
    except ValueError:  # infinite
        return False


_LIMITS: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minimum": ("number", lambda v, n: v >= n),
    "maximum": ("number", lambda v, n: v <= n),
    "exclusiveMinimum": ("number", lambda v, n: v > n),
    "exclusiveMaximum": ("number", lambda v, n: v < n),
    "multipleOf": ("number", _is_multiple),
    "minLength": ("string", lambda v, n: len(v) >= n),
    "maxLength": ("string", lambda v, n: len(v) <= n),
    "pattern": ("string", lambda v, pattern: found(pattern, v)),
    "minItems": ("array", lambda v, n: len(v) >= n),
    "maxItems": ("array", lambda v, n: len(v) <= n),
    "minProperties": ("object", lambda v, n: len(v) >= n),
    "maxProperties": ("object", lambda v, n: len(v) <= n),
}


def equal(a: Any, b: Any) -> bool:
    """Equal as JSON values: true is not 1, and 1.0 is 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    return a == b


@dataclass(slots=True)
class _Seen:
    """Of one value what its schemas have looked at: names of an object, places of a list."""

    names: set[str] = field(default_factory=set)
    items: set[int] = field(default_factory=set)

    def add(self, other: _Seen) -> None:
        """What another schema of the same value looked at."""
        self.names |= other.names
        self.items |= other.items


@dataclass(frozen=True, slots=True)
class _ValuePlace:
    """Where in a value it is looked, and through which resources the schemas led there."""

    path: str = ""
    scope: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.path or "the value"

    def inside(self, path: str) -> _ValuePlace:
        """A part of the value."""
        return replace(self, path=f"{self.path}{path}".lstrip("."))


_Held = tuple[str, _Seen]
_NOTHING = ("", _Seen())


class CheckedSchema:
    """A checked schema, against which values are held."""

    def __init__(self, schema: Any):
        self.schema = schema
        self.references = SchemaReferences(schema)
        self._held: dict[tuple[int, str, tuple[str, ...]], _Held] = {}

    def violation(self, value: Any) -> str:
        """The first thing in which a value does not keep it; "" where it does. Raises TooMuchError for a pattern and a
        text that are too large together."""
        self._held.clear()
        try:
            return self._hold(value, self.schema, _ValuePlace())[0]
        except RecursionError:
            return "the value lies too deep"
        finally:
            self._held.clear()

    def _hold(self, value: Any, schema: Any, place: _ValuePlace) -> _Held:
        """(what is wrong, what was looked at)."""
        if isinstance(schema, bool):
            return ("" if schema else f"{place} may not be there"), _Seen()
        base = self.references.base_of(schema)
        if place.scope[-1:] != (base,):
            place = replace(place, scope=(*place.scope, base))
        key = (id(schema), place.path, place.scope)
        if key not in self._held:
            seen = _Seen()
            self._held[key] = (self._wrong(value, schema, place, seen), seen)
        return self._held[key]

    def _wrong(self, value: Any, schema: Mapping[str, Any], place: _ValuePlace, seen: _Seen) -> str:
        if self.references.alone and "$ref" in schema:
            return self._wrong_reference(value, schema, place, seen)
        return (
            _wrong_value(value, schema, place)
            or _wrong_limit(value, schema, place)
            or self._wrong_reference(value, schema, place, seen)
            or self._wrong_choice(value, schema, place, seen)
            or (self._wrong_object(value, schema, place, seen) if isinstance(value, dict) else "")
            or (self._wrong_array(value, schema, place, seen) if isinstance(value, list) else "")
            or self._wrong_rest(value, schema, place, seen)
        )

    def _also(self, value: Any, schema: Any, place: _ValuePlace, seen: _Seen) -> str:
        """Hold the same value against another schema; what that looked at counts where it is kept."""
        wrong, more = self._hold(value, schema, place)
        if not wrong:
            seen.add(more)
        return wrong

    # --- other schemas of the same value ---------------------------------------------------------------------

    def _wrong_reference(self, value: Any, schema: Mapping[str, Any], place: _ValuePlace, seen: _Seen) -> str:
        targets = [self.references.lookup(schema, schema["$ref"])] if "$ref" in schema else []
        for keyword in ("$dynamicRef", "$recursiveRef"):
            if keyword in schema:
                targets.append(self.references.dynamic_target(schema, keyword, place.scope))
        return next((wrong for target in targets if (wrong := self._also(value, target, place, seen))), "")

    def _wrong_choice(self, value: Any, schema: Mapping[str, Any], place: _ValuePlace, seen: _Seen) -> str:
        for inner in schema.get("allOf", ()):
            if wrong := self._also(value, inner, place, seen):
                return wrong
        if "anyOf" in schema and not self._fits(value, schema["anyOf"], place, seen):
            return f"{place} keeps not any of its schemas"
        if "oneOf" in schema and (number := self._fits(value, schema["oneOf"], place, seen)) != 1:
            return f"{place} keeps {number} of schemas of which it must keep one"
        if "not" in schema and not self._hold(value, schema["not"], place)[0]:
            return f"{place} is what it must not be"
        if "if" in schema:
            branch = "else" if self._also(value, schema["if"], place, seen) else "then"
            return self._also(value, schema.get(branch, True), place, seen)
        return ""

    def _fits(self, value: Any, schemas: Sequence[Any], place: _ValuePlace, seen: _Seen) -> int:
        """How many of the schemas the value keeps."""
        return sum(not self._also(value, inner, place, seen) for inner in schemas)

    # --- objects -----------------------------------------------------------------------------------------------

    def _wrong_object(
        self, value: dict[str, Any], schema: Mapping[str, Any], place: _ValuePlace, seen: _Seen
    ) -> str:
        required = schema.get("required")
        needed = list(required) if isinstance(required, list) else []
        needed += [n for name, names in _lists(schema).items() if name in value for n in names]
        missing = next((name for name in needed if name not in value), None)
        if missing is not None:
            return f"{place} has no {missing}"
        for name, inner in _schemas(schema).items():
            if name in value and (wrong := self._also(value, inner, place, seen)):
                return wrong
        if "propertyNames" in schema:
            wrong = next(
                (w for n in value if (w := self._hold(n, schema["propertyNames"], place.inside(f".{n}"))[0])),
                "",
            )
            if wrong:
                return f"a name is wrong: {wrong}"
        return self._wrong_member(value, schema, place, seen)

    def _wrong_member(
        self, value: dict[str, Any], schema: Mapping[str, Any], place: _ValuePlace, seen: _Seen
    ) -> str:
        properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for name, inner in value.items():
            own = [properties[name]] if name in properties else []
            own += [of for pattern, of in patterns.items() if found(pattern, name)]
            if not own and "additionalProperties" in schema:
                own = [schema["additionalProperties"]]
            for one in own:
                if wrong := self._hold(inner, one, place.inside(f".{name}"))[0]:
                    return wrong
            seen.names |= {name} if own else set()
        return ""

    # --- lists -------------------------------------------------------------------------------------------------

    def _wrong_array(
        self, value: list[Any], schema: Mapping[str, Any], place: _ValuePlace, seen: _Seen
    ) -> str:
        if schema.get("uniqueItems") is True and _twice(value):
            return f"{place} has an item twice"
        first, rest = _items(schema)
        for number, inner in enumerate(value):
            one = first[number] if number < len(first) else rest
            if one is None:
                break
            if wrong := self._hold(inner, one, place.inside(f"[{number}]"))[0]:
                return wrong
            seen.items.add(number)
        return self._wrong_contents(value, schema, place, seen) if "contains" in schema else ""

    def _wrong_contents(
        self, value: list[Any], schema: Mapping[str, Any], place: _ValuePlace, seen: _Seen
    ) -> str:
        holds = [
            i for i, v in enumerate(value) if not self._hold(v, schema["contains"], place.inside(f"[{i}]"))[0]
        ]
        seen.items.update(holds)
        low, high = schema.get("minContains", 1), schema.get("maxContains", len(value))
        return (
            "" if low <= len(holds) <= high else f"{place} contains {len(holds)} items that it must contain"
        )

    # --- what nothing looked at ----------------------------------------------------------------------------------

    def _wrong_rest(self, value: Any, schema: Mapping[str, Any], place: _ValuePlace, seen: _Seen) -> str:
        rest: list[tuple[str, Any, Any]] = []
        if isinstance(value, dict) and "unevaluatedProperties" in schema:
            inner = schema["unevaluatedProperties"]
            rest = [(f".{name}", one, inner) for name, one in value.items() if name not in seen.names]
            seen.names |= value.keys()
        if isinstance(value, list) and "unevaluatedItems" in schema:
            inner = schema["unevaluatedItems"]
            rest = [(f"[{i}]", one, inner) for i, one in enumerate(value) if i not in seen.items]
            seen.items |= set(range(len(value)))
        return next(
            (w for path, one, inner in rest if (w := self._hold(one, inner, place.inside(path))[0])), ""
        )


def _lists(schema: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names that a name demands beside it."""
    older = {name: of for name, of in schema.get("dependencies", {}).items() if isinstance(of, list)}
    return {**older, **schema.get("dependentRequired", {})}


def _schemas(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Schemas that a name demands of the object that has it."""
    older = {name: of for name, of in schema.get("dependencies", {}).items() if not isinstance(of, list)}
    return {**older, **schema.get("dependentSchemas", {})}


def _items(schema: Mapping[str, Any]) -> tuple[Sequence[Any], Any]:
    """(schemas of the first items, that of the others; None where nothing is said of them)."""
    items = schema.get("items")
    if isinstance(items, list):
        return items, schema.get("additionalItems")
    return schema.get("prefixItems", ()), items


def _twice(value: Sequence[Any]) -> bool:
    """Whether two items are equal; plain ones are not compared with each of the others."""
    plain = [(type(v) is bool, v) for v in value if isinstance(v, (str, int, float)) or v is None]
    if len({*plain}) < len(plain):
        return True
    nested = [v for v in value if isinstance(v, (list, dict))]
    return any(equal(a, b) for i, a in enumerate(nested) for b in nested[:i])


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


def _wrong_limit(value: Any, schema: Mapping[str, Any], where: _ValuePlace) -> str:
    for name, (kind, holds) in _LIMITS.items():
        if name in schema and _TYPES[kind](value) and not holds(value, _limit(schema, name)):
            return f"{where} breaks {name} {schema[name]}"
    return ""


def _limit(schema: Mapping[str, Any], name: str) -> Any:
    """A keyword's limit; in draft 4 an exclusive one is true beside the limit itself."""
    limit = schema[name]
    if not isinstance(limit, bool):
        return limit
    bound = schema.get("minimum" if name == "exclusiveMinimum" else "maximum")
    return bound if limit and bound is not None else float("-inf" if name == "exclusiveMinimum" else "inf")


def violation(value: Any, schema: Any) -> str:
    """The first thing in which a value does not keep a schema, in words; "" where it keeps it."""
    return CheckedSchema(schema).violation(value)
