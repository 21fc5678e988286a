"""The config of a GGUF file's model. transformers knows how each architecture's fields are called; what it leaves at
a default although the file says otherwise (rope scaling, widths of experts, further stop tokens) is read here."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha.checkpoints import gguf_header
from aha.checkpoints.changes import change_config
from aha.checkpoints.gguf_header import Header
from aha.types import AhaError

if TYPE_CHECKING:
    import numpy as np

FIELDS = {
    "attention.key_length": "head_dim",
    "attention.sliding_window": "sliding_window",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
"""Names in the file, and in those configs that have them."""
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
STOPS = ("eos_token_id", "eot_token_id", "eom_token_id")


def read_config(path: Path, header: Header, values: Callable[[str], np.ndarray]) -> Any:
    """transformers' config of the file's model. ``values`` gives a tensor's by its name. Raises AhaError for
    architectures and positions that are not known."""
    config = _translated(path, header)
    for theirs, ours in FIELDS.items():
        if header.get(theirs) is not None and getattr(config, ours, None) is not None:
            setattr(config, ours, header.get(theirs))
    embedding = next((tensor for tensor in header.tensors if tensor.name == "token_embd.weight"), None)
    if embedding is not None:
        config.vocab_size = embedding.shape[0]
    _scale_scores(config, header)
    _rope(config, path, header, values)
    return config


def _translated(path: Path, header: Header) -> Any:
    """What transformers makes of the header, without the vocabulary, which it would read entry by entry."""
    from transformers import AutoConfig

    with tempfile.TemporaryDirectory() as place:
        (Path(place) / path.name).write_bytes(gguf_header.without_vocabulary(path))
        try:
            return AutoConfig.from_pretrained(place, gguf_file=path.name)
        except Exception as error:  # KeyError, ValueError, NotImplementedError: all say that it is not known
            raise unknown(path, header, error) from error


def unknown(path: Path, header: Header, error: Exception) -> AhaError:
    """The refusal of an architecture that transformers does not read from GGUF files."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return AhaError(
        f"'{path}' holds a model of the architecture '{header.architecture}', which transformers cannot read from a "
        f"GGUF file ({reason}). Give the original checkpoint, a folder with config.json and *.safetensors."
    )


def stop_tokens(header: Header) -> int | list[int] | None:
    """The id, or ids, that end a completion: of the text, of a turn, and of a message, as the file names them."""
    stops = [header.fields.get(f"tokenizer.ggml.{name}") for name in STOPS]
    ids = list(dict.fromkeys(int(number) for number in stops if number is not None))
    return ids if len(ids) > 1 else next(iter(ids), None)


def _scale_scores(config: Any, header: Header) -> None:
    """The 27B models of Gemma 2 and 3 divide scores by another root than that of the head's size (llama.cpp)."""
    large = {"gemma2": 46, "gemma3": 62}
    if large.get(header.architecture) == config.num_hidden_layers:
        config.query_pre_attn_scalar = config.hidden_size // config.num_attention_heads


# --- rotary positions --------------------------------------------------------------------------------------


def _rope(config: Any, path: Path, header: Header, values: Callable[[str], np.ndarray]) -> None:
    """Give the config the file's rope scaling, of which fields speak, or tensors of factors."""
    kind = header.get("rope.scaling.type", "none")
    names = {tensor.name for tensor in header.tensors}
    if "rope_freqs.weight" in names:
        scaling = _llama3(config, path, values("rope_freqs.weight"))
    elif "rope_factors_long.weight" in names:
        scaling = _long(config, header, values)
    elif kind == "linear":
        scaling = {"rope_type": "linear", "factor": float(header.get("rope.scaling.factor", 1.0))}
    elif kind == "yarn":
        scaling = _yarn(config, header)
    elif kind in ("none", ""):
        return
    else:
        raise AhaError(f"'{path}' scales its rotary positions in a way that is not known here: '{kind}'.")
    if scaling:
        change_config(config, {"rope_scaling": scaling})


def _yarn(config: Any, header: Header) -> dict[str, Any]:
    original = header.get("rope.scaling.original_context_length", config.max_position_embeddings)
    return {
        "rope_type": "yarn",
        "factor": float(header.get("rope.scaling.factor", 1.0)),
        "original_max_position_embeddings": int(original),
    }


def _long(config: Any, header: Header, values: Callable[[str], np.ndarray]) -> dict[str, Any]:
    original = int(header.get("rope.scaling.original_context_length", config.max_position_embeddings))
    config.original_max_position_embeddings = original
    return {
        "rope_type": "longrope",
        "long_factor": values("rope_factors_long.weight").tolist(),
        "short_factor": values("rope_factors_short.weight").tolist(),
        "original_max_position_embeddings": original,
    }


def _llama3(config: Any, path: Path, factors: np.ndarray) -> dict[str, Any] | None:
    """The settings of Llama 3's rope scaling that give these ``factors`` of the wave lengths; None where all are 1."""
    largest = float(factors.max())
    if largest == 1.0:
        return None
    rope = config.rope_parameters
    expected = [
        _llama3_factor(2 * math.pi * rope["rope_theta"] ** (number / len(factors)), largest)
        for number in range(len(factors))
    ]
    if max(abs(float(has) - wants) for has, wants in zip(factors, expected, strict=True)) > 1e-3 * largest:
        raise AhaError(f"'{path}' scales its rotary positions by factors that are not those of Llama 3.")
    return {"rope_type": "llama3", "factor": largest, **LLAMA3}


def _llama3_factor(wave: float, factor: float) -> float:
    """By what a wave length of so many tokens is stretched (Llama 3.1)."""
    low, high, original = LLAMA3.values()
    if wave < original / high:
        return 1.0
    if wave > original / low:
        return factor
    smooth = (original / wave - low) / (high - low)
    return 1.0 / ((1 - smooth) / factor + smooth)
