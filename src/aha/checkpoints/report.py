"""What transformers says of a loading: every tensor of the file and of the model is accounted for, or it is refused.

Left to itself transformers fills what is missing with random numbers, and the model speaks, and trains, as noise.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from aha.types import AhaError

WRAPPERS = {
    "_orig_mod.": "torch.compile", "module.": "DistributedDataParallel", "_fsdp_wrapped_module.": "FSDP",
    "_checkpoint_wrapped_module.": "a wrapper for recomputation", "_forward_module.": "Lightning",
    "base_model.model.": "PEFT", "_module.": "a wrapper", "language_model.": "a model that reads more than text",
}  # fmt: skip
"""What the names of tensors begin with, or hold, when a model was saved from within something else."""
HARMLESS = re.compile(
    r"(^|\.)(rotary_emb\.(inv_freq|cos_cached|sin_cached)|masked_bias|attn\.bias|attention\.bias|position_ids)$"
    r"|^(v_head|mtp)\.|\.mtp(_layers)?\.|_extra_state$"
)
"""Leftovers that change nothing: buffers of older versions, value heads of PPO, layers that only draft tokens."""


def check(model: Any, info: Mapping[str, Any], name: str) -> None:
    """Raise AhaError unless every tensor is where it belongs. ``info``: transformers' loading info."""
    missing = sorted(key for key in info["missing_keys"] if not HARMLESS.search(key))
    spare = sorted(key for key in info["unexpected_keys"] if not _known_leftover(key, model.config))
    reshaped = sorted(info["mismatched_keys"])
    if missing or spare:
        wrapped = _wrapper(missing, spare)
        raise _wrapped(name, *wrapped) if wrapped else _unlike(model, missing, spare, name)
    if reshaped:
        raise _reshaped(reshaped, name)
    _ties(model, name)
    _types(model, name)


def _known_leftover(key: str, config: Any) -> bool:
    if HARMLESS.search(key):
        return True
    drafts = int(getattr(config, "num_nextn_predict_layers", 0) or 0)
    layer = re.search(r"\blayers\.(\d+)\.", key)
    first = int(getattr(config, "num_hidden_layers", 0) or 0)
    return bool(layer) and first <= int(layer[1]) < first + drafts


# --- names -------------------------------------------------------------------------------------------------


def _wrapper(missing: Collection[str], spare: Collection[str]) -> tuple[str, str] | None:
    """(what the names hold too much, one of the file's names), where taking it out makes them the missing ones."""
    names = set(missing)
    for extra in WRAPPERS:
        fitting = [key for key in spare if extra in key and key.replace(extra, "") in names]
        if len(fitting) > len(names) // 2:
            return extra, fitting[0]
    for key in spare:
        begin = next((key[: -len(end)] for end in missing if key.endswith(f".{end}")), None)
        if begin and sum(begin + end in set(spare) for end in missing) > len(missing) // 2:
            return begin, key
    return None


def _wrapped(name: str, extra: str, example: str) -> AhaError:
    maker = f", as {WRAPPERS[extra]} leaves it" if extra in WRAPPERS else ""
    return AhaError(
        f"The tensors of '{name}' have '{extra}' too much in their names{maker} (first: '{example}'), so that none of "
        "them would be loaded. Rename them in each *.safetensors file FILE:\n"
        "  from safetensors.torch import load_file, save_file\n"
        f"  save_file({{k.replace('{extra}', '', 1): v for k, v in load_file(FILE).items()}}, FILE, {{'format': 'pt'}})"
    )


def _unlike(model: Any, missing: list[str], spare: list[str], name: str) -> AhaError:
    said = [
        f"{len(keys)} tensors {what}, first '{keys[0]}'"
        for keys, what in ((missing, "are missing"), (spare, "have no place in the model"))
        if keys
    ]
    return AhaError(
        f"The weights of '{name}' are not those of its config ({type(model).__name__}): {' and '.join(said)}. "
        f"Missing ones would be random numbers.{_cause(model, missing, spare)}"
    )


def _cause(model: Any, missing: list[str], spare: list[str]) -> str:
    """The likely reason, where the names tell it."""
    layers = int(getattr(model.config, "num_hidden_layers", 0) or 0)
    beyond = _layers(spare)
    if beyond and min(beyond) >= layers:
        return f" config.json says {layers} layers, and the file has {max(beyond) + 1}: the config is another model's."
    absent = _layers(missing)
    if absent and not spare and absent == set(range(min(absent), layers)):
        return f" config.json says {layers} layers, and the file has {min(absent)}: one of them is another model's."
    if any(re.match(r"(score|classifier)\.", key) for key in spare):
        return " The checkpoint is a classifier or a reward model, not a language model."
    if missing == ["lm_head.weight"]:
        return (
            " config.json says tie_word_embeddings=false; if the model uses its embedding as the output head, "
            "that must be true."
        )
    if any(re.search(r"lora_[AB]\.|lora_embedding", key) for key in spare):
        return " They are adapters: merge them into their base first (peft: merge_and_unload)."
    if any(re.search(r"\.(qweight|qzeros|scales|absmax|weight_scale(_inv)?|SCB)$", key) for key in spare):
        return " They are quantised: give the unquantised checkpoint, or a GGUF file."
    return " Take the weights and config.json from the same place."


def _layers(keys: Collection[str]) -> set[int]:
    matches = (re.search(r"\b(?:layers|h|blocks)\.(\d+)\.", key) for key in keys)
    return {int(match[1]) for match in matches if match}


def _reshaped(keys: list[tuple[str, Any, Any]], name: str) -> AhaError:
    key, theirs, ours = keys[0]
    return AhaError(
        f"{len(keys)} tensors of '{name}' have another shape than config.json says, first '{key}': {list(theirs)} in "
        f"the file, {list(ours)} by the config. Take the weights and config.json from the same place."
    )


# --- ties and types ----------------------------------------------------------------------------------------


def _ties(model: Any, name: str) -> None:
    """The output head is the embedding exactly where the config says so."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or not getattr(model.config, "tie_word_embeddings", False):
        return
    if head.weight is not embedding.weight:
        raise AhaError(
            f"config.json of '{name}' says tie_word_embeddings=true, but the file holds an output head that differs "
            "from the embedding: a checkpoint saved from this model would lose it. If the head is meant, set "
            "tie_word_embeddings to false in config.json."
        )


def _types(model: Any, name: str) -> None:
    for key, value in model.named_parameters():
        if not value.is_floating_point() or value.element_size() < 2:
            raise AhaError(
                f"The weights of '{name}' are quantised ('{key}' is {str(value.dtype).removeprefix('torch.')}): they "
                "cannot be trained. Give the unquantised checkpoint, or a GGUF file, which is dequantised."
            )
