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

WIDTH = 100
UNITS = (
    (r"(^|_)tokens(_per_step)?$|^max_length$|^context$|^positions$|^constant_length$|^buffer$", "tokens"),
    (r"_every$|(^|_)steps$|^preference_from$|^carry$|^ahead$", "steps"),
    (r"_timeout$", "seconds"),
    (r"_gib$", "GiB"),
    (r"(^|_)problems$|^prompts_per_step$|^part$", "questions"),
    (r"(^|_)samples$|^group_size$|^decode_rows$", "completions"),
    (r"^epochs$", "epochs"),
    (r"^(cpus|gpus|workers|reward_workers|context_ranks|layers|heads|kv_heads|rows|pairs_per_problem)$", ""),
    (r"^ngram$", "words"),
    (r"^paragraph$", "words"),
)
"""What a number counts, by the setting's name."""
KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def written(tables: Sequence[BaseModel], command: str) -> str:
    """One table for each stage, and for each group of settings in it. Reading it back gives the same settings."""
    head = f"# Every setting of {command}. Change what you like, and give the file to --config; settings on the\n"
    head += "# command line (stage.field=value) are stronger.\n"
    return head + "".join(_table(getattr(t, "name", "ranks"), t) for t in tables)


def _table(path: str, model: BaseModel) -> str:
    plain, nested, unset = [], [], []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if name == "name":
            continue
        if _is_stage(value):
            plain.append(_comment(field, name) + f"# {name} = {_stages(value)}\n")
        elif isinstance(value, BaseModel) or (isinstance(value, Mapping) and field.annotation is not str):
            nested.append((name, field, value))
        elif value is None:
            unset.append(name)
            plain.append(_comment(field, name) + f"# {name} =\n")
        else:
            plain.append(_comment(field, name) + f"{name} = {toml(value)}\n")
    text = f"\n[{path}]\n"
    if unset:
        text += (
            f"# Settings without a value; one that is given below is none of them.\n{UNSET} = {toml(unset)}\n"
        )
    text += "\n" + "\n".join(plain)
    return text + "".join(_nested(f"{path}.{name}", field, value) for name, field, value in nested)


def _nested(path: str, field: FieldInfo, value: BaseModel | Mapping[str, Any]) -> str:
    if isinstance(value, BaseModel):
        title = "\n" + _wrapped(field.description or "")
        return title + _table(path, value).removeprefix("\n")
    rows = "".join(f"{_key(name)} = {toml(one)}\n" for name, one in value.items())
    return f"\n{_wrapped(field.description or '')}{_default(field)}[{path}]\n{rows}"


# --- comments --------------------------------------------------------------------------------------------


def _comment(field: FieldInfo, name: str) -> str:
    said = [kind for kind in (_kind(field.annotation, name), *_bounds(field)) if kind]
    return _wrapped(field.description or "") + _wrapped(f"({', '.join(said)}; default {_shown(field)})")


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


def _kind(annotation: Any, name: str) -> str:
    """What a setting may be, in words."""
    parts = [a for a in _members(annotation) if a is not type(None)]
    if all(get_origin(a) is Literal for a in parts):
        return "one of " + ", ".join(toml(value) for a in parts for value in get_args(a))
    found = list(dict.fromkeys(_one_kind(a, name) for a in parts))
    return " or ".join(found) + (", or none" if type(None) in _members(annotation) else "")


def _members(annotation: Any) -> tuple[Any, ...]:
    """The types of a union, aliases opened; a type alone."""
    annotation = getattr(annotation, "__value__", annotation)
    union = get_origin(annotation) is Union or type(annotation).__name__ == "UnionType"
    return get_args(annotation) if union else (annotation,)


def _one_kind(annotation: Any, name: str) -> str:
    if get_origin(annotation) is tuple or annotation is list:
        return "a list"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "a stage's name"
    kind = KINDS.get(annotation, "text")
    unit = next((unit for pattern, unit in UNITS if re.search(pattern, name)), "")
    return f"{kind} of {unit}" if unit and annotation in (int, float) else kind


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
