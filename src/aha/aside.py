"""Rows that were set aside: written beside the run with line and reason, told in one line, and too many refused.

A run, or a command, says where they go (``settings``); whoever reads rows says which they are (``report``).
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path

from aha import ranks
from aha.files import write_jsonl
from aha.types import AhaError

SHARE = 0.05
"""The share of a source's rows that may be set aside before a run stops."""
FOLDER = "set_aside"


@dataclass(frozen=True, slots=True)
class Aside:
    """A row that cannot be used: where it stands (``line 3``) and why. ``published``: its own publisher says so, which
    is no reason to stop."""

    where: str
    reason: str
    published: bool = False


@dataclass(frozen=True, slots=True)
class AsideLimits:
    """How large a share may be set aside, the folder they are written beneath (None: nowhere), who is told."""

    share: float = SHARE
    folder: Path | None = None
    say: Callable[[str], None] = field(default=lambda text: print(text, file=sys.stderr))
    said: set[str] = field(default_factory=set)


_settings: ContextVar[AsideLimits] = ContextVar("set_aside")
_PLAIN = AsideLimits()


@contextlib.contextmanager
def settings(
    *, share: float | None = None, folder: Path | None = None, say: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Within this, rows that are set aside go to ``folder`` and are told to ``say``; None leaves what holds."""
    now = _settings.get(_PLAIN)
    said = now.said if say is None else set()
    token = _settings.set(replace(now, share=now.share if share is None else share, folder=folder or now.folder,
                                  say=say or now.say, said=said))  # fmt: skip
    try:
        yield
    finally:
        _settings.reset(token)


def allowed(rows: int, share: float | None = None) -> int:
    """How many of ``rows`` may be set aside: the share of them, and one at least, but never all."""
    share = _settings.get(_PLAIN).share if share is None else share
    return min(max(1, int(share * rows + 1e-9)), rows - 1)


def report(source: str, rows: int, set_aside: Sequence[Aside]) -> None:
    """Say, and write down, which of a source's rows were set aside.

    Raises AhaError where they are more than may be.
    """
    if not set_aside:
        return
    now = _settings.get(_PLAIN)
    many = Counter(kind_of(row.reason) for row in set_aside)
    most = ", ".join(f"{n} {reason}" for reason, n in many.most_common(3))
    first = f"{set_aside[0].where}: {set_aside[0].reason}"
    file = source.partition(" (")[0]  # without what of it was asked
    if sum(not row.published for row in set_aside) > allowed(rows):
        raise AhaError(
            f"'{source}': {len(set_aside)} of {rows} rows cannot be used ({most}). The first: {first.rstrip('.')}. "
            f"See all of them with: aha data check {file}. To go on without them, allow a larger share "
            "with --set-aside."
        )
    place = _write(now, source, set_aside) if now.folder is not None else None
    where = f"see {place}" if place else f"see: aha data check {file}"
    note(f"{source}: {len(set_aside)} of {rows} rows set aside ({most}); {where}.")


def note(text: str) -> None:
    """Tell something of rows, once."""
    now = _settings.get(_PLAIN)
    if text not in now.said and ranks.is_main():
        now.said.add(text)
        now.say(text)


def _write(now: AsideLimits, source: str, set_aside: Sequence[Aside]) -> Path:
    assert now.folder is not None
    place = now.folder / FOLDER / (re.sub(r"[^\w.-]+", "_", source).strip("_.")[-120:] + ".jsonl")
    write_jsonl(place, [{"source": source, "where": row.where, "reason": row.reason} for row in set_aside])
    return place


def kind_of(reason: str) -> str:
    """A reason as it is counted: without what differs from row to row."""
    return re.split(r"[:('\"]", reason, maxsplit=1)[0].strip().rstrip(".")[:80]
