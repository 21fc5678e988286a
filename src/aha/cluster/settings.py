"""How a Ray cluster is used: beside the trainer, and for the trainer's own ranks."""

from __future__ import annotations

from aha.settings import Settings, setting


class ClusterSettings(Settings):
    """Settings of the workers, of their guard, and of the cluster."""

    address: str | None = setting(None, "of a Ray cluster; none: $RAY_ADDRESS, or one started here")
    cpus: float = setting(1.0, "CPUs of each rollout worker", gt=0)
    gpus: float = setting(0.0, "GPUs of each rollout worker, a fraction where they share one", ge=0)
    reward_workers: int = setting(0, "processes that grade; 0: the trainer does", ge=0)
    kv_cache_gib: float | None = setting(
        None, "GiB of a worker's KV cache; none: its share", unit="GiB", gt=0
    )
    spread: bool = setting(False, "rollout workers on different machines where possible")
    hang_timeout: float = setting(
        300.0, "seconds without progress after which one is replaced", unit="seconds", gt=0
    )
    start_timeout: float = setting(
        900.0, "seconds for a worker's start and for loading weights", unit="seconds", gt=0
    )
    max_failures: int = setting(3, "of one worker in a row, without progress between; then stop", ge=1)


class RankSettings(Settings):
    """Settings of trainer ranks that are Ray actors, and of what watches over them."""

    address: str | None = setting(None, "of a Ray cluster; none: $RAY_ADDRESS, or one started here")
    cpus: float = setting(1.0, "CPUs of each rank", gt=0)
    gpus: int | None = setting(None, "GPUs of each rank; none: one where the cluster has any", ge=0, le=1)
    spread: bool = setting(False, "ranks on different machines where possible")
    hang_timeout: float = setting(
        1800.0, "seconds without progress of any rank after which all are started again", unit="seconds", gt=0
    )
    start_timeout: float = setting(
        900.0, "seconds for their start, until they have met", unit="seconds", gt=0
    )
    max_failures: int = setting(
        3, "starts in a row without a new checkpoint or finished stage between; then stop", ge=1
    )
