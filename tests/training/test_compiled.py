"""Layers through torch.compile give the same loss and gradient, and name what they lack."""

import shutil

import pytest
import torch
from conftest import make_model
from rank_jobs import examples

from aha.training import compiled
from aha.training.batching import pack, token_mean
from aha.training.losses import negative_log_likelihood
from aha.training.policy import Policy
from aha.training.trainer import OptimizerConfig
from aha.types import AhaError


def test_a_missing_compiler_is_named(tokenizer, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(AhaError, match=r"no g\+\+ or clang\+\+"):
        compiled.torch_compile(make_model(tokenizer))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
@pytest.mark.parametrize("again", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_loss_and_gradient_are_the_same(tokenizer, family, again):
    results = []
    for through in (False, True):
        torch.manual_seed(0)
        model = make_model(tokenizer, family=family)
        policy = Policy(model, OptimizerConfig(lr=1e-3, gradient_checkpointing=again, torch_compile=through))
        compiled_parts = [m for m in model.modules() if m._compiled_call_impl is not None]
        assert bool(compiled_parts) == through
        (batch,) = pack(examples(), token_mean, 1000)
        sums = policy.backward(batch, negative_log_likelihood)
        results.append((sums["loss"], [m.grad.clone() for m in policy.masters]))
    (loss, grads), (other_loss, other_grads) = results
    assert other_loss == pytest.approx(loss, rel=1e-5)
    for grad, other in zip(grads, other_grads, strict=True):
        torch.testing.assert_close(other, grad, rtol=1e-3, atol=1e-6)
