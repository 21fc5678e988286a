"""Which folder a command's run has: its own, where it continues, or one beside it. What was made is never replaced.

A run is the same as an earlier one where every stage that has done work there has the same essential settings and
inputs, or goes on from where that one is (more steps, where the schedule allows it). Otherwise it is another run,
``NAME-2``, and stages that it has in common with the runs beside it are taken over.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aha.files import copy_tree, disk_errors, new_folder, read_json
from aha.runs.pipeline import Stage, has_work, is_done, locked, ordered, reached, read_settings
from aha.settings import former

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
        if not before or not has_work(place) or before.get("fingerprint") == stage.fingerprint(folder):
            continue
        settings = _mapping(before.get("settings"))
        changed = _changed(settings, stage)
        changed += [f"{file} has other rows" for file in _other_rows(before, stage)]
        if changed and not stage.goes_on_from(settings, reached(place)):
            changes[stage.name] = changed
        elif other := [s.name for s in stage.inputs() if s.name in changes or s.name in longer]:
            changes[stage.name] = [f"{stage.name} is made from {', '.join(other)}"]
        elif changed:
            longer.add(stage.name)
    return changes


def _changed(before: Mapping[str, Any], stage: Stage) -> list[str]:
    """``STAGE.NAME OLD, now NEW`` of each essential setting that differs, parts of nested ones apart; last those that
    the version which wrote ``before`` did not have."""
    left_out = stage.machine | stage.figures
    old = _flat({key: value for key, value in before.items() if key not in left_out})
    new = _flat(stage.essential())
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    later = [name for name in names if name not in old and _is_setting(name, before)]
    known = [name for name in names if name not in later]
    changes = [f"{stage.name}.{name} {_word(old.get(name))}, now {_word(new.get(name))}" for name in known]
    if later:
        changes.append(f"{stage.name} is of an earlier version of aha, without {', '.join(later)}")
    return changes


def _is_setting(name: str, before: Mapping[str, Any]) -> bool:
    """Whether a name that ``before`` lacks is a setting, and no key that somebody chose (a reward's)."""
    first, _, rest = name.partition(".")
    return first not in before or (first in former.GROUPS and "." not in rest)


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


def shared(folder: Path, target: Path, stages: Sequence[Stage]) -> dict[str, Path]:
    """The finished stages of ``folder`` and of the runs beside it, by name with the run that they come from, that are
    the same here and not yet in ``target``. The run that shares most comes first, and of several the one that people
    worked in (``Stage.edits``); of another one a stage is taken where what it was made from is the same."""
    if target == folder:
        return {}
    results = {
        run: {stage.name: stage.result(run) for stage in ordered(stages) if stage.name in names}
        for run in _beside(folder)
        if run != target and (names := _same(run, stages))
    }
    best_first = sorted(results, key=lambda run: (-len(results[run]), -_edited(run, stages)))
    taken: dict[str, Path] = {}
    for stage in ordered(stages):
        sources = (run for run in best_first if stage.name in results[run])
        source = next((run for run in sources if _fits(stage, run, results, taken)), None)
        if source is not None and not (target / stage.name).exists():
            taken[stage.name] = source
    return taken


def _beside(folder: Path) -> list[Path]:
    """``folder`` and its numbered neighbours that are there, by number."""
    numbers = (other.name.removeprefix(f"{folder.name}-") for other in folder.parent.glob(f"{folder.name}-*"))
    numbered = sorted(int(number) for number in numbers if number.isdecimal())
    return [
        place
        for place in (folder, *(folder.with_name(f"{folder.name}-{n}") for n in numbered))
        if place.is_dir()
    ]


def _same(run: Path, stages: Sequence[Stage]) -> set[str]:
    """The stages that have finished in ``run`` with the settings and inputs that they have here."""
    if _stranger(run, stages):
        return set()
    differ = _by_stage(run, stages)
    return {s.name for s in ordered(stages) if s.name not in differ and is_done(run / s.name, s)}


def _edited(run: Path, stages: Sequence[Stage]) -> int:
    """How many files people laid beside what was made."""
    return sum((run / stage.name / name).is_file() for stage in ordered(stages) for name in stage.edits)


def _fits(
    stage: Stage, run: Path, results: Mapping[Path, Mapping[str, str]], taken: Mapping[str, Path]
) -> bool:
    """Whether the inputs that the stage had in ``run`` are those that were taken."""
    own = {source.name: source.result(run) for source in stage.inputs() if source.name in taken}
    return all(results[taken[name]][name] == result for name, result in own.items())


def take_over(target: Path, taken: Mapping[str, Path], say: Callable[[str], None]) -> None:
    """Put these stages, by the runs that they come from, into ``target``: there they are finished. Large files are
    shared by both folders where the disk can do that."""
    if not taken:
        return
    with disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        with locked(target):
            for name, source in taken.items():
                with new_folder(target / name) as folder:
                    copy_tree(source / name, folder)
    for source in dict.fromkeys(taken.values()):
        names = [name for name, run in taken.items() if run == source]
        say(f"Taken over from {source}, where they are the same: {', '.join(names)}.")
