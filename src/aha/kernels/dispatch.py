"""How tensors reach the compiled kernels, and what of them may."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from aha.kernels.build import library

PREFIX = "aha::"
"""Kernels are named so in a profile."""
MAX_DIM = 512
"""The largest head that attention has room for."""
_NAMES = {torch.bfloat16: "bfloat16", torch.float32: "float32"}


class HeadShape(ctypes.Structure):
    """Heads of queries and of keys, their size, and the scale of scores."""

    _fields_ = (
        ("heads", ctypes.c_int64),
        ("kv_heads", ctypes.c_int64),
        ("dim", ctypes.c_int64),
        ("scale", ctypes.c_float),
    )


class Heads(ctypes.Structure):
    """A tensor [T, H, D], its last dimension contiguous."""

    _fields_ = (("data", ctypes.c_void_p), ("token", ctypes.c_int64), ("head", ctypes.c_int64))

    @classmethod
    def of(cls, x: Tensor) -> Heads:
        """As it stands, whatever its other strides."""
        return cls(x.data_ptr(), x.stride(0), x.stride(1))


class Cache(ctypes.Structure):
    """Keys and values [rows, kv_heads, room, dim], of which a row has ``lengths`` [rows] tokens."""

    _fields_ = (
        ("keys", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("lengths", ctypes.c_void_p),
        ("room", ctypes.c_int64),
    )


class GroupsOf(ctypes.Structure):
    """Rows that begin alike: ``decode.Groups``."""

    _fields_ = (
        ("count", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("order", "edges", "shared")),
    )


class Turn(ctypes.Structure):
    """What is done to queries and keys before they meet."""

    _fields_ = (
        ("query_norm", ctypes.c_void_p),
        ("key_norm", ctypes.c_void_p),
        ("cos", ctypes.c_void_p),
        ("sin", ctypes.c_void_p),
        ("eps", ctypes.c_float),
    )


class Linear(ctypes.Structure):
    """A weight [outputs, inputs] and a bias [outputs] or none."""

    _fields_ = (("weight", ctypes.c_void_p), ("bias", ctypes.c_void_p))

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None) -> Linear:
        """As they stand."""
        return cls(weight.data_ptr(), None if bias is None else bias.data_ptr())


class Layer(ctypes.Structure):
    """One layer's weights, and its keys and values in the cache."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("before", "between", "query_norm", "key_norm")),
        *((name, Linear) for name in ("qkv", "out", "both", "down")),
        *((name, ctypes.c_void_p) for name in ("keys", "values")),
    )


class DecoderModel(ctypes.Structure):
    """All layers, the norm behind them, and what they share."""

    _fields_ = (
        ("layers", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("count", "hidden", "inner")),
        *((name, ctypes.c_void_p) for name in ("norm", "cos", "sin")),
        ("eps", ctypes.c_float),
        ("shape", HeadShape),
    )


_CODES = {
    "p": ctypes.c_void_p, "i": ctypes.c_int64, "f": ctypes.c_float,
    "H": Heads, "S": HeadShape, "C": Cache, "T": Turn, "L": Linear, "G": GroupsOf,
}  # fmt: skip
_SIGNATURES = {
    kernel: [_CODES[code] for code in codes]
    for kernel, codes in {
        "norm": "pipppiif", "norm_backward": "ppippppii",
        "swiglu": "ppipii", "swiglu_backward": "pppppiii",
        "rotate": "piipppiiiif", "transpose": "piiip",
        "attend": "HHHpppiS", "attend_backward": "HHHppHpppppiS",
        "decode": "piCTpGS", "step": "ppipiG", "project": "piiLip",
        "score": "piifpppp", "score_backward": "piifpppppf", "pick": "piifppp",
        "project_score": "piiLifpppp", "project_gradient": "piiLifpppppfp", "project_pick": "piiLifppp",
    }.items()
}  # fmt: skip
"""Of the kernels in cpp/kernels.cpp: pointers, integers, float32 numbers and structures."""
_off = False


@contextlib.contextmanager
def without() -> Iterator[None]:
    """Within it torch's operators do the work: what kernels are held against."""
    global _off
    before, _off = _off, True
    try:
        yield
    finally:
        _off = before


def matrix_units() -> bool:
    """Whether products of bf16 go through the CPU's matrix units (AMX)."""
    kernels = library()
    return kernels is not None and bool(kernels.has_matrix_units())


@contextlib.contextmanager
def vectors() -> Iterator[None]:
    """Within it kernels do without matrix units, as on CPUs that have none."""
    kernels = library()
    assert kernels is not None, "there are no kernels here"
    kernels.want_matrix_units(0)
    try:
        yield
    finally:
        kernels.want_matrix_units(1)


def version() -> str:
    """Of the kernels: others may be faster at other things."""
    kernels = library()
    return "" if kernels is None else kernels.version


def _ready() -> bool:
    """Whether there are kernels; those of one thread only where torch has no more."""
    kernels = library()
    return kernels is not None and (kernels.parallel or torch.get_num_threads() == 1)


def takes(*tensors: Tensor) -> bool:
    """Whether there are kernels for these: of one type that they know, on a CPU."""
    first = tensors[0]
    return (
        not _off
        and all(x.device.type == "cpu" and x.dtype == first.dtype for x in tensors)
        and first.dtype in _NAMES
        and _ready()
    )


def has(name: str, like: Tensor) -> bool:
    """Whether the library has the kernel of that name for the type of ``like``: some CPUs have not all."""
    return hasattr(library(), f"{name}_{_NAMES[like.dtype]}")


def call(name: str, like: Tensor, *arguments: Any) -> None:
    """The kernel of that name for the type of ``like``. Tensors go as pointers; they must be contiguous where the
    kernel has no stride for them."""
    function = _function(f"{name}_{_NAMES[like.dtype]}", name)
    plain = [x.data_ptr() if isinstance(x, Tensor) else x for x in arguments]
    if not torch.autograd._profiler_enabled():  # pyright: ignore[reportPrivateImportUsage]
        function(*plain)
        return
    with torch.profiler.record_function(PREFIX + name):  # a profile shows it beside torch's operators
        function(*plain)


@functools.cache
def _function(name: str, kind: str) -> Any:
    function = getattr(library(), name)
    function.restype, function.argtypes = None, _SIGNATURES[kind]
    return function


def pointer(x: Tensor) -> int:
    """Where a tensor begins."""
    return x.data_ptr()
