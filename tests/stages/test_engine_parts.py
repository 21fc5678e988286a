"""Two ranks with parts of the weights and an engine in another process: the parts come together on the first rank's
CPU, parameter by parameter, and never whole on a device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import make_experts, make_model
from forked import ended, start_ranks

from aha.corpus import tiny
from aha.corpus import tokenizer as tiny_tokenizer
from aha.modeling import own_weights
from aha.sampling.hashes import digests
from aha.sampling.vllm.engine import checkpoint_weights

HERE = Path(__file__).parent
SHAPES = ("tied", "experts")


def new_tokenizer():
    return tiny_tokenizer.build(tiny.documents("tests", 300))


def moved(policy):
    """One step, the same whichever part of a weight a rank has."""
    with torch.no_grad():
        for master in policy.masters:
            master.mul_(1.5)
    policy.version += 1


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What the first of two ranks found, and the second."""
    folder = tmp_path_factory.mktemp("parts")
    ends = ended(start_ranks(HERE / "engine_parts_job.py", folder, folder=folder))
    assert [code for code, _ in ends] == [0, 0], ends
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["vllm", "ray"])
def test_the_engine_gets_what_one_process_would_send(two, kind, shape):
    tokenizer = new_tokenizer()
    model = make_experts(tokenizer) if shape == "experts" else make_model(tokenizer, torch.bfloat16)
    names = checkpoint_weights if kind == "vllm" else own_weights
    hashes = {}
    for version in range(2):
        hashes[version] = digests(names(model))
        with torch.no_grad():
            for p in model.parameters():
                p.copy_((p.float() * 1.5).to(p.dtype))
    assert hashes[0] != hashes[1]
    assert two[0][kind, shape] == hashes


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["vllm", "ray"])
def test_the_other_rank_gives_its_parts_and_notes_the_version(two, kind, shape):
    assert two[1][kind, shape] == [0, 1]
