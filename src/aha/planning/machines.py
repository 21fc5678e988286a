"""GPUs by their data sheets: memory, dense bf16 products, memory and link bandwidth; and groups of them.

Memory is the number in the name, in GB of 1e9 bytes: drivers report 5 to 7% more, which stays in hand.
"""

from __future__ import annotations

from dataclasses import dataclass

from aha.hints import nearest
from aha.types import AhaError

GB = 10**9
NODE = 8
"""GPUs in one node; more than that talk over a network."""
NETWORK = 50 * GB
"""Bytes a second between nodes for each GPU: 400 Gbit/s adapters, one a GPU."""
PCIE = 32 * GB
"""Bytes a second between a GPU and its host's memory: 16 lanes of PCIe 4."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One kind: bytes, floating-point operations a second (bf16, dense), bytes a second of memory and link."""

    name: str
    memory: float
    flops: float
    bandwidth: float
    link: float


def _gpu(name: str, memory: float, tflops: float, bandwidth: float, link: float) -> Gpu:
    return Gpu(name, memory * GB, tflops * 1e12, bandwidth * GB, link * GB)


_KINDS = (
    _gpu("b200", 180, 2250, 8000, 900),
    _gpu("h200", 141, 989, 4800, 450),
    _gpu("h100", 80, 989, 3350, 450),
    _gpu("h800", 80, 989, 3350, 200),
    _gpu("h20", 96, 148, 4000, 450),
    _gpu("a100-80", 80, 312, 2039, 300),
    _gpu("a100-40", 40, 312, 1555, 300),
    _gpu("rtx-6000-ada", 48, 364, 960, 32),
    _gpu("l40s", 48, 362, 864, 32),
    _gpu("rtx-5090", 32, 210, 1792, 64),
    _gpu("rtx-4090", 24, 165, 1008, 32),
    _gpu("rtx-3090", 24, 71, 936, 32),
    _gpu("a10", 24, 125, 600, 32),
    _gpu("l4", 24, 121, 300, 32),
)
GPUS = {gpu.name: gpu for gpu in _KINDS}
_LIKE = GPUS["h100"]


@dataclass(frozen=True, slots=True)
class Machine:
    """``count`` GPUs of one kind."""

    gpu: Gpu
    count: int

    @property
    def link(self) -> float:
        """Bytes a second that one GPU exchanges with the others."""
        return self.gpu.link if self.count <= NODE else min(NETWORK, self.gpu.link)

    def describe(self) -> str:
        """``4 nodes of 8 x h100 (80 GB)``."""
        one = f"{self.gpu.name} ({self.gpu.memory / GB:.0f} GB)"
        if self.count <= NODE:
            return f"{self.count} x {one}"
        nodes = -(-self.count // NODE)
        each = f"{NODE} x " if self.count % NODE == 0 else f"up to {NODE} x "
        return f"{nodes} nodes of {each}{one}"


def machine(gpu: str | None, count: int, memory_gb: float | None = None) -> Machine:
    """The machine that the options name; with ``memory_gb`` alone a GPU as fast as an H100 is assumed.

    Raises AhaError for unknown names and impossible numbers.
    """
    if count < 1 or (memory_gb is not None and memory_gb <= 0):
        raise AhaError("A machine has at least one GPU, and a GPU has memory: --gpus 1 --gpu-memory 24, say.")
    if gpu is not None and gpu not in GPUS:
        hint = nearest(gpu, GPUS, "")
        raise AhaError(
            f"Unknown GPU '{gpu}'. {hint}{' ' if hint else ''}"
            f"Known: {', '.join(GPUS)}. For another give --gpu-memory GB."
        )
    kind = GPUS[gpu] if gpu else _LIKE
    if memory_gb is not None:
        name = gpu or "gpu"
        kind = Gpu(name, memory_gb * GB, kind.flops, kind.bandwidth, kind.link)
    return Machine(kind, count)
