"""Weights that are not finite are found wherever they stand, and named."""

from __future__ import annotations

import pytest
import torch
from conftest import make_model

from aha.modeling import load_model
from aha.types import AhaError


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_weight_that_is_not_finite_is_named(tokenizer, tmp_path, value, dtype):
    model = make_model(tokenizer, dtype=dtype)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[63, 31] = value
    model.save_pretrained(tmp_path)
    with pytest.raises(
        AhaError, match=r"not finite .* in 1 tensors, first in 'model.layers.1.mlp.up_proj.weight'"
    ):
        load_model(str(tmp_path))


def test_a_sound_checkpoint_loads(tokenizer, tmp_path):
    make_model(tokenizer).save_pretrained(tmp_path)
    assert load_model(str(tmp_path)).config.vocab_size == len(tokenizer)
