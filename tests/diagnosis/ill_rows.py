"""Stages that learn from rows, made ill on purpose, each with the cause that a diagnosis must name, and healthy ones.

python tests/diagnosis/ill_rows.py FOLDER [NAME ...]     makes them, of seconds each
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aha.tasks import countdown

Rows = list[dict]


def _solved(n: int, seed: int = 0) -> list[tuple[str, str, str]]:
    """(question, a right answer, a wrong one) of ``n`` problems."""
    rng, solved = random.Random(seed), []
    for problem in countdown.load(countdown.TINY, "train", n, seed):
        numbers, target = problem.metadata["numbers"], problem.metadata["target"]
        known = list(countdown.expressions(numbers, "+-*"))
        right = next(e.text for e in known if e.value == target)
        wrong = rng.choice([e.text for e in known if e.value != target])
        solved.append((problem.messages[-1]["content"], _said(right), _said(wrong)))
    return solved


def _said(text: str) -> str:
    return f"<think>I try {text}.</think> <answer>{text}</answer>"


def _row(question: str, said: str) -> dict:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": said}]}


def _pair(question: str, chosen: str, rejected: str) -> dict:
    return {"prompt": question, "chosen": chosen, "rejected": rejected}


def plain(n: int = 320) -> Rows:
    """Sound conversations."""
    return [_row(q, right) for q, right, _ in _solved(n)]


def copies() -> Rows:
    """Sixteen conversations, over and over."""
    return plain(16) * 12


def cut() -> Rows:
    """A fifth of the answers end within their thinking."""
    return [_row(q, a if i % 5 else a.partition("</think>")[0]) for i, (q, a, _) in enumerate(_solved(160))]


def empty() -> Rows:
    """A tenth of the answers are empty."""
    return [_row(q, a if i % 10 else "") for i, (q, a, _) in enumerate(_solved(160))]


def long_ones() -> Rows:
    """Two thirds of the answers are longer than the stage takes."""
    long = f"<think>{'I wonder. ' * 200}</think> "
    return [_row(q, a if i % 3 == 0 else long + a) for i, (q, a, _) in enumerate(_solved(160))]


def noise() -> Rows:
    """Answers that have nothing to do with their questions: they can only be learned by heart."""
    rng = random.Random(5)
    return [_row(q, _said("".join(rng.choice("0123456789+*-") for _ in range(24)))) for q, *_ in _solved(40)]


def pairs(n: int = 240) -> Rows:
    """Right answers before wrong ones."""
    return [_pair(q, right, wrong) for q, right, wrong in _solved(n)]


def equal_pairs() -> Rows:
    """A third of the pairs are twice the same."""
    return [_pair(q, a, b if i % 3 else a) for i, (q, a, b) in enumerate(_solved(160))]


def chance_pairs() -> Rows:
    """Either of two answers is preferred by chance."""
    rng = random.Random(3)
    return [_pair(q, *rng.sample([a, b], 2)) for q, a, b in _solved(240)]


def contradicting() -> Rows:
    """Every third pair stands the other way round as well."""
    rows = pairs(120)
    return rows + [_pair(r["prompt"], r["rejected"], r["chosen"]) for r in rows[::3]]


def long_pairs() -> Rows:
    """What is chosen is padded."""
    return [
        _pair(q, a.replace("<think>", "<think>Let me see, let me see, let me see. "), b)
        for q, a, b in _solved(120)
    ]


@dataclass(frozen=True)
class RowsRun:
    """A run of the recipe ``sft`` or ``dpo`` on rows, and the cause that is planted in it."""

    cause: str
    make: Callable[[], Rows]
    recipe: str = "sft"
    settings: dict = field(default_factory=dict)

    def words(self, name: str, folder: Path) -> list[str]:
        """The command that makes it; its rows are written first."""
        file = folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in self.make()))
        settings = {"batch_size": 16, "max_length": 256, "epochs": 2, "validation_share": 0.1} | self.settings
        shown = [f"{self.recipe}.{key}={value}" for key, value in settings.items()]
        return [
            self.recipe, str(file), "--model", "tiny", "--runs-dir", str(folder), "--run", name, "--plain",
            "--no-doctor", "--threads", "1", *shown,
        ]  # fmt: skip


ILL: dict[str, RowsRun] = {
    "sft_lr_high": RowsRun("lr_high", plain, settings={"lr": 0.3}),
    "sft_lr_low": RowsRun("lr_low", plain, settings={"lr": 1e-10}),
    "sft_overfit": RowsRun("overfit", noise, settings={"epochs": 40, "lr": 2e-3, "validation_share": 0.25}),
    "sft_copies": RowsRun("duplicate_rows", copies),
    "sft_cut": RowsRun("cut_answers", cut),
    "sft_empty": RowsRun("empty_answers", empty),
    "sft_too_long": RowsRun("rows_lost", long_ones),
    "dpo_lr_high": RowsRun("lr_high", pairs, "dpo", {"lr": 0.3}),
    "dpo_lr_low": RowsRun("lr_low", pairs, "dpo", {"lr": 1e-10}),
    "dpo_equal": RowsRun("equal_pairs", equal_pairs, "dpo", {"lr": 1e-4}),
    "dpo_chance": RowsRun("preferences_unlearned", chance_pairs, "dpo", {"lr": 1e-4, "epochs": 1, "batch_size": 8}),
    "dpo_contradicting": RowsRun("contradicting_pairs", contradicting, "dpo", {"lr": 1e-4}),
    "dpo_long": RowsRun("length_preferred", long_pairs, "dpo", {"lr": 1e-4}),
}  # fmt: skip

HEALTHY: dict[str, RowsRun] = {
    "sft_plain": RowsRun("", plain, settings={"lr": 3e-4}),
    "sft_many_epochs": RowsRun("", lambda: plain(200), settings={"lr": 1e-4, "epochs": 4, "batch_size": 8}),
    "sft_no_held_out": RowsRun("", lambda: plain(160), settings={"lr": 1e-4, "validation_share": 0}),
    "dpo_plain": RowsRun("", pairs, "dpo", {"lr": 1e-4}),
    "dpo_simpo": RowsRun("", pairs, "dpo", {"lr": 1e-4, "loss": "simpo"}),
}  # fmt: skip


def make(name: str, folder: Path) -> Path:
    """Run one of them; returns its folder."""
    from aha.cli import main

    code = main({**ILL, **HEALTHY}[name].words(name, folder))
    assert code == 0, f"{name} ended with {code}"
    return folder / name


if __name__ == "__main__":
    place = Path(sys.argv[1])
    for run_name in sys.argv[2:] or [*ILL, *HEALTHY]:
        if not (place / run_name / "summary.json").exists():
            make(run_name, place)
