"""What is sound loads: a checkpoint of every family, with every tensor as it was saved, and none reported amiss."""

from __future__ import annotations

import pytest
import torch
from families import FAMILIES, make

from aha.modeling import load_model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sound_checkpoint_of_every_family_loads(family, tokenizer, tmp_path):
    model = make(family, tokenizer)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = load_model(str(tmp_path)).state_dict()
    assert found.keys() == model.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())
