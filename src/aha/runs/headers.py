"""What a safetensors file holds, by its header alone: no tensor is read."""

from __future__ import annotations

import json
from pathlib import Path

LENGTH = 8
"""Bytes in front of the header, which tell its length."""
LONGEST = 64 << 20
"""Bytes of a header, above which a file is none of safetensors."""


def shapes(file: Path) -> dict[str, list[int]]:
    """Each tensor's shape by its name; empty for a file that is not there, cut, or no safetensors."""
    try:
        with open(file, "rb") as f:
            length = int.from_bytes(f.read(LENGTH), "little")
            header = json.loads(f.read(min(length, LONGEST)))
        tensors = {name: tensor["shape"] for name, tensor in header.items() if name != "__metadata__"}
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return {}
    return tensors if all(map(_is_shape, tensors.values())) else {}


def _is_shape(value: object) -> bool:
    return isinstance(value, list) and all(type(side) is int and side >= 0 for side in value)
