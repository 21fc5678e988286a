"""The trial that every model must pass before its attention is computed here.

It runs some tokens: every layer must come through our door exactly once, its mask must be causal (with or without a
sliding window), and what we compute must be what the family's own attention computes from the same queries, keys and
values. That is asked twice. In a finer type both must be equal, so that the kind of attention is known; in the
model's own type we may be as far from that truth as the family's own code is, since large scores make bf16 err by
more than a tenth.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aha import trials
from aha.attention.layout import make_plan
from aha.attention.packed import Packed, Variant
from aha.types import AhaError

KIND = 1e-3
"""Relative difference in the finer type: other attention differs by more, rounding by less."""


@dataclass(frozen=True, slots=True)
class TrialLayer:
    """What one layer's attention asks of a cache."""

    kv_heads: int
    key_dim: int
    value_dim: int
    window: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """Stands where transformers passes a mask: what the model's mask functions would have drawn."""

    window: int | None
    seen: Callable[..., Tensor]  # (batch, head, query position, key position) -> bool


class TrialFailed(Exception):
    """Why a model cannot be computed here, in words."""


class LayerTrial:
    """The context of a trial: one sequence of ``tokens``; each call is held against the family's own attention."""

    def __init__(self, tokens: int, device: torch.device):
        self.tokens = tokens
        self.packed = Packed(make_plan(np.array([(0, tokens, 0, 0)]), device))
        self.layers: dict[int, TrialLayer] = {}
        self.checked: set[int | None] = set()
        self.family: Callable[..., Tensor] | None = None

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
        if not isinstance(mask, Mask):
            raise TrialFailed("it masks attention in a way of its own")
        if mask.window not in self.checked:
            _check_mask(mask, query.device)
            self.checked.add(mask.window)
        index = getattr(module, "layer_idx", None)
        if not isinstance(index, int) or index in self.layers:
            raise TrialFailed("attention is computed several times in one layer")
        self.layers[index] = TrialLayer(key.shape[1], key.shape[3], value.shape[3], mask.window)
        self.family = self._family(module, mask, kwargs)

    def _family(
        self, module: torch.nn.Module, mask: Mask, kwargs: dict[str, Any]
    ) -> Callable[..., Tensor] | None:
        """The family's own plain attention of queries, keys and values in any type, where it has one."""
        eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
        if eager is None:
            return None

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            positions = torch.arange(self.tokens, device=query.device)
            seen = mask.seen(0, 0, positions[:, None], positions[None])
            bias = torch.zeros(seen.shape, dtype=query.dtype, device=query.device)
            bias = bias.masked_fill(~seen, torch.finfo(query.dtype).min)[None, None]
            return eager(module, query, key, value, bias, **{**kwargs, "dropout": 0.0})[0]

        return attend

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, variant: Variant
    ) -> Tensor:
        """As packed attention. Raises TrialFailed where it is not the family's."""
        out = self.packed.attend(layer, query, key, value, scale, variant)
        if self.family is not None:
            qkv = (query, key, value)
            q, k, v = (trials.finer_of(x) for x in qkv)
            truth = self.family(q, k, v)
            if not _error(self.packed.attend(layer, q, k, v, scale, variant), truth) <= KIND:
                raise TrialFailed(f"the attention of layer {layer} is of a kind that is not known here")
            ours, own = (_error(x, truth) for x in (out, self.family(*qkv)))
            if not trials.as_good(ours, own, out.dtype):
                moved = [self.family(*(shake(x) for x in qkv)) for shake in trials.shakes()]
                own = max(own, *(_error(x, truth) for x in moved))
            if not trials.as_good(ours, own, out.dtype):
                raise TrialFailed(
                    f"the attention of layer {layer} errs by {ours:.2%} in {out.dtype}, the family's own by {own:.2%}"
                )
        return out


def _error(output: Tensor, truth: Tensor) -> float:
    """Of attention's results [1, T, H, D], token by token."""
    return trials.error(output.flatten(2), truth.flatten(2))


def _check_mask(mask: Mask, device: torch.device) -> None:
    """A causal mask, with the window it says: looked up at queries on both sides of every edge."""
    window = mask.window or 1000
    query = torch.tensor([0, 1, 2, window - 1, window, window + 1, 2 * window + 3, 3 * window + 1])
    query = query.to(device)[:, None]
    key = torch.arange(4 * window + 3, device=device)[None]
    visible = key <= query
    if mask.window:
        visible = visible & (query - key < mask.window)
    try:
        seen = mask.seen(0, 0, query, key)
    except Exception as error:  # masks that look at this call's tokens cannot be asked about others
        raise TrialFailed("its masks depend on more than positions") from error
    if not torch.equal(seen.expand_as(visible), visible):
        raise TrialFailed("its layers see other tokens than the past, or the past within a sliding window")


@torch.no_grad()
def try_layers(model: Any) -> tuple[TrialLayer, ...]:
    """Run some text and some odd tokens; returns what each layer asked for. Raises TrialFailed where something does
    not hold."""
    layers = _tried(model, trials.token_ids(model))
    missing = sorted(set(range(model.config.num_hidden_layers)) - set(layers))
    if missing:
        shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        raise TrialFailed(f"layers {shown} mix tokens by something else than softmax attention")
    return tuple(layer for _, layer in sorted(layers.items()))


def _tried(model: Any, ids: Tensor) -> dict[int, TrialLayer]:
    tokens = ids.shape[1]
    trial, positions = LayerTrial(tokens, ids.device), torch.arange(tokens, device=ids.device)[None]
    try:
        model.base_model(input_ids=ids, position_ids=positions, context=trial, use_cache=False)
    except AhaError as error:  # a layer that calls its attention without what the model was given
        raise TrialFailed("its layers do not hand on to their attention what a call brings along") from error
    except (TrialFailed, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of any kind: it is transformers' or the checkpoint's own code that runs here
        raise TrialFailed(f"a trial of {tokens} tokens failed: {error}") from error
    return trial.layers
