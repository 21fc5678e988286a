"""Settings from the command line and from TOML files, onto the stages of a recipe. Unknown keys are refused."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from aha.hints import nearest
from aha.settings import former, heading
from aha.types import AhaError

UNSET = "unset"
"""In a table of a settings file: the names of settings that have no value, which TOML cannot say otherwise."""

FEW = 20
"""So many names are shown where none is near."""

TABLE = object()
"""Stands for a table within a table of a file, before the settings in it."""


def read_overrides(words: Sequence[str], files: Sequence[Path] = ()) -> dict[str, Any]:
    """``stage.field=value`` words, and TOML files before them, as one flat mapping in order of strength."""
    flat: dict[str, Any] = {}
    for file in files:
        flat |= read_file(file)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise AhaError(
                f"'{word}' is not a setting: stage.field=value, for example rl.lr=1e-4. {_meant(word)}"
            )
        flat[key.strip()] = _value(value.strip())
    return flat


def read_file(file: Path) -> dict[str, Any]:
    """The settings of a TOML file, by their whole names."""
    return dict(_flatten(_read_toml(file)))


OPTIONS = {".toml": "--config", ".gguf": "--model"} | dict.fromkeys(
    (".jsonl", ".json", ".parquet", ".csv", ".tsv", ".gz", ".zst"), "--data"
)
"""Of a command, for files by the end of their names."""


def _meant(word: str) -> str:
    """What a word that is no setting may have been meant to be."""
    path = Path(word)
    option = OPTIONS.get(path.suffix.lower()) or ("--model" if path.is_dir() else None)
    if option:
        return f"Did you mean {option} {word}?"
    return f"A model is named by --model {word}, a task by --task {word}."


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise AhaError(f"No settings file '{file}'. Write one with: aha init r1_zero > {file}") from error
    except OSError as error:
        raise AhaError(f"Cannot read the settings file '{file}': {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise AhaError(f"The settings file '{file}' is not UTF-8 text: {error.reason}.") from error
    except (ValueError, RecursionError) as error:  # TOML's own error among them
        raise AhaError(f"'{file}' is not valid TOML: {str(error)[:200]}.") from error


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Settings by their whole names. A table in a table comes before its settings, as ``TABLE``."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            if prefix:
                yield f"{prefix}{key}", TABLE
            yield from _flatten(value, f"{prefix}{key}.")
        elif key == UNSET and isinstance(value, list):
            yield from ((f"{prefix}{name}", None) for name in value)
        else:
            yield f"{prefix}{key}", value


def _value(text: str) -> Any:
    """JSON where it is JSON, else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # no JSON, a number of too many digits, or too deep
        return {"True": True, "False": False, "None": None}.get(text, text)


def apply(stages: Sequence[BaseModel], overrides: Mapping[str, Any]) -> None:
    """Set the overrides on the stages. Raises AhaError, with the nearest name, on what does not exist.

    ``rl.optimizer.lr``, with the heading that a setting stands under, is ``rl.lr``. Parts of one group
    (``rl.algorithm.kl``, ``rl.algorithm.kl_coef``) are set together: whether they go with each other is asked of
    all of them. A table of a file gives a mapping, such as the rewards, whole.
    """
    by_name = {getattr(stage, "name", ""): stage for stage in stages}
    placed = {key: place_of(key, by_name) for key in overrides}
    parts: dict[tuple[str, str], dict[str, Any]] = {}  # of groups, by stage and field
    for name, field in _replaced(by_name, set(placed.values())):
        _set(by_name[name], field, None, f"{name}.{field}")
    for key, value in overrides.items():
        name, path = placed[key]
        field, _, part = path.partition(".")
        group = getattr(by_name[name], field, None)
        if part and isinstance(group, BaseModel):
            _known(group, part, key)
            parts.setdefault((name, field), {})[part] = value
        elif not (value is TABLE and (isinstance(group, BaseModel) or _is_heading(by_name[name], path))):
            parts.pop((name, field), None)  # the whole group is given anew
            _set(by_name[name], path, value, key)
    for (name, field), changes in parts.items():
        _set_parts(by_name[name], field, changes, f"{name}.{field}" if name else field)


