"""What the backward pass needs, kept in the CPU's memory meanwhile: less memory of the accelerator, more copying."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LEAST_ELEMENTS = 1 << 12
"""Smaller tensors stay where they are: copying them costs more than they take."""


class Offloaded(torch.autograd.graph.saved_tensors_hooks):
    """Within it, activations that autograd saves are copied to the CPU, and come back when the backward pass asks
    for them. Weights, which stay anyway, are left alone. ``moved`` counts bytes.

    With layers that are computed again, the layers' inputs are what is saved.
    """

    def __init__(self) -> None:
        super().__init__(self._pack, _unpack)
        self.moved = 0

    def _pack(self, value: Tensor) -> Any:
        if value.numel() < LEAST_ELEMENTS or not value.is_floating_point() or _is_weight(value):
            return value
        away = torch.empty(value.shape, dtype=value.dtype, device="cpu", pin_memory=value.is_cuda)
        away.copy_(value, non_blocking=value.is_cuda)
        self.moved += value.nbytes
        return value.device, away


def _unpack(packed: Any) -> Tensor:
    if isinstance(packed, Tensor):
        return packed
    device, away = packed
    return away.to(device, non_blocking=away.is_pinned())


def _is_weight(value: Tensor) -> bool:
    """A parameter, or a view of one such as its transpose."""
    owner = value._base if value._is_view() else value
    return isinstance(owner, torch.nn.Parameter)
