"""An algorithm: settings of one trainer, filled from a named preset."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from aha.training import batching
from aha.training.advantages import ADVANTAGES, Advantage
from aha.training.batching import Weighting
from aha.training.losses import Kl, Ratio, clipped_loss
from aha.training.policy import Loss
from aha.training.preset_table import PRESETS
from aha.types import AhaError


class Algorithm(BaseModel):
    """A choice of advantage, ratio, clip, aggregation and KL. ``preset`` fills what is not given."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    preset: str = "grpo"
    advantage: Literal["group_std", "group_mean"] = "group_std"
    ratio: Ratio = "token"
    clip_low: float = 0.2
    clip_high: float = 0.2
    aggregation: Literal["sequence_mean", "token_mean", "constant_length"] = "sequence_mean"
    constant_length: int = 1024
    kl: Kl = "none"
    kl_coef: float = 0.0
    entropy_coef: float = 0.0

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {"preset": given}
        if isinstance(given, dict):
            name = given.get("preset", "grpo")
            if name not in PRESETS:
                raise AhaError(f"Unknown algorithm '{name}'. Known: {', '.join(PRESETS)}.")
            return PRESETS[name] | given
        return given

    @property
    def needs_reference(self) -> bool:
        """Whether a reference policy must be kept and asked."""
        return self.kl != "none" and self.kl_coef != 0

    def advantages(self) -> Advantage:
        """Rewards of a group -> advantages."""
        return ADVANTAGES[self.advantage]

    def loss(self) -> Loss:
        """The loss of each token."""
        return clipped_loss(
            clip_low=self.clip_low,
            clip_high=self.clip_high,
            ratio=self.ratio,
            kl=self.kl if self.needs_reference else "none",
            kl_coef=self.kl_coef,
            entropy_coef=self.entropy_coef,
        )

    def weighting(self) -> Weighting:
        """How tokens are averaged."""
        if self.aggregation == "constant_length":
            return batching.constant_length(self.constant_length)
        return {"sequence_mean": batching.sequence_mean, "token_mean": batching.token_mean}[self.aggregation]
