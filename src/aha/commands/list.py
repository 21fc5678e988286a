"""What there is: recipes, tasks, benchmarks, rewards, algorithms, embedded models, and the runs in the runs folder;
``aha list settings STAGE``: every setting of a kind of stage."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aha import options
from aha.types import AhaError

if TYPE_CHECKING:
    from aha.benchmarks.catalogue import Benchmark

KINDS = ("recipes", "tasks", "benchmarks", "rewards", "algorithms", "models", "runs")
HELP = "what there is: recipes, tasks, benchmarks, rewards, algorithms, models, runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which kind."""
    parser.add_argument("kind", nargs="?", choices=(*KINDS, "settings"), help="only these")
    parser.add_argument(
        "stage", nargs="?", help="with settings: of which kind of stage (rl, sft, reject ...)"
    )
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where runs are kept")


def run(args: argparse.Namespace) -> int:
    """Print names with what they are."""
    if args.kind == "settings":
        from aha.runs.config_toml import overview
        from aha.stages.kinds import stage_kinds

        print(overview(stage_kinds(args.stage)))
        return 0
    if args.stage is not None:
        raise AhaError(f"'{args.stage}' would have no effect: write aha list settings {args.stage}.")
    if args.kind not in (None, "runs"):
        options.refuse(args, ("runs_dir",), f"{args.kind} are not kept in a folder. It is for aha list runs.")
    if options.changed(args, ("runs_dir",)) and not args.runs_dir.is_dir():
        raise AhaError(f"--runs-dir {args.runs_dir}: there is no such folder.")
    listed: dict[str, Callable[[], dict[str, str]]] = {
        "recipes": _recipes,
        "tasks": _tasks,
        "benchmarks": _benchmarks,
        "rewards": _rewards,
        "algorithms": _algorithms,
        "models": _models,
        "runs": lambda: _runs(args.runs_dir),
    }
    for kind in [args.kind] if args.kind else KINDS:
        print(f"{kind}:")
        meanings = listed[kind]()
        width = max(map(len, meanings), default=0)
        for name, meaning in meanings.items():
            print(f"  {name:<{width}}  " + meaning.replace("\n", f"\n  {'':<{width}}  "))
        if not meanings:
            print("  (none)")
    print("Next     aha zero, or aha run RECIPE --print-config")
    return 0


def _recipes() -> dict[str, str]:
    from aha.recipes import RECIPES

    return {name: recipe.description for name, recipe in RECIPES.items()}


def _tasks() -> dict[str, str]:
    from aha.tasks import DESCRIPTIONS

    return DESCRIPTIONS


def _benchmarks() -> dict[str, str]:
    from aha.benchmarks.catalogue import BENCHMARKS

    return {b.name: f"{b.title}{_paper(b)}: {_rows_of(b)}" for b in BENCHMARKS.values()}


def _paper(benchmark: Benchmark) -> str:
    """What R1 comes to and with how many samples, where the paper tells."""
    from aha.benchmarks import published

    figure = published.figures(benchmark.name).get("R1")
    parts = [f"R1 {figure:g}"] if figure is not None else []
    parts += [f"k = {benchmark.k}"] if benchmark.k else []
    return f" ({', '.join(parts)})" if parts else ""


def _rows_of(benchmark: Benchmark) -> str:
    """Where its rows are and who grades them."""
    if not benchmark.task:
        return f"not here, {benchmark.why}"
    from aha.benchmarks.catalogue import revision_of

    grader = "a judge" if benchmark.judged else benchmark.task
    revision = revision_of(benchmark.hub)
    at = f" at {revision[:12]}" if revision else ""
    return (
        f"{benchmark.hub}{at}, {benchmark.split}, by {grader}"
        if benchmark.hub
        else f"give a file, by {grader}"
    )


def _rewards() -> dict[str, str]:
    from aha.rewards import DESCRIPTIONS

    return DESCRIPTIONS


def _algorithms() -> dict[str, str]:
    from aha.training.presets import PAPERS

    return PAPERS


def _models() -> dict[str, str]:
    from aha.modeling import EMBEDDED

    return {name: f"embedded base ({path})" for name, path in EMBEDDED.items()}


def _runs(folder: Path) -> dict[str, str]:
    """Of each run its state, and below what it is."""
    from aha.runs.overview import overviews

    return {run.name: "\n".join(filter(None, (run.state, run.words()))) for run in overviews(folder)}
