"""One rank with a part of the weights, as torchrun would start it: ``python -m aha.doctor.full.part FOLDER DEVICE``.

Takes the step that ``job.pt`` in the folder asks for; the first rank writes what it found to ``found.pt``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aha import modeling, ranks
from aha.training import policy as policies
from aha.training import sharding
from aha.training.algorithm import Algorithm
from aha.types import Batch

LR = 1e-3


def main(folder: Path, device: str) -> None:
    """Meet the other ranks, share the model with them, take the step."""
    torch.set_num_threads(1)
    job = torch.load(folder / "job.pt", weights_only=False)  # written by the doctor itself
    with ranks.joined(device):
        place = torch.device("cuda", torch.cuda.current_device()) if device == "cuda" else torch.device("cpu")
        policy = new_policy(folder, place, sharded=True)
        results = step(policy, job["batches"], Algorithm.model_validate(job["algorithm"]), job["temperature"])
        results["elements"] = ranks.gather(
            sum(sharding.own_part(p).numel() for p in policy.model.parameters())
        )
        if ranks.is_main():
            torch.save(results, folder / "found.pt")


def new_policy(folder: Path, place: torch.device, *, sharded: bool = False) -> policies.Policy:
    """A policy in float32 on the saved model, whole or with a part of it on each rank."""
    model = modeling.load_model(str(folder / "model"), place, torch.float32)
    shards = sharding.Shards(model, trains=True, samples=True) if sharded else None
    return policies.Policy(model, policies.OptimizerConfig(lr=LR, max_grad_norm=0), shards=shards)


def step(policy: policies.Policy, batches: Sequence[Batch], algorithm: Any, t: float) -> dict[str, Any]:
    """Log probabilities, gradient, and the sampler's weights after one step, whole and on the CPU."""
    said = policy.map_microbatches(batches, lambda b: policy.logprobs(b, t), trains=False)
    policy.zero_grad()
    loss = algorithm.loss()
    policy.map_microbatches(batches, lambda b: policy.backward(b, loss, t))
    grads = [sharding.unsharded(m.grad).clone().cpu() for m in policy.masters if m.grad is not None]
    norm = policy.step()
    with policy.unsharded():
        weights = [p.detach().clone().cpu() for p in policy.sampler.parameters()]
    return {
        "logprobs": np.concatenate(said),
        "gradient": grads,
        "norm": norm,
        "weights": weights,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
    ranks.end(0)
