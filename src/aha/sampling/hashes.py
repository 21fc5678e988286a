"""Hashes of weights: two sides that have the same ones hold the same weights.

An engine's own process imports this too: nothing but torch is needed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]

NAMES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3",
}
"""What safetensors calls the types."""
TYPES = {name: dtype for dtype, name in NAMES.items()}
HASHING_THREADS = 8


def raw(tensor: Tensor) -> Tensor:
    """The tensor's bytes [n] in the order of its elements, on the CPU."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def digest(tensor: Tensor) -> str:
    """SHA-256 of type, shape and bytes; numbers too small to be normal count as 0, and 0 has no sign: processors
    flush them on the way through a product."""
    hasher = hashlib.sha256(f"{NAMES[tensor.dtype]} {tuple(tensor.shape)} ".encode())
    if tensor.numel():
        t = tensor.detach()
        if t.dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
            t = t.masked_fill(t.abs() < torch.finfo(t.dtype).tiny, 0.0)
        hasher.update(raw(t).numpy().data)
    return hasher.hexdigest()


def digests(tensors: Tensors) -> dict[str, str]:
    """The hash of each tensor, by name."""
    with ThreadPoolExecutor(min(HASHING_THREADS, os.cpu_count() or 1)) as pool:
        return dict(zip(tensors, pool.map(digest, tensors.values()), strict=True))


def hash_of_all(by_name: Mapping[str, str]) -> str:
    """One hash of all: of the lines ``name hash`` in the order of names."""
    text = "".join(f"{name} {by_name[name]}\n" for name in sorted(by_name))
    return hashlib.sha256(text.encode()).hexdigest()
