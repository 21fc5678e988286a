"""The mix that a fine-tuning learns from: a checkpoint's own right answers beside other conversations, by domains.

The paper (DeepSeek-R1, arXiv 2501.12948) has 600k of reasoning beside 200k of writing, factual questions,
self-cognition and translation. A row's ``domain`` is its own word, else what its columns show; rows of what no rule
grades are one ``part`` of the mix, whatever their domains.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aha.data.cards import Filter
from aha.data.quotas import parse_ratios, quotas, take
from aha.data.schemas import Record, read_source
from aha.stages.data.samples import RolloutRow
from aha.types import AhaError, Problem

REASONING, GENERAL = "reasoning", "general"
"""In quotas: every domain that is not named itself, of reasoning and of what no rule grades."""
FUNCTION_CALLING, JSON, SEVERAL_TURNS = "function_calling", "json", "several_turns"
SELF_COGNITION, HARMFUL = "self_cognition", "harmful"
GENERAL_DOMAINS = frozenset(
    {
        GENERAL, FUNCTION_CALLING, JSON, SEVERAL_TURNS, SELF_COGNITION, HARMFUL, "writing", "factual_qa",
        "translation", "role_play", "safety", "chat", "conversation",
    }
)  # fmt: skip
"""Domains of the general part where a file says no part; any other is one of reasoning."""


def plain(domain: str) -> str:
    """A domain's name as it is compared: ``Self-Cognition`` is ``self_cognition``."""
    return re.sub(r"[\s-]+", "_", domain.strip().lower())


def shape_of(messages: Sequence[Mapping[str, Any]], tools: bool, schema: bool) -> str:
    """The domain of a general row that names none, by what it holds."""
    if tools or any(m.get("tool_calls") or m["role"] == "tool" for m in messages):
        return FUNCTION_CALLING
    if schema:
        return JSON
    return SEVERAL_TURNS if sum(m["role"] == "user" for m in messages) > 1 else GENERAL


def domain_of_prompt(problem: Problem) -> str:
    """The domain of a prompt that no rule grades."""
    meta = problem.metadata
    named = meta.get("domain")
    if named not in (None, ""):
        return str(named)
    if meta.get("harmful"):
        return HARMFUL
    return shape_of(problem.messages, bool(meta.get("tools")), meta.get("json_schema") is not None)


def rounds(row: RolloutRow) -> int:
    """How often the user speaks."""
    return sum(message["role"] == "user" for message in row["messages"])


# --- other sources ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OtherRows:
    """The rows of a source that can be learned from, and why others cannot."""

    name: str
    records: tuple[Record, ...]
    counts: Mapping[str, int]
    dropped: Mapping[str, int]

    @property
    def filter(self) -> Filter:
        """How many rows of the source are learned from, for the card."""
        whole = len(self.records) + sum(self.dropped.values())
        return Filter(f"rows of {self.name}", whole, len(self.records), self.dropped)

    def rows(self, tokenizer: Any) -> list[RolloutRow]:
        """Conversations with their domains. Their length is that of the last message in tokens, or in words where there
        is no tokenizer."""
        return [_row(record, tokenizer) for record in self.records]


def read_others(name: str, path: str) -> OtherRows:
    """The conversations of a file or a stage that end in an answer which is not said to be bad."""
    records, counts = read_source(path)
    reasons = [_unfit(record) for record in records]
    kept = [record for record, reason in zip(records, reasons, strict=True) if not reason]
    return OtherRows(name, tuple(kept), counts, Counter(reason for reason in reasons if reason))


def _unfit(record: Record) -> str:
    if not record.messages or record.messages[-1]["role"] != "assistant":
        return "no completion"
    return "said to be bad" if record.label is not None and record.label <= 0.5 else ""


