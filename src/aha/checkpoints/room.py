"""Whether there is memory for a model's weights: asked before they are read, since a system that has none left ends
the process without a word."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from aha import hardware
from aha.types import AhaError

if TYPE_CHECKING:
    import torch

GB = 10**9


def check(folder: Path, name: str, dtype: torch.dtype, device: torch.device) -> None:
    """Raise AhaError if the weights of a checkpoint's folder, in ``dtype``, are more than the CPU's memory, through
    which they come, or the device's can hold."""
    import torch

    count = numbers(folder)
    for place in (torch.device("cpu"), device):
        need(count * dtype.itemsize, f"The weights of '{name}'", place, _ways(count, dtype, place))


def need(size: float, what: str, device: torch.device, ways: str) -> None:
    """Raise AhaError if ``size`` bytes are more than the device has left, swap included. ``ways``: what helps."""
    left = _left(device)
    if size > left:
        raise AhaError(
            f"{what} take {size / GB:.1f} GB, and {left / GB:.1f} GB of memory can be had on this machine"
            f"{'' if device.type == 'cpu' else f' ({device})'}. {ways}"
        )


def _left(device: torch.device) -> int:
    return hardware.free_bytes(device) + hardware.swap_bytes(device)


def _ways(count: int, dtype: torch.dtype, device: torch.device) -> str:
    half = 2 * count
    smaller = dtype.itemsize > 2 and half <= _left(device)
    other = f"Give --dtype bfloat16 ({half / GB:.1f} GB), end" if smaller else "End"
    return f"{other} what else runs, or take a smaller model."


def numbers(folder: Path) -> int:
    """How many numbers the safetensors files of a folder hold, those that an index names where there is one; 0 for
    weights in other files. The files have been examined before."""
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if not (folder / "model.safetensors").exists() and index.exists():
        names = set(map(str, json.loads(index.read_text(encoding="utf-8-sig"))["weight_map"].values()))
    return sum(
        _of_file(folder / name)
        for name in names
        if (folder / name).suffix == ".safetensors" and (folder / name).exists()
    )


def _of_file(path: Path) -> int:
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return sum(prod(value["shape"]) for key, value in header.items() if key != "__metadata__")
