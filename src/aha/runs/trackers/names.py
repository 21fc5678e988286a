"""What a run's rows are called on dashboards: the names of TRL, under the prefixes of transformers' trainer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

STEP = "train/global_step"
"""The axis of steps, as transformers' trainer logs it."""

TRL = {
    "lr": "learning_rate",
    "sampler_mismatch/mean": "sampling/sampling_logp_difference/mean",
    "sampler_mismatch/max": "sampling/sampling_logp_difference/max",
    "sampler_ratio/mean": "sampling/importance_sampling_ratio/mean",
    "sampler_ratio/min": "sampling/importance_sampling_ratio/min",
    "sampler_ratio/max": "sampling/importance_sampling_ratio/max",
}
"""Figures that have another name in TRL (1.16) than in metrics.jsonl; all others have the same in both."""

EVALUATED = "validation_"
"""What figures of held-out data begin with in the rows of training."""

COLUMNS = ("step", "prompt", "completion")


def train(row: Mapping[str, Any]) -> dict[str, float]:
    """A row of ``metrics.jsonl``: ``reward`` is ``train/reward``, ``validation_loss`` is ``eval/loss``."""
    metrics = {}
    for key, value in _numbers(row).items():
        if key.startswith(EVALUATED):
            metrics[f"eval/{key.removeprefix(EVALUATED)}"] = value
        else:
            metrics[f"train/{TRL.get(key, key)}"] = value
    return metrics


def evaluation(row: Mapping[str, Any]) -> dict[str, float]:
    """A row of ``evals.jsonl``: ``eval/pass@1`` on the way, ``test/pass@1`` for the test split before and after."""
    prefix = "test" if row.get("split") == "test" else "eval"
    return {f"{prefix}/{key}": value for key, value in _numbers(row).items()}


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The row's finite numbers. What could not be measured is left out, as trackers cannot draw it."""
    return {
        key: float(value)
        for key, value in row.items()
        if key != "step"
        and isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
    }


def samples(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Rows of rollouts as TRL's table of completions: step, prompt, completion, a column for each reward, advantage."""
    rewards = list(dict.fromkeys(name for row in rows for name in row.get("scores", {})))
    columns = [*COLUMNS, *rewards, "reward", "advantage"]
    lines = []
    for row in rows:
        scores = [row.get("scores", {}).get(name, {}).get("value") for name in rewards]
        said = [row.get("step", 0), str(row.get("question", "")), str(row.get("text", ""))]
        lines.append([*said, *scores, row.get("reward"), row.get("advantage")])
    return columns, lines
