"""What the rows of a supervised stage show: copies, answers that are empty or were cut, pairs that say nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aha import aside, chat
from aha.data.schemas import Record, read_source
from aha.diagnosis.causes import CAUSES
from aha.diagnosis.findings import Illness
from aha.types import AhaError

MOST = 20_000
"""Rows that are read of a source: a diagnosis takes seconds."""
SHARE = 0.05
"""Of the rows that must be concerned, and two at least."""
LONGER = 0.9
"""The share of pairs whose chosen completion is the longer one by a fifth, from which length is what they teach."""


def found(stage: str, settings: Mapping[str, Any], run: Path, notes: list[str]) -> list[Illness]:
    """Of a stage's sources, as far as they are still there."""
    records = [record for source in _sources(settings, run) for record in _read(source, stage, notes)]
    if not records:
        return []
    words = {cause: look(records) for cause, look in LOOKS.items()}
    return [Illness(cause, stage, 1, (words[cause],)) for cause in CAUSES if words.get(cause)]


def _sources(settings: Mapping[str, Any], run: Path) -> list[str]:
    data = settings.get("data")
    named = [data] if isinstance(data, str) else data if isinstance(data, list) else []
    return [_place(str(name), run) for name in named]


def _place(name: str, run: Path) -> str:
    """A stage among the sources stands as ``<name>``."""
    return str(run / name[1:-1] / "data.jsonl") if name.startswith("<") and name.endswith(">") else name


def _read(source: str, stage: str, notes: list[str]) -> Sequence[Record]:
    if not Path(source).exists():
        notes.append(f"{stage}: its rows were not looked at, {source} is not here.")
        return []
    try:
        with aside.settings(share=1.0, say=lambda text: None):
            return read_source(source)[0][:MOST]
    except (AhaError, OSError) as error:
        notes.append(f"{stage}: its rows could not be read ({error})")
        return []


def _copies(records: Sequence[Record]) -> str:
    counts = Counter((r.text, r.rejected[-1]["content"] if r.rejected else "") for r in records)
    extra = len(records) - len(counts)
    if not _enough(extra, len(records)):
        return ""
    (text, _), most = counts.most_common(1)[0]
    return f"{extra} of {len(records)} rows repeat another one; the most frequent stands {most} times: {text[:160]!r}"


def _empty(records: Sequence[Record]) -> str:
    empty = [r for r in records if r.prompt != r.messages and not _said(r)]
    if not _enough(len(empty), len(records)):
        return ""
    return f"{len(empty)} of {len(records)} rows have an empty answer, for example to {_asked(empty[0])!r}"


def _cut(records: Sequence[Record]) -> str:
    cut = [r for r in records if (said := _said(r)).rfind(chat.THINK) > said.rfind(chat.END_THINK)]
    if not _enough(len(cut), len(records)):
        return ""
    return (
        f"{len(cut)} of {len(records)} answers open their thinking and never close it, for example the one that ends "
        f"in {_said(cut[0])[-120:]!r}"
    )


def _same(records: Sequence[Record]) -> str:
    pairs = [r for r in records if r.rejected]
    same = [r for r in pairs if _is_same(r)]
    if not same or not _enough(len(same), len(pairs)):
        return ""
    of = f"{len(same)} of {len(pairs)} pairs"
    return f"chosen and rejected are the same text in {of}, such as that of {_asked(same[0])!r}"


def _is_same(record: Record) -> bool:
    return _plain(record.messages[-1]["content"]) == _plain(record.rejected[0]["content"])


def _longer(records: Sequence[Record]) -> str:
    pairs = [(len(r.messages[-1]["content"]), len(r.rejected[0]["content"])) for r in records if r.rejected]
    longer = sum(a > 1.2 * b for a, b in pairs)
    if len(pairs) < 20 or longer <= LONGER * len(pairs):
        return ""
    return f"the chosen completion is the longer one by a fifth and more in {longer} of {len(pairs)} pairs"


def _both_ways(records: Sequence[Record]) -> str:
    """Pairs of one question that contradict each other: what one chooses another one rejects."""
    chosen: dict[tuple[str, str], int] = Counter(
        (_asked(r), _plain(r.messages[-1]["content"])) for r in records if r.rejected and not _is_same(r)
    )
    pairs = [r for r in records if r.rejected and not _is_same(r)]
    against = [r for r in pairs if chosen.get((_asked(r), _plain(r.rejected[0]["content"])))]
    if not _enough(len(against), len(records)):
        return ""
    return f"{len(against)} of {len(records)} pairs reject what another pair of the same question chooses"


LOOKS: Mapping[str, Callable[[Sequence[Record]], str]] = {
    "duplicate_rows": _copies, "empty_answers": _empty, "cut_answers": _cut, "equal_pairs": _same,
    "length_preferred": _longer, "contradicting_pairs": _both_ways,
}  # fmt: skip


def _said(record: Record) -> str:
    last = record.messages[-1]
    return (str(last.get("reasoning") or "") + str(last["content"])).strip()


def _asked(record: Record) -> str:
    said = [m["content"] for m in record.prompt if m["role"] == "user"]
    return str(said[-1] if said else "")[:160]


def _plain(text: str) -> str:
    return " ".join(text.split())


def _enough(count: int, total: int) -> bool:
    return count >= 2 and count >= SHARE * total
