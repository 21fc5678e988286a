"""A reward model as a server has it: ours or a classifier of Hugging Face, its weights on the device to stay."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from aha import hardware, modeling
from aha.runs.pipeline import Context
from aha.sampling.hashes import digests, hash_of_all
from aha.sampling.http.scoring import RewardModelBackend
from aha.stages.supervised.reward_model import Scorer
from aha.training.classifier import is_classifier, load_classifier


def scoring_backend(
    model: str, name: str, device: str = "auto", dtype: str = "auto", threads: int = 0
) -> RewardModelBackend:
    """The reward model of a folder or the hub, with what its scores mean and a hash of its weights in its card."""
    hardware.set_threads(threads)
    chosen = hardware.pick_device(device)
    if is_classifier(model.partition("@")[0]):
        classifier = load_classifier(model, chosen, hardware.pick_dtype(dtype, chosen))
        classifier.home = classifier.device
        card = {"max_model_len": classifier.longest, "output": classifier.label}
        weights = modeling.own_weights(classifier.model)
        return RewardModelBackend(classifier, name, card | {"weights": _hash(weights, card)})
    scorer = Scorer(modeling.resolve(model), Context(Path(), device, dtype), "raw")
    scorer.home = scorer.device
    card = {"kind": scorer.kind, "calibration": scorer.calibration, "max_model_len": scorer.longest}
    weights = modeling.own_weights(scorer.scalar.model) | {"value_head": scorer.scalar.head.detach()}
    return RewardModelBackend(scorer, name, card | {"weights": _hash(weights, card)})


def _hash(weights: Mapping[str, Tensor], card: Mapping[str, Any]) -> str:
    """Equal exactly for equal weights that are read equally."""
    return hash_of_all(digests(weights) | {"card": str(sorted(card.items()))})
