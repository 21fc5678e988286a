"""How a Ray cluster is used: beside the trainer, and for the trainer's own ranks."""

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


class RankSettings(BaseModel):
    """Settings of trainer ranks that are Ray actors, and of what watches over them."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    address: str | None = Field(None, description="of a Ray cluster; none: $RAY_ADDRESS, or one started here")
    cpus: float = Field(1.0, gt=0, description="CPUs of each rank")
    gpus: int | None = Field(
        None, ge=0, le=1, description="GPUs of each rank; none: one where the cluster has any"
    )
    spread: bool = Field(False, description="ranks on different machines where possible")
    hang_timeout: float = Field(
        1800.0, gt=0, description="seconds without progress of any rank after which all are started again"
    )
    start_timeout: float = Field(900.0, gt=0, description="seconds for their start, until they have met")
    max_failures: int = Field(
        3, ge=1, description="starts in a row without a new checkpoint or finished stage between; then stop"
    )
