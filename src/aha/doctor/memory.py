"""How much memory and disk there is, and how much a run will ask for."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from aha import hardware
from aha.planning import configs, memory
from aha.planning.workload import Workload
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
    return hardware.free_bytes(device)


def free_disk(folder: Path) -> int:
    """Bytes free where ``folder`` is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def needs(
    model: Any, work: Workload, *, gpus: int = 1, shares: int = 1, built: bool = True, optimizer: int = 0
) -> Needs:
    """What a run doing ``work`` with this model asks for beyond the loaded model and its masters: as the
    planner counts (``planning.memory``), which is also what settings were fitted by as the stage began.

    ``shares``: among how many of ``gpus`` ranks weights and optimizer state are divided, where they are. ``built``:
    whether a reference and a critic, where the algorithm has them, are there already. ``optimizer``: bytes of the
    optimizer's state that are there, as where a run continues.
    """
    shape, device = configs.shape_of_model(model, "this model"), next(model.parameters()).device
    asked: dict[str, int] = {}
    if shape is not None:
        whole = hardware.memory_bytes(device)
        estimated = memory.estimate(shape, work, whole, gpus, shares > 1, tensors_only=device.type == "cpu")
        there = {"weights", "float32 masters"} | ({"reference model", "critic"} if built else set())
        asked = {name: round(size) for name, size in estimated.resident.items() if name not in there}
        asked["Adam moments"] = max(0, asked.get("Adam moments", 0) - optimizer)
        asked |= {name: round(size) for name, size in max(
            estimated.training, estimated.sampling, key=lambda parts: sum(parts.values())
        ).items()}  # fmt: skip
    working, trained = model_bytes(model), [p for p in model.parameters() if p.requires_grad]
    state = 12 * sum(p.numel() for p in trained)  # masters and Adam's two moments; of adapters theirs alone
    copied = sum(p.numel() * p.element_size() for p in trained)
    one = working + state + (copied if work.reference else 0) + (state if work.critic else 0)
    # The newest KEEP stay while the next is written beside them.
    disk = {"checkpoints": (checkpoint.KEEP + 1) * one, "final model": working}
    return Needs(asked, disk)
