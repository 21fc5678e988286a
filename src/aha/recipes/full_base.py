"""The base of ``countdown_full``: as ``tiny_base``, on Countdown with 3 or 4 numbers of 1..99."""

from __future__ import annotations

from collections.abc import Sequence

from aha.runs.pipeline import Stage
from aha.stages.pretrain import Pretrain


def build(seed: int = 0, steps: int | None = None) -> Sequence[Stage]:
    """One stage of pretraining; searches are long, so the context is too."""
    settings = {"corpus": "full", "context": 2048, "steps": steps or 1100}
    return [Pretrain.model_validate({"name": "pretrain", "seed": seed, **settings})]