def place_of(key: str, stages: Mapping[str, BaseModel]) -> tuple[str, str]:
    """(stage, path in it) of a setting; a single stage need not be named."""
    head, _, rest = key.partition(".")
    if rest and head in stages:
        return head, _path(stages[head], rest)
    only = next(iter(stages)) if len(stages) == 1 else None
    fields = type(stages[only]).model_fields if only is not None else {}
    if only is not None:
        path = _path(stages[only], key)
        if path.partition(".")[0] in fields or _is_heading(stages[only], path):
            return only, path
    if head in stages:
        raise AhaError(f"'{key}' is a stage and has no value: write its settings as {key}.NAME=VALUE, in a file below "
                       f"[{key}].")  # fmt: skip
    words = [*stages, *(fields if not rest else ())]
    listed = f"The stages are: {', '.join(stages)}. aha list settings shows what they have."
    raise AhaError(f"Unknown setting '{key}'. {nearest(head, words, listed, cutoff=0.5)}")


def _path(target: BaseModel, path: str) -> str:
    """A path by the names of today, without the heading that a setting stands under."""
    fields = type(target).model_fields
    head, _, rest = path.partition(".")
    part, dot, deeper = rest.partition(".")
    if (name := former.today(part, fields)) in fields and heading(type(target), name) == head:
        return former.noted(part, fields) + dot + deeper
    return former.noted(head, fields) + path[len(head) :]


def _is_heading(target: BaseModel, path: str) -> bool:
    """Whether a path is that of a heading, which has no value of its own."""
    kind = type(target)
    field = getattr(target, path, None)
    known = any(heading(kind, name) == path for name in kind.model_fields)
    return known and not isinstance(field, BaseModel | Mapping)


def _replaced(stages: Mapping[str, BaseModel], named: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """The recipe's own settings whose place those that are ``named`` take (``Stage.replaces``)."""
    return [
        (name, old)
        for name, stage in stages.items()
        for new, old in getattr(stage, "replaces", {}).items()
        if (name, new) in named
    ]


def _known(target: BaseModel, path: str, key: str) -> str:
    """The name of the field that a path begins with. Raises AhaError where there is none."""
    fields = [name for name in type(target).model_fields if name != "name"]
    field = former.today(path.partition(".")[0], fields)
    if field not in fields:
        under = {name: heading(type(target), name) for name in fields}
        words, inside = {*fields, *filter(None, under.values())}, path.partition(".")[2]
        if inside and field in under.values():  # the heading is right, and what stands below it is not
            field, words = inside, {name for name in fields if under[name] == field}
        shown = (
            f"Known: {', '.join(sorted(words))}."
            if len(words) <= FEW
            else "aha list settings shows all there are."
        )
        raise AhaError(f"Unknown setting '{key}'. {nearest(field, sorted(words), shown, cutoff=0.5)}")
    return field


def _set(target: BaseModel, path: str, value: Any, key: str) -> None:
    field, rest = _known(target, path, key), path.partition(".")[2]
    current = getattr(target, field)
    if value is TABLE and (rest or not isinstance(current, dict | None)):
        raise AhaError(f"Setting '{key}' takes one value, and a table stands there.{_about(target, field)}")
    if value is TABLE:
        value = {}
    elif rest and isinstance(current, dict):
        value = {**current, rest: value}
    elif rest:
        raise AhaError(f"Setting '{key}': '{field}' has no parts.")
    _assign(target, field, value, key)


def _set_parts(stage: BaseModel, name: str, changes: Mapping[str, Any], key: str) -> None:
    """Set parts of a group of settings. Another preset fills what is not given with them."""
    group = getattr(stage, name)
    kept = {} if "preset" in changes else {k: getattr(group, k) for k in group.model_fields_set}
    try:
        value = type(group).model_validate(kept | dict(changes))
    except ValidationError as error:
        first = error.errors()[0]
        part = str(first["loc"][0]) if first["loc"] else ""
        about = _about(group, part)
        value = changes.get(part, first.get("input"))
        raise AhaError(f"Setting '{key}.{part}' cannot be {value!r}: {first['msg']}.{about}") from error
    _assign(stage, name, value, key)


def _assign(target: BaseModel, field: str, value: Any, key: str) -> None:
    try:
        setattr(target, field, value)
    except ValidationError as error:
        first, about = error.errors()[0], _about(target, field)
        raise AhaError(f"Setting '{key}' cannot be {value!r}: {first['msg']}.{about}") from error


def _about(target: BaseModel, name: str) -> str:
    """What a setting means, and its value without it, as it is typed: an example of its form."""
    field = type(target).model_fields.get(name)
    if field is None or not field.description:
        return ""
    default = getattr(target, name) or field.get_default(call_default_factory=True)
    plain = default if isinstance(default, str | int | float | list | tuple | dict) else None
    form = "" if plain is None else f"; by default {plain if isinstance(plain, str) else json.dumps(plain)}"
    return f" It means: {field.description}{form}."
