"""How a Ray cluster is used beside the trainer."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ClusterSettings(BaseModel):
    """Settings of the workers, of their guard, and of the cluster."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    address: str | None = Field(None, description="of a Ray cluster; none: $RAY_ADDRESS, or one started here")
    cpus: float = Field(1.0, gt=0, description="CPUs of each rollout worker")
    gpus: float = Field(0.0, ge=0, description="GPUs of each rollout worker, a fraction where they share one")
    reward_workers: int = Field(0, ge=0, description="processes that grade; 0: the trainer does")
    cache_gib: float | None = Field(None, gt=0, description="GiB of a worker's KV cache; none: its share")
    spread: bool = Field(False, description="rollout workers on different machines where possible")
    hang_timeout: float = Field(
        300.0, gt=0, description="seconds without progress after which one is replaced"
    )
    start_timeout: float = Field(
        900.0, gt=0, description="seconds for a worker's start and for loading weights"
    )
    max_failures: int = Field(
        3, ge=1, description="of one worker in a row, without progress between; then stop"
    )
