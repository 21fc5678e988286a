"""Which folder a command's run has: its own, where it continues, or one beside it. What was made is never replaced.

A run is the same as an earlier one where every stage that has done work there has the same essential settings and
inputs, or goes on from where that one is (more steps, where the schedule allows it). Otherwise it is another run,
``NAME-2``, and stages that both have in common are taken over.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aha.files import copy_tree, disk_errors, new_folder, read_json
from aha.runs.pipeline import Stage, has_work, is_done, locked, ordered, reached, read_settings

MOST_SHOWN = 3
"""Differences that are named; of the others, their number."""


def choose(folder: Path, stages: Sequence[Stage]) -> tuple[Path, str]:
    """(``folder``, ""), or the first of ``folder-2``, ``folder-3``, ... that is no other run's, and why."""
    changes = differences(folder, stages)
    if not changes:
        return folder, ""
    place = next(other for other in _numbered(folder) if not differences(other, stages))
    return place, (
        f"{folder} holds another run ({shown(changes)}). It stays as it is; this run is {place}. "
        "--fresh sets the other one aside and takes its name."
    )


def _numbered(folder: Path) -> Iterable[Path]:
    return (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))


def differences(folder: Path, stages: Sequence[Stage]) -> list[str]:
    """In words, what of the stages that have done work in ``folder`` is not as in ``stages``; empty where these
    stages continue what is there, or nothing is there."""
    if stranger := _stranger(folder, stages):
        return [stranger]
    return list(itertools.chain.from_iterable(_by_stage(folder, stages).values()))


def _stranger(folder: Path, stages: Sequence[Stage]) -> str:
    """What other recipe's run the folder holds, where no stage is common to both."""
    config = folder / "config.json"
    if not config.exists():
        return ""
    kept = _mapping(_mapping(read_json(config)).get("stages"))
    names = [name for name in kept if has_work(folder / name)]
    if not names or any(stage.name in kept for stage in ordered(stages)):
        return ""
    return f"stage {', '.join(names)} of another recipe"


def _by_stage(folder: Path, stages: Sequence[Stage]) -> dict[str, list[str]]:
    """Differences by stage: of all that cannot be continued in ``folder``."""
    changes: dict[str, list[str]] = {}
    longer: set[str] = set()  # stages that go on, so that their results will be others
    for stage in ordered(stages):
        place = folder / stage.name
        before = read_settings(place)
        if not before or not has_work(place):
            continue
        settings = _mapping(before.get("settings"))
        changed = [f"{stage.name}.{text}" for text in _changed(settings, stage)]
        changed += [f"{file} has other rows" for file in _other_rows(before, stage)]
        if changed and not stage.goes_on_from(settings, reached(place)):
            changes[stage.name] = changed
        elif other := [s.name for s in stage.inputs() if s.name in changes or s.name in longer]:
            changes[stage.name] = [f"{stage.name} is made from {', '.join(other)}"]
        elif changed:
            longer.add(stage.name)
    return changes


def _changed(before: Mapping[str, Any], stage: Stage) -> list[str]:
    """``NAME is OLD there, here NEW`` of each essential setting that differs; parts of nested ones apart."""
    left_out = stage.machine | stage.figures
    old = _flat({key: value for key, value in before.items() if key not in left_out})
    new = _flat(stage.essential())
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return [f"{name} {_word(old.get(name))}, now {_word(new.get(name))}" for name in names]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def _word(value: Any) -> str:
    return "unset" if value is None else value if isinstance(value, str) else json.dumps(value)


def _other_rows(before: Mapping[str, Any], stage: Stage) -> list[str]:
    """Data files whose content was another one."""
    known = _mapping(before.get("rows"))
    return [file for file, content in stage.row_hashes().items() if known.get(file, content) != content]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def shown(changes: Sequence[str]) -> str:
    """The first differences, and how many more there are."""
    more = len(changes) - MOST_SHOWN
    return "; ".join(changes[:MOST_SHOWN]) + (f"; {more} more" if more > 0 else "")


def shared(source: Path, target: Path, stages: Sequence[Stage]) -> list[str]:
    """The finished stages of ``source`` that are the same here, and not yet in ``target``."""
    if _stranger(source, stages):
        return []
    differ = _by_stage(source, stages)
    return [
        stage.name
        for stage in ordered(stages)
        if stage.name not in differ
        and not (target / stage.name).exists()
        and is_done(source / stage.name, stage)
    ]


def take_over(source: Path, target: Path, names: Sequence[str], say: Callable[[str], None]) -> None:
    """Put these stages of ``source`` into ``target``: there they are finished. Large files are shared by both
    folders where the disk can do that."""
    if not names:
        return
    with disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        with locked(target):
            for name in names:
                with new_folder(target / name) as folder:
                    copy_tree(source / name, folder)
    say(f"Taken over from {source}, where they are the same: {', '.join(names)}.")
