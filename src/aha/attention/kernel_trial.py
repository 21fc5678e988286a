"""Which models get kernels: each module is tried on what it is really given.

A module's inputs are noted as the model runs some tokens. From them it computes with its kernel, without it, and
without it in a finer type, which is the truth. One module at a time: over a whole model of many layers the rounding
of bf16 grows to tenths, so that neither way could be told from a wrong one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from aha import kernels, trials
from aha.attention.layout import make_plan
from aha.attention.modules import has_kernel, to_kernels, to_torch
from aha.attention.packed import Packed

MOST_PARAMETERS = 1 << 26
"""Of the modules that are tried: of a larger model's equal layers some, spread over all of them."""
_log = logging.getLogger(__name__)

Turn = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of a module as the model made it, and what came of it without a kernel."""

    name: str
    module: torch.nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Tensor

    def again(self) -> Tensor:
        """What the module makes of it now."""
        return _first(self.module(*self.args, **self.kwargs))

    def exactly(self, turn: Turn = trials.finer_of) -> Tensor:
        """In a finer type, without a kernel: weights, buffers and inputs are turned into it."""
        module = self.module
        state = {n: _turned(x, turn) for n, x in (*module.named_parameters(), *module.named_buffers())}
        turned = {name: _turned(value, turn) for name, value in self.kwargs.items()}
        args = tuple(_turned(value, turn) for value in self.args)
        return _first(functional_call(module, state, args, turned))


@torch.no_grad()
def try_kernels(model: Any) -> None:
    """Give modules their kernels where those are as near to the truth as the modules themselves."""
    to_torch(model)
    if not kernels.takes(model.get_input_embeddings().weight):
        return
    calls = _calls(model, trials.token_ids(model))
    truths = [call.exactly() for call in calls]
    if not to_kernels(model):
        return
    outputs = [call.again() for call in calls]
    if not all(map(_as_good, calls, outputs, truths)):
        to_torch(model)
        if worse := [_words(*one) for one in zip(calls, outputs, truths, strict=True) if not _stands(*one)]:
            name = type(model).__name__
            _log.warning("%s computes otherwise with kernels: it goes without (%s)", name, worse[0])
        else:
            to_kernels(model)


def _as_good(call: _Call, output: Tensor, truth: Tensor) -> bool:
    ours, plain = (trials.error(x, truth) for x in (output, call.out))
    return trials.as_good(ours, plain, output.dtype)


def _stands(call: _Call, output: Tensor, truth: Tensor) -> bool:
    """Whether ``output`` is as good as the module without its kernel, or as its truth about inputs that are
    moved by rounding."""
    moved = max(trials.error(call.exactly(shake), truth) for shake in trials.shakes())
    ours = trials.error(output, truth)
    return _as_good(call, output, truth) or trials.as_good(ours, moved, output.dtype)


def _words(call: _Call, output: Tensor, truth: Tensor) -> str:
    ours, plain = (trials.error(x, truth) for x in (output, call.out))
    return f"{call.name} errs by {ours:.2g} with its kernel, by {plain:.2g} without"


def _calls(model: Any, ids: Tensor) -> list[_Call]:
    """What modules that may get a kernel are given in a run of ``ids`` [1, L]."""
    calls: list[_Call] = []

    def note(name: str, module: torch.nn.Module) -> Any:
        def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            calls.append(_Call(name, module, args, kwargs, _first(out)))

        return module.register_forward_hook(hook, with_kwargs=True)

    tokens = ids.shape[1]
    context = Packed(make_plan(np.array([(0, tokens, 0, 0)])))
    hooks = [note(name, module) for name, module in _candidates(model)]
    try:
        model.base_model(
            input_ids=ids, position_ids=torch.arange(tokens)[None], context=context, use_cache=False
        )
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _candidates(model: Any) -> list[tuple[str, torch.nn.Module]]:
    """Modules that there are kernels for; of each kind so many as ``MOST_PARAMETERS`` allows, the last among them."""
    named = [(n, m) for n, m in model.base_model.named_modules() if has_kernel(m, model.config.model_type)]
    size = sum(p.numel() for _, module in named for p in module.parameters())
    every = -(-size // MOST_PARAMETERS)
    kinds: dict[str, list[tuple[str, torch.nn.Module]]] = {}
    for name, module in named:
        shapes = [tuple(p.shape) for p in module.parameters()]
        kinds.setdefault(f"{type(module)} {shapes}", []).append((name, module))
    return [one for kind in kinds.values() for one in kind[::-1][:: max(1, every)]]


def _turned(value: Any, turn: Turn) -> Any:
    """``turn`` of a tensor of numbers, or of several; anything else as it is."""
    if isinstance(value, tuple):
        return tuple(_turned(part, turn) for part in value)
    return turn(value) if isinstance(value, Tensor) and value.is_floating_point() else value


def _first(out: Any) -> Tensor:
    """What a module makes; attention gives weights beside it."""
    return out[0] if isinstance(out, tuple) else out
