"""Engines with weights of their own on the trainer's GPUs, beside the policy: settings, and what is planned of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from aha.settings import Settings, setting


@dataclass(frozen=True, slots=True)
class Colocated:
    """Such an engine, as far as memory and time depend on it. ``name``: of its settings in a stage."""

    name: str
    title: str
    ranks: int = 1
    share: float = 0.4  # of the memory of each of its GPUs
    cache: float = 2.0 * 2**30  # bytes of keys and values, on each
    sleep: bool = False
    eager: bool = False
    parcel: bool = True  # weights reach it through a file in the host's memory
    prefill_tokens: int = 16384  # that its largest pass computes together
    piece: int = 1 << 28  # bytes of weights that are on a GPU a second time while they come, or one tensor


class ColocatedSettings(Settings):
    """What every such engine can be told; its own settings are a subclass."""

    group: ClassVar[str] = ""
    """The name that stages have them as."""
    title: ClassVar[str] = ""
    """The engine's, in words."""

    kv_cache_gib: float = setting(2.0, "GiB of its KV cache", unit="GiB", gt=0)
    gpu_memory_utilization: float = setting(0.4, "of a GPU's memory, for all that it needs", gt=0, lt=1)
    enforce_eager: bool | None = setting(None, "no compiling, no CUDA graphs; none: on CPUs")
    enable_sleep_mode: bool = setting(False, "give the GPU's memory back while the policy is trained")
    tensor_parallel_size: int = setting(1, "GPUs it shares a model over (tensor parallelism)", ge=1)

    def planned(self) -> Colocated:
        """The engine with these settings, as a plan sees it."""
        return Colocated(
            self.group,
            self.title,
            ranks=self.tensor_parallel_size,
            share=self.gpu_memory_utilization,
            cache=self.kv_cache_gib * 2**30,
            sleep=self.enable_sleep_mode,
            eager=bool(self.enforce_eager),
            parcel=self.needs_file,
        )

    @property
    def needs_file(self) -> bool:
        """Whether weights reach it through a file in the host's memory."""
        return True
