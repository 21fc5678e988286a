"""What a stage of reinforcement learning keeps in its folder between processes, and what it says at its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aha.files import read_jsonl, write_jsonl
from aha.stages.rl.report import Reporter
from aha.stages.rl.settings import RLSettings


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
