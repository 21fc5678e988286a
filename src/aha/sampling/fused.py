"""Decoding one token a row through a Llama-like model in few, large operations, on the policy's own weights.

transformers' modules spend most of a small decode step on many tiny operations. Here a layer is two joined
projections, one rotation of queries and keys together, the attention, and two products that add to the
residual. Joined projections are not copies: the parameters of q, k and v (and of gate and up) become views
of one tensor, so an optimizer that writes into a parameter writes into the joined one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aha import attention
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


def join(linears: Sequence[torch.nn.Linear]) -> tuple[Tensor, Tensor | None]:
    """(weight, bias) of several projections of one input as one; their parameters become views of it."""
    weight = _join([linear.weight for linear in linears])
    biases = [linear.bias for linear in linears]
    return weight, None if biases[0] is None else _join(biases)


def _join(params: Sequence[Any]) -> Tensor:
    first, rows = params[0], sum(len(p) for p in params)
    expected = first.data_ptr()
    for param in params:
        if param.data_ptr() != expected or not param.is_contiguous():
            break
        expected += param.numel() * param.element_size()
    else:
        room = first.untyped_storage().nbytes() - first.storage_offset() * first.element_size()
        if room >= sum(p.numel() for p in params) * first.element_size():
            return first.detach().as_strided((rows, *first.shape[1:]), first.stride())
    with torch.inference_mode(False):  # the parameters must stay fit for training
        joined = torch.cat([p.detach() for p in params])
        for param, part in zip(params, joined.split([len(p) for p in params]), strict=True):
            param.data = part
    return joined


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
        self.cos = cos[0]
        self.sin = torch.cat([-sin[0, :, :half], sin[0, :, half:]], -1)  # the sign of rotate_half

    def forward(self, ids: Tensor, positions: Tensor, cache: SlotCache) -> Tensor:
        """Hidden states [R, hidden] of one new token ``ids`` [R] a row at ``positions`` [R]."""
        x = F.embedding(ids, self.base.embed_tokens.weight)
        cos, sin = (table.index_select(0, positions)[:, None] for table in (self.cos, self.sin))
        for number, layer in enumerate(self.base.layers):
            x = self._attention(number, layer, x, cos, sin, cache)
            h = self._norm(x, layer.post_attention_layernorm)
            weight, bias = join([layer.mlp.gate_proj, layer.mlp.up_proj])
            gate, up = F.linear(h, weight, bias).chunk(2, -1)
            x = _add_linear(x, F.silu(gate).mul_(up), layer.mlp.down_proj)
        return self._norm(x, self.base.norm)

    def _attention(
        self, number: int, layer: Any, x: Tensor, cos: Tensor, sin: Tensor, cache: SlotCache
    ) -> Tensor:
        a, rows = layer.self_attn, len(x)
        weight, bias = join([a.q_proj, a.k_proj, a.v_proj])
        qkv = F.linear(self._norm(x, layer.input_layernorm), weight, bias).view(rows, -1, self.dim)
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

    def _norm(self, x: Tensor, norm: Any) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), norm.weight, self.eps)


def _add_linear(x: Tensor, h: Tensor, linear: torch.nn.Linear) -> Tensor:
    out = torch.addmm(x, h, linear.weight.t())
    return out if linear.bias is None else out.add_(linear.bias)
