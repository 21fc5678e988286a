"""Trainer ranks as Ray actors: started, watched over, and started again from the last checkpoint where they are lost.

Everything that a run is lies in its folder, so the supervisor keeps nothing: it starts the same command again.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable
from typing import Any

from aha.cluster.connect import Cluster
from aha.cluster.rank_group import Command, Fault, Generation
from aha.cluster.settings import RankSettings
from aha.types import AhaError

LOG = logging.getLogger("aha.cluster")


def supervise(
    command: Command,
    n: int,
    settings: RankSettings,
    *,
    others: float = 0.0,
    gpus: bool = True,
    reached: Callable[[], Any],
    note: Callable[[str], None],
) -> int:
    """Run ``command`` on ``n`` ranks until it ends; returns its exit code.

    ``others``: CPUs that workers beside the ranks will want. ``gpus``: whether ranks may have any. ``reached`` tells
    how far the run has come: what differs after a loss is progress. ``note`` is told of every loss. Raises AhaError
    where the cluster has no room, and where ranks are lost ``max_failures`` times in a row without progress.
    """
    own = {"CPU": settings.cpus} | ({"GPU": 1.0} if settings.gpus and gpus else {})
    cluster = Cluster(
        [own] * n,
        settings.address,
        store_bytes=None if others else 0,  # workers' weights go through it: as large as Ray would make it
        spread=settings.spread,
        timeout=settings.start_timeout,
        others=others,
        gpu_each=settings.gpus is None and gpus,
        lower="--ray-ranks, ranks.cpus or ranks.gpus",
    )
    # What a scheduler sends ends as Ctrl-C does, in place of Ray's handler, which aborts this process.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _until_done(cluster, settings, command, reached, note)
    finally:
        cluster.close()
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _until_done(
    cluster: Cluster,
    settings: RankSettings,
    command: Command,
    reached: Callable[[], Any],
    note: Callable[[str], None],
) -> int:
    failures, place = 0, reached()
    while True:
        generation = Generation(cluster, settings, command, sys.stdout, sys.stderr)
        try:
            return generation.run()
        except Fault as fault:
            reason = str(fault)
        finally:
            generation.end()
        before, place = place, reached()
        failures = (failures if place == before else 0) + 1
        LOG.warning("trainer ranks lost: %s", reason)
        note(reason)
        if failures >= settings.max_failures:
            raise AhaError(
                f"The ranks were lost {failures} times in a row without a new checkpoint or a finished stage between, "
                f"last: {reason}. Memory that runs out looks like this: lower max_tokens_per_batch or max_num_seqs, or "
                "give --parallel sharded; save more often (save_every) if steps are long. The same command "
                "continues from the last checkpoint."
            )
