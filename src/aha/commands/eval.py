"""Evaluate a model on a task as the R1 paper does: pass@1 as the mean over k samples, majority vote (cons@k),
pass@k, format, length, truncation, reflective words, with intervals over problems."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from aha.commands import eval_many
from aha.commands.json_alone import json_alone, show
from aha.commands.run import add_machine_arguments, add_prompt_argument

if TYPE_CHECKING:
    from aha.tasks.base import Task
    from aha.types import Problem

HELP = "evaluate a model on a task: pass@1, majority vote, pass@k, with intervals"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, task, and how to sample."""
    parser.add_argument(
        "model", nargs="+", help="tiny, a checkpoint folder, a GGUF file, a hub name, or http://host/v1#MODEL"
    )
    parser.add_argument("--task", default="countdown", help="what to ask (aha list tasks)")
    parser.add_argument("--data", help="rows for tasks that read them")
    parser.add_argument("--test-data", help="rows of the test split, if they are in another file")
    parser.add_argument(
        "--split", help="test, validation, train or all (default: all rows of --data, else test)"
    )
    parser.add_argument(
        "--problems", type=int, help="how many problems (default: all rows, or 256 that a task makes)"
    )
    parser.add_argument(
        "--set-aside", type=float, metavar="SHARE", help="of rows that cannot be used (default 0.05)"
    )
    parser.add_argument("--samples", type=int, help="samples of each, k (default 16)")
    parser.add_argument("--temperature", type=float, help="default 1; the paper evaluates at 0.6")
    parser.add_argument("--top-p", type=float, help="default 1; the paper evaluates at 0.95")
    parser.add_argument("--max-tokens", type=int, help="longest completion (default 440)")
    add_prompt_argument(parser)
    parser.add_argument("--any-format", action="store_true", help="count right answers that break the format")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling")
    parser.add_argument("--output", type=Path, help="write every rollout with its scores here (JSONL)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    eval_many.add_arguments(parser)
    add_machine_arguments(parser)


DEFAULTS = {"samples": 16, "temperature": 1.0, "top_p": 1.0, "max_tokens": 440}


def run(args: argparse.Namespace) -> int:
    """Sample, grade, print."""
    eval_many.check_given(args)
    with json_alone(args):
        return eval_many.run(args) if args.tasks else _first_model(args)


def _first_model(args: argparse.Namespace) -> int:
    args.model = args.model[0]
    args.samples = eval_many.samples(args)
    for name, usual in DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, usual)
    return _one_task(args)


def _one_task(args: argparse.Namespace) -> int:
    from aha import hardware, modeling
    from aha.files import write_jsonl
    from aha.runs.console import Console, eval_line
    from aha.sampling.local.engine import LocalEngine
    from aha.sampling.rollouts import Prompter
    from aha.sampling.sampler import SamplingParams
    from aha.stages import asking
    from aha.stages.evaluation.evaluate import evaluate, rollout_rows
    from aha.stages.evaluation.figures import defined
    from aha.tasks import get_task

    _check(args)
    hardware.set_threads(args.threads)
    params = SamplingParams(args.temperature, args.top_p, max_tokens=args.max_tokens)
    task = get_task(args.task, args.data, args.test_data)
    problems, which = _problems(args, task)
    _say(args, which)
    device = hardware.pick_device(args.device)
    model = modeling.load_model(args.model, device, hardware.pick_dtype(args.dtype, device))
    tokenizer = modeling.load_tokenizer(args.model)
    engine, prompter = LocalEngine(model, tokenizer), Prompter(tokenizer, args.prompt)
    shown = nullcontext() if args.json else Console(f"evaluating {args.model} on {args.task}", 1, unit="")
    with shown as console:
        if console:
            asking.show(console, prompter, problems, args.model)
        total = len(problems) * args.samples * args.max_tokens
        tick = console.counter(total, "sampling") if console else None
        result = evaluate(
            engine, prompter, task, problems, args.samples, params,
            seed=args.seed, strict=not args.any_format, progress=tick,
        )  # fmt: skip
    if args.json:
        show(args, defined(result.figures))
    else:
        print(eval_line({"name": args.model, "split": _split(args), **result.figures}))
        low, high = result.figures["pass@1_ci"]
        sure = (
            "no answer could be graded" if low != low else f"95% interval of pass@1 {low:.1%} to {high:.1%}"
        )
        print(f"{len(problems)} problems, {args.samples} samples each; {sure}")
        for kind, figures in result.figures.get("by", {}).items():
            low, high = figures["pass@1_ci"]
            print(
                f"{kind}: pass@1 {figures['pass@1']:.1%} [{low:.1%}, {high:.1%}]  pass@{args.samples} "
                f"{figures['pass@n']:.1%}  length {figures['mean_length']:.0f}  ({figures['n_problems']} problems)"
            )
        print(f"Next     aha chat {args.model}")
    if args.output:  # last: the figures are there whatever becomes of the file
        write_jsonl(args.output, rollout_rows(0, result.groups))
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raise AhaError for numbers that cannot be, and for a file that cannot be written, before anything is loaded."""
    from aha.benchmarks.session import Protocol, check
    from aha.files import check_writable

    protocol = Protocol(args.samples, args.temperature, args.top_p, args.max_tokens, problems=args.problems)
    check(protocol, "--samples")
    if args.output:
        check_writable(args.output)


def _split(args: argparse.Namespace) -> str:
    """The split asked for: a file given as --data alone is its own test split, whole."""
    from aha.tasks import is_mixture

    whole = args.data and not args.test_data and not is_mixture(args.task)
    return args.split or ("all" if whole else "test")


def _problems(args: argparse.Namespace, task: Task) -> tuple[list[Problem], str]:
    """The problems, and in words how many of how many they are."""
    from aha import aside
    from aha.benchmarks.session import MADE
    from aha.tasks import reads_rows

    split = _split(args)
    if not reads_rows(args.task, args.data, args.test_data):
        return (problems := task.load(split, args.problems or MADE, 0)), f"{len(problems)} problems"
    with aside.settings(share=args.set_aside):
        every = task.load(split, sys.maxsize, 0)
    problems = every[: args.problems]
    source = args.test_data if args.test_data and split == "test" else args.data or args.task
    part = "" if split == "all" else f", split {split}"
    return problems, f"{len(problems)} of {len(every)} problems of {source}{part}"


def _say(args: argparse.Namespace, text: str) -> None:
    print(text, file=sys.stderr if args.json else sys.stdout)
