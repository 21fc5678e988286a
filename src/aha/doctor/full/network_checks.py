"""Two real processes that add up their gradients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch.distributed as dist

from aha.doctor.finding import Check, Finding, NotApplicable, count
from aha.doctor.subject import Subject

SECONDS = 110.0  # two processes import torch; on a busy core that alone can take most of a minute


def network(subject: Subject) -> Iterator[Finding]:
    """Two gloo processes with gradients 1 and 2 (times the tensor's number) end with 3."""
    if not dist.is_available() or not dist.is_gloo_available():
        raise NotApplicable("this torch was built without gloo")
    with subject.scratch() as place:
        store = Path(place) / "store"
        env = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "aha.doctor.full.rank", str(store), str(rank), "2"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
            )
            for rank in range(2)
        ]  # fmt: skip
        try:
            outputs = [p.communicate(timeout=SECONDS) for p in started]
        except subprocess.TimeoutExpired:
            raise NotApplicable(f"two processes did not find each other in {SECONDS:.0f} s") from None
        finally:
            for process in started:
                if process.poll() is None:
                    process.kill()
                    process.wait()
    wrong = []
    for rank, (said, error) in enumerate(outputs):
        wanted = {"world": [rank, 2], "sums": [[3.0] * 3, [6.0] * 4]}
        found = json.loads(said.splitlines()[-1]) if said.strip() else error.strip()[-200:]
        wrong += [] if found == wanted else [f"rank {rank}: {found}"]
    yield count("ranks over gloo whose summed gradient is not the sum", wrong, 2,
                cause="gradients are not summed over processes, or processes cannot reach each other here",
                fix="look at training.parallel; on a cluster, at the network interface")  # fmt: skip


CHECKS = (Check("network", "gradients of real processes are summed", network),)
