"""A recipe is stages that name each other as inputs. A run keeps one folder a stage and can be killed anywhere.

A finished stage has ``done.json`` with the fingerprint of its settings and inputs, and is not run again
while that fingerprint holds. What people lay into a stage's folder afterwards counts too: the stage goes on from
what is there, and what depends on it is run anew, its old folder kept as ``.old``. Other settings make another
run, in a folder of its own: see ``folders``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, field_validator

from aha import aside, chat, hardware, plugins, ranks
from aha.files import copy_tree, disk_errors, keep_json, new_folder, read_json, write_json
from aha.runs import failures, trackers
from aha.runs.trackers import follower
from aha.settings import Settings, former, is_machine, is_measure
from aha.types import AhaError

SUMMARY = "summary.json"
"""What came of a finished run, in its folder."""

SETTINGS, DONE = "settings.json", "done.json"
"""What a stage's folder says of how it was begun, and of how it ended."""

DATA = "data.jsonl"
"""What a stage that makes training data writes into its folder."""

Parallel = Literal["auto", "replicated", "sharded"]
"""What each of several ranks keeps: whole weights and optimizer state, or parts of them."""


Examination = Callable[[Any, str], None]
"""Examines what a stage has made ready (its session, and the name of what it starts from) before its first step; every
rank calls it. Raises AhaError where something is not right."""


@dataclass(slots=True)
class Context:
    """What a stage is given to run: its folder, the machine's settings, and the way to its inputs."""

    folder: Path
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 0
    plain: bool | None = None  # None: a live display on terminals, plain lines elsewhere
    examine: Examination | None = None  # a live session before its first step: the doctor's, or none
    parallel: Parallel = "auto"  # whether several ranks keep whole weights each, or parts
    finals: dict[str, Path] = field(default_factory=dict)
    trackers: tuple[str, ...] = ()  # where figures go besides the run's folder (``runs.trackers``)

    def model_path(self, source: str | Stage) -> str:
        """The checkpoint that ``source`` stands for: a stage's final one, or a name as given."""
        return str(self.finals[source.name]) if isinstance(source, Stage) else source

    def data_path(self, source: str | Stage) -> str:
        """The rows that ``source`` stands for: a stage's ``data.jsonl``, or a file or hub name as given."""
        return str(self.finals[source.name].parent / DATA) if isinstance(source, Stage) else source


