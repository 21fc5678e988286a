"""The door through which transformers' modules reach our attention.

Families differ in ways no list of names keeps up with. So before a model is used its layers are tried
(``layer_trial.py``), and what fails is refused; and its modules get kernels where those pass theirs
(``kernel_trial.py``).
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from aha.attention.interface import IMPLEMENTATION, attend, mask
from aha.attention.kernel_trial import try_kernels
from aha.attention.layer_trial import TrialFailed, TrialLayer, try_layers
from aha.attention.packed import unnoted
from aha.types import AhaError

_known: WeakKeyDictionary[Any, tuple[TrialLayer, ...]] = WeakKeyDictionary()


def install(model: Any) -> None:
    """Route a transformers model's attention through the ``context`` given to each forward call.

    Raises AhaError, the first time, for a model whose layers cannot be computed so.
    """
    if model.config._attn_implementation != IMPLEMENTATION:
        from transformers import AttentionInterface, AttentionMaskInterface

        AttentionInterface.register(IMPLEMENTATION, attend)
        AttentionMaskInterface.register(IMPLEMENTATION, mask)
        model.set_attn_implementation(IMPLEMENTATION)
        if model.config._attn_implementation != IMPLEMENTATION:
            raise _refusal(model, "its attention cannot be replaced")
    if model not in _known:
        with unnoted():  # trials compute in finer types, for which there are no kernels
            try:
                _known[model] = try_layers(model)
            except TrialFailed as failed:
                raise _refusal(model, str(failed)) from failed
            try_kernels(model)


def layers(model: Any) -> tuple[TrialLayer, ...]:
    """Shapes and windows of the model's layers, as its trial found them."""
    install(model)
    return _known[model]


def _refusal(model: Any, reason: str) -> AhaError:
    return AhaError(
        f"{type(model).__name__} ({model.config.model_type}) cannot be sampled or trained: {reason}. "
        "Supported are decoder-only models whose every layer attends by softmax to the past, such as Llama, "
        "Qwen2, Qwen3, Mistral, Mixtral, Gemma 2 and 3, DeepSeek-V2 and V3, GPT-OSS, Phi-3 and OLMo-2."
    )
