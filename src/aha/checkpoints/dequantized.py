"""GGUF files as ordinary Hugging Face checkpoints: weights dequantised, with config, tokenizer and chat template.

A file is converted once, into the user's cache; what is trained from it is saved as any other model. transformers
knows how each architecture's config, names and layouts map; the reading and dequantising is done here, in large
pieces, and every tensor of the file and of the model is accounted for.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import re
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha import files
from aha.checkpoints import cache, gguf_config, gguf_header, room
from aha.checkpoints.gguf_header import Header, Stored
from aha.types import AhaError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

LOG = logging.getLogger("aha")
FORM = 1  # of the converted folders: one more when they come to hold something else
BLOCKS = 512  # of a row that gguf's dequantiser is given: pieces that stay in a core's cache
ELSEWHERE = re.compile(
    r"rope_(freqs|factors_long|factors_short)\.weight|blk\.\d+\.nextn\..*|blk\.\d+\.attn_rot_embd\.weight"
)
"""Tensors that are no weights of the model: frequencies (read as rope scaling), layers that draft tokens."""
DIGITS_APART = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
LIKE_GPT2 = ("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling")
"""Names that llama.cpp gives to ways of cutting text into words."""


def checkpoint(path: Path) -> Path:
    """The folder of a GGUF file's checkpoint, made at the first call. Raises AhaError where it cannot be made."""
    stat = path.stat()
    seen = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {FORM}"
    known = cache.folder() / "gguf" / "seen" / hashlib.sha256(seen.encode()).hexdigest()[:24]
    if known.exists() and (folder := Path(known.read_text(encoding="utf-8"))).is_dir():
        return folder
    gguf_header.read(path)  # whole and readable, before the hash of what may be gigabytes
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder = cache.folder() / "gguf" / f"{_safe(path.stem)}-{digest[:16]}-{FORM}"
    with cache.locked(folder):
        if not folder.exists():
            convert(path, folder)
    files.write_text(known, str(folder))
    return folder


def _safe(stem: str) -> str:
    return re.sub(r"[^\w.-]+", "-", stem)[:80]


def convert(path: Path, folder: Path) -> None:
    """Write the checkpoint of the GGUF file ``path`` into the new ``folder``, whole or not at all."""
    header = gguf_header.read(path)
    _announce(path, header)
    config = gguf_config.read_config(path, header, lambda name: _values(path, header, name))
    model = _empty(config)
    model.generation_config.eos_token_id = gguf_config.stop_tokens(header)
    _fill(model, _weights(path, header, model), header, path)
    tokenizer = _tokenizer(path, header)
    with files.new_folder(folder) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        _tidy(partial / "config.json")


def _announce(path: Path, header: Header) -> None:
    """Say what takes its time. Raises AhaError where there is no memory for it."""
    import torch

    count = sum(prod(tensor.shape) for tensor in header.tensors)
    largest = max((prod(tensor.shape) for tensor in header.tensors), default=0)
    size = count * _kept_type(header).itemsize + 8 * largest  # a tensor in float32, and its copy
    room.need(
        size, f"The weights of '{path}', dequantised,", torch.device("cpu"), "Make it a checkpoint elsewhere."
    )
    print(
        f"{path.name}: dequantised once, {count / 1e9:.2g} billion numbers ...", file=sys.stderr, flush=True
    )


