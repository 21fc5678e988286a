"""Whatever gives answers a number in training: reward models of our own, classifiers of Hugging Face, those that stand
behind an address, several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from aha import hardware
from aha.runs.pipeline import Context, Stage
from aha.stages.engines import is_endpoint
from aha.stages.supervised.calibrated import CalibratedScorer
from aha.stages.supervised.reward_model import RewardKind, Scale, Scorer
from aha.stages.supervised.served_scorer import ServedScorer
from aha.training.classifier import is_classifier, load_classifier


class AnswerScorer(Protocol):
    """Scores of answers to one conversation; None for one that is too long to be read."""

    @property
    def kind(self) -> RewardKind: ...

    def scores(self, messages: Sequence[Mapping[str, str]], texts: Sequence[str]) -> list[float | None]: ...


class ClassifierScorer(CalibratedScorer):
    """A sequence classifier of this process as a reward model."""

    def __init__(self, name: str, context: Context, kind: RewardKind, scale: Scale = "unit"):
        super().__init__(name, kind, scale)
        device = hardware.pick_device(context.device)
        self.classifier = load_classifier(name, device, hardware.pick_dtype(context.dtype, device))

    def raw_read(self, messages: Sequence[Mapping[str, str]], read: Sequence[str]) -> list[float | None]:
        """The classifier's own scores."""
        rows = [self.classifier.encode(messages, text) for text in read]
        fits = [i for i, row in enumerate(rows) if len(row) <= self.classifier.longest]
        values: list[float | None] = [None] * len(read)
        for i, value in zip(fits, self.classifier.score([rows[i] for i in fits]), strict=True):
            values[i] = float(value)
        return values


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
    if is_endpoint(path):
        return ServedScorer(path, context, kind, scale)
    if is_classifier(path.partition("@")[0]):
        return ClassifierScorer(path, context, kind, scale)
    return Scorer(path, context, scale)


def uncalibrated(scorer: AnswerScorer | None) -> list[CalibratedScorer]:
    """Those that have seen no answers yet and have no scale of their own."""
    members = scorer.members if isinstance(scorer, SeveralScorers) else (scorer,)
    return [m for m in members if isinstance(m, CalibratedScorer) and m.calibration is None]
