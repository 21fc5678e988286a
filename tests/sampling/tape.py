"""CUDA graphs played on a CPU: operators are recorded with the very tensors and numbers they had, and done again.

As on a GPU, a number that Python read while recording stays as it was; what the work computes on the way lives in
memory that others use in between; and work that asks a tensor for its value, or brings numbers in from Python's
memory, cannot be recorded.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_ASKS = {
    "item",
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "equal",
    "is_nonzero",
    "_unique2",
    "unique_dim",
}
_EMPTY = {"empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided"}


class _Log(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.__name__.split(".")[0]
        by_mask = name.startswith("index") and any(x.dtype == torch.bool for x in _tensors((args, kwargs)))
        if name in _ASKS or by_mask:
            raise RuntimeError(f"a value was asked for while recording: {name}")
        out = func(*args, **kwargs)
        self.done.append((func, name, args, kwargs, out))
        return out


def _tensors(tree):
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


def _place(x):
    return x.untyped_storage().data_ptr()


@contextlib.contextmanager
def _refusing():
    """Ways between tensors and Python that no operator stands for."""

    def refuse(*_, **__):
        raise RuntimeError("Python and a tensor met while recording")

    doors = [(Tensor, n) for n in ("cpu", "numpy", "tolist", "item")]
    doors += [(torch, n) for n in ("from_numpy", "tensor", "as_tensor")]
    with contextlib.ExitStack() as stack:
        for owner, name in doors:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, refuse)
        yield


class Tape:
    """A ``Recorder`` without a GPU."""

    def __init__(self):
        self.recorded, self.forgotten = 0, 0

    def record(self, work):
        work()
        with _refusing(), _Log() as log:
            work()
        self.recorded += 1
        own, again = {}, []
        for func, name, args, kwargs, out in log.done:
            places, outs = {_place(x) for x in _tensors((args, kwargs))}, _tensors(out)
            if func._schema.is_mutable:
                again.append((func, args, kwargs, ()))
            elif not all(_place(x) in places for x in outs):  # else it is a view
                own |= {_place(x): x for x in outs}
                again += [(func, args, kwargs, outs)] if name not in _EMPTY else []
        return lambda: _play(list(own.values()), again)

    def forget(self):
        self.forgotten += 1


def _play(own, again):
    for x in own:  # what other work may have left in memory that is this work's only while it lasts
        x.fill_(torch.nan if x.is_floating_point() else 7)
    for func, args, kwargs, places in again:
        out = func(*args, **kwargs)
        if places:
            for place, value in zip(places, out if isinstance(out, (tuple, list)) else (out,), strict=True):
                place.copy_(value)
