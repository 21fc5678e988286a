"""A run's final checkpoint, copied out with a card that says how it came to be."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.files import check_room, new_folder, read_json
from aha.runs.state import result
from aha.settings import former
from aha.types import AhaError

TRAINING_STATE = ("state.pt", "progress.json")


@dataclass(frozen=True, slots=True)
class StoredStage:
    """One finished stage of a run: its settings (inputs as "<name>") and what it said at its end."""

    name: str
    settings: Mapping[str, Any]
    summary: Mapping[str, Any]
    seconds: float
    final: Path

    def inputs(self) -> list[str]:
        """The names of the stages whose results it started from."""
        return [v[1:-1] for v in _values(self.settings) if v.startswith("<") and v.endswith(">")]


def _values(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _values(part)
    elif isinstance(value, list):
        for part in value:
            yield from _values(part)


def export(run: Path, target: Path, stage: str | None = None) -> StoredStage:
    """Copy the final checkpoint of ``stage`` (default: the run's last) to ``target`` with a new card.

    Raises AhaError if nothing has finished, or ``target`` holds something already.
    """
    _check_target(target)
    stages = finished(run)
    chosen = _chosen(run, stages, stage)
    files = [p for p in sorted(chosen.final.rglob("*")) if p.is_file() and p.name not in TRAINING_STATE]
    check_room(target, sum(file.stat().st_size for file in files))
    with new_folder(target) as place:
        for file in files:
            copy = place / file.relative_to(chosen.final)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        config = run / "config.json"
        recipe = str(read_json(config).get("recipe", "")) if config.exists() else ""
        (place / "README.md").write_text(card(chosen, stages, recipe), encoding="utf-8")
    return chosen


def _check_target(target: Path) -> None:
    if target.resolve() == Path.cwd():
        raise AhaError(f"'{target}' is the folder you are in. Give the name of a new one.")
    if target.exists() and not target.is_dir():
        raise AhaError(f"{target} is a file. Give the name of a new folder.")
    if target.exists() and any(target.iterdir()):
        raise AhaError(f"{target} is not empty. Choose another folder.")


def finished(run: Path) -> dict[str, StoredStage]:
    """The run's finished stages by name, inputs before what was made from them."""
    stages: dict[str, StoredStage] = {}
    for marker in sorted(run.glob("*/done.json"), key=lambda path: path.stat().st_mtime_ns):
        folder, done = marker.parent, read_json(marker)
        if folder.name.endswith(".old"):
            continue
        settings = former.stored(read_json(folder / "settings.json")["settings"])
        seconds = float(done.get("seconds", 0.0))
        stages[folder.name] = StoredStage(
            folder.name, settings, done["summary"] or {}, seconds, folder / "final"
        )
    return stages


def _chosen(run: Path, stages: Mapping[str, StoredStage], stage: str | None) -> StoredStage:
    with_model = [candidate for candidate in stages.values() if (candidate.final / "config.json").exists()]
    if stage is not None:
        with_model = [candidate for candidate in with_model if candidate.name == stage]
    if not with_model:
        what = f"no finished stage '{stage}' with a model" if stage else "no finished stage with a model"
        raise AhaError(f"{run} has {what}. Give a run's folder; 'aha run' continues an interrupted one.")
    named = result(run)
    if (
        stage is None
        and named is not None
        and named.parent.name in {candidate.name for candidate in with_model}
    ):
        return stages[named.parent.name]
    used = {name for candidate in with_model for name in candidate.inputs()}
    return [candidate for candidate in with_model if candidate.name not in used or stage][-1]


def lineage(last: StoredStage, stages: Mapping[str, StoredStage]) -> list[StoredStage]:
    """The stages that led to ``last``, itself last."""
    line: dict[str, StoredStage] = {}

    def visit(name: str) -> None:
        if name in stages and name not in line:
            for needed in stages[name].inputs():
                visit(needed)
            line[name] = stages[name]

    visit(last.name)
    return list(line.values())


# --- the card --------------------------------------------------------------------------------------------


def card(last: StoredStage, stages: Mapping[str, StoredStage], recipe: str) -> str:
    """The README of an exported checkpoint: recipe, lineage, data, figures, settings."""
    line = lineage(last, stages)
    base = next((str(s.settings["model"]) for s in line if _is_name(s.settings.get("model"))), "")
    parts = [
        *_front_matter(base),
        f"# {recipe or last.name}: {last.settings.get('task', 'a language model')}",
        "",
        f"Made with aha{f', recipe `{recipe}`' if recipe else ''}"
        f"{f', from `{base}`' if base else ''}. It loads with `AutoModelForCausalLM` and `AutoTokenizer`.",
        *_asked(last),
        "",
        *_lineage_table(line),
        *_data(line),
        *_figures(last),
        *(text for stage in line for text in _settings(stage)),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _asked(last: StoredStage) -> list[str]:
    """How the checkpoint is to be asked, where its stage said so."""
    name = last.summary.get("prompt")
    return (
        ["", f"It was trained with `prompt={name}`, which its chat template is: ask it so."] if name else []
    )


def _is_name(model: Any) -> bool:
    return isinstance(model, str) and not model.startswith("<")


def _front_matter(base: str) -> list[str]:
    lines = ["---", "library_name: transformers", "pipeline_tag: text-generation", "tags: [aha, reasoning]"]
    # Only names on the hub may stand in base_model; a local folder or an embedded base is not one.
    if base.count("/") == 1 and not base.startswith((".", "/", "~")):
        lines.append(f"base_model: {base}")
    return [*lines, "---", ""]


def _lineage_table(line: Sequence[StoredStage]) -> list[str]:
    rows = ["## Lineage", "", "| stage | from | task | steps | time |", "|---|---|---|---|---|"]
    for s in line:
        origin = ", ".join(f"`{name}`" for name in s.inputs()) or f"`{s.settings.get('model', 'scratch')}`"
        steps = s.summary.get("steps", s.settings.get("steps", ""))
        rows.append(f"| `{s.name}` | {origin} | {s.settings.get('task', '')} | {steps} | {s.seconds:.0f} s |")
    return [*rows, ""]


def _data(line: Sequence[StoredStage]) -> list[str]:
    rows = []
    for s in line:
        named = {
            k: s.settings[k] for k in ("data", "test_data", "train_problems", "rewards") if k in s.settings
        }
        listed = ", ".join(f"{k} {_plain(v)}" for k, v in named.items() if v not in (None, "", []))
        if listed:
            rows.append(f"- `{s.name}`: {listed}")
    return ["## Data", "", *rows, ""] if rows else []


def _figures(last: StoredStage) -> list[str]:
    before, after = last.summary.get("before") or {}, last.summary.get("after") or {}
    rows = [
        f"| {key} | {_figure(before.get(key))} | {_figure(value)} |"
        for key, value in after.items()
        if isinstance(value, (int, float)) and key != "step"
    ]
    return ["## Results", "", "| | before | after |", "|---|---|---|", *rows, ""] if rows else []


def _figure(value: Any) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _settings(stage: StoredStage) -> list[str]:
    lines = [f"{key} = {_plain(value)}" for key, value in stage.settings.items() if value is not None]
    return [f"## Settings of `{stage.name}`", "", "```", *lines, "```", ""]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    return str(value)
