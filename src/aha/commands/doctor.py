"""Prove that sampling and training are right on this machine, with this model and this task.

aha doctor                                  the embedded base, in about a minute
aha doctor --model Qwen/Qwen2.5-0.5B --task gsm8k     another model under the settings of its run
aha doctor --quick                          only what every run checks as it starts
aha doctor --only packing --only losses     some checks
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha import ranks
from aha.commands.run import add_machine_arguments
from aha.sampling import engines
from aha.types import AhaError

if TYPE_CHECKING:
    from aha.doctor.finding import Check, Finding

HELP = "prove that sampling and training are right on this machine, with this model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the run it is for, and which checks."""
    parser.add_argument(
        "settings", nargs="*", metavar="stage.field=value", help="settings of the run in question"
    )
    parser.add_argument("--recipe", default="r1_zero", help="recipe of the run in question (default r1_zero)")
    parser.add_argument("--model", "--base", dest="model", help="tiny, a checkpoint folder, or a hub name")
    parser.add_argument("--engine", help=f"what samples: {engines.choices()}")
    parser.add_argument("--task", help="what to ask (aha list tasks)")
    parser.add_argument("--data", help="rows for the task")
    parser.add_argument("--seed", type=int, help="of the run")
    parser.add_argument("--config", type=Path, action="append", default=[], help="settings from a TOML file")
    parser.add_argument(
        "--runs-dir",
        type=Path,
        default=Path("runs"),
        help="where the run would be kept (its disk is examined)",
    )
    parser.add_argument("--quick", action="store_true", help="only what every run checks as it starts")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this check; repeatable")
    parser.add_argument("--json", action="store_true", help="print all findings as JSON")
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Examine, print; 0 if all is well, 1 if a check failed."""
    from aha.doctor.finding import examine, failures
    from aha.doctor.full import suite
    from aha.doctor.suite import choose

    if ranks.launched() > 1:
        raise AhaError("aha doctor is one process, which starts ranks of its own: give it without torchrun.")
    stage = _stage(args)
    engine = _engine(args, stage)
    checks = choose(suite.checks_for(engine), args.only, quick=args.quick)
    subject = suite.admit(
        stage, args.runs_dir / "doctor", engine=engine, device=args.device, dtype=args.dtype,
        threads=args.threads,
    )  # fmt: skip
    show = _Lines(quiet=args.json)
    show.head(f"{subject.source} on {subject.device}, {str(subject.dtype).removeprefix('torch.')}, task "
              f"{subject.task.name}, engine {engine}: {len(checks)} checks")  # fmt: skip
    try:
        findings = examine(checks, subject, starting=show.starting, finished=show.finished, debug=args.debug)
    finally:
        subject.engine.close()
    failed = failures(findings)
    if args.json:
        print(json.dumps({"ok": not failed, "findings": [asdict(f) for f in findings]}, indent=1))
    else:
        show.end(findings)
    return 1 if failed else 0


def _engine(args: argparse.Namespace, stage: Any) -> str:
    """What samples. Raises AhaError where option and setting name two."""
    if args.engine is not None and stage.engine not in ("local", args.engine):
        raise AhaError(
            f"--engine {args.engine} and {stage.name}.engine={stage.engine} say two things of one setting: give one of "
            "them."
        )
    return args.engine or stage.engine


def _stage(args: argparse.Namespace) -> Any:
    """The stage of reinforcement learning that the run would begin with."""
    from aha.recipes import get_recipe
    from aha.runs import config, pipeline, strength
    from aha.settings import former
    from aha.stages.rl import RL

    options = {k: getattr(args, k) for k in ("model", "task", "data", "seed")}
    stages = pipeline.ordered(get_recipe(args.recipe).build(**options))
    with former.plain_notes():
        files, words = [config.read_file(file) for file in args.config], config.read_overrides(args.settings)
        config.apply(
            stages,
            strength.merged(
                stages, files, words, options, lambda text: print(f"note: {text}", file=sys.stderr)
            ),
        )
    stage = next((s for s in stages if isinstance(s, RL)), None)
    if stage is None:
        raise AhaError(f"The recipe '{args.recipe}' has no stage of reinforcement learning to examine.")
    return stage


class _Lines:
    """Findings as lines, as they are made; coloured on a terminal (NO_COLOR is respected)."""

    def __init__(self, quiet: bool):
        self.quiet = quiet
        self.check = ""
        if not quiet:
            from rich.console import Console

            self.out = Console(file=sys.stdout, highlight=False, emoji=False, soft_wrap=True)

    def head(self, text: str) -> None:
        self._line(text, "bold")

    def starting(self, check: Check) -> None:
        self._line(f"{check.name}: {check.about}", "bold")

    def finished(self, finding: Finding) -> None:
        mark, style = {True: ("ok  ", "green"), False: ("FAIL", "bold red"), None: ("n/a ", "dim")}[
            finding.ok
        ]
        if finding.ok is None:
            self._line(f"  {mark}  {finding.compared}: not applicable: {finding.cause}", style)
            return
        text = f"  {mark}  {finding.compared}: {finding.figure}  [{finding.threshold}]"
        self._line(text + (f"  {finding.seconds:.1f} s" if finding.seconds >= 1 else ""), style)
        if not finding.ok:
            self._line(f"        likely cause: {finding.cause}", "red")
            self._line(f"        fix: {finding.fix}", "red")

    def end(self, findings: Sequence[Finding]) -> None:
        failed = sorted({f.name for f in findings if f.ok is False})
        count = f"{len(findings)} comparisons in {sum(f.seconds for f in findings):.0f} s"
        skipped = sum(f.ok is None for f in findings)
        rest = f", {skipped} not applicable" if skipped else ""
        if failed:
            self._line(f"{count}{rest}: {', '.join(failed)} FAILED", "bold red")
        else:
            self._line(f"{count}{rest}: all well", "bold green")

    def _line(self, text: str, style: str) -> None:
        if not self.quiet:
            self.out.print(text, style=style, markup=False)
