"""One of two ranks whose run examines itself, its weights in parts: ``python in_parts_job.py MODEL FOLDER``."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path

import torch

from aha import ranks
from aha.doctor.full import checkup
from aha.runs.pipeline import Context
from aha.stages import rl
from aha.stages.rl import setup
from aha.types import AhaError

SMALL = {
    "max_tokens": 12,
    "max_tokens_schedule": (),
    "train_problems": 8,
    "prompts_per_step": 2,
    "group_size": 4,
}


@contextmanager
def stale(real, model):
    """The sampler's weights are those of a step ago."""
    with real():
        for param in model.parameters():
            param.data = param.data * 1.01
        yield


def refused(session):
    """What the examination says, on the rank that says it."""
    try:
        checkup.examine(session, "x")
    except AhaError as error:
        print("REFUSED", error, file=sys.stderr)
    except SystemExit:
        print("REFUSED elsewhere", file=sys.stderr)


def main(model, folder):
    torch.set_num_threads(1)
    config = rl.RL(name="rl", model=model, dtype="float32", **SMALL)
    with ranks.joined("cpu"):
        where = Context(
            Path(folder), "cpu", threads=1, plain=True, parallel="sharded", examine=checkup.examine
        )
        session = setup.prepare(config, where)  # which examines it
        assert session.policy.shards is not None
        shards, policy = session.policy.shards, session.policy
        real, said = shards.unsharded, policy.logprobs
        shards.unsharded = lambda: stale(real, shards.replica)
        refused(session)
        shards.unsharded = real
        policy.logprobs = lambda batch, t=1.0: said(batch, 1.3 * t)  # the parts compute something else
        refused(session)
        policy.logprobs = said
        checkup.examine(session, "x")


if __name__ == "__main__":
    main(*sys.argv[1:])
    ranks.end(0)
