"""What this machine is: device, compute type, threads, memory. Imports torch only when asked."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha import ranks, speeds
from aha.types import AhaError

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

FAST_TYPES = frozenset({"amx_bf16", "avx512_bf16", "avx512f", "avx2", "bf16"})
"""Flags of a CPU that its speed depends on most."""


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
    try:
        device = torch.device(name)
    except RuntimeError:
        raise AhaError(f"Unknown device '{name}'. Use auto, cpu, cuda, cuda:N or mps.") from None
    if device.type == "cuda" and (device.index or 0) >= (here := torch.cuda.device_count()):
        raise AhaError(f"Device '{name}' was asked for, and there are {here} GPUs here: cuda:0 is the first.")
    return device


def pick_dtype(name: str = "auto", device: torch.device | None = None) -> torch.dtype:
    """The compute type: bf16 on GPUs; on CPUs whichever multiplies faster here (``speeds.products``), the same one
    for all ranks. Raises AhaError for a type that is not known."""
    import torch

    names = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
    if name != "auto":
        if name not in names:
            raise AhaError(f"Unknown dtype '{name}'. Use auto, {', '.join(names)}.")
        if name == "bfloat16" and device is not None and device.type == "cpu" and ranks.is_main():
            _tell_if_slow(name)  # float32 is named for what it computes, and by those who know its price
        return names[name]
    if device is not None and device.type != "cpu":
        return torch.bfloat16
    return names[products().best]


SLOW = 2.0
"""So many times as fast as the type that was asked for another must be, for this to be said."""


@functools.cache
def _tell_if_slow(name: str) -> None:
    """Once: that a type which was asked for is one that this CPU is slow in, or only emulates."""
    speed = speeds.products(facts())
    times = speed.score(speed.best) / speed.score(name)
    if times >= SLOW:
        _log.warning("%s was asked for, and %s is %.3g times as fast on this CPU: %s. --dtype auto takes the faster.",
                     name, speed.best, times, speed.words())  # fmt: skip


def products() -> speeds.Products:
    """What the CPU's products reach in each type, with as many threads as are set; measured at their first use on
    this machine, by the first rank."""
    measured = ranks.broadcast_object(lambda: speeds.products(facts()))
    _measured[:] = [measured]
    return measured


def facts() -> dict[str, Any]:
    """What a speed of this CPU depends on."""
    import torch

    return {
        "cpu": cpu_name(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "features": sorted(cpu_flags() & FAST_TYPES),
    }


_measured: list[speeds.Products] = []


def set_threads(n: int = 0) -> int:
    """Use ``n`` CPU threads (0 = what OMP_NUM_THREADS says, else every core this process may use, shared evenly by
    the ranks of this machine that work at the same time; fewer where these are faster now, since others use the
    cores). Returns the number set."""
    import torch

    if n < 0:
        raise AhaError(f"--threads {n}: give the number of CPU threads, or 0 for all cores.")
    n = n or asked_threads()
    if not n:
        n = max(1, cores() // (1 if ranks.alone_here() else ranks_here()))
        n = n if ranks.launched() > 1 else helpful_threads(n)[0]
    torch.set_num_threads(n)
    keep_memory()
    return n


def asked_threads() -> int:
    """What OMP_NUM_THREADS says; 0 where it says nothing, or torchrun said it, which sets it to 1 whoever asked."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and ranks.launched() == 1 else 0


@functools.cache
def helpful_threads(most: int) -> tuple[int, dict[int, float]]:
    """``speeds.threads`` as this process found it when it first asked."""
    return speeds.threads(most)


def describe_threads() -> str:
    """How many threads are set and, where that was a choice, why."""
    import torch

    n, most = torch.get_num_threads(), cores()
    if not helpful_threads.cache_info().currsize or asked_threads() or n not in helpful_threads(most)[1]:
        return f"{n} of {most} cores"
    gains = ", ".join(f"{gain:.2g} times one thread on {k}" for k, gain in helpful_threads(most)[1].items())
    return f"{n} of {most} cores (tried: {gains})"


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
    return min([_installed(), *(limit for limit, _ in group_memory())]) // ranks_here()


def free_bytes(device: torch.device) -> int:
    """What of a device's memory can still be had: on CPUs within the limits of the groups this process is in, too.
    Several ranks on one machine's CPUs have a part each."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    limits = [limit - used for limit, used in group_memory()]
    available = _meminfo().get("MemAvailable")
    limits.append(_installed() if available is None else available)
    return max(0, min(limits)) // ranks_here()


def swap_bytes(device: torch.device) -> int:
    """What the system may write out of the CPU memory; 0 in groups whose memory is limited, and of other devices."""
    if device.type != "cpu" or group_memory():
        return 0
    return _meminfo().get("SwapFree", 0) // ranks_here()


def forget_peak() -> None:
    """Begin anew to look for the most memory that is held (``peak_bytes``), where the system can do that."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: VmHWM begins at what is held now
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> dict[str, int]:
    """The most memory that this process held since ``forget_peak``: ``process`` (Linux; 0 where it is not told), and
    ``gpu`` of its first GPU where it used one."""
    peaks = {"process": 0}
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        peaks["process"] = next(
            (int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0
        )
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
        peaks["gpu"] = int(torch.cuda.max_memory_allocated())
    return peaks


def _installed() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        return 16 << 30


def _meminfo() -> dict[str, int]:
    """/proc/meminfo in bytes (Linux; empty elsewhere)."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    rows = (line.replace(":", " ").split() for line in lines)
    return {row[0]: int(row[1]) << 10 for row in rows if len(row) > 1 and row[1].isdigit()}


def group_memory(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> list[tuple[int, int]]:
    """(limit, used) in bytes of each control group that bounds this process's memory: its own and those above it.
    What only caches files does not count as used."""
    groups = []
    for folder, names in _groups(root, own):
        limit, used = (_number(folder / name) for name in names[:2])
        if (
            limit is not None and used is not None and limit < 1 << 60
        ):  # where there is none, v1 gives almost 2^63
            groups.append((limit, used - _cached(folder / "memory.stat", names[2])))
    return groups


def _groups(root: Path, own: Path) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Folders that describe this process's groups, with the names of limit, use, and cached files in there."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, inside = line.split(":", 2)
        base = root if not kinds else root / "memory"
        names = ("memory.max", "memory.current", "inactive_file")
        if kinds:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        if not kinds or "memory" in kinds.split(","):
            place = base / inside.strip("/")
            yield from ((folder, names) for folder in (place, *place.parents) if folder.is_relative_to(base))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # "max": there is no limit
        return None


def _cached(path: Path, name: str) -> int:
    try:
        rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return 0
    return next((int(row[1]) for row in rows if row[0] == name), 0)


def cpu_name() -> str:
    """The CPU's name as it gives it itself."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def describe_machine() -> dict[str, object]:
    """What a figure must be read with: CPU, cores, memory, fast types, GPU, library versions; what products in each
    type reach, where this process has asked."""
    import torch

    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "memory_gb": round(min([_installed(), *(limit for limit, _ in group_memory())]) / 2**30, 1),
        "cpu_features": sorted(cpu_flags() & FAST_TYPES),
        "products_gflops": asdict(_measured[-1]) if _measured else None,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
    }
