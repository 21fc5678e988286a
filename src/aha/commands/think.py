"""Let a model think longer at test time, in several ways, and show accuracy over the tokens that each spends:
majority vote and best of n, budget forcing, self-refinement, length prompts, beam and tree search over steps."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from aha import options, plugins, ranks
from aha.commands.eval_many import folder_name, numbers
from aha.commands.json_alone import json_alone, show
from aha.commands.run import add_machine_arguments, add_prompt_argument
from aha.hints import nearest
from aha.types import AhaError

if TYPE_CHECKING:
    from aha.benchmarks.catalogue import BenchmarkRows
    from aha.benchmarks.session import Protocol
    from aha.thinking.methods import ThinkingMethod
    from aha.thinking.session import ThinkingResult
    from aha.thinking.training import TrainedPoint
    from aha.thinking.values import ValueFunction

HELP = "think longer at test time: accuracy over tokens, in several ways"
METHODS = ("votes", "forcing", "refine", "length", "beam", "mcts")
OF_METHODS = {
    "n": {"votes"},
    "samples": {"forcing", "refine", "length"},
    **{key: {"forcing"} for key in ("waits", "wait_word", "budgets", "answer_tokens", "ending")},
    "rounds": {"refine"},
    **{key: {"length"} for key in ("lengths", "length_form")},
    "value": {"votes", "beam", "mcts"},
    **{key: {"beam"} for key in ("widths", "steps")},
    **{key: {"beam", "mcts"} for key in ("branch", "step_end")},
    **{key: {"mcts"} for key in ("simulations", "explore")},
}
"""Options that are of some ways alone."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, task, ways, and how to sample."""
    parser.add_argument(
        "model", help="a checkpoint folder, a run, a GGUF file, a hub name, or http://host/v1#MODEL"
    )
    parser.add_argument(
        "--task", default="countdown", metavar="NAME[=FILE]", help="a task or benchmark, with its rows"
    )
    parser.add_argument(
        "--problems", type=int, help="how many problems (default: all rows, or 256 that a task makes)"
    )
    parser.add_argument(
        "--methods",
        default="votes,forcing",
        metavar="NAME,...",
        help=f"ways: {', '.join(METHODS)} (votes,forcing)",
    )
    parser.add_argument("--n", type=int, default=16, help="votes: answers to each problem (16)")
    parser.add_argument("--samples", type=int, default=4, help="the other ways: samples of each problem (4)")
    _forcing(parser.add_argument_group("forcing: the thinking made longer or shorter"))
    group = parser.add_argument_group("refine, length, beam, mcts")
    group.add_argument("--rounds", type=int, default=1, help="refine: critiques and revisions (1)")
    group.add_argument("--lengths", type=numbers, default=(64, 256), help="length: tokens asked for (64,256)")
    group.add_argument(
        "--length-form", choices=("exact", "max"), default="exact", help="length: L1-Exact or L1-Max"
    )
    group.add_argument(
        "--value", metavar="FILE.py:NAME|FOLDER",
        help="what an answer is worth: a function of (problem, texts), or a reward model; beam and mcts need one",
    )  # fmt: skip
    group.add_argument("--widths", type=numbers, default=(4, 16), help="beam: texts in flight (4,16)")
    group.add_argument(
        "--branch", type=int, default=4, help="beam, mcts: continuations of each text that is kept (4)"
    )
    group.add_argument("--step-end", default="\\n", help="beam, mcts: where a step ends (\\n)")
    group.add_argument("--steps", type=int, default=40, help="beam: steps at most (40)")
    group.add_argument(
        "--simulations", type=numbers, default=(8, 32), help="mcts: how often the tree grows (8,32)"
    )
    group.add_argument("--explore", type=float, default=0.7, help="mcts: weight of what few visits say (0.7)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of sampling (1)")
    parser.add_argument("--top-p", type=float, default=1.0, help="of sampling (1)")
    parser.add_argument("--max-tokens", type=int, default=440, help="longest completion, or thinking (440)")
    parser.add_argument("--any-format", action="store_true", help="count right answers that break the format")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling")
    add_prompt_argument(parser)
    parser.add_argument("--results", type=Path, default=Path("evals"), help="where points are kept (evals)")
    parser.add_argument("--html", type=Path, help="write both curves and the table here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--ranks", metavar="N", help="so many processes of this machine share them, or auto")
    add_machine_arguments(parser)


