"""A checkpoint's folder looked over before anything is built from it: config, weights, tokenizer, each by its files.

Each fault has its sentence; what the files say of themselves is enough, so that it takes milliseconds even for
large models.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from aha.types import AhaError

OTHER_FORMS = {
    "*.pth": "their maker's own form", "tf_model.h5": "TensorFlow's", "*.msgpack": "Flax's", "*.onnx": "ONNX's",
    "*.npz": "MLX's or NumPy's", "*.distcp": "a distributed checkpoint's",
}  # fmt: skip
PLACEHOLDER = re.compile(r"image|audio|video|vision|speech", re.IGNORECASE)
"""Tokens of models that also read other things, which a text-only checkpoint has no rows for and never needs."""


def vocabulary_fits(folder: Path, name: str) -> None:
    """Raise AhaError if the config cannot be read, or a token of the tokenizer has no row in the embedding."""
    if (folder / "config.json").exists():
        rows = embedding_rows(read_config(folder, name))
        if rows is not None:
            vocabulary(folder, name, rows)


# --- config ------------------------------------------------------------------------------------------------


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """``config.json`` as it is. Raises AhaError if it is no config of a model that transformers knows."""
    config = _json(folder / "config.json", name)
    kind = config.get("model_type")
    if not kind:
        raise AhaError(
            f"The config.json of '{name}' {'is empty' if not config else 'has no model_type'}: nothing says what "
            "model it is. Take the file again from where the checkpoint is from."
        )
    _known_type(str(kind), config, name)
    return config


def _known_type(kind: str, config: Mapping[str, Any], name: str) -> None:
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if kind in CONFIG_MAPPING:
        return
    own = "It comes with code of its own, which is not run here. " if config.get("auto_map") else ""
    raise AhaError(
        f"transformers {transformers.__version__} does not know '{name}' (model_type '{kind}'). {own}"
        "A newer transformers may know it: pip install --upgrade transformers"
    )


def embedding_rows(config: Mapping[str, Any]) -> int | None:
    """Rows of the embedding as a config states them, wherever it does."""
    text = config.get("text_config")
    inner = text if isinstance(text, dict) else {}
    rows = inner.get("vocab_size", config.get("vocab_size"))
    return rows if isinstance(rows, int) else None


def _json(path: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise AhaError(
            f"The {path.name} of '{name}' is not valid JSON ({error}). {_pointer(path)}"
        ) from error
    if not isinstance(content, dict):
        raise AhaError(f"The {path.name} of '{name}' is not a JSON object. {_pointer(path)}")
    return content


def _pointer(path: Path) -> str:
    with open(path, "rb") as file:
        if file.read(24).startswith(b"version https://git-lfs"):
            return "It is a pointer of Git LFS: fetch the file itself with git lfs pull."
    return "Take the file again from where the checkpoint is from."


# --- weights -----------------------------------------------------------------------------------------------


def weights(folder: Path, name: str) -> None:
    """Raise AhaError unless the folder has weights that transformers reads, all of them and whole."""
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    pickled = folder / "pytorch_model.bin.index.json"
    if single.exists():
        _whole(single, name)
    elif index.exists():
        _shards(index, name)
    elif pickled.exists():
        _shards(pickled, name)
    elif (folder / "pytorch_model.bin").exists():
        _pickled(folder / "pytorch_model.bin", name)
    else:
        raise _no_weights(folder, name)


def _no_weights(folder: Path, name: str) -> AhaError:
    for pattern, whose in OTHER_FORMS.items():
        if any(folder.glob(pattern)):
            return AhaError(
                f"The weights of '{name}' are in {whose} ({next(folder.glob(pattern)).name}), not in *.safetensors. "
                "Take the checkpoint for transformers, or convert it."
            )
    stray = sorted(file.name for file in folder.glob("*.safetensors"))
    if stray:
        return AhaError(
            f"'{name}' has {stray[0]} but neither model.safetensors nor model.safetensors.index.json: shards without "
            "the index that names them, or files under other names. Take the missing file from where it is from."
        )
    return AhaError(
        f"'{name}' has a config.json but no weights (model.safetensors): the download is not complete."
    )


def _shards(index: Path, name: str) -> None:
    weight_map = _json(index, name).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise AhaError(f"The {index.name} of '{name}' names no shards (weight_map).")
    files = sorted(set(map(str, weight_map.values())))
    missing = [file for file in files if not (index.parent / file).exists()]
    if missing:
        raise AhaError(
            f"{len(missing)} of the {len(files)} shards of '{name}' are missing, first '{missing[0]}', which "
            f"{index.name} names. Download them."
        )
    for file in files:
        if not file.endswith(".safetensors"):
            _pickled(index.parent / file, name)
        else:
            named = {key for key, place in weight_map.items() if place == file}
            absent = sorted(named - _whole(index.parent / file, name))
            if absent:
                raise AhaError(f"'{absent[0]}' of '{name}' should be in {file} by {index.name}, and is not.")


def _whole(path: Path, name: str) -> set[str]:
    """The tensors of a safetensors file. Raises AhaError if it is cut off, padded, or something else."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if not 2 <= length <= size - 8:
            raise AhaError(f"{path.name} of '{name}' is no safetensors file, or cut off. {_pointer(path)}")
        try:
            header = json.loads(file.read(length))
            ends = [value["data_offsets"][1] for key, value in header.items() if key != "__metadata__"]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise AhaError(f"The header of {path.name} of '{name}' is damaged. {_pointer(path)}") from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        state = "cut off" if size < expected else "damaged"
        raise AhaError(
            f"{path.name} of '{name}' is {state}: it has {size:,} bytes and its header speaks of {expected:,}. "
            "Download it again."
        )
    return set(header) - {"__metadata__"}


