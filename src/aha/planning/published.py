"""Shapes of well-known models as their publishers' config files give them: fields of transformers' configs.

Gemma 3 from 4B on is published with an image encoder; the shape is that of its text model, which is what can
be sampled and trained here. DeepSeek-V3 without its multi-token-prediction module, which transformers leaves
out as well.
"""

from __future__ import annotations

from typing import Any

_NAMES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
)


def _family(
    model_type: str,
    sizes: dict[str, tuple[int, ...]],
    common: dict[str, Any],
    special: dict[str, dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Hub name -> config; ``sizes`` in the order of ``_NAMES``, ``special``: what one model has of its own."""
    return {
        name: {
            "model_type": model_type,
            **common,
            **dict(zip(_NAMES, size, strict=True)),
            **special.get(name, {}),
        }
        for name, size in sizes.items()
    }


_QWEN25_SIZES = {
    "0.5B": (896, 24, 14, 2, 4864),
    "1.5B": (1536, 28, 12, 2, 8960),
    "3B": (2048, 36, 16, 2, 11008),
    "7B": (3584, 28, 28, 4, 18944),
    "14B": (5120, 48, 40, 8, 13824),
    "32B": (5120, 64, 40, 8, 27648),
    "72B": (8192, 80, 64, 8, 29568),
}
_TIED = {"vocab_size": 151936, "tie_word_embeddings": True}
_QWEN25 = _family(
    "qwen2",
    {f"Qwen/Qwen2.5-{size}": numbers for size, numbers in _QWEN25_SIZES.items()},
    {
        "vocab_size": 152064,
        "tie_word_embeddings": False,
        "max_position_embeddings": 32768,
        "use_sliding_window": False,
    },
    {f"Qwen/Qwen2.5-{size}": _TIED for size in ("0.5B", "1.5B", "3B")},
)
_QWEN3 = _family(
    "qwen3",
    {
        "Qwen/Qwen3-0.6B": (1024, 28, 16, 8, 3072),
        "Qwen/Qwen3-1.7B": (2048, 28, 16, 8, 6144),
        "Qwen/Qwen3-4B": (2560, 36, 32, 8, 9728),
        "Qwen/Qwen3-8B": (4096, 36, 32, 8, 12288),
        "Qwen/Qwen3-14B": (5120, 40, 40, 8, 17408),
        "Qwen/Qwen3-32B": (5120, 64, 64, 8, 25600),
    },
    {
        "vocab_size": 151936,
        "head_dim": 128,
        "tie_word_embeddings": False,
        "max_position_embeddings": 40960,
        "use_sliding_window": False,
    },
    {f"Qwen/Qwen3-{size}": {"tie_word_embeddings": True} for size in ("0.6B", "1.7B", "4B")},
)
_QWEN3_MOE = _family(
    "qwen3_moe",
    {"Qwen/Qwen3-30B-A3B": (2048, 48, 32, 4, 6144), "Qwen/Qwen3-235B-A22B": (4096, 94, 64, 4, 12288)},
    {
        "vocab_size": 151936,
        "head_dim": 128,
        "tie_word_embeddings": False,
        "max_position_embeddings": 40960,
        "use_sliding_window": False,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    },
    {"Qwen/Qwen3-235B-A22B": {"moe_intermediate_size": 1536}},
)
_LLAMA = _family(
    "llama",
    {
        "meta-llama/Llama-3.2-1B": (2048, 16, 32, 8, 8192),
        "meta-llama/Llama-3.2-3B": (3072, 28, 24, 8, 8192),
        "meta-llama/Llama-3.1-8B": (4096, 32, 32, 8, 14336),
        "meta-llama/Llama-3.1-70B": (8192, 80, 64, 8, 28672),
        "meta-llama/Llama-3.3-70B-Instruct": (8192, 80, 64, 8, 28672),
        "meta-llama/Llama-3.1-405B": (16384, 126, 128, 8, 53248),
    },
    {"vocab_size": 128256, "tie_word_embeddings": False, "max_position_embeddings": 131072},
    {
        "meta-llama/Llama-3.2-1B": {"head_dim": 64, "tie_word_embeddings": True},
        "meta-llama/Llama-3.2-3B": {"head_dim": 128, "tie_word_embeddings": True},
    },
)
_GEMMA2 = _family(
    "gemma2",
    {
        "google/gemma-2-2b": (2304, 26, 8, 4, 9216),
        "google/gemma-2-9b": (3584, 42, 16, 8, 14336),
        "google/gemma-2-27b": (4608, 46, 32, 16, 36864),
    },
    {
        "vocab_size": 256000,
        "head_dim": 256,
        "tie_word_embeddings": True,
        "max_position_embeddings": 8192,
        "sliding_window": 4096,
    },
    {"google/gemma-2-27b": {"head_dim": 128}},
)
_GEMMA3 = _family(
    "gemma3_text",
    {
        "google/gemma-3-1b-pt": (1152, 26, 4, 1, 6912),
        "google/gemma-3-4b-pt": (2560, 34, 8, 4, 10240),
        "google/gemma-3-12b-pt": (3840, 48, 16, 8, 15360),
        "google/gemma-3-27b-pt": (5376, 62, 32, 16, 21504),
    },
    {
        "vocab_size": 262208,
        "head_dim": 256,
        "tie_word_embeddings": True,
        "max_position_embeddings": 131072,
        "sliding_window": 1024,
    },
    {
        "google/gemma-3-1b-pt": {
            "vocab_size": 262144,
            "max_position_embeddings": 32768,
            "sliding_window": 512,
        },
        "google/gemma-3-27b-pt": {"head_dim": 128},
    },
)
_MISTRAL = _family(
    "mistral",
    {
        "mistralai/Mistral-7B-v0.1": (4096, 32, 32, 8, 14336),
        "mistralai/Mistral-7B-v0.3": (4096, 32, 32, 8, 14336),
        "mistralai/Mistral-Nemo-Base-2407": (5120, 40, 32, 8, 14336),
        "mistralai/Mistral-Small-24B-Base-2501": (5120, 40, 32, 8, 32768),
    },
    {
        "vocab_size": 131072,
        "head_dim": 128,
        "tie_word_embeddings": False,
        "max_position_embeddings": 32768,
        "sliding_window": None,
    },
    {
        "mistralai/Mistral-7B-v0.1": {"vocab_size": 32000, "sliding_window": 4096},
        "mistralai/Mistral-7B-v0.3": {"vocab_size": 32768},
        "mistralai/Mistral-Nemo-Base-2407": {"max_position_embeddings": 131072},
    },
)
_MIXTRAL = _family(
    "mixtral",
    {"mistralai/Mixtral-8x7B-v0.1": (4096, 32, 32, 8, 14336)},
    {
        "vocab_size": 32000,
        "tie_word_embeddings": False,
        "max_position_embeddings": 32768,
        "sliding_window": None,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    },
    {},
)
_DEEPSEEK = _family(
    "deepseek_v3",
    dict.fromkeys(
        ("deepseek-ai/DeepSeek-V3-Base", "deepseek-ai/DeepSeek-V3", "deepseek-ai/DeepSeek-R1"),
        (7168, 61, 128, 128, 18432),
    ),
    {
        "vocab_size": 129280,
        "tie_word_embeddings": False,
        "max_position_embeddings": 163840,
        "moe_intermediate_size": 2048,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "first_k_dense_replace": 3,
        "q_lora_rank": 1536,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
    },
    {},
)
PUBLISHED: dict[str, dict[str, Any]] = (
    _QWEN25 | _QWEN3 | _QWEN3_MOE | _LLAMA | _GEMMA2 | _GEMMA3 | _MISTRAL | _MIXTRAL | _DEEPSEEK
)
"""Configs by hub name."""

_SAME_SHAPE = ("-Instruct", "-Base", "-it", "-pt", "-Math")


def key_of(name: str) -> str:
    """A name without what says how a model was tuned, in lower case: variants of one size have one shape."""
    for part in _SAME_SHAPE:
        name = name.replace(part, "")
    return name.lower().rsplit("/", 1)[-1]


def find(name: str) -> dict[str, Any] | None:
    """The config of a model by its hub name, by the part after the owner, or by a tuned variant's name."""
    if name in PUBLISHED:
        return PUBLISHED[name]
    by_key = {key_of(known): config for known, config in PUBLISHED.items()}
    return by_key.get(key_of(name))
