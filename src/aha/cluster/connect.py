"""Ray: found, connected to or started, and left again. The one place that imports it."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from aha.types import AhaError

LOCAL_STORE = 256 << 20
"""Least bytes of the object store of a cluster that is started here."""


def ray_module() -> Any:
    """Ray. Raises AhaError where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # pyright: ignore[reportMissingImports]
        import ray.exceptions  # pyright: ignore[reportMissingImports]
        import ray.util.scheduling_strategies  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise AhaError(
            f"Ray is not installed ({error}): pip install ray, or sample in this process with engine=local."
        ) from error
    return ray


class Cluster:
    """A connection with room reserved on it: one bundle of resources for each worker.

    It joins ``address`` or $RAY_ADDRESS, shares a connection that this process already has, or starts a cluster
    of this machine alone, which ends with ``close`` and with this process. Raises AhaError where the cluster
    cannot be reached or has not got the resources.
    """

    def __init__(
        self,
        bundles: Sequence[Mapping[str, float]],
        address: str | None = None,
        *,
        store_bytes: int | None = 0,
        spread: bool = False,
        timeout: float = 900.0,
        others: float = 0.0,
        gpu_each: bool = False,
        lower: str = "workers, cluster.reward_workers, cluster.cpus or cluster.gpus",
    ):
        """``store_bytes``: of the object store of a cluster started here; None: as Ray would have it. ``others``:
        CPUs that such a cluster is to have beyond the room, for those who join it. ``gpu_each``: a GPU in every
        bundle, where the cluster has any. ``lower``: what is to be lowered where there is no room, in words."""
        self.ray, self._lower = ray_module(), lower
        self._owns = not self.ray.is_initialized()
        if self._owns:
            cpus = sum(b.get("CPU", 0) for b in bundles) + others
            self._connect(math.ceil(cpus), address or os.environ.get("RAY_ADDRESS"), store_bytes, timeout)
        context = self.ray.get_runtime_context()
        self.node, self.address = context.get_node_id(), context.gcs_address
        try:
            if gpu_each and self.ray.cluster_resources().get("GPU"):
                bundles = [{**b, "GPU": 1.0} for b in bundles]
            self.bundles = bundles
            self._group = self._reserve(bundles, "SPREAD" if spread else "PACK", timeout)
        except BaseException:
            self._disconnect()
            raise

    def _connect(self, cpus: int, address: str | None, store_bytes: int | None, timeout: float) -> None:
        quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
        try:
            if address:
                self.ray.init(address=address, **quiet)
            else:  # its CPUs are only numbers: as many as are asked for
                # Ray gives a process a minute to import what it needs, which on a busy machine it is still doing.
                os.environ.setdefault("RAY_worker_register_timeout_seconds", str(round(timeout)))
                # Workers do the run's work: at Ray's niceness of 15 they starve where anything else runs.
                os.environ.setdefault("RAY_worker_niceness", "0")
                self.ray.init(
                    num_cpus=cpus,
                    include_dashboard=False,
                    object_store_memory=None if store_bytes is None else max(LOCAL_STORE, store_bytes),
                    **quiet,
                )
        except Exception as error:  # Ray raises many kinds; all mean that there is no cluster
            where = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
            raise AhaError(
                f"Cannot use {where}: {str(error).strip().splitlines()[0]}. Check `ray status`, cluster.address "
                "and $RAY_ADDRESS."
            ) from error

    def _reserve(self, bundles: Sequence[Mapping[str, float]], strategy: str, timeout: float) -> Any:
        have = self.ray.cluster_resources()
        for kind in ("CPU", "GPU"):
            demand = sum(b.get(kind, 0.0) for b in bundles)
            if demand > have.get(kind, 0.0) + 1e-6:
                raise AhaError(
                    f"The workers want {demand:g} {kind}s and the Ray cluster has {have.get(kind, 0.0):g}. Lower "
                    f"{self._lower}, or join a larger cluster."
                )
        group = self.ray.util.placement_group([dict(b) for b in bundles], strategy=strategy)
        if not group.wait(timeout):
            self.ray.util.remove_placement_group(group)
            raise AhaError(
                f"The Ray cluster reserved no room for {len(bundles)} workers within {timeout:g} s: others use it. "
                "Free it (`ray status` shows by what), or ask for less."
            )
        return group

    def actor(self, kind: type, bundle: int, resources: Mapping[str, float]) -> Any:
        """A new actor of class ``kind`` in the room of that number. It is never restarted by Ray itself."""
        strategy = self.ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(
            placement_group=self._group, placement_group_bundle_index=bundle
        )
        options = {
            "num_cpus": resources.get("CPU", 0),
            "num_gpus": resources.get("GPU", 0),
            "max_restarts": 0,
            "max_task_retries": 0,
            "max_concurrency": 4,
            "scheduling_strategy": strategy,
        }
        return self.ray.remote(kind).options(**options).remote()

    def nodes(self) -> list[tuple[str, str]]:
        """(id, address) of the machine of each bundle, once there are actors in them."""
        node_ids = self.ray.util.placement_group_table(self._group)["bundles_to_node_id"]
        addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in self.ray.nodes()}
        return [(node_ids[i], addresses[node_ids[i]]) for i in range(len(self.bundles))]

    def ready(self, refs: list[Any], seconds: float) -> list[Any]:
        """Those of ``refs`` that are answered, or the first one to be within ``seconds``. Raises AhaError where the
        cluster fails."""
        first, rest = self.wait(refs, 1, seconds)
        return first + (self.wait(rest, len(rest), 0)[0] if rest else [])

    def wait(self, refs: list[Any], n: int, seconds: float) -> tuple[list[Any], list[Any]]:
        """(answered, open) of ``refs``, as soon as ``n`` are answered and after ``seconds`` at the latest. Raises
        AhaError where the cluster fails."""
        try:
            return self.ray.wait(refs, num_returns=n, timeout=seconds)
        except Exception as error:
            raise gone(error) from error

    def kill(self, actor: Any, bundle: int, pid: int) -> None:
        """End the process of an actor in the room of that number, also one that no longer listens."""
        with contextlib.suppress(Exception):
            self.ray.kill(actor, no_restart=True)
        if not pid:
            return
        node = self.ray.util.placement_group_table(self._group)["bundles_to_node_id"][bundle]
        if node == self.node:
            _end(pid)
            return
        strategy = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        with contextlib.suppress(Exception):
            self.ray.remote(_end).options(num_cpus=0, scheduling_strategy=strategy).remote(pid)

    def close(self) -> None:
        """Give the room back; a cluster that was started here ends. Harmless the second time."""
        if self._group is not None and self.ray.is_initialized():
            with contextlib.suppress(Exception):
                self.ray.util.remove_placement_group(self._group)
        self._group = None
        self._disconnect()

    def _disconnect(self) -> None:
        if self._owns:
            self._owns = False
            self.ray.shutdown()


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def gone(error: Exception) -> AhaError:
    """What is said where Ray itself fails."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return AhaError(
        f"The Ray cluster failed: {text} The same command continues from the last checkpoint, once the cluster is "
        "back."
    )