def _pickled(path: Path, name: str) -> None:
    """Raise AhaError for a file of torch.save that is cut off: its archive's directory stands at the end."""
    with open(path, "rb") as file:
        begin = file.read(2)
    if not begin or (begin == b"PK" and not zipfile.is_zipfile(path)):
        raise AhaError(f"{path.name} of '{name}' is cut off or damaged. Download it again.")


# --- tokenizer ---------------------------------------------------------------------------------------------


def vocabulary(folder: Path, name: str, rows: int) -> None:
    """Raise AhaError if a token of ``tokenizer.json`` has no row among the embedding's ``rows``."""
    path = folder / "tokenizer.json"
    if not path.exists():
        return
    stat = path.stat()
    tokens, least, beyond = _tokens(str(path), stat.st_mtime_ns, stat.st_size, name, rows)
    if beyond:
        raise no_row(name, tokens, rows, beyond[0], least)


def no_row(name: str, tokens: int, rows: int, token: str, number: int) -> AhaError:
    """The refusal of a tokenizer with ``tokens`` ids, of which ``token`` is the first beyond the ``rows``."""
    return AhaError(
        f"The tokenizer of '{name}' has {tokens:,} tokens and its embedding {rows:,} rows: '{token}' (id {number}) "
        "has none, and would have no meaning. Use the tokenizer that belongs to these weights, or give the model "
        f"rows for it: model.resize_token_embeddings({tokens}), and train them."
    )


@lru_cache(maxsize=8)
def _tokens(path: str, changed: int, size: int, name: str, rows: int) -> tuple[int, int, tuple[str, ...]]:
    """(ids, the first id beyond the rows, its tokens in order) of a ``tokenizer.json``."""
    tokenizer = _json(Path(path), name)
    model = tokenizer.get("model")
    words = model.get("vocab") if isinstance(model, dict) else None
    added = [
        entry for entry in tokenizer.get("added_tokens") or [] if isinstance(entry, dict) and "id" in entry
    ]
    if isinstance(words, dict):
        ids = {str(word): int(number) for word, number in words.items()}
    else:  # of a unigram model: pairs of words and scores
        ids = {str(pair[0]): number for number, pair in enumerate(words or [])}
    spare = {str(e["content"]) for e in added if e.get("special") and PLACEHOLDER.search(str(e["content"]))}
    ids |= {str(entry["content"]): int(entry["id"]) for entry in added}
    beyond = sorted((number, word) for word, number in ids.items() if number >= rows and word not in spare)
    count = max(ids.values(), default=-1) + 1
    return count, beyond[0][0] if beyond else rows, tuple(word for _, word in beyond)
