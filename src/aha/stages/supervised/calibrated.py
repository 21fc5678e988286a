"""A reward model that may bring no scale of its own: its scores are brought to 0..1 by answers that it was shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from aha.stages.supervised.reward_model import LOWEST, RewardKind, Scale, ScoreScale, scaled, scored_text


class CalibratedScorer(ABC):
    """A reward model that may bring no scale of its own. On the scale "unit" a score is then sigma((score - mean) /
    std) by the answers that ``calibrate`` was shown; on "raw" it is the model's own."""

    def __init__(self, name: str, kind: RewardKind, scale: Scale):
        self.name = name
        self.scale: Scale = scale
        self.kind: RewardKind = kind
        self.calibration: dict[str, float] | None = None

    @abstractmethod
    def raw_read(self, messages: Sequence[Mapping[str, str]], read: Sequence[str]) -> list[float | None]:
        """The model's own scores by what is read of each answer; None for what is too long for it."""

    def raw(self, messages: Sequence[Mapping[str, str]], texts: Sequence[str]) -> list[float | None]:
        """The model's own scores of answers; None for what is too long for it."""
        return self.raw_read(messages, [scored_text(self.kind, text) for text in texts])

    def calibrate(self, values: Sequence[float]) -> dict[str, float]:
        """Take mean and standard deviation from these scores; returns them."""
        spread = float(np.std(values)) if values else 0.0
        self.calibration = {
            "mean": float(np.mean(values)) if values else 0.0,
            "std": spread or 1.0,
            "n": len(values),
        }
        return self.calibration

    def scores(self, messages: Sequence[Mapping[str, str]], texts: Sequence[str]) -> list[float | None]:
        """One number for each answer, the lowest where a helpful model finds nothing after the thinking."""
        silent = [not scored_text(self.kind, text).strip() for text in texts]
        by = self.score_scale()
        raw = self.raw(messages, texts)
        return [
            None if v is None else scaled(v, quiet, self.scale, by)
            for v, quiet in zip(raw, silent, strict=True)
        ]

    def score_scale(self) -> ScoreScale:
        """How its scores become numbers in 0..1."""
        mean, std = (self.calibration[k] for k in ("mean", "std")) if self.calibration else (0.0, 1.0)
        return ScoreScale(mean, std, mean - LOWEST * std)
