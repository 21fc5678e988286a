"""R1-Zero: no supervised fine-tuning, two rule rewards, GRPO from a base model.

The paper's settings (arXiv 2501.12948, section 2 and appendix) are those of ``PAPER``. The embedded base is
five orders of magnitude smaller: ``MINIATURE`` scales the batch and the lengths down and the learning rate
up, averages over tokens, clips higher, drops the KL term, and was chosen on the validation split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aha.modeling import EMBEDDED
from aha.runs.pipeline import Stage
from aha.stages.rl import RL

PAPER: dict[str, Any] = {
    "prompt": "r1_zero",
    "algorithm": {"preset": "grpo", "reference_every": 25},  # k3 KL of 0.001; 25 rollouts are 400 updates
    "prompts_per_step": 512,  # one rollout of 8,192 outputs ...
    "group_size": 16,
    "mini_batches": 16,  # ... split into 16 updates of 512
    "steps": 650,  # 10,400 updates
    "lr": 3e-6,
    "temperature": 1.0,
    "max_tokens": 32_768,
    "max_tokens_schedule": ((512, 65_536),),  # from update 8,200 on
    "max_tokens_per_batch": 65_536,
}
SMALL_MODEL: dict[str, Any] = PAPER | {
    "prompts_per_step": 64,
    "group_size": 8,
    "mini_batches": 2,
    "steps": 500,
    "lr": 1e-6,
    "warmup_steps": 10,
    "rewards": {
        "accuracy": 1.0,
        "format": 0.2,
    },  # with equal weights tags alone are learned, and nothing else
    "algorithm": {"preset": "grpo", "reference_every": 200},
    "max_tokens": 1024,
    "max_tokens_schedule": ((400, 2048),),
    "max_tokens_per_batch": 8192,
    "eval_every": 50,
    "test_samples": 4,
}
"""What fits one GPU with a model of 0.5 to 3 billion parameters."""
MINIATURE: dict[str, Any] = {
    "prompt": "r1_zero",
    "algorithm": {"preset": "grpo_no_kl", "clip_high": 0.28, "aggregation": "token_mean"},
    "rewards": {"accuracy": 1.0, "format": 0.2},
    "prompts_per_step": 32,
    "group_size": 16,
    "mini_batches": 4,
    "steps": 34,
    "lr": 1.2e-4,
    "min_lr_ratio": 0.3,
    "warmup_steps": 3,
    "max_tokens": 320,
    "max_tokens_schedule": ((20, 440),),
    "max_prompt_tokens": 64,
    "eval_every": 5,
}


def build(
    model: str = "tiny",
    task: str = "countdown",
    data: str | None = None,
    test_data: str | None = None,
    seed: int = 0,
    steps: int | None = None,
    prompt: str | None = None,
) -> Sequence[Stage]:
    """One stage, with settings for the size of the model. Only the embedded bases get the miniature ones. ``prompt``:
    what it is asked with, in place of theirs."""
    settings = MINIATURE if model in EMBEDDED else SMALL_MODEL
    settings = settings if prompt is None else settings | {"prompt": prompt}
    return one_stage(settings, steps, model=model, task=task, data=data, test_data=test_data, seed=seed)


def one_stage(settings: Mapping[str, Any], steps: int | None, **fields: Any) -> list[Stage]:
    """A recipe of one stage of reinforcement learning; ``steps`` take the place of the settings' own."""
    own = {} if steps is None else {"steps": steps}
    return [RL.model_validate({"name": "rl", **fields, **settings, **own})]
