"""A pretrained model, SmolLM2-135M-Instruct, from its file to a trained checkpoint."""

from __future__ import annotations

from aha.modeling import load_model, load_tokenizer


def test_it_loads(smollm2):
    model, tokenizer = load_model(str(smollm2)), load_tokenizer(str(smollm2))
    assert sum(value.numel() for value in model.parameters()) == 134_515_008
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.chat_template
