"""GGUF files become the checkpoints that they were made of, as far as quantisation left them, or are refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import make_model
from gguf_files import CHATML, TEXTS, byte_level, write

from aha.checkpoints import dequantized, gguf_header
from aha.cli import main
from aha.modeling import load_model, load_tokenizer, resolve
from aha.sampling.local.engine import LocalEngine
from aha.types import AhaError

WIDE = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16, "bos_token_id": 0}
"""Rows of whole blocks of 32."""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AHA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def words():
    return byte_level()


def small(words, family="llama", **changes):
    return make_model(words, family=family, **(WIDE | changes))


def gemma(words):
    from transformers import AutoModelForCausalLM, Gemma3TextConfig

    torch.manual_seed(3)
    config = Gemma3TextConfig(
        vocab_size=len(words), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=1, head_dim=32, sliding_window=16, max_position_embeddings=512, query_pre_attn_scalar=256,
        layer_types=["sliding_attention"] * 2, initializer_range=0.2,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_weights_are_those_of_the_file(words, tmp_path, kind):
    kept = write(tmp_path / "m.gguf", small(words), words, kind=kind)
    loaded = load_model(str(tmp_path / "m.gguf"))
    exact = torch.float32 if kind == "F32" else torch.float16 if kind == "F16" else torch.bfloat16
    for name, value in loaded.named_parameters():
        assert torch.equal(value, kept[name].to(exact).float()), name


@pytest.mark.parametrize(
    ("architecture", "family"),
    [("llama", "llama"), ("qwen2", "qwen2"), ("qwen3", "qwen3"), ("gemma3", "gemma3")],
)
@pytest.mark.parametrize("tied", [True, False])
def test_the_model_computes_what_it_did(words, tmp_path, architecture, family, tied):
    if family == "gemma3" and not tied:
        pytest.skip("its head is always the embedding")
    model = gemma(words) if family == "gemma3" else small(words, family, tie_word_embeddings=tied)
    write(tmp_path / "m.gguf", model, words, architecture, "F32")
    loaded = load_model(str(tmp_path / "m.gguf"))
    assert loaded.config.tie_word_embeddings is tied
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, model(ids).logits, atol=2e-4, rtol=1e-3)


def test_tokenizer_template_and_stop(words, tmp_path):
    write(tmp_path / "m.gguf", small(words), words)
    tokenizer = load_tokenizer(str(tmp_path / "m.gguf"))
    for text in (*TEXTS, "<|im_start|>user\nhi<|im_end|>\n"):
        assert tokenizer.encode(text) == words.encode(text)
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert (tokenizer.eos_token, tokenizer.chat_template) == ("<|im_end|>", CHATML)
    assert LocalEngine(load_model(str(tmp_path / "m.gguf")), tokenizer).eos_ids == {2}


def test_the_end_of_a_turn_ends_a_completion_beside_the_end_of_the_text(words, tmp_path):
    """A file whose eos is the end of the text, and which names the end of a turn apart (as base models' do)."""

    def more(writer):
        writer.kv_data[0]["tokenizer.ggml.eos_token_id"].value = 0

    write(tmp_path / "m.gguf", small(words), words, more=more)
    model, tokenizer = load_model(str(tmp_path / "m.gguf")), load_tokenizer(str(tmp_path / "m.gguf"))
    assert LocalEngine(model, tokenizer).eos_ids == {0, 2}


def test_the_checkpoint_made_is_an_ordinary_one(words, tmp_path, cache):
    write(tmp_path / "m.gguf", small(words), words)
    folder = resolve(str(tmp_path / "m.gguf"))
    text = json.loads((cache / folder / "config.json").read_text())
    assert not {"_name_or_path", "_model_name_or_path", "quantization_config", "gguf_file"} & text.keys()
    load_model(folder).save_pretrained(tmp_path / "again")
    assert "m.gguf" not in (tmp_path / "again" / "config.json").read_text()


def test_a_file_is_converted_once_wherever_it_lies(words, tmp_path, monkeypatch):
    write(tmp_path / "m.gguf", small(words), words)
    folder = resolve(str(tmp_path / "m.gguf"))
    monkeypatch.setattr(dequantized, "convert", None)
    (tmp_path / "there").mkdir()
    shutil.copy(tmp_path / "m.gguf", tmp_path / "there" / "m.gguf")
    assert resolve(str(tmp_path / "m.gguf")) == folder == resolve(str(tmp_path / "there"))


def test_another_file_of_the_same_name_is_another_model(words, tmp_path):
    write(tmp_path / "m.gguf", small(words), words)
    first = resolve(str(tmp_path / "m.gguf"))
    write(tmp_path / "m.gguf", small(words, seed=1), words)
    assert resolve(str(tmp_path / "m.gguf")) != first


@pytest.mark.parametrize("hidden", [64, 2048])
def test_large_tensors_are_dequantised_as_small_ones(hidden):
    from gguf import GGMLQuantizationType as Kind
    from gguf.quants import dequantize, quantize

    values = np.random.default_rng(0).normal(size=(37, hidden)).astype(np.float32)
    for kind in (Kind.Q8_0, Kind.Q4_1, Kind.Q5_0):
        raw = quantize(values, kind)
        stored = gguf_header.Stored("x", values.shape, int(kind), 5, raw.nbytes)
        floats = dequantized.dequantise(b"12345" + raw.tobytes(), stored)
        assert np.array_equal(floats, dequantize(raw, kind))


# --- positions -------------------------------------------------------------------------------------------


def test_linear_and_yarn_scaling_are_kept(words, tmp_path):
    from gguf import RopeScalingType

    def linear(writer):
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(4.0)

    def yarn(writer):
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(8.0)
        writer.add_rope_scaling_orig_ctx_len(64)

    write(tmp_path / "linear.gguf", small(words), words, more=linear)
    write(tmp_path / "yarn.gguf", small(words, "qwen2"), words, "qwen2", more=yarn)
    rope = load_model(str(tmp_path / "linear.gguf")).config.rope_parameters
    assert (rope["rope_type"], rope["factor"], rope["rope_theta"]) == ("linear", 4.0, 10000.0)
    rope = load_model(str(tmp_path / "yarn.gguf")).config.rope_parameters
    assert (rope["rope_type"], rope["factor"], rope["original_max_position_embeddings"]) == ("yarn", 8.0, 64)


def llama3(words, factor):
    scaling = {
        "rope_type": "llama3", "rope_theta": 500_000.0, "factor": factor, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    }  # fmt: skip
    return small(words, rope_parameters=scaling, head_dim=32, max_position_embeddings=131072)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_the_frequencies_of_llama_3_become_its_scaling(words, tmp_path, factor):
    model = llama3(words, factor)
    plain = 500_000.0 ** -(np.arange(16) / 16)
    factors = (plain / model.model.rotary_emb.inv_freq.numpy()).astype(np.float32)
    write(
        tmp_path / "m.gguf",
        model,
        words,
        kind="F32",
        more=lambda writer: writer.add_tensor("rope_freqs.weight", factors),
    )
    loaded = load_model(str(tmp_path / "m.gguf"))
    assert loaded.config.rope_parameters == model.config.rope_parameters
    torch.testing.assert_close(loaded.model.rotary_emb.inv_freq, model.model.rotary_emb.inv_freq)
    write(
        tmp_path / "odd.gguf",
        model,
        words,
        more=lambda writer: writer.add_tensor("rope_freqs.weight", factors[::-1].copy()),
    )
    with pytest.raises(AhaError, match="not those of Llama 3"):
        load_model(str(tmp_path / "odd.gguf"))


# --- refusals --------------------------------------------------------------------------------------------


def refused(path, words):
    for load in (load_model, load_tokenizer):
        with pytest.raises(AhaError, match=words):
            load(str(path))


def test_files_cut_off_anywhere_are_refused(words, tmp_path, cache):
    write(tmp_path / "m.gguf", small(words), words)
    data = (tmp_path / "m.gguf").read_bytes()
    for part in (0, 3, 4, 10, 24, 60, 200, 5000, len(data) // 2, len(data) - 1000):
        (tmp_path / "part.gguf").write_bytes(data[:part])
        refused(tmp_path / "part.gguf", "cut off|not a GGUF file")
    assert not list(cache.glob("gguf/m-*"))


def test_other_content_is_refused(tmp_path, checkpoint):
    (tmp_path / "m.gguf").write_text("<html>404</html>")
    refused(tmp_path / "m.gguf", "not a GGUF file")
    refused(checkpoint / "model.safetensors", "one file of a checkpoint. Give its folder")
    (tmp_path / "notes.txt").write_text("hello")
    refused(tmp_path / "notes.txt", "no GGUF one")
    refused(tmp_path / "missing.gguf", "no such folder or file")
    (tmp_path / "old.gguf").write_bytes(b"GGUF" + (1).to_bytes(4, "little") + bytes(100))
    refused(tmp_path / "old.gguf", "version 1")


def test_a_part_of_a_split_model_is_refused(words, tmp_path):
    def split(writer):
        writer.add_uint16("split.count", 3)

    write(tmp_path / "m-00001-of-00003.gguf", small(words), words, more=split)
    refused(tmp_path / "m-00001-of-00003.gguf", "one of 3 parts.*llama-gguf-split --merge")


def test_an_architecture_that_transformers_does_not_read(words, tmp_path):
    write(tmp_path / "m.gguf", small(words), words)
    data = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "other.gguf").write_bytes(data.replace(b"llama", b"lamma"))
    refused(tmp_path / "other.gguf", "architecture 'lamma', which transformers cannot read")


def test_a_tensor_missing_or_unknown_or_in_another_shape(words, tmp_path):
    model = small(words)
    cases = {
        "lacks 1 of the model's": lambda t: {k: v for k, v in t.items() if "layers.1.mlp.up" not in k},
        "no place in a llama model": lambda t: t | {"extra.weight": np.ones((2, 32), np.float32)},
        "in another shape": lambda t: t | {"model.norm.weight": np.ones(32, np.float32)},
    }
    for number, (words_said, change) in enumerate(cases.items()):
        write(tmp_path / f"{number}.gguf", model, words, change=change)
        refused(tmp_path / f"{number}.gguf", words_said)


def test_a_file_without_a_tokenizer(words, tmp_path):
    write(tmp_path / "m.gguf", small(words), None)
    refused(tmp_path / "m.gguf", "no tokenizer")


def test_a_folder_of_several_files_asks_which(words, tmp_path):
    (tmp_path / "repo").mkdir()
    for name in ("m-Q4.gguf", "m-Q8.gguf"):
        write(tmp_path / "repo" / name, small(words), words)
    refused(tmp_path / "repo", "2 GGUF files: m-Q4.gguf, m-Q8.gguf. Give one")


def test_an_unknown_way_of_cutting_words_is_said(words, tmp_path, caplog):
    def more(writer):
        writer.kv_data[0]["tokenizer.ggml.pre"].value = "brand-new"

    write(tmp_path / "m.gguf", small(words), words, more=more)
    load_tokenizer(str(tmp_path / "m.gguf"))
    assert "'brand-new'" in caplog.text


def test_digits_stand_alone_where_the_file_says_so(words, tmp_path):
    def more(writer):
        writer.kv_data[0]["tokenizer.ggml.pre"].value = "smollm"

    write(tmp_path / "m.gguf", small(words), words, more=more)
    tokenizer = load_tokenizer(str(tmp_path / "m.gguf"))
    assert tokenizer.tokenize("is 1234") == [*tokenizer.tokenize("is "), "1", "2", "3", "4"]


# --- wherever a model is named ---------------------------------------------------------------------------


def test_commands_take_a_file(words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "m.gguf", small(words), words)
    assert main(["chat", "m.gguf", "--ask", "hi", "--max-tokens", "3"]) == 0
    main(["plan", "--model", "m.gguf"])  # whether it fits is the machine's matter
    said = capsys.readouterr()
    assert "m.gguf" in said.out
    assert "config" in said.out
    run = [
        "zero",
        "--model",
        "m.gguf",
        "--task",
        "arithmetic",
        "--run",
        "g",
        "--no-doctor",
        "--plain",
        "rl.steps=1",
    ]
    few = [
        "prompts_per_step=2",
        "group_size=2",
        "test_problems=2",
        "eval_every=0",
        "max_tokens=8",
        "train_problems=8",
    ]
    assert main([*run, *(f"rl.{setting}" for setting in few)]) == 0, capsys.readouterr().err
    from transformers import AutoModelForCausalLM

    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "runs" / "g" / "rl" / "final")
    assert saved.config.model_type == "llama"
    assert not hasattr(saved.config, "quantization_config")


def test_a_repository_of_files_on_the_hub_is_told_how_to_be_taken():
    with pytest.raises(AhaError, match=r"hf download Qwen/Qwen2\.5-0\.5B-Instruct-GGUF FILE\.gguf"):
        load_model("Qwen/Qwen2.5-0.5B-Instruct-GGUF")
