"""Adapters in the fused decoder: what peft's low-rank layers add to the products that they stand beside.

Their matrices are read where the trainer writes them, and nothing is merged: a merged weight in bf16 would be rounded
otherwise than what the policy computes, and would need a second copy of the model to be put back from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class LowRank(NamedTuple):
    """y[:, columns] += scale * (x @ down.T) @ up.T, of x [R, in]; ``down`` [rank, in], ``up`` [columns, rank]."""

    down: Tensor
    up: Tensor
    scale: float
    columns: slice

    def add_to(self, y: Tensor, x: Tensor) -> None:
        """Add it to the joined product ``y`` [R, out] of ``x``, in place."""
        y[:, self.columns].addmm_(x @ self.down.t(), self.up.t(), alpha=self.scale)


def base_of(linear: Any) -> Any:
    """The linear layer that adapters stand beside, or the layer itself."""
    return linear.base_layer if _is_adapted(linear) else linear


def known(linear: Any) -> bool:
    """Whether this is a linear layer, alone or with one plain low-rank adapter."""
    if type(linear) is torch.nn.Linear:
        return True
    if not _is_adapted(linear) or type(linear.base_layer) is not torch.nn.Linear:
        return False
    names = list(linear.active_adapters)
    return len(names) == 1 and names[0] in linear.lora_A and _is_plain(linear, names[0])


def beside(linears: Sequence[Any]) -> tuple[LowRank, ...]:
    """The adapters beside projections of one input, in the columns of their joined product."""
    return tuple(_beside(linears))


def _beside(linears: Sequence[Any]) -> Iterator[LowRank]:
    start = 0
    for linear in linears:
        end = start + base_of(linear).out_features
        if _is_adapted(linear) and not linear.disable_adapters and not linear.merged:
            (name,) = linear.active_adapters
            down, up = (part[name].weight.detach() for part in (linear.lora_A, linear.lora_B))
            yield LowRank(down, up, float(linear.scaling[name]), slice(start, end))
        start = end


def _is_adapted(linear: Any) -> bool:
    """By the parts that peft's layer of adapters beside a linear layer has: peft itself need not be there."""
    return all(hasattr(linear, part) for part in ("base_layer", "lora_A", "lora_B", "active_adapters"))


def _is_plain(linear: Any, name: str) -> bool:
    """Whether an adapter is two matrices and a factor, in the type of the weights they stand beside."""
    parts = linear.lora_A[name], linear.lora_B[name]
    plain = all(type(part) is torch.nn.Linear and part.bias is None for part in parts)
    plain = plain and all(part.weight.dtype == linear.base_layer.weight.dtype for part in parts)
    dropout = linear.lora_dropout[name]
    stands_still = isinstance(dropout, torch.nn.Identity) or not linear.training
    variants = *getattr(linear, "lora_variant", {}), *(n for n, on in linear.use_dora.items() if on)
    return plain and stands_still and name not in variants
