"""A checkpoint that would not be the model that its maker saved is refused, by name and with the way out."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from conftest import make_model
from safetensors.torch import load_file, save_file

from aha.modeling import load_model, load_tokenizer
from aha.types import AhaError

SHARED = {"max_shard_size": "20KB"}


@pytest.fixture
def untied(tmp_path, tokenizer):
    """A folder with a random Llama whose head is its own."""
    make_model(tokenizer, tie_word_embeddings=False).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def tied(tmp_path, checkpoint):
    return shutil.copytree(checkpoint, tmp_path / "tied")


def rewrite(folder, change):
    """Apply ``change`` to the tensors of a checkpoint."""
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, {"format": "pt"})


def configure(folder, **changes):
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


def without(*keys):
    return lambda tensors: {key: value for key, value in tensors.items() if key not in keys}


def prefixed(prefix):
    return lambda tensors: {prefix + key: value for key, value in tensors.items()}


def refused(folder, *words):
    with pytest.raises(AhaError) as refusal:
        load_model(str(folder))
    for word in words:
        assert re.search(word, str(refusal.value)), f"'{word}' is not in: {refusal.value}"


# --- tensors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.", "base_model.model.", "transformer.", "module._orig_mod.", "net."]
)
@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_a_prefix_is_named_with_its_remedy(kind, prefix, request):
    folder = request.getfixturevalue(kind)
    right = load_model(str(folder)).state_dict()
    rewrite(folder, prefixed(prefix))
    refused(folder, "too much in their names", "none of them would be loaded")
    remedy(folder)
    mended = load_model(str(folder)).state_dict()
    assert all(torch.equal(mended[key], value) for key, value in right.items())


def remedy(folder):
    """Do as the refusal says."""
    with pytest.raises(AhaError) as refusal:
        load_model(str(folder))
    extra = re.search(r"k.replace\('(.+?)', '', 1\)", str(refusal.value))[1]
    rewrite(folder, lambda t: {key.replace(extra, "", 1): value for key, value in t.items()})


def test_the_doubled_prefix_of_the_inner_model_is_understood(untied):
    right = load_model(str(untied)).state_dict()
    rewrite(untied, prefixed("model."))
    state = load_model(str(untied)).state_dict()
    assert all(torch.equal(state[key], value) for key, value in right.items())


def test_a_wrapper_within_the_names_is_named(untied):
    rewrite(untied, lambda t: {k.replace("layers.", "layers._orig_mod.", 1): v for k, v in t.items()})
    refused(untied, "'_orig_mod.' too much", "torch.compile")


@pytest.mark.parametrize(
    "key", ["model.embed_tokens.weight", "model.norm.weight", "model.layers.1.self_attn.q_proj.weight"]
)
def test_a_missing_tensor_is_named(untied, key):
    rewrite(untied, without(key))
    refused(untied, f"1 tensors are missing, first '{key}'", "random numbers")


def test_a_missing_embedding_of_a_tied_model(tied):
    rewrite(tied, without("model.embed_tokens.weight"))
    refused(tied, "missing")


def test_a_missing_layer_is_counted(untied):
    rewrite(untied, lambda t: {k: v for k, v in t.items() if "layers.1." not in k})
    refused(untied, "9 tensors are missing", "says 2 layers, and the file has 1")


@pytest.mark.parametrize(("depth", "words"), [(1, "has 2: the config"), (3, "has 2: one of them")])
def test_a_config_of_another_depth(untied, depth, words):
    configure(untied, num_hidden_layers=depth)
    refused(untied, f"config.json says {depth} layers, and the file {words}")


def test_the_tie_flag_set_though_the_head_differs(untied):
    configure(untied, tie_word_embeddings=True)
    refused(untied, "tie_word_embeddings=true", "to false")


def test_the_tie_flag_unset_though_there_is_no_head(tied):
    configure(tied, tie_word_embeddings=False)
    refused(tied, "'lm_head.weight'", "tie_word_embeddings=false")


@pytest.mark.parametrize(
    "changes", [{"intermediate_size": 80}, {"vocab_size": 5000}, {"num_key_value_heads": 4}]
)
def test_another_shape_is_named_with_both(untied, changes):
    configure(untied, **changes)
    refused(untied, "another shape", r"\[\d+, \d+\] in the file, \[\d+, \d+\] by the config")


def test_an_unknown_tensor_is_named(untied):
    rewrite(untied, lambda t: t | {"model.layers.0.self_attn.q_norm.weight": torch.ones(8)})
    refused(untied, "1 tensors have no place in the model, first 'model.layers.0.self_attn.q_norm.weight'")


def test_biases_that_the_config_leaves_out(tmp_path, tokenizer):
    make_model(tokenizer, attention_bias=True).save_pretrained(tmp_path)
    configure(tmp_path, attention_bias=False)
    refused(tmp_path, "8 tensors have no place", "bias")


def test_a_classifier_is_no_language_model(untied):
    rewrite(untied, lambda t: without("lm_head.weight")(t) | {"score.weight": torch.ones(1, 32)})
    refused(untied, "classifier or a reward model")


def test_quantised_leftovers_are_called_so(untied):
    rewrite(untied, lambda t: t | {f"{k[:-7]}.qweight": v.clone() for k, v in list(t.items())[:3]})
    refused(untied, "quantised")


def test_leftovers_that_change_nothing_load(untied, tied):
    extra = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
        "v_head.summary.weight": torch.ones(1, 32),
    }
    rewrite(untied, lambda t: t | extra)
    load_model(str(untied))
    rewrite(tied, lambda t: t | {"lm_head.weight": t["model.embed_tokens.weight"].clone()})
    model = load_model(str(tied))
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_only_the_head_of_a_tied_model_is_enough(tied):
    before = load_model(str(tied)).lm_head.weight
    rewrite(
        tied,
        lambda t: without("model.embed_tokens.weight")(
            t | {"lm_head.weight": t["model.embed_tokens.weight"]}
        ),
    )
    model = load_model(str(tied))
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert torch.equal(model.lm_head.weight, before)


def test_layers_that_only_draft_tokens_are_left_out(tmp_path, tokenizer):
    """As of DeepSeek-V3, whose files hold a layer beyond the last one."""
    model = make_model(tokenizer)
    model.save_pretrained(tmp_path)
    rewrite(tmp_path, lambda t: t | {"model.layers.2.eh_proj.weight": torch.ones(2, 2)})
    refused(tmp_path, "no place")
    configure(tmp_path, num_nextn_predict_layers=1)
    load_model(str(tmp_path))


# --- files -----------------------------------------------------------------------------------------------


def test_a_file_cut_off_is_said_with_its_sizes(untied):
    file = untied / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:-100])
    refused(untied, "model.safetensors of .* cut off", f"{len(data) - 100:,} bytes", f"{len(data):,}")
    file.write_bytes(data + b"\0" * 10)
    refused(untied, "damaged")
    for junk in (b"", b"\x10\0\0\0\0\0\0\0", b"\x04\0\0\0\0\0\0\0nope", data[:50], b"<html>404</html>" * 9):
        file.write_bytes(junk)
        refused(untied, "model.safetensors")


def test_a_pointer_of_git_lfs_is_called_so(untied):
    (untied / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    )
    refused(untied, "Git LFS")


@pytest.fixture
def sharded(tmp_path, tokenizer):
    make_model(tokenizer, tie_word_embeddings=False).save_pretrained(tmp_path / "shards", **SHARED)
    return tmp_path / "shards"


def test_shards(sharded):
    files = sorted(sharded.glob("model-*.safetensors"))
    assert len(files) > 2
    load_model(str(sharded))
    files[1].rename(sharded / "away")
    refused(sharded, f"1 of the {len(files)} shards", files[1].name)
    (sharded / "away").rename(files[1])
    data = files[2].read_bytes()
    files[2].write_bytes(data[:-1])
    refused(sharded, files[2].name, "cut off")
    files[2].write_bytes(data)
    (sharded / "model.safetensors.index.json").unlink()
    refused(sharded, "index")


def test_a_shard_that_lacks_what_the_index_promises(sharded):
    index = sharded / "model.safetensors.index.json"
    parsed = json.loads(index.read_text())
    parsed["weight_map"]["model.norm.bias"] = parsed["weight_map"]["model.norm.weight"]
    index.write_text(json.dumps(parsed))
    refused(sharded, "'model.norm.bias' .* should be in")


def test_pickled_weights_alone_load(untied):
    right = load_model(str(untied)).state_dict()
    torch.save(load_file(untied / "model.safetensors"), untied / "pytorch_model.bin")
    (untied / "model.safetensors").unlink()
    state = load_model(str(untied)).state_dict()
    assert all(torch.equal(state[key], value) for key, value in right.items())
    data = (untied / "pytorch_model.bin").read_bytes()
    (untied / "pytorch_model.bin").write_bytes(data[:-200])
    refused(untied, "pytorch_model.bin|cut off|damaged")


def test_weights_in_other_forms_are_named(untied):
    (untied / "model.safetensors").rename(untied / "consolidated.00.pth")
    refused(untied, "their maker's own form")
    (untied / "consolidated.00.pth").unlink()
    refused(untied, "no weights")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"), ("{", "not valid JSON"), ("[]", "not a JSON object"), ("{}", "is empty"),
        ('{"hidden_size": 3}', "no model_type"),
        ('{"model_type": "gpt9"}', "'gpt9'.*pip install --upgrade transformers"),
        ('{"model_type": "own", "auto_map": {"AutoModel": "x.Y"}}', "code of its own"),
    ],
)  # fmt: skip
def test_configs_that_are_none(untied, text, words):
    (untied / "config.json").write_text(text)
    refused(untied, words)


def test_adapters_alone_are_told_how_to_become_a_model(tmp_path, tied):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    refused(tmp_path / "adapter", "adapters", "merge_and_unload")
    (tied / "adapter_config.json").write_text("{}")
    refused(tied, "adapters")


# --- tokenizers ------------------------------------------------------------------------------------------


def test_a_token_without_a_row_is_refused_with_both_numbers(tied, tokenizer):
    from transformers import AutoTokenizer

    rows = len(tokenizer)
    more = AutoTokenizer.from_pretrained(tied)
    more.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    more.chat_template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    more.save_pretrained(tied)
    for load in (load_model, load_tokenizer):
        with pytest.raises(
            AhaError, match=rf"has {rows + 2:,} tokens and its embedding {rows:,} rows: '<\|im_start\|>'"
        ):
            load(str(tied))


def test_a_place_for_an_image_needs_no_row(tied, tokenizer):
    """As of Gemma 3's text-only models, whose tokenizer knows a place for images beyond the embedding."""
    from transformers import AutoTokenizer

    more = AutoTokenizer.from_pretrained(tied)
    more.add_special_tokens({"additional_special_tokens": ["<image_soft_token>"]})
    more.save_pretrained(tied)
    load_model(str(tied))
    assert len(load_tokenizer(str(tied))) == len(tokenizer) + 1


def test_an_embedding_with_rows_to_spare_loads(tmp_path, tokenizer):
    make_model(tokenizer, vocab_size=len(tokenizer) + 64).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert len(load_tokenizer(str(tmp_path))) == len(tokenizer)
    assert len(load_model(str(tmp_path)).model.embed_tokens.weight) == len(tokenizer) + 64


def test_a_malformed_tokenizer_has_its_sentence(tied):
    file = tied / "tokenizer.json"
    parsed = json.loads(file.read_text())
    parsed["model"] = {"type": "BPE", "vocab": [["a", 0]], "merges": "none"}
    file.write_text(json.dumps(parsed))
    with pytest.raises(AhaError, match=r"tokenizer.json of .* is malformed"):
        load_tokenizer(str(tied))
    file.write_text(file.read_text()[:-20])
    with pytest.raises(AhaError, match=r"tokenizer.json of .* is not valid JSON"):
        load_tokenizer(str(tied))
    file.write_text("[]")
    with pytest.raises(AhaError, match=r"tokenizer.json"):
        load_tokenizer(str(tied))
