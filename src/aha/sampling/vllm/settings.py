"""How vLLM is run: what a stage can be told of it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from aha.sampling.colocated import ColocatedSettings
from aha.settings import setting
from aha.types import AhaError

GPUS = r"^(\d+|(GPU|MIG)-[\w-]+)(,(\d+|(GPU|MIG)-[\w-]+))*$"


class VllmSettings(ColocatedSettings):
    """How vLLM is run beside the trainer."""

    group: ClassVar[str] = "vllm"
    title: ClassVar[str] = "vLLM"

    python: str | None = setting(None, "Python of vLLM's environment; none: found (docs/scale.md)")
    gpus: str | None = setting(None, "those it sees, as CUDA_VISIBLE_DEVICES; none: ours", pattern=GPUS)
    weight_transfer: Literal["auto", "host", "ipc", "nccl"] = setting(
        "auto", "how weights reach it: host memory, CUDA IPC, NCCL (docs/scale.md)"
    )

    @property
    def needs_file(self) -> bool:
        """Where it is asked for; left open, weights come from GPU to GPU."""
        return self.weight_transfer == "host"

    @model_validator(mode="after")
    def _enough(self) -> VllmSettings:
        """Every rank has a GPU."""
        if self.gpus is not None and len(set(self.gpus.split(","))) < self.tensor_parallel_size:
            raise AhaError(
                f"vllm.gpus={self.gpus} are too few for vllm.tensor_parallel_size={self.tensor_parallel_size}."
            )
        return self
