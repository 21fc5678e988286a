"""Decoding one token a row through a Llama-like model in few, large operations, on the policy's own weights.

transformers' modules spend most of a small decode step on many tiny operations. Here a layer is two joined
projections, one rotation of queries and keys together, the attention, and two products that add to the
residual. On CPUs kernels take what lies between the products.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aha import attention, kernels
from aha.modeling import max_context
from aha.sampling.kv_cache import SlotCache

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
STATIC_ROPE = ("default", "linear", "llama3", "yarn")


def supports(model: Any) -> bool:
    """Whether the model is built the way this file computes."""
    config = model.config
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if config.model_type not in FAMILIES or rope not in STATIC_ROPE or config.hidden_act != "silu":
        return False
    # Adapters stand in place of linear layers; a window matters only where a sequence can outgrow it.
    linear = all(
        type(getattr(part, name)) is torch.nn.Linear
        for layer in model.base_model.layers
        for part, names in ((layer.self_attn, "qkvo"), (layer.mlp, ("gate", "up", "down")))
        for name in (f"{n}_proj" for n in names)
    )
    limit = max_context(model)
    return linear and not any((layer.window or limit) < limit for layer in attention.layers(model))


class FusedDecoder:
    """The layers of one model, ready to decode sequences of up to ``capacity`` tokens."""

    def __init__(self, model: Any, capacity: int):
        self.base, config = model.base_model, model.config
        layer = self.base.layers[0].self_attn
        self.dim, self.heads = layer.head_dim, config.num_attention_heads
        self.kv_heads, self.scale = config.num_key_value_heads, layer.scaling
        self.eps, self.capacity = config.rms_norm_eps, capacity
        weight = self.base.embed_tokens.weight
        positions = torch.arange(capacity, device=weight.device)[None]
        cos, sin = self.base.rotary_emb(weight[:1, None], positions)
        half = self.dim // 2
        self.step = None
        if kernels.can_decode(weight, self.heads, self.kv_heads, self.dim):
            self.step = kernels.DecodeStep(self.heads, self.kv_heads, self.scale, cos[0], sin[0], self.eps)
        self.cos = cos[0]
        self.sin = torch.cat([-sin[0, :, :half], sin[0, :, half:]], -1)  # the sign of rotate_half

    def forward(self, ids: Tensor, positions: Tensor, cache: SlotCache) -> Tensor:
        """Hidden states [R, hidden] of one new token ``ids`` [R] a row at ``positions`` [R]."""
        x = F.embedding(ids, self.base.embed_tokens.weight)
        cos = sin = None
        if self.step is None:
            cos, sin = (table.index_select(0, positions)[:, None] for table in (self.cos, self.sin))
        for number, layer in enumerate(self.base.layers):
            x = self._attention(number, layer, x, cos, sin, cache)
            h = self._norm(x, layer.post_attention_layernorm)
            weight, bias = kernels.join([layer.mlp.gate_proj, layer.mlp.up_proj])
            x = _add_linear(x, self._swiglu(F.linear(h, weight, bias)), layer.mlp.down_proj)
        return self._norm(x, self.base.norm)

    def _attention(
        self, number: int, layer: Any, x: Tensor, cos: Tensor | None, sin: Tensor | None, cache: SlotCache
    ) -> Tensor:
        a, rows = layer.self_attn, len(x)
        weight, bias = kernels.join([a.q_proj, a.k_proj, a.v_proj])
        qkv = F.linear(self._norm(x, layer.input_layernorm), weight, bias)
        if self.step is not None:
            norms = (a.q_norm.weight, a.k_norm.weight) if hasattr(a, "q_norm") else None
            keys, values = (cache.view(number, i, rows) for i in (0, 1))
            return _add_linear(x, self.step.attend(qkv, keys, values, cache.where, norms), a.o_proj)
        assert cos is not None
        assert sin is not None
        qkv = qkv.view(rows, -1, self.dim)
        both = self.heads + self.kv_heads
        qk = qkv[:, :both]
        if hasattr(a, "q_norm"):
            q, k = qk.split([self.heads, self.kv_heads], 1)
            qk = torch.cat([self._norm(q, a.q_norm), self._norm(k, a.k_norm)], 1)
        half = self.dim // 2
        turned = torch.cat([qk[..., half:], qk[..., :half]], -1)
        qk = torch.addcmul(qk * cos, turned, sin)
        q, k = qk[:, : self.heads], qk[:, self.heads :]
        out = cache.attend_rows(number, q, k, qkv[:, both:], self.scale)
        return _add_linear(x, out.reshape(rows, -1), a.o_proj)

    def _swiglu(self, both: Tensor) -> Tensor:
        """silu(gate) * up of the two side by side."""
        if self.step is not None and both.shape[-1] % 32 == 0:
            return kernels.swiglu(both)
        gate, up = both.chunk(2, -1)
        return F.silu(gate).mul_(up)

    def _norm(self, x: Tensor, norm: Any) -> Tensor:
        if self.step is not None and x.shape[-1] % 16 == 0:
            return kernels.rms_norm(x, norm.weight, self.eps)
        return F.rms_norm(x, (x.shape[-1],), norm.weight, self.eps)


def _add_linear(x: Tensor, h: Tensor, linear: torch.nn.Linear) -> Tensor:
    out = torch.addmm(x, h, linear.weight.t())
    return out if linear.bias is None else out.add_(linear.bias)
