"""Weights on their way into vLLM's process: the file in memory that carries them.

The file has safetensors' layout and no place on any disk: it lives in memory that both processes map, and is gone
with us. Both sides import this module; nothing but torch is needed.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import tempfile
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from aha.sampling.hashes import NAMES, TYPES, Tensors, raw
from aha.types import AhaError


class WeightFile:
    """A safetensors file in memory, written again for every version of the weights."""

    def __init__(self) -> None:
        self.size = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if hasattr(os, "memfd_create"):
            self._fd = os.memfd_create("aha-weights", os.MFD_CLOEXEC)
            self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
        else:  # not Linux
            self._folder = tempfile.TemporaryDirectory(prefix="aha-weights-")
            self.path = os.path.join(self._folder.name, "weights.safetensors")
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        self._end = weakref.finalize(self, _free, self._fd, self._folder)

    def write(self, tensors: Tensors) -> None:
        """Put the tensors in. Raises AhaError for a type that cannot travel and if memory is short."""
        table, at = {}, 0
        for name, t in tensors.items():
            if t.dtype not in NAMES:
                raise AhaError(f"'{name}' is {t.dtype}: tensors of that type cannot be given to vLLM.")
            size = t.numel() * t.element_size()
            table[name] = {"dtype": NAMES[t.dtype], "shape": list(t.shape), "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(table).encode()
        text += b" " * (-len(text) % 64)
        start = 8 + len(text)
        try:
            os.ftruncate(self._fd, start + at)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._fd, 0, start + at)  # else a lack of memory would be a bus error
        except OSError as error:
            raise AhaError(
                f"No memory for {(start + at) / 2**30:.1f} GiB of weights on their way to vLLM: {error}."
            ) from error
        self.size = start + at
        with mmap.mmap(self._fd, self.size) as file:
            file[:8], file[8:start] = struct.pack("<Q", len(text)), text
            place = torch.frombuffer(file, dtype=torch.uint8)
            for name, t in tensors.items():
                first, last = table[name]["data_offsets"]
                if last > first:
                    place[start + first : start + last].copy_(raw(t))
            del place  # the map cannot be closed under it

    def close(self) -> None:
        """Free the memory. Harmless the second time."""
        self._end()


def _free(fd: int, folder: tempfile.TemporaryDirectory[str] | None) -> None:
    os.close(fd)
    if folder is not None:
        folder.cleanup()


def mapped(path: str) -> dict[str, Tensor]:
    """The tensors of a parcel, where they lie: not copied, and not to be kept beyond the next ``write``.

    Raises ValueError if it is none.
    """
    with open(path, "rb") as file:
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # writable for torch; nobody writes
    (length,) = struct.unpack("<Q", whole[:8])
    return {
        name: _view(path, name, whole, 8 + length, entry)
        for name, entry in json.loads(whole[8 : 8 + length]).items()
    }


def _view(path: str, name: str, whole: mmap.mmap, start: int, entry: Mapping[str, Any]) -> Tensor:
    (first, last), dtype = entry["data_offsets"], TYPES[entry["dtype"]]
    if start + last > len(whole):
        raise ValueError(f"{path} ends within {name}")
    if first == last:
        return torch.empty(entry["shape"], dtype=dtype)
    flat = torch.frombuffer(whole, dtype=torch.uint8, count=last - first, offset=start + first)
    aligned = (start + first) % dtype.itemsize == 0
    return (flat if aligned else flat.clone()).view(dtype).reshape(entry["shape"])
