"""Small GGUF files as llama.cpp's converter would write them, with its own library."""

from __future__ import annotations

import numpy as np
import torch

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEXTS = (
    "Hello there, 1234 + 5,678 = 42!\n\n  def f(x):\n\treturn x",
    " leading 12",
    "你好 naïve 😀",
    "a  b   c",
)


def byte_level(words=400):
    """A byte-level BPE tokenizer that learned a few words, with ChatML's special tokens in front."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=words, special_tokens=list(SPECIAL), initial_alphabet=alphabet)
    tokenizer.train_from_iterator(
        [*TEXTS, "the cat and the dog and then another return def self import " * 3], trainer
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=SPECIAL[0], eos_token=SPECIAL[2])


def _vocabulary(writer, tokenizer, chat):
    import json

    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    words = [word for word, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types([3 if word in SPECIAL else 1 for word in words])
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_eot_token_id(2)
    if chat:
        writer.add_chat_template(CHATML)


def permuted(weight, heads):
    """Rows of queries and keys as llama.cpp keeps a Llama's: the halves of each head woven into each other."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def write(path, model, tokenizer, architecture="llama", kind="Q8_0", chat=True, change=None, more=None):
    """Write ``model`` as a GGUF file; returns the tensors as the file keeps them, under the model's names.

    ``change``: of {name: float32 array}, before it is written. ``more``: called with the writer.
    """
    import gguf

    config, writer = model.config, gguf.GGUFWriter(path, architecture)
    writer.add_name("A small one")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim if hasattr(config, "head_dim") else 8)
    if hasattr(config, "head_dim"):
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)
    if tokenizer is not None:
        _vocabulary(writer, tokenizer, chat)
    if more is not None:
        more(writer)
    kept = _tensors(writer, model, architecture, gguf.GGMLQuantizationType[kind], change)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return kept


def _tensors(writer, model, architecture, kind, change):
    import gguf
    from gguf.quants import dequantize, quantize

    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture)
    names = gguf.get_tensor_name_map(arch, model.config.num_hidden_layers)
    tensors = {key: value.detach().float().numpy() for key, value in model.named_parameters()}
    kept = {}
    for key, value in (change(tensors) if change else tensors).items():
        base, end = key.rsplit(".", 1)
        name = f"{names.get_name(base) or base}.{end}"
        heads = {"attn_q": model.config.num_attention_heads, "attn_k": model.config.num_key_value_heads}
        woven = heads.get(name.split(".")[-2]) if architecture == "llama" else None
        shift = 1.0 if architecture.startswith("gemma") and "norm" in name else 0.0
        stored = permuted(value, woven) if woven else value + np.float32(shift)
        if value.ndim == 1:
            writer.add_tensor(name, stored.astype(np.float32))
            kept[key] = torch.from_numpy(value)
            continue
        raw = quantize(stored, kind)
        writer.add_tensor(name, raw, raw_dtype=kind)
        back = dequantize(raw, kind)
        if woven:
            back = (
                back.reshape(woven, value.shape[0] // woven // 2, 2, -1).swapaxes(1, 2).reshape(value.shape)
            )
        kept[key] = torch.from_numpy(back - np.float32(shift))
    return kept
