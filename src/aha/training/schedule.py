"""Learning rates over the steps of a stage, as factors of the peak."""

from __future__ import annotations

import math


def warm_up(step: int, steps: int) -> float:
    """Linear from 0: step t of ``steps`` has t / steps, and all later ones 1."""
    return min(1.0, step / steps) if steps else 1.0


def linear(done: float, final: float) -> float:
    """A straight line from 1 to ``final`` as ``done`` goes from 0 to 1."""
    return 1 - (1 - final) * done


def cosine(done: float, final: float) -> float:
    """Half a cosine from 1 to ``final`` as ``done`` goes from 0 to 1; ``final`` from there on."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