def _empty(config: Any) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def _tokenizer(path: Path, header: Header) -> Any:
    from transformers import PreTrainedTokenizerFast

    if "tokenizer.ggml.tokens" not in header.fields:
        raise AhaError(f"'{path}' holds no tokenizer: give the original checkpoint, a Hugging Face folder.")
    kind, cut = (header.fields.get(f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(path.parent, gguf_file=path.name)
    except Exception as error:
        raise AhaError(f"The tokenizer of '{path}' (of kind '{kind}') cannot be read: {error}") from error
    if kind == "gpt2":
        _cut_words(tokenizer, cut, path)
    return tokenizer


def _cut_words(tokenizer: Any, cut: str | None, path: Path) -> None:
    """Cut text before merging as the file names it, where transformers would cut it as GPT-2 does."""
    from tokenizers import pre_tokenizers
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    if cut in DIGITS_APART:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    elif cut not in LIKE_GPT2 and cut not in GGUF_PRE_TOKENIZER_SPLITS:
        LOG.warning(
            "How '%s' cuts text into words ('%s') is not known here: it is cut as GPT-2 does, which may give other "
            "tokens than the model learned. The original checkpoint has its own tokenizer.", path, cut,
        )  # fmt: skip


# --- weights -----------------------------------------------------------------------------------------------


class _Names:
    """A model's names for those who ask for its mapping, without its modules, of which each would be asked."""

    def __init__(self, model: Any, inner: bool = True):
        self.config, self.state_dict = model.config, model.state_dict
        prefix = model.base_model_prefix
        self.named_children = lambda: (
            [(prefix, _Names(model.base_model, False))] if inner and model.base_model is not model else []
        )


def _weights(path: Path, header: Header, model: Any) -> dict[str, Tensor]:
    """Every tensor of the file under its name in the model, in the type that ``_kept_type`` says."""
    import torch
    from transformers import modeling_gguf_pytorch_utils as known

    processor = known.TENSOR_PROCESSORS.get(header.architecture, known.TensorProcessor)(
        config=model.config.to_dict()
    )
    try:
        names = known.get_gguf_hf_weights_map(_Names(model), processor)
    except NotImplementedError as error:
        raise gguf_config.unknown(path, header, error) from error
    parsed: dict[str, dict[str, Any]] = {"tensors": {}}
    kind = _kept_type(header)
    for stored, values in _arrays(path, header):
        processed = processor.process(
            weights=values, name=stored.name, tensor_key_mapping=names, parsed_parameters=parsed
        )
        if processed.name in names:
            # In the type that is kept, at once: all of them in float32 would take three times as much memory.
            parsed["tensors"][names[processed.name]] = torch.from_numpy(processed.weights.copy()).to(kind)
        elif processed.name is not None and not ELSEWHERE.fullmatch(stored.name):
            raise AhaError(
                f"'{path}' holds '{stored.name}', which has no place in a {model.config.model_type} model."
            )
    return {name: tensor.to(kind) for name, tensor in parsed["tensors"].items()}


def _kept_type(header: Header) -> torch.dtype:
    """As the file has it where it is not quantised; else bf16, whose rounding is far below the quantisation's."""
    import torch

    kinds = {tensor.kind for tensor in header.tensors if len(tensor.shape) > 1}
    return {frozenset({0}): torch.float32, frozenset({1}): torch.float16}.get(
        frozenset(kinds), torch.bfloat16
    )


def _values(path: Path, header: Header, name: str) -> np.ndarray:
    stored = next(tensor for tensor in header.tensors if tensor.name == name)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return dequantise(data, stored)


def _arrays(path: Path, header: Header) -> Iterator[tuple[Stored, np.ndarray]]:
    """Each tensor with its values in float32, several at work at a time."""
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ThreadPoolExecutor(4) as pool,
    ):
        waiting = list(header.tensors)
        for begin in range(0, len(waiting), 8):
            part = waiting[begin : begin + 8]
            yield from zip(part, pool.map(lambda tensor: dequantise(data, tensor), part), strict=True)


def dequantise(data: mmap.mmap | bytes, tensor: Stored) -> np.ndarray:
    """The values of a stored tensor in float32, in torch's shape."""
    import numpy as np
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize

    kind = GGMLQuantizationType(tensor.kind)
    width = GGML_QUANT_SIZES[kind][1]
    raw = np.frombuffer(data, np.uint8, tensor.size, tensor.start)
    # Rows of many blocks, whatever the tensor's own are: the library works on sixteen rows at a time.
    whole = tensor.size // (width * BLOCKS) * (width * BLOCKS)
    pieces = [raw[:whole].reshape(-1, width * BLOCKS), raw[whole:].reshape(1, -1)]
    values = [dequantize(piece, kind).reshape(-1) for piece in pieces if piece.size]
    return np.concatenate(values).astype(np.float32, copy=False).reshape(tensor.shape)


def _fill(model: Any, weights: Mapping[str, Tensor], header: Header, path: Path) -> None:
    """Give the model its weights. Raises AhaError unless each of its tensors is there in its shape."""
    state = model.state_dict()
    tied = (
        set(getattr(model, "all_tied_weights_keys", None) or {})
        if model.config.tie_word_embeddings
        else set()
    )
    missing = [name for name in state if name not in weights and name not in tied]
    other = [name for name, value in weights.items() if tuple(value.shape) != tuple(state[name].shape)]
    for names, what in ((missing, "lacks"), (other, "has in another shape")):
        if names:
            raise AhaError(
                f"'{path}' ({header.architecture}) {what} {len(names)} of the model's {len(state)} tensors, first "
                f"'{names[0]}'. The file is damaged, or its architecture is another than it says."
            )
    model.load_state_dict(weights, strict=False, assign=True)
    model.tie_weights()


def _tidy(path: Path) -> None:
    """Take what speaks of the file out of the config."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in ("_model_name_or_path", "_name_or_path", "quantization_config"):
        config.pop(key, None)
    files.write_json(path, config)
