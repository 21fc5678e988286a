"""One rank of the check of ranks over a real network: ``python -m aha.doctor.full.rank FILE RANK SIZE``.

Prints the sum that this rank ends with, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta


def main(store: str, rank: int, size: int) -> None:
    """Join, add up, print."""
    import torch
    import torch.distributed as dist

    from aha.training import parallel

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=size, timeout=timedelta(seconds=60)
    )
    masters = [torch.zeros(3), torch.zeros(2, 2)]
    for i, master in enumerate(masters):
        master.grad = torch.full_like(master, (rank + 1) * (i + 1.0))
    parallel.sum_gradients(masters)
    grads = [m.grad for m in masters if m.grad is not None]
    print(json.dumps({"world": parallel.world(), "sums": [g.flatten().tolist() for g in grads]}), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    os._exit(0)  # nothing is left to clear away, and gloo's threads may not outlive the interpreter
