"""The door through which transformers' modules reach our attention.

Families differ in ways no list of names keeps up with. So before a model is used its layers are tried
(``layer_trial.py``), and what fails is refused; and its modules get kernels where those pass theirs
(``kernel_trial.py``).
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from aha.attention.kernel_trial import try_kernels
from aha.attention.layer_trial import Layer, LayerTrial, Mask, TrialFailed, try_layers
from aha.attention.packed import Context, Variant
from aha.types import AhaError

IMPLEMENTATION = "aha"
_known: WeakKeyDictionary[Any, tuple[Layer, ...]] = WeakKeyDictionary()


def install(model: Any) -> None:
    """Route a transformers model's attention through the ``context`` given to each forward call.

    Raises AhaError, the first time, for a model whose layers cannot be computed so.
    """
    if model.config._attn_implementation != IMPLEMENTATION:
        from transformers import AttentionInterface, AttentionMaskInterface

        AttentionInterface.register(IMPLEMENTATION, attend)
        AttentionMaskInterface.register(IMPLEMENTATION, _mask)
        model.set_attn_implementation(IMPLEMENTATION)
        if model.config._attn_implementation != IMPLEMENTATION:
            raise _refusal(model, "its attention cannot be replaced")
    if model not in _known:
        try:
            _known[model] = try_layers(model)
        except TrialFailed as failed:
            raise _refusal(model, str(failed)) from failed
        try_kernels(model)


def layers(model: Any) -> tuple[Layer, ...]:
    """Shapes and windows of the model's layers, as its trial found them."""
    install(model)
    return _known[model]


def attend(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[Tensor, None]:
    """What transformers calls in each layer; ``context`` comes with the forward call."""
    context: Context | LayerTrial | None = kwargs.get("context")
    if context is None:
        raise AhaError(
            "This model is in use by aha and takes no calls of its own. "
            "Give it back with model.set_attn_implementation('sdpa')."
        )
    if isinstance(context, LayerTrial):
        context.note(module, query, key, value, attention_mask, kwargs)
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    variant = Variant(attention_mask.window, kwargs.get("softcap"), kwargs.get("s_aux"))
    return context.attend(int(module.layer_idx), query, key, value, scale, variant), None  # type: ignore[arg-type]


def _mask(*args: Any, mask_function: Any = None, local_size: int | None = None, **kwargs: Any) -> Mask:
    """What transformers calls for each kind of mask that the model's layers use."""
    return Mask(local_size, mask_function)


def _refusal(model: Any, reason: str) -> AhaError:
    return AhaError(
        f"{type(model).__name__} ({model.config.model_type}) cannot be sampled or trained: {reason}. "
        "Supported are decoder-only models whose every layer attends by softmax to the past, such as Llama, "
        "Qwen2, Qwen3, Mistral, Mixtral, Gemma 2 and 3, DeepSeek-V2 and V3, GPT-OSS, Phi-3 and OLMo-2."
    )
