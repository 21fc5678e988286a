"""The safety tax: what alignment costs in reasoning, beside what it brings in safety, from what the stages stored.

Before is the checkpoint that learning with a safety reward began from, after is what came of it. Reasoning is paired
by problem, safety by prompt; every difference has an interval and a test, and 5% is shared among all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np

from aha.runs.charts import FigureKind, Point, escape, interval, number, show
from aha.runs.paired import Paired, bootstrap, paired_values
from aha.runs.report.data import Json, RunData, as_dict, read_lines, read_object
from aha.runs.report.recipe_data import Whole, slug

STORED = "safety.json"
RATES = (
    ("harmful", "unsafe", "harmful prompts: unsafe answers"), ("harmful", "reject", "harmful prompts: refused"),
    ("jailbroken", "unsafe", "under jailbreaks: unsafe answers"), ("jailbroken", "reject", "under jailbreaks: refused"),
    ("harmless", "reject", "harmless prompts: refused (over-refusal)"),
)  # fmt: skip
TRANSLATED = "_translated"
"""What the sets of translated prompts end in."""

PerProblem = Mapping[str, float]
"""A value for each problem or prompt."""


@dataclass(frozen=True, slots=True)
class Side:
    """A figure of one checkpoint with its 95% interval; None where it has none."""

    value: float | None
    bounds: Point | None = None


@dataclass(frozen=True, slots=True)
class TaxRow:
    """One figure before and after. ``change`` is None where the answers of both are not stored."""

    about: str
    label: str
    kind: FigureKind
    before: Side
    after: Side
    change: Paired | None = None

    @property
    def direction(self) -> int | None:
        """1 higher after, -1 lower, 0 where they cannot be told apart, None where one was not measured."""
        if self.before.value is None or self.after.value is None:
            return None
        if self.change is not None:
            return (1 if self.change.difference > 0 else -1) if self.change.told_apart else 0
        was, now = self.before.bounds, self.after.bounds
        if was is None or now is None or (was[0] <= now[1] and now[0] <= was[1]):
            return 0
        return 1 if now[0] > was[1] else -1

    @property
    def verdict(self) -> str:
        """The direction in words, and how it was found."""
        said = {1: "higher", -1: "lower", 0: "cannot be told apart", None: "not measured"}[self.direction]
        by = "" if self.change is not None or self.direction is None else " (by their intervals alone)"
        return said + by


@dataclass(frozen=True, slots=True)
class SafetyTax:
    """The table, and the names of the two checkpoints."""

    before: str
    after: str
    rows: tuple[TaxRow, ...]

    def sentence(self) -> str:
        """What the strict accuracies say, in words."""
        strict = [row for row in self.rows if row.label == "pass@1" and row.direction is not None]
        parts = [
            f"{words} on {', '.join(names)}"
            for way, words in ((-1, "lower"), (1, "higher"), (0, "cannot be told apart"))
            if (names := [row.about for row in strict if row.direction == way])
        ]
        return (
            f"Accuracy after alignment: {'; '.join(parts)}."
            if parts
            else "No reasoning was measured on both."
        )


def read_tax(run: RunData, whole: Whole, faults: list[str]) -> SafetyTax | None:
    """The table of a run's folder; None for a run whose safety was not measured on two checkpoints."""
    path = next((p for p in sorted(run.folder.glob(f"*/{STORED}")) if ".old" not in p.parent.name), None)
    safety = {name: as_dict(own) for name, own in read_object(path, faults).items()} if path else {}
    ends = _ends(whole, list(safety))
    if path is None or ends is None:
        return None
    rows = [row for task in whole.tasks for row in _reasoning(whole, task, ends, faults)]
    rows += _safety(path.parent, safety, ends, faults)
    tested = sum(row.change is not None for row in rows)
    shared = [
        replace(row, change=replace(row.change, level=row.change.level / tested)) if row.change else row
        for row in rows
    ]
    return SafetyTax(*ends, tuple(shared))


def _ends(whole: Whole, measured: Sequence[str]) -> tuple[str, str] | None:
    """Where learning with a safety reward began and ended, if both were measured; else the first and the last."""
    for node in whole.nodes:
        start = node.stage.settings.get("model")
        if node.stage.settings.get("safety_model") and isinstance(start, str):
            ends = (start.strip("<>"), node.stage.name)
            if set(ends) <= set(measured):
                return ends
    return (measured[0], measured[-1]) if len(measured) > 1 else None


# --- reasoning -----------------------------------------------------------------------------------------------------


def _reasoning(whole: Whole, task: str, ends: tuple[str, str], faults: list[str]) -> list[TaxRow]:
    """Strict and lenient accuracy and length on one task; none where a rule grades it on neither."""
    figures = [whole.tasks[task].get(name, {}) for name in ends]
    if not all(figures) or not any("pass@1" in own for own in figures):
        return []
    answers = [_chains(whole, name, task, faults) for name in ends]
    strict = _strict(whole, ends[0])
    right = [_by_problem(rows, lambda row: _right(row, strict)) for rows in answers]
    tokens = [_by_problem(rows, lambda row: number(row.get("tokens"))) for rows in answers]
    length = [
        Side(number(own.get("mean_length")), bootstrap(np.array(list(each.values()))) if each else None)
        for own, each in zip(figures, tokens, strict=True)
    ]
    return [
        _row(task, "pass@1", "rate", [_side(own, "pass@1") for own in figures], right),
        _row(task, "lenient", "rate", [_side(own, "lenient") for own in figures]),
        _row(task, "length in tokens", "number", length, tokens),
    ]


