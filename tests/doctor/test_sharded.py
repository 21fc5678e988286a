"""The doctor and weights in parts: at the start of a run on several ranks, and by itself with ranks of its own."""

from __future__ import annotations

import os
from pathlib import Path

from forked import ended, start_ranks
from patients import describe, findings, patient

HERE = Path(__file__).parent
BUG = """
import torch.distributed.fsdp as fsdp
real = fsdp.fully_shard
def planted(module, **options):
    found = real(module, **options)
    found.set_gradient_divide_factor = lambda factor: type(found).set_gradient_divide_factor(found, 2 * factor)
    return found
fsdp.fully_shard = planted
"""


def test_a_run_in_parts_examines_itself(checkpoint, tmp_path):
    """A healthy one is let through; a sampler with stale weights and parts that compute otherwise are not."""
    words = (HERE / "in_parts_job.py", checkpoint, tmp_path / "run")
    (code, said), (other_code, other) = ended(start_ranks(*words, folder=tmp_path))
    assert (code, other_code) == (0, 0), (said, other)
    assert said.count("Doctor: 9 quick checks passed") == 2, said
    stale, differing = (line for line in said.splitlines() if line.startswith("REFUSED"))
    assert "logprobs failed" in stale
    assert "Also failed: weights." in stale
    assert "logprobs failed" in differing
    assert [line for line in other.splitlines() if "REFUSED" in line] == ["REFUSED elsewhere"] * 2


def test_two_ranks_with_parts_take_the_step_of_one(tokenizer, tmp_path):
    results = findings(patient(tokenizer, tmp_path), "sharded")
    assert not describe(results), describe(results)
    assert len(results) == 5


def test_gradients_in_parts_that_are_averaged_are_noticed(tokenizer, tmp_path, monkeypatch):
    """The bug is planted in the ranks' own processes."""
    (tmp_path / "sitecustomize.py").write_text(BUG)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    results = findings(patient(tokenizer, tmp_path), "sharded")
    wrong = [f.compared for f in results if f.ok is False]
    assert any("gradient sharded and whole" in w for w in wrong), results
