"""Settings from the command line and from TOML files, onto the stages of a recipe. Unknown keys are refused."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from aha.types import AhaError


def nearest(word: str, known: Iterable[str]) -> str:
    """ " Did you mean 'x'?" for the closest known word, or the list of what there is."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(known)}."


def read_overrides(words: Sequence[str], files: Sequence[Path] = ()) -> dict[str, Any]:
    """``stage.field=value`` words, and TOML files before them, as one flat mapping in order of strength."""
    flat: dict[str, Any] = {}
    for file in files:
        try:
            flat |= dict(_flatten(tomllib.loads(file.read_text(encoding="utf-8"))))
        except FileNotFoundError as error:
            raise AhaError(f"No settings file '{file}'.") from error
        except tomllib.TOMLDecodeError as error:
            raise AhaError(f"'{file}' is not valid TOML: {error}.") from error
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise AhaError(f"'{word}' is not a setting. Write stage.field=value, for example rl.lr=1e-4.")
        flat[key.strip()] = _value(value.strip())
    return flat


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _value(text: str) -> Any:
    """JSON where it is JSON, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def apply(stages: Sequence[BaseModel], overrides: Mapping[str, Any]) -> None:
    """Set the overrides on the stages. Raises AhaError, with the nearest name, on what does not exist."""
    by_name = {getattr(stage, "name", ""): stage for stage in stages}
    overrides = _with_replaced(by_name, overrides)
    for key, value in overrides.items():
        head, _, rest = key.partition(".")
        if rest and head in by_name:
            _set(by_name[head], rest, value, key)
        elif len(stages) == 1 and head in type(stages[0]).model_fields:
            _set(stages[0], key, value, key)
        else:
            known = [*by_name, *(type(stages[0]).model_fields if len(stages) == 1 else ())]
            raise AhaError(f"Unknown setting '{key}'. {nearest(head, known)}")


def _with_replaced(stages: Mapping[str, BaseModel], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides, and before them the recipe's own settings whose place they take (``Stage.replaces``)."""
    gone = {}
    for name, stage in stages.items():
        for given, replaced in getattr(stage, "replaces", {}).items():
            for prefix in (f"{name}.", "") if len(stages) == 1 else (f"{name}.",):
                if prefix + given in overrides:
                    gone[f"{name}.{replaced}"] = None
    return gone | dict(overrides)


def _set(target: BaseModel, path: str, value: Any, key: str) -> None:
    field, _, rest = path.partition(".")
    fields = type(target).model_fields
    if field == "template" and "prompt" in fields:
        field = "prompt"  # what a model is asked was called so once
    if field not in fields or field == "name":
        raise AhaError(f"Unknown setting '{key}'. {nearest(field, (f for f in fields if f != 'name'))}")
    current = getattr(target, field)
    if rest and isinstance(current, BaseModel):
        _set(current, rest, value, key)
        return
    if rest and isinstance(current, dict):
        value = {**current, rest: value}
    elif rest:
        raise AhaError(f"Setting '{key}': '{field}' has no parts.")
    try:
        setattr(target, field, value)
    except ValidationError as error:
        first = error.errors()[0]
        raise AhaError(f"Setting '{key}' cannot be {value!r}: {first['msg']}.") from error


def describe_fields(stage: BaseModel) -> list[tuple[str, str, str]]:
    """(name, value, meaning) of each setting of a stage, for ``--print-config`` and help."""
    rows = []
    for name, field in type(stage).model_fields.items():
        if name != "name":
            value = getattr(stage, name)
            shown = getattr(value, "name", None) if isinstance(value, BaseModel) else None
            rows.append((name, str(shown or value), field.description or ""))
    return rows
