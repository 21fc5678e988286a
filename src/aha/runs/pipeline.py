"""A recipe is stages that name each other as inputs. A run keeps one folder a stage and can be killed anywhere.

A finished stage has ``done.json`` with the fingerprint of its settings and inputs, and is not run again
while that fingerprint holds. A stage whose settings changed is run anew; its old folder is kept as ``.old``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from aha.files import disk_errors, read_json, write_json
from aha.types import AhaError


@dataclass(slots=True)
class Context:
    """What a stage is given to run: its folder, the machine's settings, and the way to its inputs."""

    folder: Path
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 0
    plain: bool | None = None  # None: a live display on terminals, plain lines elsewhere
    doctor: bool = True  # whether a run examines itself as it starts
    finals: dict[str, Path] = field(default_factory=dict)

    def model_path(self, source: str | Stage) -> str:
        """The checkpoint that ``source`` stands for: a stage's final one, or a name as given."""
        return str(self.finals[source.name]) if isinstance(source, Stage) else source


class Stage(BaseModel):
    """One stage of a recipe: its settings are its fields."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, protected_namespaces=())

    name: str

    def run(self, context: Context) -> dict[str, Any]:
        """Do the work, resuming what is in the folder; returns the stage's summary."""
        raise NotImplementedError

    def inputs(self) -> list[Stage]:
        """The stages among this stage's fields."""
        found: list[Stage] = []
        for name in type(self).model_fields:
            value = getattr(self, name)
            found += [
                v for v in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(v, Stage)
            ]
        return found

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

    def fingerprint(self) -> str:
        """Equal exactly for equal settings on equal inputs."""
        content = [self.settings(), [stage.fingerprint() for stage in self.inputs()]]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def ordered(stages: Sequence[Stage]) -> list[Stage]:
    """The stages and all they need, inputs first."""
    found: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        for needed in stage.inputs():
            visit(needed)
        if found.setdefault(stage.name, stage) is not stage:
            raise AhaError(f"Two stages are called '{stage.name}'.")

    for stage in stages:
        visit(stage)
    return list(found.values())


def is_done(folder: Path, stage: Stage) -> bool:
    """Whether this very stage has finished in that folder."""
    marker = folder / "done.json"
    return marker.exists() and read_json(marker).get("fingerprint") == stage.fingerprint()


def run(
    stages: Sequence[Stage],
    folder: Path,
    context: Context,
    *,
    config: dict[str, Any],
    say: Callable[[str], None],
    after: Callable[[Path], None] = lambda folder: None,
) -> dict[str, dict[str, Any]]:
    """Run what is not finished, in order; returns each stage's summary. ``after`` is called as stages end."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        write_json(folder / "config.json", config)
        summaries = {}
        for stage in ordered(stages):
            place = folder / stage.name
            context.finals[stage.name] = place / "final"
            if is_done(place, stage):
                say(f"{stage.name}: finished before, not run again.")
                summaries[stage.name] = read_json(place / "done.json")["summary"]
                continue
            _claim(place, stage, say)
            started = time.time()
            context.folder = place
            summaries[stage.name] = stage.run(context)
            done = {
                "fingerprint": stage.fingerprint(),
                "seconds": round(time.time() - started, 1),
                "summary": summaries[stage.name],
            }
            write_json(place / "done.json", done)
            after(folder)
    return summaries


def _claim(place: Path, stage: Stage, say: Callable[[str], None]) -> None:
    """Make the stage's folder; one left by other settings is set aside."""
    with disk_errors(place):
        marker = place / "settings.json"
        if marker.exists() and read_json(marker).get("fingerprint") != stage.fingerprint():
            old = place.with_name(place.name + ".old")
            shutil.rmtree(old, ignore_errors=True)
            os.replace(place, old)
            say(f"{stage.name}: its settings or inputs changed; starting it anew, the old folder is {old}.")
        place.mkdir(parents=True, exist_ok=True)
    if not marker.exists():
        write_json(marker, {"fingerprint": stage.fingerprint(), "settings": stage.settings()})


class _lock:
    """Two processes must not write one run folder."""

    def __init__(self, folder: Path):
        self.path = folder / ".lock"

    def __enter__(self) -> None:
        self.file = open(self.path, "w")
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
