"""Products with a matrix turned first are the products, and the way that is taken is tried and kept."""

from __future__ import annotations

import json

import pytest
import torch
from comparing import near, random

from aha import kernels
from aha.kernels import build, fused_linear, products

pytestmark = pytest.mark.skipif(build.library() is None, reason="no C++ compiler here")
BF16 = torch.bfloat16


@pytest.fixture
def turned(monkeypatch):
    """Every product of two rows and more turns a matrix first; returns what did."""
    tried = []
    monkeypatch.setattr(products, "_tried", lambda kind, *sizes: tried.append(kind) or True)
    for module in (products, fused_linear):
        monkeypatch.setattr(module, "LEAST_ROWS", 2)
    return tried


@pytest.mark.parametrize("rows", [1, 5, 31, 32, 33, 64, 97])
@pytest.mark.parametrize("columns", [1, 8, 31, 32, 65, 160])
def test_a_transpose_has_every_number_in_its_place(rows, columns):
    x = torch.arange(rows * columns).to(torch.int16).view(rows, columns).view(BF16)
    assert torch.equal(products.transposed(x).view(torch.int16), x.t().contiguous().view(torch.int16))


def test_a_transpose_of_columns_leaves_the_others_alone():
    x = random(70, 200, dtype=BF16).detach()
    room = torch.full((4, 40, 70), 7.0, dtype=BF16)
    products.transposed(x[:, 30:70], room[2])
    assert torch.equal(room[2], x[:, 30:70].t())
    assert (room[[0, 1, 3]] == 7).all(), "nothing is written beside it"


@pytest.mark.parametrize(("outputs", "inputs"), [(96, 32), (32, 96), (50, 70), (70, 50)])
def test_turned_products_are_the_products(turned, monkeypatch, outputs, inputs):
    monkeypatch.setattr(products, "BLOCK", 32)
    x, weight, dz = (random(*shape, dtype=BF16, seed=i).detach()
                     for i, shape in enumerate([(45, inputs), (outputs, inputs), (45, outputs)]))  # fmt: skip
    bias = random(outputs, dtype=BF16, seed=3).detach()
    near(products.product(x, weight, bias), x.double() @ weight.double().t() + bias.double(), BF16)
    near(products.product(x, weight), x.double() @ weight.double().t(), BF16)
    near(products.weight_gradient(dz, x), dz.double().t() @ x.double(), BF16)
    assert turned == ["product", "product", "gradient"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_projection_has_the_gradients_of_its_layer(turned, bias, frozen):
    layer = torch.nn.Linear(64, 48, bias=bias, dtype=BF16)
    layer.weight.requires_grad_(not frozen)
    exact = torch.nn.Linear(64, 48, bias=bias, dtype=torch.float64)
    exact.load_state_dict(layer.state_dict())
    x, upstream = random(3, 40, 64, dtype=BF16), random(3, 40, 48, dtype=BF16, seed=1).detach()
    truth = x.detach().double().requires_grad_()
    ours, expected = kernels.linear(x, layer), exact(truth)
    near(ours, expected, BF16)
    ours.backward(upstream)
    expected.backward(upstream.double())
    near(x.grad, truth.grad, BF16)
    assert (layer.weight.grad is None) == frozen
    if not frozen:
        near(layer.weight.grad, exact.weight.grad, BF16)
    if bias:
        near(layer.bias.grad, exact.bias.grad, BF16)
    assert turned == ["product"] + ["gradient"] * (not frozen)


@pytest.mark.parametrize("rows", [1, 3, 4, 8, 11, 12, 13, 31, 64, 129, 255])
@pytest.mark.parametrize(("outputs", "inputs"), [(32, 32), (100, 96), (960, 576), (896, 4864), (1543, 1056)])
def test_few_rows_of_float32_by_the_kernel_are_the_product(rows, outputs, inputs):
    x, weight, bias = (random(*shape, seed=i).detach()
                       for i, shape in enumerate([(rows, inputs), (outputs, inputs), (outputs,)]))  # fmt: skip
    truth = x.double() @ weight.double().t() + bias.double()
    ours, plain = products.meet(x, weight, bias), torch.nn.functional.linear(x, weight, bias)
    error = (ours - truth).abs().max()
    assert error <= 4 * (plain - truth).abs().max() + 1e-6
    assert torch.equal(products.meet(x[None], weight, None)[0], products.meet(x, weight, None))


def test_the_kernel_is_taken_where_the_trial_finds_it_faster(monkeypatch):
    x, weight = random(8, 256).detach(), random(512, 256, seed=1).detach()
    tried: list[tuple] = []
    monkeypatch.setattr(products, "_tried", lambda *facts: tried.append(facts) or True)
    calls = []
    monkeypatch.setattr(products, "call", lambda name, *rest: calls.append(name))
    products.product(x, weight)
    kernels.linear(x, torch.nn.Linear(256, 512))
    assert calls == ["project"] * 2
    assert {facts[:4] for facts in tried} == {("few", 8, 512, 256)}
    for other in (x[:0], x.double(), x.to(BF16), random(300, 256).detach(), x[:, :250]):
        fitting = weight[:, : other.shape[1]].to(other.dtype)
        assert not products.by_kernel(other, fitting)
    assert not products.by_kernel(x, weight[:16])
    assert not products.by_kernel(x, random(256, 512).detach().t())
    with kernels.without():
        assert not products.by_kernel(x, weight)


def test_no_gradient_is_lost_where_the_kernel_makes_logits(monkeypatch):
    monkeypatch.setattr(products, "_tried", lambda *facts: True)
    x, weight = random(8, 256), random(512, 256, seed=1)
    assert not kernels.can_project(x, weight)
    with torch.no_grad():
        assert kernels.can_project(x, weight)
    ours, layer = random(8, 256), torch.nn.Linear(256, 512, bias=False)
    layer.weight.data = weight.detach().clone()
    kernels.linear(ours, layer).square().sum().backward()
    (x @ weight.t()).square().sum().backward()
    near(ours.grad, x.grad.double(), torch.float32)
    near(layer.weight.grad, weight.grad.double(), torch.float32)


def test_a_trial_of_few_rows_needs_no_second_head():
    for work in products._ways("few", 1, 1 << 18, 1024):
        assert work().shape[1] * 1024 <= products.MOST_WEIGHT


def test_other_types_few_rows_and_columns_of_others_go_by_the_library(monkeypatch):
    monkeypatch.setattr(products, "_tried", lambda *sizes: pytest.fail("nothing to try"))
    for x in (random(300, 64), random(200, 64, dtype=BF16), random(64, 300, dtype=BF16).t()):
        weight = random(32, 64, dtype=x.dtype).detach()
        assert torch.equal(products.product(x, weight), torch.nn.functional.linear(x, weight))
    with kernels.without():
        x = random(300, 64, dtype=BF16)
        assert torch.equal(products.weight_gradient(x, x), x.t() @ x)


def test_the_way_is_tried_once_and_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(products.speeds, "cache_folder", lambda: tmp_path)
    products._tried.cache_clear()
    times = iter([9.0, 9.0, 1.0, 1.2, 1.0, 1.2, 1.0, 1.2])  # the first turn does not count
    monkeypatch.setattr(products.speeds, "timed", lambda work: next(times))
    x, weight = random(300, 64, dtype=BF16).detach(), random(32, 64, dtype=BF16).detach()
    products.product(x, weight)
    products.product(x[:260], weight)  # as many rows, to a power of two
    assert list(json.loads((tmp_path / products.TRIALS).read_text()).values()) == [True]
    products._tried.cache_clear()
    products.product(x, weight)  # another process reads it
    products._tried.cache_clear()
