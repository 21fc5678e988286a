"""Findings on runs, each a tab of the page: a plain function from run folders to words and tables.

A tab that is added needs nothing of the page: a function that takes folders and returns blocks, and its line in
``TABS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aha.runs.report.data import read_run, warnings
from aha.types import AhaError
from aha.view import aside
from aha.view.blocks import FindingBlock


@dataclass(frozen=True, slots=True)
class FindingTab:
    """A tab: its title, how many runs it looks at together, what it finds in their folders, and whether it is so quick
    that it is asked again whenever a run changes."""

    title: str
    find: Callable[[Sequence[Path]], Sequence[FindingBlock]]
    least: int = 1
    most: int = 1
    live: bool = False


def health(runs: Sequence[Path]) -> list[FindingBlock]:
    """What the run warned of as it went, and which figures left their healthy range: as its report says."""
    blocks = []
    for stage in read_run(runs[0]).stages:
        texts = warnings(stage)
        blocks.append(
            FindingBlock(stage.name, texts or ["Nothing to warn of."], tone="bad" if texts else "good")
        )
    return blocks or [FindingBlock("Nothing measured yet", ["This run has no figures so far."])]


TABS: dict[str, FindingTab] = {
    "health": FindingTab("Health", health, live=True),
    "diagnosis": FindingTab("Diagnosis", aside.diagnosis),
    "comparison": FindingTab("Comparison", aside.comparison, least=2, most=8),
}
"""By name; the name is its place in addresses."""


def titles() -> list[dict[str, Any]]:
    """The tabs as the page lists them."""
    return [
        {"name": name, "title": tab.title, "least": tab.least, "most": tab.most, "live": tab.live}
        for name, tab in TABS.items()
    ]


def found(name: str, runs: Sequence[Path]) -> list[dict[str, Any]]:
    """A tab's blocks. Raises AhaError for an unknown tab, or too few or many runs."""
    if name not in TABS:
        raise AhaError(f"There is no tab '{name}'. There are: {', '.join(TABS)}.")
    tab = TABS[name]
    if not tab.least <= len(runs) <= tab.most:
        raise AhaError(f"{tab.title} looks at {tab.least} to {tab.most} runs, not {len(runs)}.")
    return [asdict(block) for block in tab.find(runs)]
