"""The door through which transformers' modules reach our attention, and the trial each model must pass.

Families differ in ways no list of names keeps up with. So before a model is used it runs a few tokens: every
layer must come through this door exactly once, its mask must be causal (with or without a sliding window),
and what we compute must equal what the family's own plain attention computes. What fails is refused.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from aha import kernels
from aha.attention.modules import to_kernels, to_torch
from aha.attention.packed import Context, Packed, Variant
from aha.attention.plan import make_plan
from aha.types import AhaError

_log = logging.getLogger(__name__)
IMPLEMENTATION = "aha"
TRIAL_TOKENS = 7
TOLERANCE = 0.05
"""Relative difference from the family's own attention that the trial allows: bf16 rounds, errors are larger."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What one layer's attention asks of a cache."""

    kv_heads: int
    key_dim: int
    value_dim: int
    window: int | None


@dataclass(frozen=True, slots=True, eq=False)
class _Mask:
    """Stands where transformers passes a mask: what the model's mask functions would have drawn."""

    window: int | None
    seen: Callable[..., Tensor]  # (batch, head, query position, key position) -> bool


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
        _known[model] = _try_out(model)
        _try_kernels(model)


def layers(model: Any) -> tuple[Layer, ...]:
    """Shapes and windows of the model's layers, as its trial found them."""
    install(model)
    return _known[model]


def attend(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[Tensor, None]:
    """What transformers calls in each layer; ``context`` comes with the forward call."""
    context: Context | _Trial | None = kwargs.get("context")
    if context is None:
        raise AhaError(
            "This model is in use by aha and takes no calls of its own. "
            "Give it back with model.set_attn_implementation('sdpa')."
        )
    if isinstance(context, _Trial):
        context.note(module, query, key, value, attention_mask, kwargs)
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    variant = Variant(attention_mask.window, kwargs.get("softcap"), kwargs.get("s_aux"))
    return context.attend(int(module.layer_idx), query, key, value, scale, variant), None  # type: ignore[arg-type]


def _mask(*args: Any, mask_function: Any = None, local_size: int | None = None, **kwargs: Any) -> _Mask:
    """What transformers calls for each kind of mask that the model's layers use."""
    return _Mask(local_size, mask_function)


# --- the trial -------------------------------------------------------------------------------------------


class _Failed(Exception):
    """Why a model cannot be computed here, in words."""


class _Trial:
    """The context of a trial: one sequence; each call is checked against the family's own attention."""

    def __init__(self, device: torch.device):
        segments = np.array([(0, TRIAL_TOKENS, 0, 0)])
        self.packed = Packed(make_plan(segments, device))
        self.layers: dict[int, Layer] = {}
        self.checked: set[int | None] = set()

    def note(
        self,
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Any,
        kwargs: dict[str, Any],
    ) -> None:
        """Look at one layer's call before it is computed."""
        if not isinstance(mask, _Mask):
            raise _Failed("it masks attention in a way of its own")
        if mask.window not in self.checked:
            _check_mask(mask, query.device)
            self.checked.add(mask.window)
        index = getattr(module, "layer_idx", None)
        if not isinstance(index, int) or index in self.layers:
            raise _Failed("attention is computed several times in one layer")
        self.layers[index] = Layer(key.shape[1], key.shape[3], value.shape[3], mask.window)
        eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
        self.wanted = None
        if eager is not None:
            positions = torch.arange(TRIAL_TOKENS, device=query.device)
            seen = mask.seen(0, 0, positions[:, None], positions[None])
            bias = torch.zeros(seen.shape, dtype=query.dtype, device=query.device)
            bias = bias.masked_fill(~seen, torch.finfo(query.dtype).min)[None, None]
            self.wanted = eager(module, query, key, value, bias, **{**kwargs, "dropout": 0.0})[0]

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, variant: Variant
    ) -> Tensor:
        """As packed attention; raises where the family's own result is another."""
        out = self.packed.attend(layer, query, key, value, scale, variant)
        if self.wanted is not None:
            wanted = self.wanted.float()
            if not (out.float() - wanted).norm() <= TOLERANCE * wanted.norm() + 1e-12:
                raise _Failed(f"the attention of layer {layer} is of a kind that is not known here")
        return out


def _check_mask(mask: _Mask, device: torch.device) -> None:
    """A causal mask, with the window it says: looked up at queries on both sides of every edge."""
    window = mask.window or 1000
    query = torch.tensor([0, 1, 2, window - 1, window, window + 1, 2 * window + 3, 3 * window + 1])
    query = query.to(device)[:, None]
    key = torch.arange(4 * window + 3, device=device)[None]
    wanted = key <= query
    if mask.window:
        wanted = wanted & (query - key < mask.window)
    try:
        seen = mask.seen(0, 0, query, key)
    except Exception as error:  # masks that look at this call's tokens cannot be asked about others
        raise _Failed("its masks depend on more than positions") from error
    if not torch.equal(seen.expand_as(wanted), wanted):
        raise _Failed("its layers see other tokens than the past, or the past within a sliding window")


@torch.no_grad()
def _try_out(model: Any) -> tuple[Layer, ...]:
    """Run a few tokens; returns what each layer asked for. Raises AhaError where something does not hold."""
    weight = model.get_input_embeddings().weight
    trial = _Trial(weight.device)
    positions = torch.arange(TRIAL_TOKENS, device=weight.device)[None]
    ids = (positions + 1) % weight.shape[0]
    try:
        model.base_model(input_ids=ids, position_ids=positions, context=trial, use_cache=False)
    except _Failed as failed:
        raise _refusal(model, str(failed)) from failed
    except AhaError as error:  # a layer that calls its attention without what the model was given
        raise _refusal(model, "its layers do not hand on to their attention what a call brings along") from error
    except (TypeError, AttributeError, ValueError, KeyError) as error:
        raise _refusal(model, f"a trial of {TRIAL_TOKENS} tokens failed: {error}") from error
    missing = sorted(set(range(model.config.num_hidden_layers)) - set(trial.layers))
    if missing:
        shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        raise _refusal(model, f"layers {shown} mix tokens by something else than softmax attention")
    return tuple(layer for _, layer in sorted(trial.layers.items()))


@torch.no_grad()
def _try_kernels(model: Any) -> None:
    """Give modules their kernels where that changes nothing but rounding."""
    weight = model.get_input_embeddings().weight
    if not kernels.takes(weight):
        return
    positions = torch.arange(TRIAL_TOKENS)[None]
    ids = (positions + 1) % weight.shape[0]

    def made() -> Tensor:
        context = Packed(make_plan(np.array([(0, TRIAL_TOKENS, 0, 0)])))
        out = model.base_model(input_ids=ids, position_ids=positions, context=context, use_cache=False)
        return out.last_hidden_state.float()

    to_torch(model)
    wanted = made()
    if to_kernels(model) and not (made() - wanted).norm() <= TOLERANCE * wanted.norm():
        _log.warning("%s computes otherwise with kernels: it goes without", type(model).__name__)
        to_torch(model)


def _refusal(model: Any, reason: str) -> AhaError:
    return AhaError(
        f"{type(model).__name__} ({model.config.model_type}) cannot be sampled or trained: {reason}. "
        "Supported are decoder-only models whose every layer attends by softmax to the past, such as Llama, "
        "Qwen2, Qwen3, Mistral, Mixtral, Gemma 2 and 3, DeepSeek-V2 and V3, GPT-OSS, Phi-3 and OLMo-2."
    )
