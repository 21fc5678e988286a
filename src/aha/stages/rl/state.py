"""What a stage of reinforcement learning keeps in its folder between processes, and what it says at its end."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aha.diagnosis import truth
from aha.files import copy_tree, new_folder, read_jsonl, write_json, write_jsonl
from aha.stages.rl.report import Reporter
from aha.stages.rl.settings import RLSettings
from aha.training import checkpoint

BEST, NOTE = "best", "best.json"
"""Where the best model is kept, and the file in it that says which it is."""


def take_back(folder: Path, step: int) -> None:
    """What was written after ``step`` goes: metrics, evaluations, warnings, rollouts."""
    for path in (folder / f"{name}.jsonl" for name in ("metrics", "evals", "warnings")):
        rows = read_jsonl(path)
        kept = [r for r in rows if int(r.get("step", 0)) <= step]
        if path.exists():
            write_jsonl(path, kept)
    for file in (folder / "rollouts").glob("step_*.jsonl"):
        if int(file.stem.split("_")[1]) > step:
            file.unlink()


def evaluated(path: Path, name: str, step: int) -> dict[str, Any] | None:
    """The evaluation of that name and step, if it was done before."""
    rows = (r for r in read_jsonl(path) if r.get("name") == name and r.get("step") == step)
    return next(rows, None)


def keep_best(stage: Path, step: int) -> Path | None:
    """Keep the model of the checkpoint of ``step`` in ``best/`` if its evaluation is the best of the validation split;
    returns where. An earlier best of ours makes room for it; a folder that is not ours stays, and nothing is kept."""
    top, place = truth.best(read_jsonl(stage / "evals.jsonl")), stage / BEST
    source = stage / "checkpoints" / f"step-{step:06d}"
    ours = not place.exists() or (place / NOTE).exists()
    if top is None or top["step"] != step or not source.is_dir() or not ours:
        return None
    with new_folder(place) as folder:
        copy_tree(source, folder)
        for name in ("state.pt", "progress.json"):  # to continue is what checkpoints are for
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / checkpoint.PARTS, ignore_errors=True)
        write_json(folder / NOTE, {"step": step, truth.TRUTH: top[truth.TRUTH], "split": top["split"]})
    return place


def summary(
    config: RLSettings,
    prompt: str,
    rewards: Iterable[str],
    reporter: Reporter,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> dict[str, Any]:
    """What ``summary.json`` holds: the evaluations before and after, speed, and where it began."""
    return {
        "before": dict(before),
        "after": dict(after),
        "rl_seconds": round(reporter.seconds, 1),
        "tokens_per_second": round(reporter.tokens / reporter.seconds, 1) if reporter.seconds else 0.0,
        "steps": config.steps,
        "seed": config.seed,
        "rewards": sorted(rewards),
        "from_base": isinstance(config.model, str),
        "model": str(config.model if isinstance(config.model, str) else config.model.name),
        "task": config.task,
        "prompt": prompt,
    }
