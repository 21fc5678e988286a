"""transformers' own modules through our kernels: norms, SwiGLU and the rotation of heads in one pass each.

On CPUs a small model's time goes into many small operators between its products. A module that computes what a
kernel computes gets the kernel as its forward; its weights, its name and its place stay, and before a model is
used so, what it makes is held against what it made without.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from aha import kernels
from aha.attention.interface import attend

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


def to_kernels(model: Any) -> int:
    """Give every module that there is a kernel for its kernel; returns how many."""
    count = 0
    if (head := model.get_output_embeddings()) is not None and kernels.takes(head.weight):
        kernels.align(head.weight)
    for module in model.base_model.modules():
        forward = _forward_for(module, model.config.model_type)
        if forward is not None:
            _join(module, forward)
            module.forward = MethodType(forward, module)
            count += 1
    return count


def has_kernel(module: Any, family: str) -> bool:
    """Whether there is a kernel for a module of a model of this type."""
    return _forward_for(module, family) is not None


def _forward_for(module: Any, family: str) -> Callable[..., Any] | None:
    """The forward through kernels of a module that they know."""
    from transformers.activations import SiLUActivation

    name = type(module).__name__
    if getattr(module, "_compiled_call_impl", None) is not None:
        return None
    if name.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
        return _norm if module.weight.shape[-1] % 16 == 0 else None
    if name.endswith("MLP") and all(hasattr(module, f"{n}_proj") for n in ("gate", "up", "down")):
        known = isinstance(getattr(module, "act_fn", None), (torch.nn.SiLU, SiLUActivation))
        return _feed_forward if known else None
    if name.endswith("Attention") and family in FAMILIES and module.head_dim % 32 == 0:
        return _attend
    return None


def _join(module: Any, forward: Callable[..., Any]) -> None:
    """Projections of one input as one, for the kernel that takes them so."""
    names = {_feed_forward: ("gate", "up"), _attend: ("q", "k", "v")}.get(forward, ())
    linears = tuple(getattr(module, f"{name}_proj") for name in names)
    if linears and kernels.plain(linears):
        kernels.join(linears)
    last = {_feed_forward: "down_proj", _attend: "o_proj"}.get(forward)
    if last and kernels.plain([getattr(module, last)]):
        kernels.align(getattr(module, last).weight)


def to_torch(module: torch.nn.Module) -> None:
    """Undo it for a module and all within it."""
    for part in module.modules():
        part.__dict__.pop("forward", None)


def _norm(self: Any, hidden_states: Tensor) -> Tensor:
    if not kernels.takes(hidden_states, self.weight):
        return type(self).forward(self, hidden_states)
    return kernels.rms_norm(hidden_states, self.weight, self.variance_epsilon)


def _feed_forward(self: Any, x: Tensor) -> Tensor:
    linears = (self.gate_proj, self.up_proj)
    if kernels.joined(linears) and kernels.takes(x, linears[0].weight) and len(linears[0].weight) % 16 == 0:
        y = kernels.swiglu_linear(x.reshape(-1, x.shape[-1]), *linears)
        return kernels.linear(y.view(*x.shape[:-1], -1), self.down_proj)
    gate, up = (linear(x) for linear in linears)
    if kernels.takes(gate, up) and gate.shape[-1] % 16 == 0:
        return kernels.linear(kernels.swiglu(torch.cat([gate, up], -1)), self.down_proj)
    return self.down_proj(self.act_fn(gate) * up)


def _attend(
    self: Any,
    hidden_states: Tensor,
    position_embeddings: tuple[Tensor, Tensor],
    attention_mask: Any = None,
    past_key_values: Any = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    if kwargs.get("context") is None or not kernels.takes(hidden_states, *position_embeddings):
        return type(self).forward(
            self, hidden_states, position_embeddings, attention_mask, past_key_values, **kwargs
        )
    before = hidden_states.shape[:-1]
    x = hidden_states.reshape(-1, hidden_states.shape[-1])
    cos, sin = (_table(table, before) for table in position_embeddings)
    q, k, v = _heads(self, x, cos, sin)
    q, k, v = (part.view(*before, -1, self.head_dim).transpose(1, 2) for part in (q, k, v))
    out, _ = attend(self, q, k, v, attention_mask, scaling=self.scaling, **kwargs)
    return kernels.linear(out.reshape(*before, -1), self.o_proj), None


def _heads(layer: Any, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, ...]:
    """Queries and keys at their positions, and values, [n, .., D], of x [n, hidden]."""
    linears = (layer.q_proj, layer.k_proj, layer.v_proj)
    normed = hasattr(layer, "q_norm")
    if not normed and kernels.joined(linears) and kernels.takes(x, layer.q_proj.weight):
        return kernels.turned_linears(x, linears, cos, sin)
    q, k, v = (linear(x).view(len(x), -1, layer.head_dim) for linear in linears)
    if normed:
        q, k = layer.q_norm(q), layer.k_norm(k)
    return kernels.rotate(q, cos, sin), kernels.rotate(k, cos, sin), v


def _table(table: Tensor, before: Any) -> Tensor:
    """cos or sin [B or 1, T, D] -> [B * T, D]."""
    return table.expand(*before, -1).reshape(-1, table.shape[-1])
