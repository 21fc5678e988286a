"""Does a recipe fit a machine, how long may it take, and what would make it fit: before anything is downloaded.

aha plan --base Qwen/Qwen2.5-7B --gpus 8 --gpu h100                    R1-Zero's stage on eight of them
aha plan --base Qwen/Qwen2.5-7B --gpu-memory 24 --lora 32              adapters on one GPU of 24 GB
aha plan --base ./my-model --recipe r1 --gpus 4 --gpu a100-80          every training stage of the recipe
aha plan --table                                                       which model fits which machine
aha plan --check                                                       the memory model beside measurements here

Well-known models are planned from their published shapes; folders from their config.json; of other models on the
hub config.json alone is fetched. Settings are stage.field=value, as for aha run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aha import options
from aha.options import number
from aha.types import AhaError

HELP = "does a recipe fit a machine, how long may it take, and what would change it"
FIELDS = {
    "max_tokens": ("max_tokens", "max_length"),
    "group_size": ("group_size",),
    "prompts": ("prompts_per_step",),
    "batch_tokens": ("max_tokens_per_batch",),
    "lora": ("lora_rank",),
    "gradient_checkpointing": ("gradient_checkpointing",),
}
"""Options that are short for a setting of every stage that has it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, machine, what changes the stages, and what is shown."""
    parser.add_argument("settings", nargs="*", metavar="stage.field=value", help="settings to change")
    parser.add_argument("--base", "--model", dest="base", help="a model: hub name, folder, embedded base")
    parser.add_argument("--recipe", default="r1_zero", help="whose stages (default: %(default)s)")
    parser.add_argument("--task", help="what is asked (aha list tasks)")
    parser.add_argument("--gpus", type=int, default=1, help="how many GPUs (default 1; over 8: nodes of 8)")
    parser.add_argument("--gpu", help="which GPU: h200, h100, a100-80, rtx-4090 ... (default: h100)")
    parser.add_argument(
        "--gpu-memory", type=number(above=True), metavar="GB", help="memory of one GPU, for any other"
    )
    parser.add_argument("--max-tokens", type=int, help="longest completion, or conversation")
    parser.add_argument("--group-size", type=int, help="completions of each question")
    parser.add_argument("--prompts", type=int, help="questions of one step")
    parser.add_argument("--batch-tokens", type=int, help="packed tokens of one pass")
    parser.add_argument("--lora", type=int, metavar="RANK", help="train adapters of this rank")
    parser.add_argument(
        "--gradient-checkpointing",
        "--checkpoint-layers",
        action="store_true",
        default=None,
        help="compute layers again going backward",
    )
    parser.add_argument(
        "--parallel", choices=("auto", "replicated", "sharded"), default="auto", help="what each GPU keeps"
    )
    parser.add_argument("--prices", type=Path, metavar="FILE", help="what GPUs cost and draw, in TOML")
    parser.add_argument(
        "--write-prices", type=Path, metavar="FILE", help="write that table to be edited, and stop"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--table", action="store_true", help="which model fits which machine, as Markdown")
    parser.add_argument("--check", action="store_true", help="measure small models here beside the estimate")
    parser.add_argument("--device", default="auto", help="of --check: auto, cpu, cuda, cuda:N")


def run(args: argparse.Namespace) -> int:
    """Print what was asked for; the exit code is 1 where a stage does not fit."""
    _check_ways(args)
    if args.table:
        from aha.planning.table import table

        print(table())
        return 0
    if args.check:
        return _check(args)
    if args.write_prices:
        return _write_prices(args.write_prices)
    if not args.base:
        raise AhaError("Which model? Give --base NAME, or --table for many of them.")
    from aha.planning import machines, prices, report

    costs = prices.read(args.prices) if args.prices else prices.DEFAULT
    machine = machines.machine(args.gpu, args.gpus, args.gpu_memory)
    parallel = None if args.parallel == "auto" else args.parallel
    plans = [
        {**report.figures(shape, work, machine, parallel, costs=costs), "shape_from": source}
        for shape, work, source in _workloads(args)
    ]
    if not plans:
        raise AhaError(f"No stage of the recipe '{args.recipe}' trains a model by RL or SFT.")
    _show(plans, as_json=args.json)
    return 0 if all(row["fits"] for row in plans) else 1


ALONE = {
    "table": "--table is of well-known models on machines of its own",
    "check": "--check measures small models here",
    "write_prices": "--write-prices writes the table of prices and stops",
}
"""Ways of the command that plan no recipe, and what they do; the first that is asked for is taken."""


def _check_ways(args: argparse.Namespace) -> None:
    """Raise AhaError for options of one way of the command that were given with another."""
    way = next((name for name in ALONE if getattr(args, name)), None)
    of_checks = ("device",)
    if way is None:
        options.refuse(args, of_checks, "it is for --check. A plan's machine is named by --gpu and --gpus.")
        return
    taken = {way, "debug", *(("json", "device") if way == "check" else ())}
    others = [name for name in getattr(args, "options", {}) if name not in taken]
    options.refuse(args, others, f"{ALONE[way]}. Leave one of them away.")
    if args.settings:
        raise AhaError(f"{args.settings[0]} would have no effect: {ALONE[way]}. Leave one of them away.")


def _write_prices(path: Path) -> int:
    """Write the table. Raises AhaError where something is there already: it may be edited."""
    from aha.files import write_text
    from aha.planning import prices

    if path.exists():
        raise AhaError(f"{path} is there already: edit it, or name another file.")
    write_text(path, prices.as_toml())
    print(f"Written  {path}\nNext     edit it; aha plan --prices {path} --base MODEL")
    return 0


def _show(plans: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(plans, indent=1))
        return
    from aha.planning import report

    for row in plans:
        print(f"{report.text(row)}\n           sizes from {row['shape_from']}\n")


def _workloads(args: argparse.Namespace) -> Iterator[tuple[Any, Any, str]]:
    """(shape, workload, where the shape is from) of each stage that trains."""
    from aha.planning import configs, workload
    from aha.recipes import get_recipe
    from aha.runs import config, pipeline, strength
    from aha.settings import former

    recipe = get_recipe(args.recipe)
    place = "model" if "model" in recipe.options else "student"
    stages = pipeline.ordered(recipe.build(**{place: args.base, "task": args.task}))
    for stage in stages:
        config.apply([stage], _overrides(args, stage))
    _check_fields(args, stages)
    with former.plain_notes():
        words = config.read_overrides(args.settings)
        asked = {place: args.base, "task": args.task}
        config.apply(stages, strength.merged(stages, [], words, asked, print))
    shapes: dict[str, Any] = {}
    for stage in stages:
        work, name = workload.from_stage(stage), _base(stage)
        if work is not None and name is not None:
            if name not in shapes:
                shapes[name] = configs.shape_of(name)
            yield shapes[name][0], work, shapes[name][1]


def _check_fields(args: argparse.Namespace, stages: Sequence[Any]) -> None:
    """Raise AhaError for an option that is short for a setting which no stage of the recipe has."""
    has = {field for stage in stages for field in type(stage).model_fields}
    idle = [option for option, names in FIELDS.items() if not has & set(names)]
    options.refuse(args, idle, f"no stage of the recipe '{args.recipe}' has such a setting.")


def _overrides(args: argparse.Namespace, stage: Any) -> dict[str, Any]:
    fields = type(stage).model_fields
    overrides: dict[str, Any] = {}
    for option, names in FIELDS.items():
        value = getattr(args, option)
        overrides |= {f"{stage.name}.{n}": value for n in names if value is not None and n in fields}
    return overrides


def _base(stage: Any) -> str | None:
    """The model that a stage goes back to; None for one behind an address."""
    while not isinstance(stage, str):
        stage = getattr(stage, "model", None)
        if stage is None:
            return None
    return None if "://" in stage else stage


def _check(args: argparse.Namespace) -> int:
    from aha import hardware
    from aha.planning import measure, report

    device = str(hardware.pick_device(args.device))
    checks = [measure.check(case) for case in measure.cases(device)]
    if args.json:
        import json

        print(json.dumps(checks, indent=1))
    else:
        print(report.checked(checks))
        print(f"Allowed: predictions of the peak within {measure.FACTOR:.2f} times of what is measured.")
    peaks = [row["parts"]["peak"]["ratio"] for row in checks]
    return 0 if all(1 / measure.FACTOR <= ratio <= measure.FACTOR for ratio in peaks) else 1
