"""What transformers calls in a model whose attention is ours: each layer's attention, and each kind of mask."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aha.attention.layer_trial import LayerTrial, Mask
from aha.attention.packed import AttentionContext, Variant
from aha.types import AhaError

IMPLEMENTATION = "aha"


def attend(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[Tensor, None]:
    """What transformers calls in each layer; ``context`` comes with the forward call."""
    context: AttentionContext | LayerTrial | None = kwargs.get("context")
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


def mask(*args: Any, mask_function: Any = None, local_size: int | None = None, **kwargs: Any) -> Mask:
    """What transformers calls for each kind of mask that the model's layers use."""
    return Mask(local_size, mask_function)
