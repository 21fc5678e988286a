"""One of two ranks whose weights are in parts, with an engine in another process: ``python engine_parts_job.py
FOLDER``. The engine is played by one that keeps what it is given."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from conftest import make_experts, make_model
from test_engine_parts import SHAPES, moved, new_tokenizer

from aha import ranks
from aha.cluster.engine import RayEngine
from aha.sampling.engine import UNLOADED, EngineSetup
from aha.sampling.engines import ENGINES
from aha.sampling.hashes import digests
from aha.sampling.vllm.engine import VllmEngine
from aha.stages import engines
from aha.training import sharding
from aha.training.policy import OptimizerConfig, Policy


class Kept:
    """What was given to an engine, by version."""

    def __init__(self, *_, **__):
        self.version, self.given = UNLOADED, {}

    @classmethod
    def make(cls, *_):
        return cls()

    def load_weights(self, tensors, version):
        assert all(t.device.type == "cpu" for t in tensors.values())
        self.given[version] = digests(tensors)
        self.version = version

    def close(self):
        """Nothing to end."""


class KeptByVllm(Kept, VllmEngine):
    pass


class KeptByRay(Kept, RayEngine):
    pass


def refuse(*_):
    raise AssertionError("the whole model was put on a rank's device")


def followed(tokenizer, kind, shape):
    """Names and hashes of each version that the engine got, on the first rank; the versions noted, on the other."""
    model = make_experts(tokenizer) if shape == "experts" else make_model(tokenizer, torch.bfloat16)
    shards = sharding.Shards(model, trains=True, samples=True)
    policy = Policy(model, OptimizerConfig(), shards=shards)
    engine = engines.for_policy(kind, policy, tokenizer, EngineSetup(rows=8, longest=64, threads=1))
    whole, shards.unsharded = shards.unsharded, refuse
    noted = []
    for _ in range(2):
        with engines.ready(engine, policy):
            engines.sync(engine, policy)
            assert engines.sync(engine, policy) == 0.0  # it has them
        noted.append(engine.version)
        moved(policy)
    shards.unsharded = whole
    local = engines.for_policy("local", policy, tokenizer, EngineSetup(rows=8, longest=64, threads=1))
    with engines.ready(local, policy):  # which still needs them
        assert all(p.numel() for p in local.model.parameters())
    return getattr(engine, "given", noted)


def main(folder):
    torch.set_num_threads(1)
    for name, kept in (("vllm", "KeptByVllm"), ("ray", "KeptByRay")):
        ENGINES[name] = replace(ENGINES[name], engine=f"__main__:{kept}")
    tokenizer = new_tokenizer()
    with ranks.joined("cpu"):
        results = {(k, s): followed(tokenizer, k, s) for k in ("vllm", "ray") for s in SHAPES}
        torch.save(results, folder / f"{ranks.number()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    ranks.end(0)
