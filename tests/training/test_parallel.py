"""Two processes on one optimizer batch take the very step that one process takes."""

from __future__ import annotations

import functools
import operator
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_model

from aha import ranks
from aha.corpus import tiny
from aha.corpus import tokenizer as tiny_tokenizer
from aha.training import parallel
from aha.training.batching import pack, sequence_mean, unpack
from aha.training.losses import clipped_loss
from aha.training.policy import OptimizerConfig, Policy
from aha.types import Example


def examples():
    rng = np.random.default_rng(0)
    rows = []
    for group in range(6):
        prompt = rng.integers(0, 300, 5)
        for _ in range(4):
            ids = np.concatenate([prompt, rng.integers(0, 300, rng.integers(1, 30))])
            mask = np.arange(len(ids)) >= 5
            rows.append(
                Example(ids, mask, np.where(mask, rng.normal(), 0.0), np.full(len(ids), -5.0), 5, group)
            )
    return rows


def step(model):
    rank, size = parallel.world()
    policy = Policy(model, OptimizerConfig(lr=1e-3))
    batches = pack(examples(), sequence_mean, 60)
    for batch in parallel.deal(batches, rank, size):
        policy.backward(batch, clipped_loss())
    policy.step()
    return torch.cat([m.flatten() for m in policy.masters])


@pytest.mark.slow  # by default test_ranks.py holds it, for more steps and for weights in parts too
def test_two_ranks_step_as_one(tmp_path):
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    started = [
        subprocess.Popen([sys.executable, __file__, str(tmp_path)], env=env | one)
        for one in ranks.variables(2, ranks.free_port())
    ]
    alone = step(make_model(tiny_tokenizer.build(tiny.documents("tests", 2000))))
    assert [r.wait(timeout=300) for r in started] == [0, 0]
    first, second = (torch.load(tmp_path / f"{r}.pt") for r in range(2))
    assert torch.equal(first, second)
    start = step_free_masters()
    assert (alone - start).abs().max() > 5e-4  # the step moved the weights by about the learning rate
    assert (first - alone).abs().max() < 2e-5


def step_free_masters():
    model = make_model(tiny_tokenizer.build(tiny.documents("tests", 2000)))
    return torch.cat([p.detach().flatten() for p in Policy(model).params])


def test_dealing_gives_every_batch_to_one_rank():
    batches = pack(examples(), sequence_mean, 60)
    shares = [parallel.deal(batches, rank, 3) for rank in range(3)]
    assert sorted(map(id, functools.reduce(operator.iadd, shares, []))) == sorted(map(id, batches))
    tokens = [sum(len(b.token_ids) for b in share) for share in shares]
    assert max(tokens) - min(tokens) <= max(len(b.token_ids) for b in batches)


def test_unpack_undoes_pack():
    rows = examples()
    batches = pack(rows, sequence_mean, 60)
    back = unpack(rows, batches, [b.token_ids.astype(np.float32) for b in batches])
    for example, values in zip(rows, back, strict=True):
        assert (values[example.mask] == example.token_ids[example.mask]).all()


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")
    masters = step(make_model(tiny_tokenizer.build(tiny.documents("tests", 2000))))
    torch.save(masters, Path(sys.argv[1]) / f"{parallel.world()[0]}.pt")
    torch.distributed.destroy_process_group()
    ranks.end(0)
