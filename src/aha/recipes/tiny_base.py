"""The embedded base: a Llama of 1.7 million parameters, from scratch, on text that a program writes."""

from __future__ import annotations

from collections.abc import Sequence

from aha.runs.pipeline import Stage
from aha.stages.pretrain import Pretrain


def build(seed: int = 0, steps: int | None = None) -> Sequence[Stage]:
    """One stage of pretraining."""
    settings = {} if steps is None else {"steps": steps}
    return [Pretrain.model_validate({"name": "pretrain", "seed": seed, **settings})]