class Stage(Settings):
    """One stage of a recipe: its settings are its fields."""

    edits: ClassVar[tuple[str, ...]] = ()
    """Files that people may lay into the stage's folder, such as a review; read whenever the stage runs."""

    replaces: ClassVar[Mapping[str, str]] = {}
    """Settings that, where somebody gives them, take the place of another that a recipe has set."""
    machine: ClassVar[frozenset[str]] = frozenset()
    """Settings that say how the work is done here and leave its result, but for rounding: a stage goes on, or
    stays finished, with others. Those that are marked so (``setting(machine=True)``)."""

    figures: ClassVar[frozenset[str]] = frozenset()
    """Settings that say what is measured beside the work, and leave the model that comes of it: as with those of
    the ``machine``, a stage goes on, or stays finished, with others. Marked with ``setting(measure=True)``."""

    measures: ClassVar[bool] = False
    """Whether figures are its result: settings of what is measured are essential then."""

    all_ranks: ClassVar[bool] = False
    """Whether every rank runs this stage; else the first does, and the others wait."""

    name: str

    @classmethod
    def __pydantic_init_subclass__(cls, **defaults: Any) -> None:
        super().__pydantic_init_subclass__(**defaults)
        fields = cls.model_fields.items()
        cls.machine |= {name for name, field in fields if is_machine(field)}
        if not cls.measures:
            cls.figures |= {name for name, field in fields if is_measure(field)}

    @field_validator("task", "prompt", "judge", "teacher", "engine", mode="before", check_fields=False)
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        """A function, class or object that is passed in Python stands by its name in a file."""
        plain = value is None or isinstance(value, (str, bool, int, float, list, tuple, Mapping, Stage))
        return value if plain else plugins.reference_to(value)

    @field_validator("rewards", mode="before", check_fields=False)
    @classmethod
    def _weights(cls, value: Any) -> Any:
        """One reward or several, by name or as functions, with weight 1 where none is given."""
        if isinstance(value, str) or callable(value):
            value = [value]
        if isinstance(value, (list, tuple)):
            return dict.fromkeys(plugins.references_to(value), 1.0)
        if isinstance(value, Mapping):
            return dict(zip(plugins.references_to(value), value.values(), strict=True))
        return value

    @field_validator("name")
    @classmethod
    def _is_a_folder(cls, value: str) -> str:
        """A stage's name is that of its folder, and stands before its settings (``NAME.lr``)."""
        if not value.strip() or any(c in "/\\.=:" or not c.isprintable() for c in value):
            raise AhaError(
                f"A stage cannot be called {value!r}: its name is that of a folder, and stands before its settings "
                "(NAME.lr=1e-4), so it has letters, digits, '_' and '-'."
            )
        return value

    @field_validator("prompt", check_fields=False)
    @classmethod
    def _known_prompt(cls, value: str) -> str:
        return chat.check_setting(value)

    def run(self, context: Context) -> dict[str, Any]:
        """Do the work, resuming what is in the folder; returns the stage's summary."""
        raise NotImplementedError

    def check_inputs(self, context: Context) -> None:
        """Look at everything that comes from outside (models, rows, tasks, names), before a folder is touched.
        Raises AhaError for what could not be run."""

    def load_parts(self) -> None:
        """Load its own parts: problems keep the columns of their rows that those look at. Raises AhaError for parts
        that cannot be loaded."""
        plugins.load(plugins.parts_of(self.settings()))

    def goes_on_from(self, before: Mapping[str, Any], reached: int) -> bool:
        """Whether a stage with the settings ``before``, which has done ``reached`` steps, has done them just as
        this one would: then this one continues it."""
        return False

    def inputs(self) -> list[Stage]:
        """The stages among this stage's fields, its model first: their order is part of the fingerprint."""
        stages: list[Stage] = []
        for name in sorted(type(self).model_fields, key=lambda name: name != "model"):
            value = getattr(self, name)
            stages += [
                v for v in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(v, Stage)
            ]
        return stages

    def settings(self) -> dict[str, Any]:
        """Plain settings, with inputs by name."""
        plain = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Stage):
                plain[name] = f"<{value.name}>"
            elif isinstance(value, (list, tuple)) and any(isinstance(v, Stage) for v in value):
                plain[name] = [f"<{v.name}>" if isinstance(v, Stage) else v for v in value]
            else:
                plain[name] = value.model_dump() if isinstance(value, BaseModel) else value
        return json.loads(json.dumps(plain, default=str))

    def data_files(self) -> list[str]:
        """Files among the settings whose content counts as well as their name."""
        return []

    def work(self) -> dict[str, float]:
        """Upper bounds for a plan: ``sampled`` and ``trained`` tokens; empty where nothing is known."""
        return {}

    def fingerprint(self, run: Path | None = None) -> str:
        """Equal exactly for equal essential settings on equal inputs, data files by their content. In the folder of
        a ``run``, what people laid beside the inputs is part of them."""
        content: list[Any] = [former.hashed(self.essential()), [stage.result(run) for stage in self.inputs()]]
        if rows := self.row_hashes():
            content.append(list(rows.values()))
        return _short_hash(content)

    def essential(self) -> dict[str, Any]:
        """The settings that its result depends on."""
        left_out = self.machine | self.figures
        return {key: value for key, value in self.settings().items() if key not in left_out}

    def row_hashes(self) -> dict[str, str]:
        """The hash of each data file's content, of a prompt's file, and of the files of its own parts; "" for what is
        no file here."""
        files = [*self.data_files(), *chat.prompt_files(getattr(self, "prompt", "auto"))]
        hashes = {file: _content_hash(Path(file).expanduser()) for file in files}
        return hashes | {place: source.hash for place, source in plugins.sources(self.own_parts()).items()}

    def own_parts(self) -> list[str]:
        """The parts from outside the package that its settings name, and the stage itself where it is one."""
        module = type(self).__module__
        mine = [f"{place}:{type(self).__name__}"] if (place := plugins.file_of(module)) else []
        return [*plugins.parts_of(self.settings()), *mine]

    def result(self, run: Path | None = None) -> str:
        """Equal exactly for equal fingerprints and equal ``edits``: what stands for the stage's result."""
        fingerprint = self.fingerprint(run)
        contents = {name: _content_hash(run / self.name / name) for name in self.edits} if run else {}
        edited = {name: content for name, content in contents.items() if content}
        return _short_hash([fingerprint, edited]) if edited else fingerprint


