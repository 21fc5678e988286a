"""What a tab of findings is made of: words, tables, and links to rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FindingBlock:
    """One part of a tab: a heading, words below it, a table of texts, and filters of the rollout browser as links
    (label, the fields of ``index.asked.RolloutQuery`` by name) that show what is spoken of. ``tone``: good, bad, or
    "" for neither."""

    heading: str
    texts: Sequence[str] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    links: Sequence[tuple[str, dict[str, str]]] = ()
    tone: str = ""