def _forcing(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--waits", type=int, default=2, help="how often its end is suppressed, at most (2)")
    group.add_argument("--wait-word", default="Wait", help="what is appended then (Wait)")
    group.add_argument("--budgets", type=numbers, default=(), metavar="N,N", help="tokens at which it is cut")
    group.add_argument("--answer-tokens", type=int, default=64, help="of the answer behind it, at most (64)")
    group.add_argument("--ending", default="", help="what asks for the answer (default: by the prompt)")


def run(args: argparse.Namespace) -> int:
    """Think in every way, show one table, write what is asked for."""
    with json_alone(args):
        return _start(args)


def _start(args: argparse.Namespace) -> int:
    from aha.benchmarks import session
    from aha.benchmarks.session import Protocol
    from aha.commands import local_ranks
    from aha.files import check_writable

    protocol = Protocol(
        1,
        args.temperature,
        args.top_p,
        args.max_tokens,
        args.prompt,
        not args.any_format,
        args.seed,
        args.problems,
    )
    session.check(protocol)
    check_options(args)
    asked = _one_task(args.task)
    for file in filter(None, (args.html, args.markdown)):
        check_writable(file)
    local_ranks.start(args)
    with ranks.joined(args.device):
        return _think(args, asked, protocol)


def _think(args: argparse.Namespace, asked: BenchmarkRows, protocol: Protocol) -> int:
    from aha import hardware
    from aha.benchmarks import opening
    from aha.checkpoints import runs
    from aha.runs.console import Console
    from aha.thinking import session as thinking
    from aha.thinking import training

    model, folder = runs.model_of(args.model), args.results / folder_name(args.model)
    methods = make_methods(args, _value(args, folder))
    hardware.set_threads(args.threads)
    source = opening.open_model(model, folder, args.prompt, args.device, args.dtype, args.threads)
    quiet = args.json or not ranks.is_main()
    shown = nullcontext() if quiet else Console(f"{args.model} thinks about {args.task}", 1, unit="")
    with shown as console:
        result = thinking.run(
            model, source, asked, methods, protocol, folder,
            lambda way, done, total: console.tick(done, total, way) if console else None,
        )  # fmt: skip
    if ranks.is_main():
        _show(args, result, training.beside(args.model, source.engine))
    return 0


def _one_task(named: str) -> BenchmarkRows:
    from aha.benchmarks import catalogue

    asked, *more = catalogue.read_names(named)
    if more:
        raise AhaError(f"--task {named}: name one task here; `aha eval --tasks` takes several.")
    return asked


def named_methods(text: str) -> list[str]:
    """The ways that a text names, with commas between. Raises AhaError for none, and for an unknown one."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise AhaError(f"--methods {text!r} names no way of thinking: {', '.join(METHODS)}.")
    if unknown := [name for name in names if name not in METHODS]:
        raise AhaError(
            f"Unknown way of thinking '{unknown[0]}'. {nearest(unknown[0], METHODS, ', '.join(METHODS))}"
        )
    return names


def check_options(args: argparse.Namespace) -> None:
    """Raise AhaError for options of ways that are not asked for, and for budgets that thinking never reaches."""
    asked = set(named_methods(args.methods))
    for option, ways in OF_METHODS.items():
        if not ways & asked:
            named = " or ".join(way for way in METHODS if way in ways)
            options.refuse(
                args, (option,), f"it is of {named}, and --methods {args.methods} asks for none of them."
            )
    if "forcing" in asked and max(args.budgets, default=0) >= args.max_tokens:
        raise AhaError(
            f"--budgets {max(args.budgets)} would have no effect: thinking ends at --max-tokens {args.max_tokens}. "
            "Lower the one or raise the other."
        )
    if args.value and not plugins.is_reference(args.value) and not Path(args.value).is_dir():
        raise AhaError(f"--value '{args.value}' is no folder of a reward model. Give one, or FILE.py:NAME.")


def _value(args: argparse.Namespace, folder: Path) -> ValueFunction | None:
    from aha.thinking.values import open_value

    return open_value(args.value, folder, args.device, args.dtype) if args.value else None


def make_methods(args: argparse.Namespace, value: ValueFunction | None) -> list[ThinkingMethod]:
    """The ways that are named. Raises AhaError for an unknown one, and for a beam search without a value."""
    from aha.thinking.forcing import BudgetForcing
    from aha.thinking.lengths import LengthPrompts
    from aha.thinking.refining import Refinement
    from aha.thinking.search import BeamSearch
    from aha.thinking.tree import TreeSearch
    from aha.thinking.votes import Votes

    names = named_methods(args.methods)
    if {"beam", "mcts"} & set(names) and value is None:
        raise AhaError(
            "A search over steps asks what a beginning is worth: give --value FILE.py:NAME or a reward model."
        )
    step_end = args.step_end.replace("\\n", "\n")
    makers = {
        "votes": lambda: Votes(args.n, value),
        "forcing": lambda: BudgetForcing(
            args.waits, args.budgets, args.samples, args.wait_word, args.answer_tokens, args.ending
        ),
        "refine": lambda: Refinement(args.rounds, args.samples),
        "length": lambda: LengthPrompts(args.lengths, args.length_form, args.samples),
        "beam": lambda: BeamSearch(
            cast("ValueFunction", value), args.branch, step_end, args.widths, args.steps
        ),
        "mcts": lambda: TreeSearch(
            cast("ValueFunction", value), args.branch, step_end, args.simulations, args.explore
        ),
    }
    return [makers[name]() for name in dict.fromkeys(names)]


def _show(args: argparse.Namespace, result: ThinkingResult, trained: list[TrainedPoint]) -> None:
    from aha.benchmarks import tables
    from aha.files import write_text
    from aha.thinking import figures, page

    table = figures.rows(result.figures)
    if args.json:
        points = [asdict(p) for p in trained]
        show(args, {"thinking": [asdict(f) for f in result.figures], "training": points})
    else:
        print(tables.plain(table))
    if args.markdown:
        write_text(args.markdown, tables.markdown(table) + "\n")
    if args.html:
        title = f"{args.model} thinks about {result.task}"
        said = [
            f"{result.problems} problems; tokens are those that were sampled; intervals over problems (95%)."
        ]
        write_text(args.html, page.html(title, result.figures, trained, said))
    print(f"Samples  {args.results}", file=sys.stderr if args.json else sys.stdout)
