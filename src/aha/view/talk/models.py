"""Which models the page can talk to: what runs made, and what they began from. A model is looked up, never a path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.files import read_json
from aha.runs.report.data import as_dict
from aha.types import AhaError
from aha.view.shelf import RunShelf

SCORES = "value_head.safetensors"
"""What a reward model has: it gives marks, and writes nothing."""
WEIGHTS = ("*.safetensors", "*.bin")


@dataclass(frozen=True, slots=True)
class TalkModel:
    """One to choose: ``id`` as the page sends it, ``name`` as the program loads it, and its files' bytes."""

    id: str
    run: str
    words: str
    name: str
    bytes: int


def models(shelf: RunShelf) -> list[TalkModel]:
    """Of every run, the newest first: what its stages made, their checkpoints, and what it began from."""
    folders = shelf.runs()
    every = [model for row in shelf.rows() if row.id in folders for model in of_run(row.id, folders[row.id])]
    return list({model.id: model for model in every}.values())


def of_run(run: str, place: Path) -> list[TalkModel]:
    """The models of one run, those that stages ended with first."""
    known = as_dict(as_dict(_read(place / "config.json")).get("stages"))
    stages = {name: said for name, said in known.items() if _is_part(name)}
    of_stages = [model for stage in reversed(stages) for model in _made(run, place / stage)]
    bases = [str(base) for s in stages.values() if (base := as_dict(s).get("model")) and _is_name(base)]
    return [
        *of_stages,
        *(TalkModel(f"base:{base}", run, f"began from {base}", base, 0) for base in dict.fromkeys(bases)),
    ]


def find(shelf: RunShelf, id_: str) -> TalkModel:
    """The model of an id. Raises AhaError for an id that is none (any more)."""
    for model in models(shelf):
        if model.id == id_:
            return model
    raise AhaError(
        f"There is no model '{id_[:200]}' here (any more). Load the page again for those that there are."
    )


def as_json(model: TalkModel) -> dict[str, Any]:
    """A model as the page lists it."""
    return {"id": model.id, "run": model.run, "words": model.words, "bytes": model.bytes}


def _read(file: Path) -> Any:
    try:
        return read_json(file)
    except AhaError:  # the table says what is wrong with the run
        return {}


def _is_part(stage: str) -> bool:
    """Whether a stage's name is that of a folder within its run."""
    return stage.isprintable() and Path(stage).name == stage


def _is_name(base: Any) -> bool:
    """Whether a setting names a model from outside: not a stage's, and not an endpoint's."""
    return isinstance(base, str) and base.isprintable() and not base.startswith("<") and "://" not in base


def _made(run: str, stage: Path) -> Iterator[TalkModel]:
    steps = sorted(stage.glob("checkpoints/step-*"), reverse=True)
    places = [("final", "the model it ended with"), ("best", "its best checkpoint")]
    for place, words in [*((stage / n, w) for n, w in places), *((s, f"step {_step(s)}") for s in steps)]:
        if (place / "config.json").is_file() and not (place / SCORES).exists():
            id_ = f"{run}:{place.relative_to(stage.parent).as_posix()}"
            yield TalkModel(id_, run, f"{stage.name}, {words}", str(place), _bytes(place))


def _step(place: Path) -> str:
    return place.name.removeprefix("step-").lstrip("0") or "0"


def _bytes(place: Path) -> int:
    total = 0
    for file in (file for pattern in WEIGHTS for file in place.glob(pattern)):
        with suppress(OSError):  # a run that goes on takes its older checkpoints away
            total += file.stat().st_size
    return total
