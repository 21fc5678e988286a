"""Two models asked the same, side by side."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from aha.runs.console import render_chain, segments
from aha.types import Rollout


def side_by_side(names: tuple[str, str], rollouts: tuple[Rollout, Rollout], *, fold: bool) -> Table:
    """A table of two columns: each model's answer, its thinking dimmed or left out, and its length."""
    table = Table(*map(plain_name, names), show_lines=False, expand=True, highlight=False)
    table.add_row(*(_answer(rollout, fold) for rollout in rollouts))
    table.add_row(*(Text(f"{len(r.completion_ids)} tokens, {r.finish.value}", "dim") for r in rollouts))
    return table


def show(names: tuple[str, str], rollouts: tuple[Rollout, Rollout], *, fold: bool) -> None:
    """The table on the terminal."""
    Console(highlight=False).print(side_by_side(names, rollouts, fold=fold))


def plain_name(name: str) -> str:
    """A model's name as it fits a column: the last parts of a path."""
    parts = [part for part in name.split("/") if part]
    return "/".join(parts[-3:] if name.startswith("/") else parts[-2:])


def _answer(rollout: Rollout, fold: bool) -> Text:
    shown = render_chain(rollout.text, opened_think=rollout.opened_think)
    if not fold:
        return shown
    parts = segments(shown.plain, opened_think=rollout.opened_think)
    return Text("".join(text for kind, text in parts if kind not in ("think", "tag")).strip(), "bold")
