"""What ``--ray-ranks`` does: the same command again, on trainer ranks that are Ray actors, watched over by this one."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha import ranks
from aha.types import AhaError

if TYPE_CHECKING:
    from aha.cluster.settings import RankSettings

PREFIX = "ranks."


def asked(args: argparse.Namespace) -> bool:
    """Whether this command is to watch over ranks, and is none of them. Raises AhaError under torchrun."""
    if args.ray_ranks is None or ranks.watched():
        return False
    if args.ranks is not None:
        raise AhaError(
            "--ranks and --ray-ranks both start the ranks: give it without --ray-ranks, or without --ranks."
        )
    if args.ray_ranks < 1:
        raise AhaError(f"--ray-ranks {args.ray_ranks}: give 1 or more.")
    if ranks.launched() > 1:
        raise AhaError(
            "--ray-ranks starts the ranks itself: give it without torchrun, or leave it away under torchrun."
        )
    return True


def split(args: argparse.Namespace, overrides: Mapping[str, Any]) -> tuple[RankSettings, dict[str, Any]]:
    """The settings of the ranks (``ranks.NAME=value``), and those of the stages."""
    from aha.cluster.settings import RankSettings
    from aha.runs import config

    own = {k.removeprefix(PREFIX): v for k, v in overrides.items() if k.startswith(PREFIX)}
    if own and args.ray_ranks is None:
        raise AhaError(f"{PREFIX}{next(iter(own))} is a setting of --ray-ranks N, which was not given.")
    settings = RankSettings.model_validate({})
    config.apply([settings], own)
    return settings, {k: v for k, v in overrides.items() if not k.startswith(PREFIX)}


def run(args: argparse.Namespace, settings: RankSettings, folder: Path, stages: Sequence[Any]) -> int:
    """Start the ranks, and start them again as long as that helps; returns the command's exit code."""
    from aha.cluster.rank_group import Command
    from aha.cluster.supervisor import supervise

    return supervise(
        Command(tuple(args.words), os.getcwd()),
        args.ray_ranks,
        settings,
        others=workers_beside(stages),
        gpus=args.device.split(":")[0] in ("auto", "cuda"),
        reached=lambda: reached(folder),
        note=lambda reason: note(folder, stages, reason),
    )


def workers_beside(stages: Sequence[Any]) -> float:
    """The most CPUs that a stage's workers want of the cluster which the ranks are on."""
    from aha.sampling.engines import engine_class

    shares = [
        engine_class(stage.engine).cluster_cpus(stage) for stage in stages if getattr(stage, "engine", None)
    ]
    return max(shares, default=0.0)


def reached(folder: Path) -> frozenset[str]:
    """How far a run has come: its newest checkpoints and its finished stages. Anything else would be done again."""
    files = [*folder.glob("*/checkpoints/step-*/progress.json"), *folder.glob("*/done.json")]
    return frozenset(str(path) for path in files)


def note(folder: Path, stages: Sequence[Any], reason: str) -> None:
    """Say, and write down beside the stage that was running, that the ranks were lost and start again."""
    from aha.files import append_jsonl
    from aha.runs.pipeline import is_done

    stage = next((s.name for s in stages if not is_done(folder / s.name, s)), None)
    place = None if stage is None else folder / stage
    # Rows of steps after the checkpoint are taken back when it is continued from: this one must stay.
    saved = sorted(place.glob("checkpoints/step-*")) if place is not None else []
    step = int(saved[-1].name.removeprefix("step-")) if saved else 0
    text = f"The trainer ranks were lost and are started again from step {step}: {reason}"
    print(f"! {text}", flush=True)
    if place is not None and place.exists():
        row = {"step": step, "key": "ranks/restarted", "value": 1.0, "text": text}
        append_jsonl(place / "warnings.jsonl", [row])
