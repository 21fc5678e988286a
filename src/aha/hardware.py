"""What this machine is: device, compute type, threads. Imports torch only when asked."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from typing import TYPE_CHECKING

from aha.types import AhaError

if TYPE_CHECKING:
    import torch


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Instruction-set flags of the first CPU (Linux; empty elsewhere)."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            for line in f:
                if line.startswith(("flags", "Features")):
                    return frozenset(line.split(":", 1)[1].split())
    except OSError:
        pass
    return frozenset()


def cpu_has_fast_bf16() -> bool:
    """True where matrix products in bf16 run on dedicated units (AMX, AVX512-BF16, Arm BF16)."""
    return bool(cpu_flags() & {"amx_bf16", "avx512_bf16", "bf16"})


def pick_device(name: str = "auto") -> torch.device:
    """The named device, or the best one here: cuda, then mps, then cpu. Raises AhaError if absent."""
    import torch

    available = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if name == "auto":
        name = next((kind for kind, here in available.items() if here()), "cpu")
    kind = name.split(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise AhaError(f"Unknown device '{name}'. Use auto, cpu, cuda, cuda:N or mps.")
    if kind != "cpu" and not available[kind]():
        raise AhaError(
            f"Device '{name}' was asked for but torch {torch.__version__} sees none here. "
            "Use --device cpu, or install the torch build for your accelerator."
        )
    return torch.device(name)


def pick_dtype(name: str = "auto", device: torch.device | None = None) -> torch.dtype:
    """The compute type: bf16 on GPUs and on CPUs that are fast at it, float32 elsewhere."""
    import torch

    names = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
    if name != "auto":
        if name not in names:
            raise AhaError(f"Unknown dtype '{name}'. Use auto, {', '.join(names)}.")
        return names[name]
    if device is not None and device.type != "cpu":
        return torch.bfloat16
    return torch.bfloat16 if cpu_has_fast_bf16() else torch.float32


def set_threads(n: int = 0) -> int:
    """Use ``n`` CPU threads (0 = what OMP_NUM_THREADS says, else every core this process may use, shared evenly by
    the ranks of this machine that work at the same time). Returns the number set."""
    import torch

    from aha import ranks

    asked = os.environ.get("OMP_NUM_THREADS", "")
    if not n and asked.isdigit() and ranks.launched() == 1:  # torchrun sets it to 1, whoever asked
        n = int(asked)
    n = n or max(1, cores() // (1 if ranks.alone_here() else ranks_here()))
    torch.set_num_threads(n)
    keep_memory()
    return n


KEPT_BYTES = 1 << 30
"""Freed memory that stays with this process."""


@functools.cache
def keep_memory() -> None:
    """Keep what is freed for the next pass: taken from the system anew, every page of it costs a fault (glibc)."""
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    if hasattr(libc, "mallopt"):
        trim, top_pad, mmap_threshold = -1, -2, -3
        for name, value in ((mmap_threshold, 32 << 20), (trim, KEPT_BYTES), (top_pad, 64 << 20)):
            libc.mallopt(name, value)  # type: ignore[union-attr]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count(device: torch.device) -> int:
    """How many devices of this kind there are."""
    import torch

    return torch.cuda.device_count() if device.type == "cuda" else 1


def ranks_here() -> int:
    """How many processes torchrun started on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or 1)


def memory_bytes(device: torch.device) -> int:
    """The whole memory of a device; where the system does not tell, 16 GiB. Several ranks on one machine's CPUs
    have a part each."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        whole = 16 << 30
    return whole // ranks_here()


def describe_machine() -> dict[str, object]:
    """What a figure must be read with: CPU, cores, memory, fast types, GPU, library versions."""
    import torch

    cpu = platform.processor() or platform.machine()
    memory = 0
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            cpu = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), cpu)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        pass
    fast = sorted(cpu_flags() & {"amx_bf16", "avx512_bf16", "avx512f", "avx2", "bf16"})
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "cpu": cpu,
        "cores": os.cpu_count() or 1,
        "memory_gb": round(memory / 2**30, 1),
        "cpu_features": fast,
        "gpus": gpus,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
    }
