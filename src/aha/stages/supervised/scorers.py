"""Whatever gives answers a number in training: reward models of our own, classifiers of Hugging Face, several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from aha import hardware
from aha.runs.pipeline import Context, Stage
from aha.stages.supervised.reward_model import LOWEST, RewardKind, Scale, Scorer, scored_text
from aha.training.classifier import is_classifier, load_classifier


class AnswerScorer(Protocol):
    """Scores of answers to one conversation; None for one that is too long to be read."""

    @property
    def kind(self) -> RewardKind: ...

    def scores(self, messages: Sequence[Mapping[str, str]], texts: Sequence[str]) -> list[float | None]: ...


class ClassifierScorer:
    """A sequence classifier as a reward model. On the scale "unit" a score is sigma((score - mean) / std) by the
    answers that ``calibrate`` was shown; on "raw" it is the classifier's own."""

    def __init__(self, name: str, context: Context, kind: RewardKind, scale: Scale = "unit"):
        device = hardware.pick_device(context.device)
        dtype = hardware.pick_dtype(context.dtype, device)
        self.name, self.scale = name, scale
        self.kind: RewardKind = kind
        self.classifier = load_classifier(name, device, dtype)
        self.calibration: dict[str, float] | None = None

    def raw(self, messages: Sequence[Mapping[str, str]], texts: Sequence[str]) -> list[float | None]:
        """The classifier's own scores; None for what is too long for it."""
        rows = [self.classifier.encode(messages, scored_text(self.kind, text)) for text in texts]
        fits = [i for i, row in enumerate(rows) if len(row) <= self.classifier.longest]
        values: list[float | None] = [None] * len(texts)
        for i, value in zip(fits, self.classifier.score([rows[i] for i in fits]), strict=True):
            values[i] = float(value)
        return values

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
        raw = self.raw(messages, texts)
        silent = [not scored_text(self.kind, text).strip() for text in texts]
        return [None if v is None else self._scaled(v, quiet) for v, quiet in zip(raw, silent, strict=True)]

    def _scaled(self, value: float, silent: bool) -> float:
        mean, std = (self.calibration[k] for k in ("mean", "std")) if self.calibration else (0.0, 1.0)
        if self.scale == "raw":
            return mean - LOWEST * std if silent else value
        return 0.0 if silent else 1 / (1 + math.exp(-max(-60.0, min(60.0, (value - mean) / std))))


class SeveralScorers:
    """The mean of several reward models of one kind; None where one of them has no score."""

    def __init__(self, members: Sequence[AnswerScorer]):
        self.members = tuple(members)
        self.kind: RewardKind = members[0].kind

    def scores(self, messages: Sequence[Mapping[str, str]], texts: Sequence[str]) -> list[float | None]:
        """The members' mean for each answer."""
        columns = zip(*(member.scores(messages, texts) for member in self.members), strict=True)
        return [None if None in column else float(np.mean(column)) for column in columns]  # type: ignore[arg-type]


def named(models: Any) -> tuple[str | Stage, ...]:
    """The reward models that a setting names: none, one or several."""
    return () if models is None else tuple(models) if isinstance(models, (list, tuple)) else (models,)


def open_scorer(models: Any, context: Context, kind: RewardKind, scale: Scale) -> AnswerScorer | None:
    """The reward models of a setting as one; None for none. ``kind`` says what of an answer a classifier reads."""
    opened = [_open(context.model_path(model), context, kind, scale) for model in named(models)]
    return None if not opened else opened[0] if len(opened) == 1 else SeveralScorers(opened)


def _open(path: str, context: Context, kind: RewardKind, scale: Scale) -> AnswerScorer:
    if is_classifier(path.partition("@")[0]):
        return ClassifierScorer(path, context, kind, scale)
    return Scorer(path, context, scale)


def uncalibrated(scorer: AnswerScorer | None) -> list[ClassifierScorer]:
    """The classifiers that have seen no answers yet."""
    members = scorer.members if isinstance(scorer, SeveralScorers) else (scorer,)
    return [m for m in members if isinstance(m, ClassifierScorer) and m.calibration is None]
