"""A model through kernels is the model without: hidden states, gradients, and the ways back."""

from __future__ import annotations

import copy
import logging

import numpy as np
import pytest
import torch
from conftest import make_model

from aha import attention, kernels
from aha.attention.modules import to_kernels
from aha.kernels import build
from aha.training.batching import pack, sequence_mean
from aha.training.losses import negative_log_likelihood
from aha.training.policy import Policy
from aha.types import Example

pytestmark = pytest.mark.skipif(build.library() is None, reason="no C++ compiler here")
FAMILIES = pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])


def gradients(model, dtype=None):
    """Of a batch of packed sequences that share prompts, by the names of parameters; and the loss."""
    rng = np.random.default_rng(0)
    rows = []
    for group in range(2):
        prompt = rng.integers(2, 200, 9)
        for length in (5, 20, 33):
            ids = np.concatenate([prompt, rng.integers(2, 200, length)])
            rows.append(Example(ids, np.arange(len(ids)) >= 9, np.ones(len(ids), np.float32), None, 9, group))
    (batch,) = pack(rows, sequence_mean, 1000)
    policy = Policy(model)
    sums = policy.backward(batch, negative_log_likelihood)
    return sums["loss"], {name: p.grad.clone() for name, p in model.named_parameters()}


@FAMILIES
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gradients_of_a_model(tokenizer, family, dtype):
    """Float32 to rounding; in bf16 as near to float32 as torch's own operators are."""

    def made(kind, plain):
        model = make_model(tokenizer, kind, family=family, head_dim=32)
        if not plain:
            return gradients(model)
        with kernels.without():
            return gradients(model)

    exact, plain, ours = made(torch.float32, True), made(dtype, True), made(dtype, False)
    least = 1e-5 if dtype == torch.float32 else 0.0
    assert ours[0] == pytest.approx(exact[0], rel=least or 0.01)
    for name, gradient in exact[1].items():
        off, allowed = ((x[1][name].float() - gradient).norm() for x in (ours, plain))
        assert off <= max(2 * allowed, least * gradient.norm()), name
    if dtype == torch.bfloat16:
        names = list(exact[1])
        off, allowed = (
            sum((x[1][n].float() - exact[1][n]).square().sum() for n in names) for x in (ours, plain)
        )
        assert off <= 1.5 * allowed


@FAMILIES
def test_every_part_of_a_layer_has_its_kernel(tokenizer, family):
    model = make_model(tokenizer, family=family, head_dim=32)
    attention.install(model)
    by_kind = {}
    for module in model.modules():
        by_kind.setdefault(type(module).__name__, set()).add("forward" in vars(module))
    classes = {f"{family.capitalize()}{part}" for part in ("RMSNorm", "MLP", "Attention")}
    assert {kind for kind, replaced in by_kind.items() if replaced == {True}} == classes
    assert all(len(replaced) == 1 for replaced in by_kind.values())
    attention.to_torch(model)
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_copy_is_a_model_of_its_own(tokenizer):
    model = make_model(tokenizer, head_dim=32)
    attention.install(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    assert gradients(other)[0] != pytest.approx(gradients(model)[0], rel=0.01)


class OddRMSNorm(torch.nn.Module):
    """Has the names of the norm that is known, and adds one to its weight."""

    def __init__(self, size):
        super().__init__()
        self.weight, self.variance_epsilon = torch.nn.Parameter(torch.zeros(size)), 1e-6

    def forward(self, x):
        return torch.nn.functional.rms_norm(x, x.shape[-1:], self.weight + 1, self.variance_epsilon)


def test_a_module_that_computes_otherwise_keeps_its_own_way(tokenizer, caplog):
    """Names tell little: what the model makes with kernels is held against what it makes without."""
    model = make_model(tokenizer, head_dim=32)
    model.model.norm = OddRMSNorm(32)
    with caplog.at_level(logging.WARNING):
        attention.install(model)
    assert "goes without" in caplog.text
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_model_given_back_works_as_transformers_made_it(tokenizer):
    model = make_model(tokenizer, head_dim=32)
    ids = torch.arange(2, 30)[None]
    with torch.no_grad():
        expected = model(ids).logits
        attention.install(model)
        model.set_attn_implementation("sdpa")
        ours = model(ids).logits
    assert torch.allclose(ours, expected, atol=1e-4)


def test_weights_begin_at_a_line_of_the_cache(tokenizer):
    """Those of a mapped file need not; what is tied stays tied, and joined parts stay joined."""
    model = make_model(tokenizer, head_dim=32).bfloat16()
    for param in model.parameters():
        place = torch.empty(param.numel() + 64, dtype=param.dtype)
        start = -place.data_ptr() % 64 // 2 + 4
        param.data = place[start : start + param.numel()].view_as(param).copy_(param.data)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    tied = head.weight is embedding.weight
    to_kernels(model)
    layer = model.base_model.layers[0]
    for linear in (
        layer.self_attn.q_proj,
        layer.self_attn.o_proj,
        layer.mlp.gate_proj,
        layer.mlp.down_proj,
        head,
    ):
        assert linear.weight.data_ptr() % 64 == 0
    assert (head.weight is embedding.weight) == tied
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    places = [param.data_ptr() for param in model.parameters()]
    to_kernels(model)
    assert [param.data_ptr() for param in model.parameters()] == places
