"""Talk to a model. Its thinking is dimmed. An empty line or Ctrl-D ends; with --prompt it answers once."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from aha.commands.run import add_machine_arguments
from aha.types import AhaError

HELP = "talk to a model; its thinking is dimmed"
EXAMPLE = "24 7 3 -> 171"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model and sampling."""
    parser.add_argument("model", help="tiny, a checkpoint folder, or a hub name")
    parser.add_argument("--prompt", help="answer this once and leave")
    parser.add_argument("--temperature", type=float, default=0.6, help="default 0.6, as the paper recommends")
    parser.add_argument("--top-p", type=float, default=0.95, help="default 0.95")
    parser.add_argument("--max-tokens", type=int, default=480, help="longest answer in tokens")
    parser.add_argument("--template", default="auto", help="auto, r1_zero, chat or none")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling")
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load, then answer until the input ends."""
    from aha import hardware, modeling
    from aha.sampling.local import LocalEngine
    from aha.sampling.rollouts import Prompter

    hardware.set_threads(args.threads)
    device = hardware.pick_device(args.device)
    model = modeling.load_model(args.model, device, hardware.pick_dtype(args.dtype, device))
    tokenizer = modeling.load_tokenizer(args.model)
    engine, prompter = LocalEngine(model, tokenizer), Prompter(tokenizer, args.template)
    if args.prompt is not None:
        _answer(engine, prompter, args, args.prompt, 0)
        return 0
    if sys.stdin.isatty():
        print(f"Ask something; for Countdown write numbers and a target, like: {EXAMPLE}   (empty line ends)")
    turn = 0
    while (line := _read()) is not None:
        _answer(engine, prompter, args, line, turn)
        turn += 1
    print("Next     aha eval", args.model)
    return 0


def _read() -> str | None:
    try:
        line = input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None
    return line or None


def as_question(text: str) -> str:
    """``24 7 3 -> 171`` as a Countdown question; anything else as it is."""
    from aha.tasks import countdown

    left, arrow, right = text.partition("->")
    numbers = left.replace(",", " ").split()
    if arrow and right.strip().isdigit() and numbers and all(n.isdigit() for n in numbers):
        return countdown.question([int(n) for n in numbers], int(right), countdown.TINY.operators)
    return text


def _answer(engine: Any, prompter: Any, args: argparse.Namespace, text: str, turn: int) -> None:
    from rich.console import Console

    from aha.runs.console import render_chain
    from aha.sampling.sampler import SamplingParams
    from aha.types import Problem

    problem = Problem(f"chat-{turn}", "chat", ({"role": "user", "content": as_question(text)},))
    params = SamplingParams(args.temperature, args.top_p, max_tokens=args.max_tokens)
    try:
        requests = prompter.requests([problem], 1, turn)
        _, (rollout,) = next(engine.generate(requests, params, seed=args.seed))
    except AhaError as error:
        print(f"aha: {error}", file=sys.stderr)
        return
    Console(highlight=False).print(render_chain(rollout.text, opened_think=rollout.opened_think))
