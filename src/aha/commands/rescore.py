"""Grade the rollouts that a run has stored by other rewards, or by your own file: what would have been paid, which
advantages change their sign, and how far both agree, step by step. Nothing is sampled and nothing of the run changes:
every rollout with both rewards goes into a file of its own.

    aha rescore runs/zero --rewards accuracy own.py:short
    aha rescore runs/zero --rewards '{"accuracy": 1, "own.py:short": 0.2}'"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aha.commands.json_alone import json_alone, show
from aha.types import AhaError

if TYPE_CHECKING:
    from aha.analysis.rescore import Rescored, RescoredStep

HELP = "grade a run's stored rollouts by other rewards: what would have been paid, which advantages flip"
MOST_LINES = 20
"""Steps that are printed, evenly over all."""
MOST_FLIPS = 3
"""Completions whose advantage flips that are printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Run, rewards, and where the result goes."""
    parser.add_argument("run", type=Path, help="the run's folder, or its name in the runs folder")
    parser.add_argument(
        "--rewards",
        nargs="+",
        required=True,
        metavar="NAME",
        help="names, each of weight 1, or one JSON object with weights",
    )
    parser.add_argument("--stage", help="whose rollouts; default: the first stage that has any")
    parser.add_argument("--steps", type=int, help="grade at most so many steps, evenly over all")
    parser.add_argument(
        "--output", type=Path, help="the file for every rollout (default: rescored_RUN.jsonl, here)"
    )
    parser.add_argument("--progress", action="store_true", help="say after each step on stderr how far it is")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where runs are kept")


def run(args: argparse.Namespace) -> int:
    """Grade, write, and print."""
    from aha.analysis.rescore import rescore
    from aha.files import free_name
    from aha.runs.overview import run_folder

    with json_alone(args):
        folder = run_folder(args.run, args.runs_dir)
        output = args.output or free_name(Path(f"rescored_{folder.resolve().name}.jsonl"))
        told = {"told": _tell} if args.progress else {}
        rescored = rescore(
            folder, weights(args.rewards), stage=args.stage, output=output, most_steps=args.steps, **told
        )
    if args.json:
        show(args, rescored.as_json())
    else:
        print(described(rescored))
    return 0


def _tell(done: int, steps: int) -> None:
    print(f"step {done} of {steps}", file=sys.stderr, flush=True)


def weights(words: list[str]) -> dict[str, float]:
    """Rewards by name: of weight 1 each, or as a JSON object says. Raises AhaError for what is neither."""
    if len(words) > 1 or not words[0].lstrip().startswith("{"):
        return dict.fromkeys(words, 1.0)
    try:
        by_name = json.loads(words[0])
        return {str(name): float(weight) for name, weight in by_name.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise AhaError(f"--rewards {words[0]!r} is no JSON object of names and weights: {error}") from error


def described(rescored: Rescored) -> str:
    """The figures in words."""
    steps = rescored.steps[:: max(1, -(-len(rescored.steps) // MOST_LINES))]
    names = ", ".join(f"{weight:g} x {name}" for name, weight in rescored.rewards.items())
    count = f"{rescored.whole.completions} rollouts of {len(rescored.steps)} steps"
    head = f"{rescored.run}, stage {rescored.stage}: {count} by {names}"
    columns = "step   reward before  after   no signal before  after   ungradable  flips   agreement"
    lines = [_line(f"{s.step:>4}", s) for s in steps] + [_line(" all", rescored.whole)]
    notes = [f"Note     {note}" for note in rescored.notes]
    written = [f"Written  {rescored.file}"] if rescored.file else []
    return "\n".join([head, columns, *lines, rescored.sentence(), *_flips(rescored), *notes, *written])


def _flips(rescored: Rescored) -> list[str]:
    return [
        f"Flips    step {f.step}, {f.problem_id}, member {f.member}: advantage {f.advantage_before:+.2f} -> "
        f"{f.advantage_after:+.2f}   {f.why}"[:200]
        for f in rescored.flipped[:MOST_FLIPS]
    ]


def _line(name: str, s: RescoredStep) -> str:
    from aha.runs.charts import show

    return (
        f"{name}   {show(s.reward_before):>13}  {show(s.reward_after):>5}   {show(s.silent_before, 'rate'):>16}  "
        f"{show(s.silent_after, 'rate'):>5}   {show(s.ungradable_after, 'rate'):>10}  {show(s.flips, 'rate'):>5}   "
        f"{show(s.agreement):>9}"
    )
