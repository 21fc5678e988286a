"""Which setting counts where several say the same: a later file before an earlier one, an option of the command line
(``--seed 1``) before files, a ``stage.field=value`` word before both. What cannot be meant is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from aha.runs.config import TABLE, place_of
from aha.settings import Settings
from aha.types import AhaError

Place = tuple[str, str]
"""A stage's name, and the path of a setting in it."""
APART = ("trackers", "ranks.")
"""Settings that are of no stage."""
FIELDS: dict[str, tuple[str, ...]] = {
    "model": ("model",),
    "student": ("model",),
    "teacher": ("teacher", "model", "judge"),
    "judge": ("judge",),
    "task": ("task", "tasks"),
    "data": ("data",),
    "test_data": ("test_data",),
    "reward_model": ("helpful_model",),
    "safety_model": ("safety_model",),
    "prompt": ("prompt",),
    "seed": ("seed",),
    "steps": ("steps",),
}
"""Options of a run, and the settings that they may become."""


def merged(
    stages: Sequence[BaseModel],
    files: Sequence[Mapping[str, Any]],
    words: Mapping[str, Any],
    options: Mapping[str, Any],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """All settings, in the order in which ``config.apply`` takes them. ``stages`` are as the recipe built them with the
    ``options``. Raises AhaError for a setting that stands twice, by two names and with two values, and for a word that
    says something else than an option does."""
    by_name = {str(getattr(stage, "name", "")): stage for stage in stages}
    of_options = {name: _taken(stages, name, value) for name, value in options.items() if value is not None}
    _agree(by_name, of_options, options, words)
    strong = {place for places in of_options.values() for place in places}
    settled: dict[str, Any] = {}
    for source in files:
        fitting = {k: v for k, v in source.items() if _apart(k) or place_of(k, by_name) not in strong}
        settled = _over(settled, fitting, by_name, say)
    return _over(settled, words, by_name, say)


def _apart(key: str) -> bool:
    return key == APART[0] or key.startswith(APART[1])


def _taken(stages: Iterable[BaseModel], option: str, value: Any) -> dict[Place, Any]:
    """Where a recipe has put an option's value."""
    fields = {
        (str(getattr(stage, "name", "")), field): getattr(stage, field)
        for stage in stages
        for field in FIELDS.get(option, ())
        if field in type(stage).model_fields
    }
    return {place: own for place, own in fields.items() if _same(own, value)}


def _same(own: Any, value: Any) -> bool:
    """Whether a setting is what was given, which may be one of a list, or a list."""
    one = own[0] if isinstance(own, tuple) and len(own) == 1 else own
    return one == value or (
        isinstance(value, list | tuple) and isinstance(own, tuple) and list(own) == list(value)
    )


def _agree(
    stages: Mapping[str, BaseModel],
    of_options: Mapping[str, Mapping[Place, Any]],
    options: Mapping[str, Any],
    words: Mapping[str, Any],
) -> None:
    """Raise AhaError where words take every place of an option and say something else there. A word for one stage of
    several is no contradiction."""
    placed = {place_of(key, stages): key for key in words if not _apart(key)}
    for option, places in of_options.items():
        keys = [placed[place] for place in places if place in placed]
        others = [key for key in keys if not _same(words[key], options[option])]
        if others and len(keys) == len(places):
            name = f"--{option.replace('_', '-')}"
            raise AhaError(
                f"{name} {options[option]} and {others[0]}={words[others[0]]} say two things of one setting: give one "
                "of them."
            )


def _over(
    weaker: Mapping[str, Any],
    stronger: Mapping[str, Any],
    stages: Mapping[str, BaseModel],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Two sources of settings as one: what the stronger says replaces the same, whatever its name or heading there, and
    what stands beneath it."""
    own = {key: place_of(key, stages) for key in stronger if not _apart(key)}
    _once(stronger, own)
    kept = {key: value for key, value in weaker.items() if key not in stronger}
    for key, place in own.items():
        merges = stronger[key] is TABLE and isinstance(getattr(stages[place[0]], place[1], None), BaseModel)
        if merges:
            continue
        kept = {k: v for k, v in kept.items() if _apart(k) or not _replaced(place_of(k, stages), place)}
        other = place[0], getattr(stages[place[0]], "replaces", {}).get(place[1])
        kept = {k: v for k, v in kept.items() if _apart(k) or place_of(k, stages) != other}
        if place[1].endswith(".preset"):
            kept = _without_preset(kept, key, stronger[key], weaker, stages, say)
    return kept | dict(stronger)


def _replaced(weaker: Place, stronger: Place) -> bool:
    return weaker[0] == stronger[0] and (weaker[1] == stronger[1] or weaker[1].startswith(f"{stronger[1]}."))


def _once(source: Mapping[str, Any], places: Mapping[str, Place]) -> None:
    """Raise AhaError for a setting that one source names twice, as by its former name too, with two values."""
    first: dict[Place, str] = {}
    for key, place in places.items():
        before = first.setdefault(place, key)
        if source[before] is not TABLE and source[key] is not TABLE and source[before] != source[key]:
            raise AhaError(
                f"{before}={source[before]} and {key}={source[key]} are one setting, {'.'.join(place)}: give one of "
                "them."
            )


def _without_preset(
    kept: Mapping[str, Any],
    key: str,
    preset: Any,
    weaker: Mapping[str, Any],
    stages: Mapping[str, BaseModel],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Without the parts that a file has for another preset, as one that lists every setting: with them the preset that
    is asked for would be a name alone."""
    stage, path = place_of(key, stages)
    group = path.removesuffix("preset")
    named = next(
        (v for k, v in weaker.items() if not _apart(k) and place_of(k, stages) == (stage, path)), preset
    )
    if named == preset:
        return dict(kept)
    rest = {k: v for k, v in kept.items() if _apart(k) or not _beneath(place_of(k, stages), stage, group)}
    if len(rest) < len(kept):
        say(
            f"{key}={preset}: what a settings file has of {key.removesuffix('.preset')} for '{named}' is left out."
        )
    return rest


def _beneath(place: Place, stage: str, group: str) -> bool:
    return place[0] == stage and place[1].startswith(group)


def check_effect(
    stages: Sequence[BaseModel], before: Sequence[BaseModel], settings: Mapping[str, Any]
) -> None:
    """Raise AhaError for a setting that was changed, and has no effect beside the others. ``before``: the stages as the
    recipe built them; what they had, or what their preset or their default is, as in a file that lists every setting,
    is no change."""
    by_name = {str(getattr(stage, "name", "")): stage for stage in stages}
    old = {str(getattr(stage, "name", "")): stage for stage in before}
    for key, value in settings.items():
        name, path = place_of(key, by_name)
        field, _, part = path.partition(".")
        _check_part(by_name[name], old[name], field, key, value)
        group, parts = getattr(by_name[name], field, None), [part] if part else _parts(value)
        if isinstance(group, Settings):
            for each in parts:
                _check_part(group, getattr(old[name], field), each, key, value)


def _parts(value: Any) -> list[str]:
    return [str(name) for name in value] if isinstance(value, Mapping) else []


def _check_part(target: Any, before: Any, field: str, key: str, value: Any) -> None:
    """Raise AhaError where a field of settings is idle and was changed."""
    way = target.without_effect().get(field) if isinstance(target, Settings) else None
    if way is None or value is TABLE:
        return
    now, preset = getattr(target, field), getattr(target, "preset", None)
    if preset:
        usual = getattr(type(target).model_validate({"preset": preset}), field)
    else:
        usual = type(target).model_fields[field].get_default(call_default_factory=True)
    if now not in (getattr(before, field), usual):
        raise AhaError(f"The setting {key}={value} would have no effect: {way}.")