def _row(record: Record, tokenizer: Any) -> RolloutRow:
    last = record.messages[-1]
    said = last.get("reasoning", "") + last["content"] + "".join(map(str, last.get("tool_calls") or ()))
    domain = record.domain or shape_of(record.messages, bool(record.tools), "response_format" in record.rest)
    said_part = record.rest.get("part")
    general = said_part == GENERAL or (said_part != REASONING and plain(domain) in GENERAL_DOMAINS)
    row = {
        "messages": [dict(m) for m in record.messages],
        "domain": domain,
        "language": record.rest.get("language", "en"),
        "tokens": len(tokenizer.encode(said) if tokenizer else said.split()),
    }
    return (
        row | ({"part": GENERAL} if general else {}) | ({"tools": list(record.tools)} if record.tools else {})
    )


# --- quotas -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mixed:
    """Rows by their quotas: of each share how many there were, were due and were taken."""

    rows: list[RolloutRow]
    available: Mapping[str, int]
    due: Mapping[str, float]
    taken: Mapping[str, int]

    @property
    def over(self) -> dict[str, int]:
        """Rows of each share that were left away, by reason."""
        left = {name: n - self.taken[name] for name, n in self.available.items()}
        return {f"{name} beyond its share": n for name, n in left.items() if n}

    @property
    def short(self) -> list[str]:
        """What was short, in words: shares with fewer rows than were due, or the one that made all others small."""
        lacking = [
            f"{name} has {self.available[name]:,} rows of the {due:,.0f} that its share is"
            for name, due in self.due.items()
            if self.available[name] < int(due)
        ]
        cut = sum(self.available.values()) - sum(self.taken.values())
        scarce = [name for name in self.due if self.available[name] == self.taken[name]]
        if lacking or not scarce or cut <= sum(self.taken.values()):
            return lacking
        return [
            f"{scarce[0]} has {self.available[scarce[0]]:,} rows, and by its share {cut:,} of the others go"
        ]


def share_of(row: RolloutRow, shares: Collection[str]) -> str:
    """Which share of the mix a row belongs to: its domain's, else its part's, else that of reasoning."""
    part = row.get("part") or (GENERAL if row["domain"] == GENERAL else "")
    return next((name for name in (row["domain"], part) if name in shares), part or REASONING)


def by_quota(rows: Sequence[RolloutRow], ratios: str, total: int | None, seed: int) -> Mixed:
    """Rows in the proportion of ``ratios`` (``reasoning:6,writing:1,general:1``); ``reasoning`` and ``general`` stand
    for every domain of theirs that is not named. Raises AhaError for a domain that has no rows, or rows whose domain
    has no share."""
    shares = parse_ratios(ratios)
    available = Counter(share_of(row, shares) for row in rows)
    if lost := sorted(set(available) - set(shares)):
        others = sorted({str(r["domain"]) for r in rows if share_of(r, shares) in lost})
        raise AhaError(
            f"The ratios give no share to {', '.join(others)}. Name them, or '{lost[0]}' for all of its kind."
        )
    taken = quotas(available, shares, total)
    whole = sum(shares.values())
    size = sum(taken.values()) if total is None else min(total, sum(available.values()))
    due = {name: size * ratio / whole for name, ratio in shares.items()}
    kept = take(rows, lambda row: share_of(row, shares), taken, seed)
    return Mixed(kept, {name: available[name] for name in shares}, due, taken)


def check_ratios(ratios: str, others: Sequence[OtherRows], tasks: Collection[str]) -> None:
    """Raise AhaError, before anything is sampled, for a domain with a share that no source has: neither the other rows
    nor one of the ``tasks`` that are sampled."""
    shares = parse_ratios(ratios)
    rows = [_row(record, None) for other in others for record in other.records]
    known = {str(row["domain"]) for row in rows} | {row["part"] for row in rows if row.get("part")}
    if unknown := sorted(set(shares) - known - set(tasks) - {REASONING}):
        raise AhaError(
            f"domain_ratios gives a share to {', '.join(unknown)}, and no row is of it. Domains of the other rows: "
            f"{', '.join(sorted(known)) or 'none'}. A row's column domain says which it is; where a stage "
            "draws its rows from a larger file (general.problems), it may have drawn none of it."
        )
