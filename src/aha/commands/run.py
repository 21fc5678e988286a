"""Run a recipe. A run that was interrupted, by Ctrl-C, a crash or a full disk, continues; a finished one is
not run again. Settings are stage.field=value words, or come from --config FILE.toml."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aha.options import number, whole
from aha.types import AhaError

OPTIONS = (
    "model", "task", "data", "test_data", "seed", "steps", "teacher", "student", "general", "harmful", "judge",
    "reward_model", "safety_model", "prompt", "rounds",
)  # fmt: skip
HELP = "run any recipe; continues where it was interrupted"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Recipe, then what every recipe takes."""
    parser.add_argument("recipe", help="which recipe (aha list recipes)")
    add_run_arguments(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """What every run takes, whatever its recipe."""
    parser.add_argument("settings", nargs="*", metavar="stage.field=value", help="settings to change")
    _add_recipe_arguments(parser)
    _add_folder_arguments(parser)
    add_machine_arguments(parser)
    _add_rank_arguments(parser)
    _add_telling_arguments(parser)


def _add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """What a recipe is built of: ``OPTIONS``, as far as it takes them."""
    parser.add_argument("--model", "--base", dest="model", help="base model: tiny, a folder, or a hub name")
    parser.add_argument("--task", "--tasks", dest="task", help="what to ask (aha list tasks)")
    parser.add_argument("--teacher", help="who rewrites, judges or is distilled: a model, or endpoint#MODEL")
    parser.add_argument("--student", help="who is distilled into: a model")
    parser.add_argument(
        "--data", help="rows for the task: a .jsonl, .jsonl.gz or .parquet file, or a hub name"
    )
    parser.add_argument("--test-data", help="rows of the test split, if they are in another file")
    parser.add_argument(
        "--general", metavar="FILE", help="prompts of R1's general half, in place of the made ones"
    )
    parser.add_argument("--harmful", metavar="FILE", help="harmful prompts, likewise")
    parser.add_argument(
        "--judge", help="who judges answers: endpoint#MODEL or a checkpoint (default: the teacher)"
    )
    parser.add_argument("--reward-model", help="a reward model in place of the one that would be trained")
    parser.add_argument("--safety-model", help="a reward model of harmful requests, likewise")
    parser.add_argument(
        "--prompt",
        metavar="NAME",
        help="what the base is asked, and in r1 taught with: r1_zero, think, boxed, or a file",
    )
    parser.add_argument(
        "--set-aside", type=number(0, 1), metavar="SHARE", help="of rows that cannot be used (default 0.05)"
    )
    parser.add_argument("--steps", type=whole(), help="training steps")
    parser.add_argument(
        "--rounds", type=whole(1), help="rounds of sampling, pairing and tuning (iterative_dpo)"
    )
    parser.add_argument("--seed", type=int, help="seed of everything random (default 0)")


def _add_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings from files, and where the run is kept."""
    parser.add_argument("--config", type=Path, action="append", default=[], help="settings from a TOML file")
    # torchrun takes --run for its own --run-path, whatever stands before it
    parser.add_argument("--run", "--run-name", dest="run_name", help="name of the run's folder")
    parser.add_argument(
        "--runs-dir", type=Path, default=Path("runs"), help="where runs are kept (default: runs)"
    )
    parser.add_argument("--fresh", action="store_true", help="set the run's old folder aside and start over")


def _add_rank_arguments(parser: argparse.ArgumentParser) -> None:
    """Several processes that train together."""
    parser.add_argument(
        "--parallel",
        choices=("auto", "replicated", "sharded"),
        default="auto",
        help="what each of several ranks keeps: whole weights, or parts; auto: by their size",
    )
    parser.add_argument(
        "--ranks",
        metavar="N",
        help="train on N processes of this machine; auto: one for each GPU, or for each core, up to 4",
    )
    parser.add_argument(
        "--ray-ranks",
        type=int,
        metavar="N",
        help="train on N ranks that are Ray actors, in place of torchrun",
    )


def _add_telling_arguments(parser: argparse.ArgumentParser) -> None:
    """What is told, and whether anything is done."""
    parser.add_argument(
        "--trackers",
        metavar="NAMES",
        help="where figures go besides the run's folder: tensorboard, wandb, trackio, mlflow; several with commas",
    )
    parser.add_argument("--plain", action="store_true", help="plain lines instead of the live display")
    parser.add_argument("--no-doctor", action="store_true", help="start without the quick checks")
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print every setting as TOML, to be read by --config, and stop",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the plan with estimates, and stop")


def add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    """Device, compute type, threads."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16")
    parser.add_argument("--threads", type=whole(), default=0, help="CPU threads (default: all cores)")


