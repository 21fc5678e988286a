"""Every setting of a run as commented TOML, which ``--config`` reads back."""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from aha.runs.config import UNSET
from aha.settings import HEADINGS, heading, is_machine, unit

WIDTH = 100
KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def written(tables: Sequence[BaseModel], command: str) -> str:
    """One table for each stage, and for each group of settings in it. Reading it back gives the same settings."""
    head = (
        f"# Every setting of {command}. Change what you like, and give the file to --config; settings on the\n"
        "# command line (stage.field=value) are stronger. What is this machine's alone changes how a run is\n"
        "# computed, not what comes of it; what is only measured leaves the model.\n"
    )
    return head + "".join(_table(getattr(t, "name", "ranks"), t) for t in tables)


def _table(path: str, model: BaseModel) -> str:
    plain: dict[str, list[str]] = {}
    nested, unset = [], []
    figures = getattr(type(model), "figures", ())
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if name == "name":
            continue
        if isinstance(value, Mapping) or (isinstance(value, BaseModel) and not _is_stage(value)):
            nested.append((name, field, value))
            continue
        if value is None:
            unset.append(name)
        plain.setdefault(heading(type(model), name), []).append(_line(name, field, value, name in figures))
    text = f"\n[{path}]\n"
    if unset:
        text += (
            f"# Settings without a value; one that is given below is none of them.\n{UNSET} = {toml(unset)}\n"
        )
    for group in sorted(plain, key=list(HEADINGS).index):
        text += (
            (f"\n# --- {group}: {HEADINGS[group]} ---\n" if group else "") + "\n" + "\n".join(plain[group])
        )
    return text + "".join(_nested(f"{path}.{name}", field, value) for name, field, value in nested)


def overview(kinds: Mapping[str, type[BaseModel]]) -> str:
    """Every setting of kinds of stages: its name, default and meaning, under headings."""
    lines = []
    for kind, model in kinds.items():
        by_group: dict[str, list[str]] = {}
        for name, field in model.model_fields.items():
            if name != "name":
                text = f"    {name} = {_shown(field)}"
                by_group.setdefault(heading(model, name), []).append(f"{text:<42}  {field.description}")
        lines.append(f"{kind}:")
        for group in sorted(by_group, key=list(HEADINGS).index):
            lines += [f"  {group}: {HEADINGS[group]}" if group else f"  {HEADINGS['']}", *by_group[group]]
    return "\n".join(lines)


def _line(name: str, field: FieldInfo, value: Any, measured: bool) -> str:
    """A setting with its comment; what is no file's to say, or has no value, as a comment too."""
    comment = _comment(field, measured)
    if _is_stage(value):
        return comment + f"# {name} = {_stages(value)}\n"
    return comment + (f"# {name} =\n" if value is None else f"{name} = {toml(value)}\n")


def _nested(path: str, field: FieldInfo, value: BaseModel | Mapping[str, Any]) -> str:
    if isinstance(value, BaseModel):
        title = "\n" + _wrapped(field.description or "")
        return title + _table(path, value).removeprefix("\n")
    rows = "".join(f"{_key(name)} = {toml(one)}\n" for name, one in value.items())
    return f"\n{_wrapped(field.description or '')}{_default(field)}[{path}]\n{rows}"


# --- comments --------------------------------------------------------------------------------------------


def _comment(field: FieldInfo, measured: bool) -> str:
    said = [_kind(field.annotation, unit(field)), *_bounds(field)]
    marks = ["; this machine's alone"] * is_machine(field) + ["; only measured"] * measured
    told = f"({', '.join(filter(None, said))}; default {_shown(field)}{''.join(marks)})"
    return _wrapped(field.description or "") + _wrapped(told)


def _wrapped(text: str) -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, WIDTH))


def _default(field: FieldInfo) -> str:
    return _wrapped(f"(default {_shown(field)})")


def _shown(field: FieldInfo) -> str:
    if field.is_required():
        return "none: it has to be given"
    value = field.get_default(call_default_factory=True)
    if value is None or _is_stage(value):
        return "none"
    return toml(value)


def _kind(annotation: Any, counted: str) -> str:
    """What a setting may be, in words."""
    parts = [a for a in _members(annotation) if a is not type(None)]
    if all(get_origin(a) is Literal for a in parts):
        return "one of " + ", ".join(toml(value) for a in parts for value in get_args(a))
    kinds = list(dict.fromkeys(_one_kind(a, counted) for a in parts))
    return " or ".join(kinds) + (", or none" if type(None) in _members(annotation) else "")


def _members(annotation: Any) -> tuple[Any, ...]:
    """The types of a union, aliases opened; a type alone."""
    annotation = getattr(annotation, "__value__", annotation)
    union = get_origin(annotation) is Union or type(annotation).__name__ == "UnionType"
    return get_args(annotation) if union else (annotation,)


def _one_kind(annotation: Any, counted: str) -> str:
    if get_origin(annotation) is tuple or annotation is list:
        return "a list"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "a stage's name"
    kind = KINDS.get(annotation, "text")
    return f"{kind} of {counted}" if counted and annotation in (int, float) else kind


def _bounds(field: FieldInfo) -> Iterator[str]:
    for bound in field.metadata:
        if isinstance(bound, Ge):
            yield f"at least {bound.ge}"
        elif isinstance(bound, Gt):
            yield f"above {bound.gt}"
        elif isinstance(bound, Le):
            yield f"at most {bound.le}"
        elif isinstance(bound, Lt):
            yield f"below {bound.lt}"


# --- values ----------------------------------------------------------------------------------------------


def toml(value: Any) -> str:
    """A value as TOML writes it; of nested settings, those that are named."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(one) for one in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(str(name))} = {toml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, BaseModel):
        return toml({key: one for key, one in value.model_dump().items() if one is not None})
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _is_stage(value: Any) -> bool:
    members = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(one, BaseModel) and hasattr(one, "name") for one in members)


def _stages(value: Any) -> str:
    """Inputs by name: they are not for a file to change."""
    members = value if isinstance(value, list | tuple) else [value]
    names = [f"<{one.name}>" if isinstance(one, BaseModel) else str(one) for one in members]  # type: ignore[attr-defined]
    return ", ".join(names)
