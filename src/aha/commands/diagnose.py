"""What is wrong with a run, and why: causes by name, each with figures, steps, a rollout or two that show it, and the
setting to change. Works on a run that is under way, too, and changes nothing.

Exit code: 0 where nothing lasting was found, 3 where something was (for continuous integration), 1 for an error."""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aha.diagnosis import Diagnosis, Illness, ShownRollout

HELP = "why is my reward flat: what is wrong with a run, with evidence, samples and the setting to change"
FOUND = 3
"""The exit code where something lasting is wrong."""
SHOWN = 320  # characters of a rollout


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    parser.add_argument("run", type=Path, help="the run's folder, or its name in the runs folder")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where runs are kept")
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    parser.add_argument(
        "--all", action="store_true", help="also what passed, and what follows from something else"
    )


def run(args: argparse.Namespace) -> int:
    """Print what was found."""
    from aha.diagnosis import diagnose
    from aha.runs.overview import run_folder

    folder = run_folder(args.run, args.runs_dir)
    diagnosis = diagnose(folder)
    if args.json:
        print(json.dumps(diagnosis.as_json(), ensure_ascii=False, indent=1))
    else:
        print(described(diagnosis, everything=args.all))
    return 0 if diagnosis.healthy else FOUND


def described(diagnosis: Diagnosis, *, everything: bool = False) -> str:
    """A diagnosis in words."""
    told = [_illness(i) for i in (diagnosis.every if everything else diagnosis.illnesses)]
    looked = (
        f"there is nothing to look at: {diagnosis.nothing}."
        if diagnosis.nothing
        else "nothing lasting is wrong."
    )
    head = f"{diagnosis.run}: {looked if diagnosis.healthy else _count(len(diagnosis.illnesses))}"
    rest = [] if everything else _left_out(diagnosis)
    notes = [f"Note     {note}" for note in diagnosis.notes]
    return "\n".join([head, *(f"\n{text}" for text in told), *(["", *rest, *notes] if rest or notes else [])])


def _count(n: int) -> str:
    return "one thing is wrong." if n == 1 else f"{n} things are wrong, the gravest first."


def _left_out(diagnosis: Diagnosis) -> list[str]:
    """What is told in one line each: consequences, and what passed."""
    lines = []
    for illness in diagnosis.every:
        if illness.explained_by:
            lines.append(f"Follows  {illness.cause} (from {', '.join(illness.explained_by)})")
        elif not illness.lasting:
            lines.append(f"Passed   {illness.cause}, seen at step {illness.step} (--all shows it)")
    return lines


def _illness(illness: Illness) -> str:
    from aha.runs.charts import clean

    lines = [
        f"{illness.title.upper()}   [{illness.cause}, stage {illness.stage}, seen at step {illness.step}]"
    ]
    lines += [_filled("  ", clean(text)) for text in illness.evidence]
    for sample in illness.samples:
        lines += _sample(sample)
    lines.append(_filled("  Change   ", illness.advice))
    if illness.settings:
        lines.append(_filled("  Settings ", ", ".join(illness.settings)))
    return "\n".join(lines)


def _sample(sample: ShownRollout) -> list[str]:
    from aha.runs.charts import clean, show

    gold = f" (reference: {clean(sample.answer, 60)})" if sample.answer else ""
    notes = "; ".join(f"{name}: {clean(note, 120)}" for name, note in sample.notes.items())
    paid = f"reward {show(sample.reward)}" if sample.reward is not None else "no reward"
    text = clean(" ".join(sample.text.split()), SHOWN)
    return [
        _filled(
            "  Sample   ",
            f"step {sample.step}, {sample.problem_id}: {clean(' '.join(sample.question.split()), 200)}{gold}",
        ),
        _filled("           ", f"-> {text!r}"),
        _filled("           ", paid + (f" ({notes})" if notes else "")),
    ]


def _filled(head: str, text: str) -> str:
    return textwrap.fill(
        text, 110, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    )
