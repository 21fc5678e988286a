"""Layers through torch.compile: what stands between their matrix products takes fewer passes over memory.

Attention has operators of its own; what is compiled are the other parts of each layer, its norms and feed-forward.
"""

from __future__ import annotations

import os
import shutil
from typing import Any

from aha import attention
from aha.training.sharding import layers
from aha.types import AhaError


def torch_compile(model: Any) -> None:
    """Compile the parts of every layer in place, at their first use; weights and their names stay.

    Raises AhaError on a CPU without a C++ compiler.
    """
    compilers = [os.environ.get("CXX") or "g++", "clang++"]
    if next(model.parameters()).device.type == "cpu" and not any(map(shutil.which, compilers)):
        raise AhaError(
            f"torch_compile=true needs a C++ compiler on a CPU, and there is no {' or '.join(compilers)}. Install "
            "one, name it in the environment's CXX, or leave torch_compile away: it changes speed alone."
        )
    for layer in layers(model):
        for name, part in layer.named_children():
            if "attn" not in name:
                attention.to_torch(part)
                part.compile(dynamic=True)