def _short_hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _content_hash(file: Path) -> str:
    """SHA-256 of a file; "" for what is no file here, such as a hub name."""
    if not file.is_file():
        return ""
    stat = file.stat()
    return _hash_of(file, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _hash_of(file: Path, size: int, changed: int) -> str:
    with open(file, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def ordered(stages: Sequence[Stage]) -> list[Stage]:
    """The stages and all they need, inputs first."""
    by_name: dict[str, Stage] = {}
    above: list[Stage] = []

    def visit(stage: Stage) -> None:
        if any(stage is other for other in above):
            raise AhaError(f"Stage '{stage.name}' needs its own result: its inputs lead back to it.")
        above.append(stage)
        for needed in stage.inputs():
            visit(needed)
        above.pop()
        if by_name.setdefault(stage.name, stage) is not stage:
            raise AhaError(f"Two stages are called '{stage.name}'.")

    for stage in stages:
        visit(stage)
    return list(by_name.values())


def is_done(folder: Path, stage: Stage) -> bool:
    """Whether this very stage has finished in that folder, with what people laid into it since."""
    marker = folder / DONE
    if not marker.exists():
        return False
    done = read_json(marker)
    if not isinstance(done, dict) or not isinstance(done.get("summary"), dict | None):
        raise AhaError(f"{marker} is damaged. Remove it: the stage goes on from its last checkpoint.")
    return done.get("fingerprint") == stage.result(folder.parent)


def run(
    stages: Sequence[Stage],
    folder: Path,
    context: Context,
    *,
    config: dict[str, Any],
    say: Callable[[str], None],
    after: Callable[[Path], None] = lambda folder: None,
) -> dict[str, dict[str, Any]]:
    """Run what is not finished, in order; returns each stage's summary. ``after`` is called as stages end.

    Several ranks call this together, on one file system. The first one holds the lock and writes; the others
    take part in the stages that are for all ranks.
    """
    trackers.check(context.trackers)
    if (finished := ranks.broadcast_object(lambda: _all_finished(folder, stages, say))) is not None:
        return finished
    with contextlib.ExitStack() as locks:
        ranks.broadcast_object(lambda: _open(folder, locks))
        summaries, any_ran = {}, False
        for stage in ordered(stages):
            place = folder / stage.name
            context.finals[stage.name] = place / "final"
            finished = ranks.broadcast_object(functools.partial(_summary_of, place, stage))
            if finished is not None:
                _say_finished(place, stage, say)
                summaries[stage.name] = finished
                continue
            if not any_ran:
                any_ran = True
                keep_json(folder / "config.json", config)
                ranks.broadcast_object(
                    functools.partial(_remove, folder / SUMMARY)
                )  # it is finished no longer
            ranks.broadcast_object(functools.partial(_claim, place, stage, say))
            started = time.time()
            hardware.forget_peak()
            context.folder = place
            # what is laid beside it from here on, the next run notices
            result = ranks.broadcast_object(functools.partial(stage.result, folder))
            followed = follower.following(context.trackers, place, folder.name, stage.name, stage.settings())
            with failures.kept(place), aside.settings(folder=place, say=say), followed:
                summaries[stage.name] = _run(stage, context)
            done = {
                "fingerprint": result,
                "seconds": round(time.time() - started, 1),
                "peak_bytes": hardware.peak_bytes(),
                "summary": summaries[stage.name],
            }
            write_json(place / DONE, done)
            if ranks.is_main():
                after(folder)
    return summaries


def _all_finished(
    folder: Path, stages: Sequence[Stage], say: Callable[[str], None]
) -> dict[str, dict[str, Any]] | None:
    """Each stage's summary where there is nothing to do, and nothing to write."""
    summaries = {stage.name: _summary_of(folder / stage.name, stage) for stage in ordered(stages)}
    known = {name: summary for name, summary in summaries.items() if summary is not None}
    if len(known) < len(summaries):
        return None
    for stage in ordered(stages):
        _say_finished(folder / stage.name, stage, say)
    return known


def _say_finished(place: Path, stage: Stage, say: Callable[[str], None]) -> None:
    """That a stage is not run again; and what of its figures was asked for otherwise now."""
    before, now = read_settings(place).get("settings", {}), stage.settings()
    other = [f"{key}={before[key]}" for key in sorted(stage.figures) if before.get(key, now[key]) != now[key]]
    text = f"{stage.name}: finished before, not run again."
    if other:
        text += (
            f" Its figures were measured with {', '.join(other)}; aha eval {place / 'final'} measures anew."
        )
    say(text)


def _remove(file: Path) -> None:
    with disk_errors(file):
        file.unlink(missing_ok=True)


def _open(folder: Path, locks: contextlib.ExitStack) -> None:
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        locks.enter_context(locked(folder))


def _summary_of(place: Path, stage: Stage) -> dict[str, Any] | None:
    """The summary of a stage that has finished there."""
    return read_json(place / DONE)["summary"] if is_done(place, stage) else None


def _run(stage: Stage, context: Context) -> dict[str, Any]:
    """The stage's summary, the same on every rank, once its files are there."""
    stage.load_parts()
    if not stage.all_ranks:
        return ranks.broadcast_object(lambda: stage.run(context))
    summary = stage.run(context)
    return ranks.broadcast_object(lambda: summary)


def _claim(place: Path, stage: Stage, say: Callable[[str], None]) -> None:
    """Make the stage's folder; one whose inputs changed, or that has other settings, is set aside. A finished stage
    that goes on keeps its final checkpoint beside the new one."""
    fingerprint = stage.fingerprint(place.parent)
    marker, before = place / SETTINGS, read_settings(place)
    with disk_errors(place):
        if before.get("fingerprint", fingerprint) != fingerprint and has_work(place):
            if stage.goes_on_from(before.get("settings", {}), reached(place)):
                _keep_final(place, say)
            else:
                old = _old(place)
                os.replace(place, old)
                say(
                    f"{stage.name}: its settings or inputs changed; starting it anew, the old folder is {old}."
                )
        elif stage.edits and (place / DONE).exists():
            say(f"{stage.name}: {', '.join(stage.edits)} changed since it finished; going on from there.")
        place.mkdir(parents=True, exist_ok=True)
    said = {"fingerprint": fingerprint, "settings": stage.settings(), "rows": stage.row_hashes()}
    keep_json(marker, said)
    plugins.keep_copies(stage.own_parts(), place)


def _old(place: Path) -> Path:
    """Where a stage's old folder goes: beside it, never over an older one."""
    old, number = place.with_name(f"{place.name}.old"), 1
    while old.exists():
        number += 1
        old = place.with_name(f"{place.name}.{number}.old")
    return old


def _keep_final(place: Path, say: Callable[[str], None]) -> None:
    """A finished stage goes on: the checkpoint that it ended with is kept under the number of its last step."""
    step = reached(place)
    say(f"{place.name}: going on from step {step}.")
    if not (place / DONE).exists():
        return
    kept = place / f"final-{step:06d}"
    if (place / "final").is_dir() and not kept.exists():
        with new_folder(kept) as folder:
            copy_tree(place / "final", folder)
        say(f"{place.name}: the checkpoint that it had ended with is kept in {kept}.")
    os.replace(place / DONE, place / f"done-{step:06d}.json")


def read_settings(place: Path) -> dict[str, Any]:
    """What a stage's folder says of the settings that it was begun with; empty where it says nothing."""
    marker = place / SETTINGS
    record = read_json(marker) if marker.exists() else {}
    if not isinstance(record, dict) or not isinstance(record.get("settings", {}), dict):
        raise AhaError(f"{marker} is damaged: no settings. Put {place} away to start that stage over.")
    return record | {"settings": former.stored(record["settings"])} if "settings" in record else record


def has_work(place: Path) -> bool:
    """Whether a stage's folder holds anything that was worked for."""
    own = (trackers.FOLDER, plugins.FOLDER)
    files = (p for p in place.rglob("*") if p.is_file() and p.relative_to(place).parts[0] not in own)
    return any(path.name not in (SETTINGS, failures.FILE) and path.stat().st_size for path in files)


def reached(place: Path) -> int:
    """The step of the newest checkpoint in a stage's folder; 0 without one."""
    saved = [path.parent.name for path in place.glob("checkpoints/step-*/progress.json")]
    return max((int(name.removeprefix("step-")) for name in saved), default=0)


class locked:
    """Two processes must not write one run folder, nor move it while one writes. Raises AhaError."""

    def __init__(self, folder: Path):
        self.path = folder / ".lock"

    def __enter__(self) -> None:
        self.file = open(self.path, "a")
        try:
            import fcntl

            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass  # no locks on this system
        except OSError as error:
            raise AhaError(
                f"Another process is working in {self.path.parent}. Wait for it, or choose another --run."
            ) from error

    def __exit__(self, *exc: object) -> None:
        self.file.close()
