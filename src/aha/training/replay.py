"""Groups of earlier steps, kept for a while and trained on again (off-policy: the ratio knows their sampler)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch

from aha.types import Example

_COLUMNS = tuple(field.name for field in fields(Example))


class Replay:
    """At most ``steps`` steps old; ``share`` of the groups trained on come from here."""

    def __init__(self, share: float, steps: int, seed: int = 0):
        self.share, self.steps, self.seed = share, steps, seed
        self.kept: list[tuple[int, list[Example]]] = []  # (step, one group's examples)

    def mix(self, step: int, examples: Sequence[Example]) -> list[Example]:
        """The step's examples with groups of earlier steps; group numbers stay apart."""
        if not self.share:
            return list(examples)
        groups: dict[int, list[Example]] = {}
        for e in examples:
            groups.setdefault(e.group, []).append(e)
        self.kept = [(at, group) for at, group in self.kept if step - at <= self.steps]
        count = min(len(self.kept), round(len(groups) * self.share / (1 - self.share)))
        drawn = random.Random(f"{self.seed}:{step}:replay").sample(self.kept, count)
        mixed = list(examples)
        first = max(groups, default=-1) + 1
        for i, (_, group) in enumerate(drawn):
            mixed += [replace(e, group=first + i) for e in group]
        self.kept += [(step, group) for group in groups.values() if _has_signal(group)]
        return mixed

    def state(self) -> list[dict[str, Any]]:
        """Tensors and numbers, for a checkpoint."""
        return [
            {
                "step": step,
                "group": [{name: _plain(getattr(e, name)) for name in _COLUMNS} for e in group],
            }
            for step, group in self.kept
        ]

    def load_state(self, state: Sequence[dict[str, Any]]) -> None:
        """Continue from ``state()``."""
        self.kept = [(row["step"], [_example(r) for r in row["group"]]) for row in state]


def _plain(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def _example(row: dict[str, Any]) -> Example:
    """Out of a checkpoint; columns that it has not, written before there were such, are left at their defaults."""
    known: dict[str, Any] = {
        name: value.cpu().numpy() if isinstance(value, torch.Tensor) else value
        for name, value in row.items()
        if name in _COLUMNS
    }
    return Example(**known)


def _has_signal(group: Sequence[Example]) -> bool:
    values = [e.advantage[e.mask] for e in group]
    return len({float(v[-1]) for v in values if len(v)}) > 1
