"""The embedded bases: Llamas of about two million parameters, on text that a program writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aha.runs.pipeline import Stage
from aha.stages.supervised.pretrain import Pretrain

COUNTDOWN: dict[str, Any] = {"corpus": "full", "context_length": 2048, "steps": 1300}

WORLD: dict[str, Any] = {
    "corpus": "world",
    "init_from": "tiny",
    "layers": 5,
    "steps": 1100,
    "lr": 1.4e-3,  # lower than from scratch: the arithmetic that is taken over suffers at 2e-3
    "muon_lr": 0.01,
    "save_every": 50,
}


def build(seed: int = 0, steps: int | None = None) -> Sequence[Stage]:
    """The base named "tiny": puzzles of three small numbers."""
    return _pretrain({}, seed, steps)


def countdown(seed: int = 0, steps: int | None = None) -> Sequence[Stage]:
    """The base named "countdown": puzzles of three or four numbers of 1..99."""
    return _pretrain(COUNTDOWN, seed, steps)


def world(seed: int = 0, steps: int | None = None) -> Sequence[Stage]:
    """The base named "world": puzzles, programs and requests. It goes on from "tiny", which can calculate."""
    return _pretrain(WORLD, seed, steps)


def _pretrain(settings: dict[str, Any], seed: int, steps: int | None) -> Sequence[Stage]:
    chosen = settings | ({} if steps is None else {"steps": steps})
    return [Pretrain.model_validate({"name": "pretrain", "seed": seed, **chosen})]