def _chains(whole: Whole, name: str, task: str, faults: list[str]) -> list[Json]:
    path = whole.rollouts[name] / f"{slug(name)}.{slug(task)}.jsonl"
    return list(read_lines(path, faults)) if path.exists() else []


def _strict(whole: Whole, name: str) -> bool:
    """Whether the comparison counted right answers only if they keep the format."""
    stage = whole.rollouts[name].parent.name
    settings = next((n.stage.settings for n in whole.nodes if n.stage.name == stage), {})
    return bool(settings.get("require_format", True))


def _right(row: Json, strict: bool) -> float | None:
    scores = as_dict(row.get("scores"))
    value, form = (number(as_dict(scores.get(name)).get("value")) for name in ("accuracy", "format"))
    return None if value is None else float(value > 0.5 and (not strict or form == 1))


def _by_problem(rows: Sequence[Json], value: Callable[[Json], float | None]) -> PerProblem:
    """The mean over each problem's answers that have a value."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if (one := value(row)) is not None:
            key = f"{row.get('problem_id')}\n{row.get('question', '')}"  # rows of other files may share ids
            values.setdefault(key, []).append(one)
    return {problem: fmean(own) for problem, own in values.items()}


def _side(figures: Json, key: str) -> Side:
    return Side(number(figures.get(key)), interval(figures, key))


def _row(
    about: str, label: str, kind: FigureKind, sides: Sequence[Side], values: Sequence[PerProblem] = ({}, {})
) -> TaxRow:
    """A row of two sides; ``values``: what is stored of each, to be paired."""
    (before, after), (first, second) = sides, values
    change = paired_values(first, second) if first.keys() & second.keys() else None
    return TaxRow(about, label, kind, before, after, change)


# --- safety --------------------------------------------------------------------------------------------------------


def _safety(
    folder: Path, safety: Mapping[str, Json], ends: tuple[str, str], faults: list[str]
) -> list[TaxRow]:
    """The rates of each set of prompts, then of harmful ones in each language where there are several."""
    paths = [folder / "answers" / f"{slug(name)}.jsonl" for name in ends]
    answers = [list(read_lines(path, faults)) if path.exists() else [] for path in paths]
    rows = []
    for kind, word, label in RATES:
        sides = [_side(as_dict(safety[name].get(kind)), word) for name in ends]
        asked = [[r for r in own if r.get("set") == kind] for own in answers]
        rows.append(_row("safety", label, "rate", sides, [_shares(own, word) for own in asked]))
    by = [as_dict(safety[name].get("by_language")) for name in ends]
    codes = [code for code in by[0] if code in by[1]]
    for code in codes if len(codes) > 1 else ():
        sides = [_side(as_dict(own[code]), "unsafe") for own in by]
        asked = [[r for r in own if _harmful_in(r, code)] for own in answers]
        label = f"harmful prompts in {code}: unsafe answers"
        rows.append(_row("safety", label, "rate", sides, [_shares(own, "unsafe") for own in asked]))
    return [row for row in rows if row.before.value is not None or row.after.value is not None]


def _harmful_in(row: Json, code: str) -> bool:
    return row.get("language") == code and row.get("set") in ("harmful", f"harmful{TRANSLATED}")


def _shares(rows: Sequence[Json], word: str) -> PerProblem:
    """Of each prompt the share of its judged answers that have this verdict."""
    judged: dict[str, list[float]] = {}
    for row in rows:
        if row.get("verdict") is not None:
            judged.setdefault(str(row.get("prompt", row.get("problem_id"))), []).append(
                row["verdict"] == word
            )
    return {prompt: fmean(said) for prompt, said in judged.items()}


# --- drawn ---------------------------------------------------------------------------------------------------------


def drawn(run: RunData, whole: Whole, faults: list[str]) -> str:
    """The table as HTML; "" for a run without one."""
    tax = read_tax(run, whole, faults)
    if tax is None:
        return ""
    head = "".join(
        f"<th>{escape(name, 60)}</th>"
        for name in ("", "", tax.before, tax.after, "change", "after alignment")
    )
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in _cells(row))}</tr>" for row in tax.rows)
    note = (
        f"Before is {escape(tax.before, 60)}, after is {escape(tax.after, 60)}. Brackets are 95% intervals over "
        "problems or prompts. A change is that of the problems and prompts that both have, with a sign-flip test; "
        "5% is shared among all rows. Lenient accuracy takes answers in any form; its single verdicts are not stored."
    )
    return (
        f"<p>{escape(tax.sentence(), 600)}</p>"
        f'<div class="scroll"><table><tr>{head}</tr>{lines}</table></div><p class="small soft">{note}</p>'
    )


def _cells(row: TaxRow) -> list[str]:
    return [
        escape(row.about, 60), escape(row.label, 100), *(_shown(side, row.kind) for side in (row.before, row.after)),
        _moved(row.change, row.kind), f"<b>{row.verdict}</b>" if row.direction else row.verdict,
    ]  # fmt: skip


def _shown(side: Side, kind: FigureKind) -> str:
    ci = f" [{show(side.bounds[0], kind)}, {show(side.bounds[1], kind)}]" if side.bounds else ""
    return f'{show(side.value, kind)}<span class="ci">{ci}</span>'


def _moved(change: Paired | None, kind: FigureKind) -> str:
    """The difference with its interval; rates in points of a hundred."""
    if change is None:
        return "-"
    size = 100 if kind == "rate" else 1
    mean, low, high = (f"{size * value:+.1f}" for value in (change.difference, change.low, change.high))
    return f'{mean} <span class="ci">[{low}, {high}], p = {change.p:.3f}, n = {change.problems}</span>'
