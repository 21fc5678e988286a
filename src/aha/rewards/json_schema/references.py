"""Where in a schema other schemas stand, and where its references lead: ``$ref`` and ``$dynamicRef`` by pointer, by
anchor and by ``$id``, within the document. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from aha.types import AhaError

BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
IN_LIST = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
ALONE = ("items", "additionalItems", "unevaluatedItems", "contains", "not", "if", "then", "else",
         "additionalProperties", "unevaluatedProperties", "propertyNames", "contentSchema")  # fmt: skip
"""Keywords that hold schemas. ``items`` as a list, ``additionalItems``, ``definitions`` and ``dependencies`` are of
older drafts."""
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


def is_schema(value: Any) -> bool:
    """Whether something may be a schema."""
    return isinstance(value, (Mapping, bool))


def inside(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(where, what stands there) of all places in a schema at which schemas stand."""
    for keyword in BY_NAME:
        of = schema.get(keyword)
        for name, inner in of.items() if isinstance(of, Mapping) else ():
            if keyword != "dependencies" or not isinstance(inner, list):
                yield f"{keyword}, {name}", inner
    for keyword in IN_LIST:
        of = schema.get(keyword)
        for number, inner in enumerate(of if isinstance(of, list) else ()):
            yield f"{keyword} {number + 1}", inner
    for keyword in ALONE:
        if keyword in schema and not (keyword == "items" and isinstance(schema[keyword], list)):
            yield keyword, schema[keyword]


class SchemaReferences:
    """The resources of a document (its root and what has an ``$id``) and their anchors. ``alone``: its draft is one in
    which nothing counts beside a ``$ref``."""

    def __init__(self, root: Any):
        self.root = root
        draft = str(root.get("$schema")) if isinstance(root, Mapping) else ""
        self._old = "draft-04" in draft
        self.alone = any(f"draft-0{number}" in draft for number in (3, 4, 6, 7))
        self.base: dict[int, str] = {}  # of a schema, by its identity
        self.resources: dict[str, Any] = {"": root}
        self.anchors: dict[tuple[str, str], Any] = {}
        self.dynamic: dict[tuple[str, str], Any] = {}
        self._walk(root, "")

    def _walk(self, schema: Any, base: str) -> None:
        waiting = [(schema, base)]
        while waiting:
            one, base = waiting.pop()
            if not isinstance(one, Mapping) or id(one) in self.base:
                continue
            base = self._identified(one, base)
            self.base[id(one)] = base
            waiting += [(inner, base) for _, inner in inside(one)]

    def _identified(self, schema: Mapping[str, Any], base: str) -> str:
        """The base of a schema's references; its own names are noted."""
        own = schema.get("id" if self._old else "$id")
        if isinstance(own, str) and own:
            address, fragment = urldefrag(urljoin(base, own))
            if address != base and not own.startswith("#"):
                base = address
                self.resources.setdefault(base, schema)
            if fragment:
                self.anchors.setdefault((base, fragment), schema)
        if schema.get("$recursiveAnchor") is True:
            self.dynamic.setdefault((base, ""), schema)
        for keyword in ("$anchor", "$dynamicAnchor"):
            if isinstance(name := schema.get(keyword), str):
                self.anchors.setdefault((base, name), schema)
                if keyword == "$dynamicAnchor":
                    self.dynamic.setdefault((base, name), schema)
        return base

    def base_of(self, schema: Mapping[str, Any]) -> str:
        """The address against which a schema's references are read."""
        return self.base.get(id(schema), "")

    def lookup(self, schema: Mapping[str, Any], reference: str) -> Any:
        """What a reference in a schema leads to. Raises AhaError where there is nothing, and for another document."""
        base = self.base_of(schema)
        address, fragment = urldefrag(urljoin(base, reference) if base else reference)
        resource = self.resources.get(address or base)
        if resource is None and address == "":
            resource = self.root
        if resource is None:
            raise AhaError(f"{reference}, which is another document, or no part of the schema")
        target = self._fragment(resource, address or base, unquote(fragment), reference)
        if id(target) not in self.base:
            self._walk(target, self.base_of(resource) if isinstance(resource, Mapping) else "")
        return target

    def _fragment(self, resource: Any, address: str, fragment: str, reference: str) -> Any:
        if not fragment:
            return resource
        if not fragment.startswith("/"):
            if (target := self.anchors.get((address, fragment))) is None:
                raise AhaError(f"{reference}, which is no part of the schema")
            return target
        target = resource
        for part in fragment[1:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            try:
                target = target[int(name)] if isinstance(target, list) else target[name]
            except (KeyError, IndexError, TypeError, ValueError):
                raise AhaError(f"{reference}, which is no part of the schema") from None
        if not is_schema(target):
            raise AhaError(f"{reference}, which is no schema")
        return target

    def targets(self, schema: Mapping[str, Any]) -> list[Any]:
        """What a schema's references lead to, as far as that can be told without a value."""
        return [self.lookup(schema, schema[name]) for name in REFERENCES if isinstance(schema.get(name), str)]

    def dynamic_target(self, schema: Mapping[str, Any], keyword: str, scope: tuple[str, ...]) -> Any:
        """What ``$dynamicRef`` (before, ``$recursiveRef``) leads to: the outermost of the resources that lead here
        (``scope``) which has the anchor."""
        target = self.lookup(schema, schema[keyword])
        name = urldefrag(schema[keyword])[1]
        own = {"$dynamicRef": "$dynamicAnchor", "$recursiveRef": "$recursiveAnchor"}[keyword]
        if not isinstance(target, Mapping) or target.get(own) != (name or True):
            return target
        return next((self.dynamic[base, name] for base in scope if (base, name) in self.dynamic), target)
