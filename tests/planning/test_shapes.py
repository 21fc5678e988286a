"""Numbers of parameters equal those of the modules that transformers builds of the same config."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from shrunk import shrunk

from aha import attention
from aha.planning import configs, published
from aha.planning.shapes import FAMILIES, from_config
from aha.sampling.local.kv_cache import bytes_per_token

WHOLE = [
    "Qwen/Qwen2.5-0.5B",
    "Qwen/Qwen2.5-7B",
    "Qwen/Qwen3-4B",
    "Qwen/Qwen3-30B-A3B",
    "meta-llama/Llama-3.2-1B",
    "meta-llama/Llama-3.1-70B",
    "google/gemma-2-2b",
    "google/gemma-3-4b-pt",
    "mistralai/Mistral-Nemo-Base-2407",
    "mistralai/Mixtral-8x7B-v0.1",
    "deepseek-ai/DeepSeek-R1",
]


def config_of(name):
    from transformers import AutoConfig

    fields = dict(published.PUBLISHED[name])
    return AutoConfig.for_model(fields.pop("model_type"), **fields)


def test_every_family_is_built_below():
    assert {published.PUBLISHED[name]["model_type"] for name in WHOLE} == set(FAMILIES)


@pytest.mark.parametrize("name", WHOLE)
def test_parameters_are_those_of_transformers_modules(name):
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(name), dtype=torch.bfloat16)
    shape = from_config(published.PUBLISHED[name], name)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    head = model.get_output_embeddings()
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    assert shape.adapter_parameters(16) == 16 * sum(m.in_features + m.out_features for m in linear)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [  # as the publishers' files have them
        ("Qwen/Qwen2.5-1.5B", 1_543_714_304),
        ("Qwen/Qwen2.5-72B", 72_706_203_648),
        ("meta-llama/Llama-3.1-8B", 8_030_261_248),
        ("google/gemma-2-9b", 9_241_705_984),
        ("mistralai/Mistral-7B-v0.1", 7_241_732_096),
        ("Qwen/Qwen3-8B", 8_190_735_360),
    ],
)
def test_published_numbers(name, parameters):
    assert from_config(published.PUBLISHED[name], name).parameters == parameters


def test_active_parameters_are_what_the_names_say():
    """30B-A3B, 235B-A22B, 671B with 37B active."""
    for name, billions in (("Qwen3-30B-A3B", 3), ("Qwen3-235B-A22B", 22), ("DeepSeek-V3", 37)):
        assert abs(from_config(published.find(name), name).active / 1e9 - billions) < 0.6


def test_variants_have_the_shape_of_their_size():
    assert published.find("Qwen/Qwen2.5-Math-7B-Instruct") is published.PUBLISHED["Qwen/Qwen2.5-7B"]
    assert published.find("google/gemma-3-12b-it") is published.PUBLISHED["google/gemma-3-12b-pt"]
    assert published.find("Qwen/Qwen2.5-7B-or-so") is None


def test_a_full_config_says_the_same_as_the_published_fields():
    """transformers fills in every default; none of them may change the shape."""
    for name in WHOLE:
        config = config_of(name)
        assert from_config(config.to_dict(), name) == from_config(published.PUBLISHED[name], name)


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_and_cache_of_small_ones(family):
    """The cache is what the sampler asks of each layer in its trial."""
    model, shape = shrunk(family)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    numbers = sum(x.kv_heads * (x.key_dim + x.value_dim) for x in attention.layers(model))
    assert shape.cache_numbers == numbers
    assert shape.cache_numbers * 4 == bytes_per_token(model)


def test_a_family_without_a_formula_is_counted():
    from transformers import AutoModelForCausalLM, Olmo2Config

    config = Olmo2Config(vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=4)  # fmt: skip
    shape = configs.shape_of_config(config, "olmo2")
    model = AutoModelForCausalLM.from_config(config)
    assert shape.family not in FAMILIES
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    assert shape.parameters != replace(shape, counted=None).parameters, "the formula alone would be wrong"
