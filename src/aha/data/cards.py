"""Data out: a JSON Lines file and, beside it, a card that says what is in it and where it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aha.files import write_jsonl, write_text


@dataclass(frozen=True, slots=True)
class DataSource:
    """A file or hub name that rows came from, how many, and in which schema."""

    name: str
    rows: int
    schema: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Filter:
    """A step that took rows away: from how many to how many, and how many for which reason."""

    name: str
    before: int
    after: int
    reasons: Mapping[str, int] = field(default_factory=dict)


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file; "" for what is no file here, such as a hub name."""
    path = Path(path).expanduser()
    if not path.is_file():
        return ""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def card_path(path: Path) -> Path:
    """Where the card of a data file stands: ``rows.jsonl`` -> ``rows.card.md``."""
    return path.with_name(path.name.removesuffix(path.suffix) + ".card.md")


@dataclass(slots=True)
class Written:
    """What rows went by: how many, and their columns in the order of first sight."""

    rows: int = 0
    columns: dict[str, None] = field(default_factory=dict)

    def watch(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """The rows, counted."""
        for row in rows:
            self.rows += 1
            if row.keys() - self.columns.keys():
                self.columns |= dict.fromkeys(row)
            yield row


def card(
    path: Path, written: Written, sources: Sequence[DataSource], filters: Sequence[Filter], table: str = ""
) -> str:
    """The card's text."""
    columns = ", ".join(f"`{name}`" for name in written.columns)
    lines = [
        f"# {path.name}",
        "",
        f"- rows: {written.rows}",
        f"- columns: {columns or '(none)'}",
        f"- sha256: `{file_hash(path)}`",
        "",
        "## Sources",
        "",
    ]
    for source in sources:
        digest = f", sha256 `{source.sha256}`" if source.sha256 else ""
        lines.append(f"- `{source.name}`: {source.rows} rows, {source.schema or 'no schema'}{digest}")
    lines += ["", "## Filters", ""]
    for step in filters:
        reasons = "; ".join(f"{reason}: {n}" for reason, n in step.reasons.items())
        lines.append(f"- {step.name}: {step.before} -> {step.after}" + (f" ({reasons})" if reasons else ""))
    if not filters:
        lines.append("- none")
    if table:
        lines += ["", "## Statistics", "", "```", table, "```"]
    return "\n".join(lines) + "\n"


def write_data(
    path: Path,
    rows: Iterable[Mapping[str, Any]],
    sources: Sequence[DataSource],
    filters: Sequence[Filter] = (),
    table: str = "",
) -> Path:
    """Write the rows, one after another, and their card; returns the card's path."""
    written = Written()
    write_jsonl(path, written.watch(rows))
    target = card_path(path)
    write_text(target, card(path, written, sources, filters, table))
    return target
