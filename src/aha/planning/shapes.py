"""The shape of a causal language model, from its config alone, and what follows from it: numbers of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

FAMILIES = (
    "qwen2", "qwen3", "qwen3_moe", "llama", "mistral", "mixtral", "gemma2", "gemma3_text", "deepseek_v3"
)  # fmt: skip
"""Families whose parameters are counted here by formula, to the last one."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a decoder-only model. Where ``kv_rank`` is set attention is multi-head latent attention."""

    name: str
    family: str
    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    intermediate: int
    tied: bool
    context: int
    qkv_bias: bool = False
    qk_norm: bool = False
    window: int | None = None
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate: int = 0
    shared_intermediate: int = 0  # of the experts that every token passes
    dense_layers: int = 0  # first layers without experts, in a model with experts
    q_rank: int = 0
    kv_rank: int = 0
    rope_dim: int = 0
    counted: int | None = None  # parameters by transformers' own modules, where the formula is not trusted

    # --- parameters --------------------------------------------------------------------------------------

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, and of the head."""
        return self.vocabulary * self.hidden

    @property
    def gemma(self) -> bool:
        """Four norms a layer, each computed in float32 throughout."""
        return self.family.startswith("gemma")

    def projections(self) -> list[tuple[int, int]]:
        """(in, out) of the linear maps of one layer's attention."""
        h, q, v = self.hidden, self.heads * self.key_dim, self.heads * self.value_dim
        if not self.kv_rank:
            return [(h, q), (h, self.kv_heads * self.key_dim), (h, self.kv_heads * self.value_dim), (v, h)]
        ask = [(h, self.q_rank), (self.q_rank, q)] if self.q_rank else [(h, q)]
        wide = self.heads * (self.key_dim - self.rope_dim + self.value_dim)
        return [*ask, (h, self.kv_rank + self.rope_dim), (self.kv_rank, wide), (v, h)]

    def _attention(self) -> int:
        total = sum(a * b for a, b in self.projections())
        if self.qkv_bias:
            total += (self.heads + self.kv_heads) * self.key_dim + self.kv_heads * self.value_dim
        if self.qk_norm:
            total += 2 * self.key_dim
        return total + self.q_rank + self.kv_rank  # the norms of the latents

    def _expert_layer(self, experts: int) -> int:
        """One layer's router, ``experts`` of its experts, and the shared ones."""
        inner = experts * self.expert_intermediate + self.shared_intermediate
        return self.hidden * self.experts + 3 * self.hidden * inner

    def layer_parameters(self, expert_layer: bool | None = None) -> int:
        """Parameters of one layer: of one with experts where the model has them, unless told otherwise."""
        with_experts = bool(self.experts) if expert_layer is None else expert_layer
        inner = self._expert_layer(self.experts) if with_experts else 3 * self.hidden * self.intermediate
        return self._attention() + inner + (4 if self.gemma else 2) * self.hidden

    @property
    def parameters(self) -> int:
        """All parameters, as transformers' modules have them; a tied head counts once."""
        if self.counted is not None:
            return self.counted
        dense = self.layers if not self.experts else self.dense_layers
        body = dense * self.layer_parameters(False) + (self.layers - dense) * self.layer_parameters()
        return body + self.embedding * (1 if self.tied else 2) + self.hidden

    @property
    def active(self) -> int:
        """Parameters that take part in a product for each token: no embedding, but the head; of the experts
        those that a token passes."""
        unused = (self.layers - self.dense_layers) * (
            self._expert_layer(self.experts) - self._expert_layer(self.experts_per_token)
        )
        return self.parameters - (0 if self.tied else self.embedding) - (unused if self.experts else 0)

    def adapter_parameters(self, rank: int) -> int:
        """Trained parameters of adapters of that rank on every linear layer but the head (experts, which are
        no linear layers in transformers, have none)."""
        h, pairs = self.hidden, [ends for ends in self.projections() for _ in range(self.layers)]
        dense = self.layers if not self.experts else self.dense_layers
        pairs += [(h, self.intermediate)] * 2 * dense + [(self.intermediate, h)] * dense
        if self.shared_intermediate:
            n = self.layers - dense
            pairs += [(h, self.shared_intermediate)] * 2 * n + [(self.shared_intermediate, h)] * n
        return rank * sum(a + b for a, b in pairs)

    # --- the sampler's cache -----------------------------------------------------------------------------

    @property
    def cache_numbers(self) -> int:
        """Numbers that one token of one row takes in the sampler's cache, over all layers. Latent attention is
        cached as the keys and values it expands to."""
        heads = self.heads if self.kv_rank else self.kv_heads
        return self.layers * heads * (self.key_dim + self.value_dim)


def from_config(config: Mapping[str, Any], name: str) -> Shape:
    """The shape that a complete config (transformers' ``to_dict()``, every default filled in) describes.

    A family that is not in ``FAMILIES`` is taken for a plain decoder: give it the ``counted`` parameters.
    """
    get, heads = config.get, int(config["num_attention_heads"])
    family = str(get("model_type", ""))
    head_dim = int(get("head_dim") or config["hidden_size"] // heads)
    shape = Shape(
        name=name,
        family=family,
        vocabulary=int(config["vocab_size"]),
        hidden=int(config["hidden_size"]),
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(get("num_key_value_heads") or heads),
        key_dim=head_dim,
        value_dim=head_dim,
        intermediate=int(get("intermediate_size") or 4 * config["hidden_size"]),
        tied=bool(get("tie_word_embeddings")),
        context=int(get("max_position_embeddings") or 1 << 20),
        qkv_bias=family == "qwen2",
        qk_norm=family in ("qwen3", "qwen3_moe", "gemma3_text"),
        window=get("sliding_window") if get("use_sliding_window", True) else None,
    )
    if get("kv_lora_rank"):
        nope, rope = int(config["qk_nope_head_dim"]), int(config["qk_rope_head_dim"])
        shape = replace(
            shape,
            key_dim=nope + rope,
            value_dim=int(config["v_head_dim"]),
            q_rank=int(get("q_lora_rank") or 0),
            kv_rank=int(config["kv_lora_rank"]),
            rope_dim=rope,
        )
    experts = get("n_routed_experts") or get("num_local_experts") or get("num_experts")
    if not experts:
        return shape
    inner = int(get("moe_intermediate_size") or config["intermediate_size"])
    return replace(
        shape,
        experts=int(experts),
        experts_per_token=int(get("num_experts_per_tok") or 1),
        expert_intermediate=inner,
        shared_intermediate=int(get("n_shared_experts") or 0) * inner,
        dense_layers=int(get("first_k_dense_replace") or 0),
    )
