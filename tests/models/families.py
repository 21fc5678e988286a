"""Small random models of every family, made from transformers' own configs with the tiny tokenizer's words."""

from __future__ import annotations

import torch

WINDOW = 6
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,  # far from uniform, so that a wrong position or mask shows
    "tie_word_embeddings": False,
    "bos_token_id": None,
}
MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
MIXED = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
MLA = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
    "n_routed_experts": 8,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}

FAMILIES: dict[str, tuple[str, dict]] = {
    "llama": ("LlamaConfig", {"rope_parameters": LLAMA3}),
    "qwen2": ("Qwen2Config", {}),
    "qwen2-window": (
        "Qwen2Config",
        {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3Config", {"tie_word_embeddings": True}),
    "qwen2-moe": ("Qwen2MoeConfig", MOE | {"num_experts": 4, "shared_expert_intermediate_size": 24}),
    "qwen3-moe": ("Qwen3MoeConfig", MOE | {"num_experts": 4, "norm_topk_prob": True}),
    "gemma2": (
        "Gemma2Config",
        MIXED
        | {"attn_logit_softcapping": 3.0, "final_logit_softcapping": 5.0, "query_pre_attn_scalar": 8}
        | {"tie_word_embeddings": True},
    ),
    "gemma3": ("Gemma3TextConfig", MIXED | {"query_pre_attn_scalar": 8, "tie_word_embeddings": True}),
    "mistral": ("MistralConfig", {"sliding_window": WINDOW}),
    "mixtral": ("MixtralConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "deepseek-v2": (
        "DeepseekV2Config",
        MLA | MOE | {"n_shared_experts": 1, "topk_method": "group_limited_greedy", "head_dim": None},
    ),
    "deepseek-v3": ("DeepseekV3Config", MLA | MOE | {"n_shared_experts": 1, "head_dim": None}),
    "gpt-oss": ("GptOssConfig", MIXED | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "phi3": ("Phi3Config", {"sliding_window": WINDOW, "pad_token_id": None}),
    "olmo2": ("Olmo2Config", {}),
    # Learned positions, a decoder that its own head calls past the base model, and other names of the same sizes.
    "opt": ("OPTConfig", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "gpt2": ("GPT2Config", {}),
    "gpt-neox": ("GPTNeoXConfig", {}),
    "phi": ("PhiConfig", {"pad_token_id": None}),
    "granite": (
        "GraniteConfig",
        {"logits_scaling": 4.0, "attention_multiplier": 0.3, "embedding_multiplier": 2.0},
    ),
    "cohere2": ("Cohere2Config", MIXED | {"logit_scale": 0.25, "tie_word_embeddings": True}),
    "exaone4": ("Exaone4Config", MIXED),
    "smollm3": ("SmolLM3Config", {"no_rope_layers": [1, 0], "pad_token_id": None}),
    "ernie4-5": ("Ernie4_5Config", {"tie_word_embeddings": True}),
    "hunyuan": ("HunYuanDenseV1Config", {}),
}
DAILY = ("llama", "qwen2", "qwen3", "qwen3-moe", "gemma2", "mistral", "deepseek-v3", "gpt-oss", "opt")
"""The families of the default run: together they have every feature."""


def make(family: str, tokenizer, dtype=torch.float32, seed=0, **changes):
    """A random model of ``family`` with eager attention, its norms, biases and sinks away from their start."""
    import transformers

    name, special = FAMILIES[family]
    settings = SHAPE | special | changes
    settings = {key: value for key, value in settings.items() if value is not None or key == "bos_token_id"}
    config = getattr(transformers, name)(
        vocab_size=len(tokenizer),
        eos_token_id=tokenizer.eos_token_id,
        **{"pad_token_id": tokenizer.pad_token_id} | settings,
    )
    config._attn_implementation = "eager"
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for value in [*model.parameters(), *(b for n, b in model.named_buffers() if "correction" in n)]:
            if value.ndim == 1:
                value.add_(torch.randn_like(value) * 0.1)
    return model.to(dtype).eval()
