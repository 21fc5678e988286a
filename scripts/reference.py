"""Write the reference pages of the documentation that are made from the code: commands, settings, names.

python scripts/reference.py docs/reference
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from aha.settings import HEADINGS, heading, is_machine, is_measure, unit

MADE = ("commands.md", "settings.md", "names.md")


def commands() -> str:
    """Every command with its help, as the program prints it."""
    from aha import cli

    os.environ["COLUMNS"] = "110"
    text = "# Commands\n\nAs `aha COMMAND --help` prints them.\n"
    for name, summary in cli.COMMANDS.items():
        printed = subparser(cli.parser(name), name).format_help()
        text += f"\n## aha {name}\n\n{summary[0].upper()}{summary[1:]}.\n\n```text\n{printed.rstrip()}\n```\n"
    return text


def subparser(top: argparse.ArgumentParser, name: str) -> argparse.ArgumentParser:
    """The parser of one command."""
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices[name]
    raise KeyError(name)


def settings() -> str:
    """Every setting of every stage that a recipe uses, with its meaning and default."""
    kinds: dict[type[BaseModel], str] = {}
    for stage in stages():
        kinds.setdefault(type(stage), type(stage).__name__)
    text = (
        "# Settings\n\nEvery setting of every kind of stage. On the command line they are `STAGE.NAME=value`, in a "
        "settings file `NAME = value` beneath `[STAGE]`; settings of a group are `STAGE.GROUP.NAME`. Recipes change "
        "some of the defaults: `aha run RECIPE --print-config` writes those that would hold.\n"
    )
    groups: dict[type[BaseModel], str] = {}
    for kind, name in kinds.items():
        text += f"\n## {name}\n\n{first_sentence(kind)}\n\n" + table(kind, groups)
    written: set[type[BaseModel]] = set()
    while waiting := [kind for kind in groups if kind not in written]:
        kind = waiting[0]
        text += f"\n## {kind.__name__}\n\n{first_sentence(kind)}\n\n" + table(kind, groups)
        written.add(kind)
    return text


def stages() -> Iterator[Any]:
    """The stages of all recipes."""
    from aha.recipes import RECIPES
    from aha.runs.pipeline import ordered

    for recipe in RECIPES.values():
        yield from ordered(recipe.build())


def table(kind: type[BaseModel], groups: dict[type[BaseModel], str]) -> str:
    """The fields of one model of settings under their headings; ``groups`` takes the models among them."""
    rows: dict[str, list[str]] = {}
    for name, field in kind.model_fields.items():
        if name != "name":
            rows.setdefault(heading(kind, name), []).append(row(name, field, groups))
    text = ""
    for group in sorted(rows, key=list(HEADINGS).index):
        text += (
            f"**{group}**: {HEADINGS[group]}\n\n" if group else ""
        ) + "| setting | default | what it is |\n|---|---|---|\n"
        text += "\n".join(rows[group]) + "\n\n"
    return text.rstrip() + "\n"


def row(name: str, field: Any, groups: dict[type[BaseModel], str]) -> str:
    """One setting: its default, what it is, what it counts, and whether it is part of a run's identity."""
    inner = field.annotation
    if isinstance(inner, type) and issubclass(inner, BaseModel) and not hasattr(inner, "run"):
        groups.setdefault(inner, name)
        default = f"see [{inner.__name__}](#{inner.__name__.lower()})"
    else:
        default = f"`{shown(field.get_default(call_default_factory=True))}` {unit(field) or ''}".strip()
    marks = " (of the machine: a run goes on with another)" if is_machine(field) else ""
    marks += " (measured beside the work)" if is_measure(field) else ""
    return f"| `{name}` | {default} | {cell(field.description or '')}{marks} |"


def shown(value: Any) -> str:
    """A default as one writes it in a settings file."""
    if isinstance(value, BaseModel):
        return value.__class__.__name__
    if value is None or value is PydanticUndefined:
        return "unset" if value is None else "must be given"
    return cell(str(value).lower() if isinstance(value, bool) else str(value)) or '""'


def cell(text: str) -> str:
    """Text that may stand in a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def first_sentence(kind: type) -> str:
    """What a class says of itself first."""
    return (kind.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")


def tables() -> str:
    """What stands in the program's tables: recipes, tasks, rewards, algorithms."""
    from aha.recipes import RECIPES
    from aha.runs.trackers import TRACKERS

    text = "# Names\n\nWhat `aha list` shows: the names that settings take.\n"
    tables: dict[str, Mapping[str, str]] = {
        "Recipes": {name: recipe.description for name, recipe in RECIPES.items()},
        "Tasks": import_module("aha.tasks").DESCRIPTIONS,
        "Rewards": import_module("aha.rewards").DESCRIPTIONS,
        "Algorithms": import_module("aha.commands.list")._algorithms(),
        "Trackers": {name: f"package `{package}`" for name, (_, package) in TRACKERS.items()},
    }
    for title, entries in tables.items():
        text += f"\n## {title}\n\n| name | what it is |\n|---|---|\n"
        text += "".join(f"| `{cell(name)}` | {cell(meaning)} |\n" for name, meaning in entries.items())
    return text


def main(folder: Path) -> None:
    """Write the pages."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in zip(MADE, (commands(), settings(), tables()), strict=True):
        (folder / name).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference"))
