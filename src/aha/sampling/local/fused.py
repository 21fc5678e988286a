"""Decoding one token a row through a Llama-like model in few, large operations, on the policy's own weights.

transformers' modules spend most of a small decode step on many tiny operations. Here a layer is two joined
projections, one rotation of queries and keys together, the attention, and two products that add to the
residual. Adapters add to the products that they stand beside. On CPUs kernels take what lies between the products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from aha import attention, hardware, kernels, speeds
from aha.attention.modules import FAMILIES
from aha.modeling import max_context
from aha.sampling.local import low_rank
from aha.sampling.local.kv_cache import SlotCache

MANY = 1 << 30
MOST_TRIED = 128
TRIALS = "decoding.json"
STATIC_ROPE = ("default", "linear", "llama3", "yarn")


def supports(model: Any) -> bool:
    """Whether the model is built the way this file computes."""
    config = model.config
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if config.model_type not in FAMILIES or rope not in STATIC_ROPE or config.hidden_act != "silu":
        return False
    # A window matters only where a sequence can outgrow it.
    linear = all(
        low_rank.known(getattr(part, name))
        for layer in model.base_model.layers
        for part, names in ((layer.self_attn, "qkvo"), (layer.mlp, ("gate", "up", "down")))
        for name in (f"{n}_proj" for n in names)
    )
    limit, plain = max_context(model), type(model.base_model.embed_tokens) is torch.nn.Embedding
    return linear and plain and not any((layer.window or limit) < limit for layer in attention.layers(model))


class _Adapters(NamedTuple):
    """What adapters add to the four products of a layer."""

    qkv: tuple[low_rank.LowRank, ...]
    out: tuple[low_rank.LowRank, ...]
    gate_up: tuple[low_rank.LowRank, ...]
    down: tuple[low_rank.LowRank, ...]


def _projections(layer: Any) -> tuple[list[Any], ...]:
    """The linear layers of the four products."""
    a, mlp = layer.self_attn, layer.mlp
    return [a.q_proj, a.k_proj, a.v_proj], [a.o_proj], [mlp.gate_proj, mlp.up_proj], [mlp.down_proj]


def _adapters(layer: Any) -> _Adapters:
    return _Adapters(*map(low_rank.beside, _projections(layer)))


def _weights(layer: Any) -> kernels.Weights:
    a = layer.self_attn
    qkv, (out,), gate_up, (down,) = (list(map(low_rank.base_of, part)) for part in _projections(layer))
    return kernels.Weights(
        qkv=kernels.join(qkv),
        out=(out.weight.detach(), out.bias),
        gate_up=kernels.join(gate_up),
        down=(down.weight.detach(), down.bias),
        before=layer.input_layernorm.weight,
        between=layer.post_attention_layernorm.weight,
        heads=(a.q_norm.weight, a.k_norm.weight) if hasattr(a, "q_norm") else None,
    )


class FusedDecoder:
    """The layers of one model, ready to decode sequences of up to ``capacity`` tokens."""

    def __init__(self, model: Any, capacity: int):
        self.base, config = model.base_model, model.config
        layer = self.base.layers[0].self_attn
        self.dim, self.heads = layer.head_dim, config.num_attention_heads
        self.kv_heads, self.scale = config.num_key_value_heads, layer.scaling
        self.eps, self.capacity, self.width = config.rms_norm_eps, capacity, config.hidden_size
        weight = self.base.embed_tokens.weight
        positions = torch.arange(capacity, device=weight.device)[None]
        cos, sin = self.base.rotary_emb(weight[:1, None], positions)
        half = self.dim // 2
        self.step = None
        if kernels.can_decode(weight, self.heads, self.kv_heads, self.dim):
            self.step = kernels.DecodeStep(self.heads, self.kv_heads, self.scale, cos[0], sin[0], self.eps)
        self.cos = cos[0]
        self.sin = torch.cat([-sin[0, :, :half], sin[0, :, half:]], -1)  # the sign of rotate_half
        self.layers: list[kernels.Weights] = []
        self.adapters: list[_Adapters] = []
        self.whole: kernels.WholeStep | None = None
        self.few = 0  # rows up to which the whole step is one call
        self.places: list[tuple[dict[str, Any], str, int]] = []
        self.lookups = 0

    def version(self) -> int:
        """Another number once weights stand elsewhere. Those written into stay where they are."""
        self._current()
        return self.lookups

    def _current(self) -> list[kernels.Weights]:
        """The layers' weights, looked up anew if any stands elsewhere than it did."""
        if not self.places or any(owner[name].data_ptr() != at for owner, name, at in self.places):
            self.lookups += 1
            self.forget()
        if not self.layers:
            self.layers = [_weights(layer) for layer in self.base.layers]
            self.adapters = [_adapters(layer) for layer in self.base.layers]
            adapted = any(any(parts) for parts in self.adapters)
            if self.step is not None and not adapted and kernels.WholeStep.knows(self.layers):
                self.whole = kernels.WholeStep(self.layers, self.base.norm.weight, self.step)
                self.few = (
                    MANY if kernels.WholeStep.always_faster(self.layers) else self._few_rows(self.whole)
                )
            self.places = [
                (module._parameters, name, param.data_ptr())
                for module in self.base.modules()
                for name, param in module._parameters.items()
                if param is not None
            ]
        return self.layers

    def forget(self) -> None:
        """Hold no weights until the next step: a model whose weights are in parts frees its whole ones between."""
        self.layers, self.adapters, self.whole = [], [], None

    def forward(
        self, ids: Tensor, positions: Tensor, cache: SlotCache, move: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """Hidden states [R, hidden] of one new token ``ids`` [R] a row at ``positions`` [R]. ``move``: done to their
        embeddings first."""
        layers = self._current()
        x = F.embedding(ids, self.base.embed_tokens.weight)
        x = x if move is None else move(x)
        if self.whole is not None and len(x) <= self.few:
            return self.whole.take(x, cache.layers, positions, cache.room, cache.groups)
        return self._apart(x, layers, positions, cache)

    def _apart(self, x: Tensor, layers: list[kernels.Weights], positions: Tensor, cache: Any) -> Tensor:
        """Layer by layer, by the library's products."""
        cos = sin = None
        if self.step is None:
            cos, sin = (table.index_select(0, positions)[:, None] for table in (self.cos, self.sin))
        for number, (layer, beside) in enumerate(zip(layers, self.adapters, strict=True)):
            qkv = _linear(self._norm(x, layer.before), layer.qkv, beside.qkv)
            if self.step is not None:
                keys, values = (cache.view(number, i, len(x)) for i in (0, 1))
                out = self.step.attend(qkv, keys, values, positions, layer.heads, cache.groups)
            else:
                assert cos is not None
                assert sin is not None
                out = self._attend(number, layer, qkv, cos, sin, cache)
            x = _add_linear(x, out, layer.out, beside.out)
            both = _linear(self._norm(x, layer.between), layer.gate_up, beside.gate_up)
            x = _add_linear(x, self._swiglu(both), layer.down, beside.down)
        return self._norm(x, self.base.norm.weight)

    def _few_rows(self, whole: kernels.WholeStep) -> int:
        """Rows up to which the whole step in one call is faster than the library's products, where those use the
        CPU's matrix units. Tried once on a machine for each shape of models and each version of the kernels."""
        w = self.layers[0]
        sizes = [len(self.layers), *w.qkv[0].shape, *w.gate_up[0].shape, self.heads, self.kv_heads]
        facts = hardware.facts() | {
            "decoding": sizes,
            "type": str(w.before.dtype),
            "kernels": kernels.version(),
        }
        return speeds.kept(TRIALS, facts, lambda: self._tried_rows(whole), _count)

    def _tried_rows(self, whole: kernels.WholeStep) -> int:
        rows, most = 1, 0
        while rows <= MOST_TRIED:
            at, cache = torch.full((rows,), 8), _Room(self, rows)
            x = torch.zeros(rows, self.width, dtype=self.layers[0].before.dtype).add_(0.1)

            def once(x: Tensor = x, at: Tensor = at, cache: _Room = cache) -> Tensor:
                return whole.take(x.clone(), cache.layers, at, cache.room)

            def apart(x: Tensor = x, at: Tensor = at, cache: _Room = cache) -> Tensor:
                return self._apart(x.clone(), self.layers, at, cache)

            if speeds.faster(apart, once):
                break
            most, rows = rows, 2 * rows
        return MANY if most == MOST_TRIED else most

    def _attend(
        self, number: int, layer: kernels.Weights, qkv: Tensor, cos: Tensor, sin: Tensor, cache: SlotCache
    ) -> Tensor:
        rows, both = len(qkv), self.heads + self.kv_heads
        qkv = qkv.view(rows, -1, self.dim)
        qk = qkv[:, :both]
        if layer.heads is not None:
            parts = qk.split([self.heads, self.kv_heads], 1)
            qk = torch.cat([self._norm(x, weight) for x, weight in zip(parts, layer.heads, strict=True)], 1)
        half = self.dim // 2
        turned = torch.cat([qk[..., half:], qk[..., :half]], -1)
        qk = torch.addcmul(qk * cos, turned, sin)
        q, k = qk[:, : self.heads], qk[:, self.heads :]
        return cache.attend_rows(number, q, k, qkv[:, both:], self.scale).reshape(rows, -1)

    def _swiglu(self, both: Tensor) -> Tensor:
        """silu(gate) * up of the two side by side."""
        if self.step is not None and both.shape[-1] % 32 == 0:
            return kernels.swiglu(both)
        gate, up = both.chunk(2, -1)
        return F.silu(gate).mul_(up)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.step is not None and x.shape[-1] % 16 == 0:
            return kernels.rms_norm(x, weight, self.eps)
        return F.rms_norm(x, (x.shape[-1],), weight, self.eps)


class _Room:
    """A cache of 16 tokens a row for a trial of one step."""

    groups = None
    room = 16

    def __init__(self, decoder: FusedDecoder, rows: int):
        shape = rows, decoder.kv_heads, self.room, decoder.dim
        dtype = decoder.layers[0].before.dtype
        self.layers = [[torch.zeros(shape, dtype=dtype) for _ in range(2)] for _ in decoder.layers]

    def view(self, layer: int, i: int, rows: int) -> Tensor:
        """Keys (0) or values (1) of a layer."""
        return self.layers[layer][i]


def _count(count: Any) -> int | None:
    """A number of rows that a file had."""
    return count if isinstance(count, int) and count >= 0 else None


Product = tuple[Tensor, Tensor | None]
"""Weight [out, in] and bias [out] of a projection."""


def _linear(x: Tensor, product: Product, beside: tuple[low_rank.LowRank, ...]) -> Tensor:
    y = kernels.product(x, *product)
    for adapter in beside:
        adapter.add_to(y, x)
    return y


def _add_linear(x: Tensor, h: Tensor, product: Product, beside: tuple[low_rank.LowRank, ...]) -> Tensor:
    weight, bias = product
    if kernels.by_kernel(h, weight):
        out = kernels.project(h, weight, bias).add_(x)
    else:
        out = torch.addmm(x, h, weight.t())
        out = out if bias is None else out.add_(bias)
    for adapter in beside:
        adapter.add_to(out, h)
    return out
