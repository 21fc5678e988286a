"""TinyZero's real task on two CPU cores: 3 or 4 numbers of 1..99, + - * /, targets 10..100.

The base is the embedded one named "countdown"; ``aha run countdown_base`` makes it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aha.recipes.r1_zero import one_stage
from aha.runs.pipeline import Stage

SETTINGS: dict[str, Any] = {
    "algorithm": {"preset": "grpo_no_kl", "clip_high": 0.28, "aggregation": "token_mean"},
    "rewards": {"accuracy": 1.0, "format": 0.2},
    "prompts_per_step": 32,
    "group_size": 16,
    "mini_batches": 4,
    "steps": 110,
    "lr": 1.2e-4,
    "min_lr_ratio": 0.3,
    "warmup_steps": 3,
    "max_tokens": 640,
    "max_tokens_schedule": ((60, 960),),
    "max_prompt_tokens": 64,
    "eval_every": 20,
    "test_problems": 512,
    "test_samples": 8,
}


def build(
    model: str = "countdown",
    task: str = "countdown_full",
    data: str | None = None,
    test_data: str | None = None,
    seed: int = 0,
    steps: int | None = None,
) -> Sequence[Stage]:
    """R1-Zero on puzzles of the real size."""
    return one_stage(SETTINGS, steps, model=model, task=task, data=data, test_data=test_data, seed=seed)
