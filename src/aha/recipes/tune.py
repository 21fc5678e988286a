"""One stage on rows of one's own: supervised fine-tuning, preference optimisation, or a reward model.

Settings begin where the paper has them (DeepSeek-R1, arXiv 2501.12948), scaled down for a model of a few million
parameters; batches hold no more than a few rows give.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aha.modeling import EMBEDDED
from aha.runs.pipeline import Stage
from aha.stages.supervised.dpo import DPO
from aha.stages.supervised.reward_model import RewardModel
from aha.stages.supervised.sft import SFT

SMALL_SFT: dict[str, Any] = {"lr": 1e-3, "batch_size": 32, "max_length": 1024, "max_tokens_per_batch": 4096}
SFT_SETTINGS: dict[str, Any] = {
    "lr": 2e-5,
    "batch_size": 16,
    "max_length": 4096,
    "max_tokens_per_batch": 4096,
}
SMALL_DPO: dict[str, Any] = {"lr": 1e-4, "batch_size": 32, "max_length": 1024, "max_tokens_per_batch": 4096}
DPO_SETTINGS: dict[str, Any] = {
    "lr": 1e-6,
    "batch_size": 32,
    "warmup_steps": 10,
    "max_length": 2048,
    "max_tokens_per_batch": 8192,
}
SMALL_REWARDS: dict[str, Any] = {
    "lr": 3e-4,
    "batch_size": 32,
    "max_length": 1024,
    "max_tokens_per_batch": 4096,
}
REWARD_SETTINGS: dict[str, Any] = {"batch_size": 32, "max_length": 2048, "max_tokens_per_batch": 8192}


def sft(data: Sequence[str] = (), model: str = "tiny", seed: int = 0) -> Sequence[Stage]:
    """Fine-tune a model on conversations: messages, prompt and completion, or any layout that is known."""
    settings = SMALL_SFT if model in EMBEDDED else SFT_SETTINGS
    return [
        SFT.model_validate({"name": "sft", "model": model, "data": _sources(data), "seed": seed} | settings)
    ]


def dpo(data: Sequence[str] = (), model: str = "tiny", seed: int = 0) -> Sequence[Stage]:
    """Tune a model on pairs (prompt, chosen, rejected), or with loss=kto on labelled completions."""
    settings = SMALL_DPO if model in EMBEDDED else DPO_SETTINGS
    fields = {"name": "dpo", "model": model, "data": _sources(data), "seed": seed}
    return [DPO.model_validate(fields | settings)]


def reward_model(data: Sequence[str] = (), model: str = "tiny", seed: int = 0) -> Sequence[Stage]:
    """Train a reward model on pairs (prompt, chosen, rejected), or with kind=safety on labelled answers."""
    settings = SMALL_REWARDS if model in EMBEDDED else REWARD_SETTINGS
    fields = {"name": "reward_model", "model": model, "data": _sources(data), "seed": seed}
    return [RewardModel.model_validate(fields | settings)]


def _sources(data: str | Sequence[str]) -> tuple[str, ...]:
    return (data,) if isinstance(data, str) else tuple(data)
