"""Weights by their canonical names, their hashes, and the parcel that carries them, on real models."""

from __future__ import annotations

import pytest
import torch
from conftest import make_experts, make_model
from safetensors.torch import load_file

from aha.sampling.hashes import digest, digests, hash_of_all
from aha.sampling.vllm.engine import checkpoint_weights
from aha.sampling.vllm.weights import WeightFile, mapped
from aha.types import AhaError


def models(tokenizer):
    return {
        "tied": make_model(tokenizer),
        "bfloat16": make_model(tokenizer, dtype=torch.bfloat16),
        "biases, untied": make_model(tokenizer, family="qwen2", tie_word_embeddings=False),
        "experts": make_experts(tokenizer),
    }


@pytest.mark.parametrize("kind", ["tied", "bfloat16", "biases, untied", "experts"])
def test_names_and_bytes_are_those_of_the_checkpoint(kind, tokenizer, tmp_path):
    model = models(tokenizer)[kind]
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert digests(checkpoint_weights(model)) == digests(saved)


def test_a_parcel_delivers_what_was_put_in_again_and_again(tokenizer):
    parcel = WeightFile()
    for model in models(tokenizer).values():  # larger and smaller ones in turn
        sent = checkpoint_weights(model)
        parcel.write(sent)
        tensors = mapped(parcel.path)
        assert list(tensors) == list(sent)
        assert all(torch.equal(tensors[n], sent[n]) and tensors[n].dtype == sent[n].dtype for n in sent)
    parcel.write({"empty": torch.zeros(0, 3), "scalar": torch.tensor(2.5), "kept": torch.arange(3)})
    tensors = mapped(parcel.path)
    assert tensors["empty"].shape == (0, 3)
    assert tensors["scalar"].item() == 2.5
    assert load_file(parcel.path)["kept"].tolist() == [0, 1, 2]  # safetensors reads it too
    parcel.close()
    with pytest.raises(OSError):
        mapped(parcel.path)


def test_views_and_other_strides_are_put_in_order():
    parcel, t = WeightFile(), torch.randn(4, 6)
    parcel.write({"t": t.t(), "part": t[1:3, ::2]})
    tensors = mapped(parcel.path)
    assert torch.equal(tensors["t"], t.t())
    assert torch.equal(tensors["part"], t[1:3, ::2])
    parcel.close()


def test_types_that_cannot_travel_are_refused():
    with pytest.raises(AhaError, match="'x' is torch"):
        WeightFile().write({"x": torch.zeros(2, dtype=torch.complex64)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_hash_notices_one_bit_a_shape_a_type_and_a_name(dtype):
    t = torch.randn(8, 16).to(dtype)
    changed = t.clone()
    changed[3, 5] = torch.nextafter(changed[3, 5], torch.tensor(9.0, dtype=dtype))
    other = torch.float64 if dtype is torch.float32 else torch.float32
    seen = {digest(t), digest(changed), digest(t.reshape(16, 8)), digest(t.t()), digest(t.to(other))}
    assert len(seen) == 5
    assert digest(t) == digest(t.clone().t().contiguous().t())  # only what is in it counts
    assert hash_of_all({"a": "1", "b": "2"}) == hash_of_all({"b": "2", "a": "1"})
    assert (
        len({hash_of_all({"a": "1", "b": "2"}), hash_of_all({"a": "2", "b": "1"}), hash_of_all({"a": "1"})})
        == 3
    )


def test_what_processors_flush_does_not_count():
    tiny = torch.finfo(torch.float32).tiny
    assert digest(torch.tensor([1.0, -0.0, tiny / 2])) == digest(torch.tensor([1.0, 0.0, 0.0]))
    assert digest(torch.tensor([tiny])) != digest(torch.tensor([0.0]))