def add_prompt_argument(parser: argparse.ArgumentParser) -> None:
    """What the model is asked; ``--template`` is its former name."""
    parser.add_argument(
        "--prompt", "--template", default="auto", metavar="NAME",
        help="auto (what the checkpoint was trained with), r1_zero, boxed, think, bare, or a file",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Build the stages, apply the settings, run them, write the summary and the report."""
    from aha import aside

    if args.print_config and args.dry_run:
        raise AhaError("--print-config and --dry-run both stop before the run: give one of them.")
    with aside.settings(share=args.set_aside):
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    from aha.commands import local_ranks, ray_ranks
    from aha.recipes import get_recipe
    from aha.runs import config, pipeline, strength, trackers
    from aha.runs.config_toml import written
    from aha.settings import former

    local_ranks.check(args.ranks)
    recipe = get_recipe(args.recipe)
    options = {k: getattr(args, k) for k in OPTIONS}
    with former.plain_notes():
        stages = recipe.build(**options)
    files, words = [config.read_file(file) for file in args.config], config.read_overrides(args.settings)
    with former.plain_notes():
        overrides = strength.merged(pipeline.ordered(stages), files, words, options, _note)
        named = overrides.pop("trackers", None)
        args.trackers = trackers.read(named if args.trackers is None else args.trackers)
        of_ranks, settings = ray_ranks.split(args, overrides)
        before = [stage.model_copy() for stage in pipeline.ordered(stages)]
        config.apply(pipeline.ordered(stages), settings)
        strength.check_effect(pipeline.ordered(stages), before, settings)
    if args.print_config or args.dry_run:
        from aha.stages import inputs

        inputs.names(pipeline.ordered(stages))
    if args.print_config:
        print(trackers.written(args.trackers), end="")
        tables = [*pipeline.ordered(stages), *([of_ranks] if args.ray_ranks is not None else [])]
        print(written(tables, f"aha run {args.recipe}"), end="")
        return 0
    folder = args.runs_dir / (args.run_name or recipe.run)
    if ray_ranks.asked(args) and not args.dry_run:
        folder = settle(args, folder, stages)
        return ray_ranks.run(args, of_ranks, folder, pipeline.ordered(stages))
    from aha import ranks

    if not args.dry_run:
        local_ranks.start(args)
    with ranks.joined(args.device):
        return _start(args, folder, stages, recipe)


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _start(args: argparse.Namespace, folder: Path, stages: Sequence[Any], recipe: Any) -> int:
    """Show the plan or run it, as one of the ranks."""
    from aha import ranks

    if args.dry_run:
        from aha.planning.dry_run import plan
        from aha.runs import folders

        place, why = (folder, "") if args.fresh else folders.choose(folder, stages)
        taken = folders.shared(folder, place, stages)
        print("\n".join(filter(None, [why, plan(stages, place, recipe.paper(), taken)])))
        return 0
    return execute(args, ranks.broadcast_object(lambda: settle(args, folder, stages)), stages, recipe)


def settle(args: argparse.Namespace, folder: Path, stages: Sequence[Any]) -> Path:
    """The folder that this run has, once all that it is given from outside was looked at: nothing is written, and
    no folder set aside, for a command that cannot be run. Raises AhaError for such a one."""
    from aha import aside, hardware, ranks
    from aha.runs import folders, pipeline, trackers

    trackers.check(args.trackers)
    device = hardware.pick_device(args.device)
    if args.dtype != "auto":
        hardware.pick_dtype(args.dtype, device)
    fresh = args.fresh and not ranks.watched()  # watched ranks may start more than once: it was done before
    place, why = (folder, "") if args.fresh else folders.choose(folder, stages)
    taken = folders.shared(folder, place, stages)
    pending = [
        stage
        for stage in pipeline.ordered(stages)
        if fresh or not (stage.name in taken or pipeline.is_done(place / stage.name, stage))
    ]
    with aside.settings(say=lambda text: None):  # said where they are used, with the file in which they stand
        for stage in pending:
            stage.load_parts()
            stage.check_inputs(_context(args, place))
    _check_room(place, pending, fresh)
    if why:
        print(why)
    if fresh and folder.exists():
        _set_aside(folder)
    folders.take_over(place, taken, print)
    return place


def _check_room(place: Path, pending: Sequence[Any], fresh: bool) -> None:
    """Raise AhaError where the checkpoints of the stage that comes next do not fit the disk."""
    from aha.files import check_room
    from aha.planning.dry_run import bytes_of

    for stage in pending[:1]:
        if fresh or not (place / stage.name / "checkpoints").exists():
            check_room(place / stage.name, bytes_of(stage)[1])


def _examine(session: Any, source: str) -> None:
    """The doctor's quick checks, imported by those stages alone that are examined."""
    from aha.doctor.full import checkup

    checkup.examine(session, source)


def _context(args: argparse.Namespace, folder: Path) -> Any:
    from aha.runs import pipeline

    return pipeline.Context(
        folder, args.device, args.dtype, args.threads, True if args.plain else None,
        None if args.no_doctor else _examine, args.parallel, trackers=args.trackers,
    )  # fmt: skip


def execute(args: argparse.Namespace, folder: Path, stages: Sequence[Any], recipe: Any) -> int:
    """Run the stages in their folder and say what came of it."""
    from aha import hardware, kernels, ranks
    from aha.files import keep_json
    from aha.runs import pipeline

    context = _context(args, folder)
    device = hardware.pick_device(args.device)
    if device.type == "cpu":
        _choose_for_cpu(args, stages)
    resolved = {
        "recipe": args.recipe,
        "makes": recipe.makes or stages[-1].name,
        "stages": {s.name: s.settings() for s in pipeline.ordered(stages)},
        "machine": hardware.describe_machine() | {"kernels": kernels.compiled()},
        "ranks": ranks.world()[1],
        "plan": _plan(folder, stages),
    }
    if device.type == "cpu" and ranks.is_main() and (advice := kernels.advice()):
        print(advice)
    summaries = pipeline.run(stages, folder, context, config=resolved, say=print)
    summary = {**next(reversed(summaries.values())), "stages": summaries if len(summaries) > 1 else {}}
    keep_json(folder / "summary.json", summary)
    if ranks.is_main():
        _tell(folder, summary, _report(folder))
    return 0


def _plan(folder: Path, stages: Sequence[Any]) -> dict[str, Any]:
    """What the stages are expected to need, as it was told when the run was begun: one that goes on would know its own
    speed."""
    from aha import ranks
    from aha.planning.dry_run import foreseen
    from aha.runs.report.data import as_dict, read_object

    def told() -> dict[str, Any]:
        before = as_dict(read_object(folder / "config.json", []).get("plan"))
        return foreseen(stages, folder) | before

    return ranks.broadcast_object(told)


def _choose_for_cpu(args: argparse.Namespace, stages: Sequence[Any]) -> None:
    """Set threads, measure the compute types where one is to be chosen, and say what came of it."""
    from aha import hardware, ranks
    from aha.runs import pipeline

    hardware.set_threads(args.threads)
    asked = {getattr(stage, "dtype", "auto") for stage in pipeline.ordered(stages)}
    lines = [f"Threads  {hardware.describe_threads()}"]
    if args.dtype == "auto" and "auto" in asked:
        products = hardware.products()
        lines.insert(0, f"Type     {products.best}: {products.words()}")
    if ranks.is_main():
        print("\n".join(lines))


def _report(folder: Path) -> Path:
    """The run's page, written anew where it is older than what it shows."""
    page, shown = folder / "report.html", [folder / "summary.json", *folder.glob("*/done.json")]
    if page.exists() and page.stat().st_mtime_ns >= max(p.stat().st_mtime_ns for p in shown):
        return page
    from aha.runs.report.page import write_report

    return write_report(folder)


def _set_aside(folder: Path) -> None:
    from aha.files import disk_errors
    from aha.runs.pipeline import locked

    number = 1
    while (old := folder.with_name(f"{folder.name}.old{number}")).exists():
        number += 1
    with disk_errors(folder), locked(folder):
        folder.rename(old)
    print(f"The old run is kept in {old}.")


def _tell(folder: Path, summary: dict[str, Any], report: Path) -> None:
    from aha.runs import state
    from aha.runs.console import print_table

    if "before" in summary:
        print_table(summary["before"], summary["after"])
    if isinstance(summary.get("validation_loss"), dict):
        print("Held-out loss  {before:.4f} before, {after:.4f} after".format(**summary["validation_loss"]))
    if isinstance(preferred := summary.get("validation_rewards/accuracies"), dict):
        print("Chosen before rejected  {after:.1%} of the held-out pairs".format(**preferred))
    if "held_out_loss" in summary:
        print(f"Held-out loss  {summary['held_out_loss']:.4f}, accuracy {summary['accuracy']:.1%}")
    if "ece" in summary:
        print(f"Calibration    expected error {summary['ece']:.3f}, Brier score {summary['brier']:.3f}")
    for table in sorted(folder.glob("*/compare.md")):
        print(table.read_text(encoding="utf-8"))
    print(f"Summary  {folder / 'summary.json'}")
    print(f"Report   {report}")
    if (checkpoint := state.result(folder)) is not None:
        print(f"Next     aha chat {checkpoint}")
