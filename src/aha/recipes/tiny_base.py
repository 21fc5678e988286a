"""The embedded base: a Llama of 1.7 million parameters, from scratch, on text that a program writes."""

from __future__ import annotations

from aha.runs.pipeline import Stage
from aha.stages.pretrain import Pretrain


def build(seed: int = 0, steps: int | None = None) -> list[Stage]:
    """One stage of pretraining."""
    return [Pretrain(name="pretrain", seed=seed, **({} if steps is None else {"steps": steps}))]
