"""Well-known models made small: every family of the published shapes with tiny sizes and random weights."""

from __future__ import annotations

import torch

from aha.planning import published
from aha.planning.shapes import from_config

BY_FAMILY = {config["model_type"]: config for config in published.PUBLISHED.values()}
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 300,
    "max_position_embeddings": 512,
    "sliding_window": 256,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
    "first_k_dense_replace": 1,
}


def shrunk(family, layers=2, **changes):
    """(model, shape) of a family, in float32."""
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = {k: v if v is None else SIZES.get(k, v) for k, v in BY_FAMILY[family].items()}
    fields |= {"num_hidden_layers": layers, **changes}
    if "kv_lora_rank" in fields:
        fields |= {"num_key_value_heads": 4, "n_group": 2, "topk_group": 1}
    ends = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    config = AutoConfig.for_model(**fields, **ends)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    return model, from_config(config.to_dict(), family)
