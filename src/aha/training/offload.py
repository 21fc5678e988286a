"""What the backward pass needs, kept in the CPU's memory meanwhile: less memory of the accelerator, more copying."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

LEAST_ELEMENTS = 1 << 12
"""Smaller tensors stay where they are: copying them costs more than they take."""


def offloaded(least: int = LEAST_ELEMENTS) -> AbstractContextManager[Any]:
    """Within it, activations of at least ``least`` elements that autograd saves are copied to the CPU, and come
    back when the backward pass asks for them. Weights, which stay anyway, are left alone.

    With layers that are computed again, the layers' inputs are what is saved.
    """

    def pack(value: Tensor) -> Any:
        if value.numel() < least or not value.is_floating_point() or _is_weight(value):
            return value
        pinned = value.is_cuda and not torch.cuda.is_current_stream_capturing()
        away = torch.empty(value.shape, dtype=value.dtype, device="cpu", pin_memory=pinned)
        away.copy_(value, non_blocking=pinned)
        return value.device, away

    def unpack(packed: Any) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        device, away = packed
        return away.to(device, non_blocking=away.is_pinned())

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


def _is_weight(value: Tensor) -> bool:
    """A parameter, or a view of one such as its transpose."""
    owner = value._base if value._is_view() else value
    return isinstance(owner, torch.nn.Parameter)
