"""How much memory and disk there is, and how much a run will ask for."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from aha.sampling import kv_cache
from aha.training import checkpoint


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes that a run still asks for: on the device, and on the disk."""

    memory: dict[str, int]
    disk: dict[str, int]


def model_bytes(model: Any) -> int:
    """Bytes of the parameters as they are."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="utf-8") as f:
            rows = dict(line.split(":", 1) for line in f)
        return min(int(rows["MemAvailable"].split()[0]) * 1024, _cgroup_room())
    except (OSError, KeyError, ValueError, IndexError):
        pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
        return pages * os.sysconf("SC_PAGE_SIZE") if pages > 0 else 1 << 62


def _cgroup_room() -> int:
    """Bytes left of this container's memory limit; without one, no bound."""
    root = Path("/sys/fs/cgroup")
    try:
        limit, used = ((root / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        return 1 << 62 if limit == "max" else max(0, int(limit) - int(used) + _reclaimable(root))
    except (OSError, ValueError):
        return 1 << 62


def _reclaimable(root: Path) -> int:
    """Cached file pages count as used, yet give way."""
    rows = (line.split() for line in (root / "memory.stat").read_text().splitlines())
    return next((int(value) for name, value in rows if name == "inactive_file"), 0)


def free_disk(folder: Path) -> int:
    """Bytes free where ``folder`` is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def needs(
    model: Any,
    *,
    optimizer: bool,
    reference: bool,
    critic: bool,
    cache_bytes: int,
    rows: int,
    length: int,
    batch_tokens: int,
    shares: int = 1,
) -> Needs:
    """What a run with this model asks for beyond the loaded model.

    ``optimizer``: whether masters and gradient sums exist already (then only the moments are to come).
    ``shares``: among how many ranks weights and optimizer state are divided, where they are.
    ``rows`` completions of ``length`` tokens are decoded at once, within ``cache_bytes``.
    """
    count = sum(p.numel() for p in model.parameters())
    working = model_bytes(model)
    per_token = kv_cache.buffer_bytes_per_token(model)
    hidden, layers = model.config.hidden_size, model.config.num_hidden_layers
    memory = {
        "masters and gradient sums": 0 if optimizer else 8 * count // shares,
        "optimizer moments": 8 * count // shares,
        "reference": working if reference else 0,
        "critic": working + 16 * count // shares if critic else 0,
        "KV cache": min(cache_bytes, rows * length * per_token),
        # About 16 tensors of the hidden size live in each layer between forward and backward.
        "activations": 16 * hidden * layers * batch_tokens * max(2, working // max(count, 1)),
    }
    one = working + 12 * count + (working if reference else 0) + (12 * count if critic else 0)
    # The newest KEEP stay while the next is written beside them.
    disk = {"checkpoints": (checkpoint.KEEP + 1) * one, "final model": working}
    return Needs(memory, disk)
