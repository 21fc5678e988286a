"""Hugging Face models and tokenizers in, with errors a person can act on. Used by sampling and training.

What a name means, and what is wrong with a checkpoint's files, is told by ``aha.checkpoints``.
"""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha.checkpoints import examine, report, room, runs
from aha.checkpoints.changes import change_config
from aha.checkpoints.names import EMBEDDED, resolve
from aha.files import read_json
from aha.types import AhaError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = [
    "ASKED", "EMBEDDED", "Head", "change_config", "check_config", "check_files", "check_head", "keeps_prompt",
    "load_model", "load_tokenizer", "max_context", "outgrows", "own_weights", "quiet_transformers", "resolve",
]  # fmt: skip

ASKED = "aha.json"
"""Beside a checkpoint's weights: what it is to be asked with (``chat.save_prompt``)."""
PRECISE_HEAD = 1 << 23
HEAD_ROWS = 4096


def load_tokenizer(name: str) -> Any:
    """The fast tokenizer of a checkpoint. Raises AhaError if it cannot be had, or if the checkpoint's embedding has
    no row for one of its tokens."""
    from transformers import AutoTokenizer

    path = resolve(name)
    examine.vocabulary_fits(Path(path), name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except Exception as error:  # tokenizers raises bare exceptions for files that it cannot read
        raise _no_tokenizer(name, error) from error
    if tokenizer.eos_token_id is None:
        raise AhaError(f"The tokenizer of '{name}' has no EOS token: completions could never end.")
    tokenizer.aha = _asked(path) or _asked_before(path, tokenizer)
    return tokenizer


def _no_tokenizer(name: str, error: Exception) -> AhaError:
    if "untagged enum" not in str(error):
        return _cannot_load("tokenizer", name, error)
    import tokenizers

    return AhaError(
        f"The tokenizer.json of '{name}' is malformed, or of a version that tokenizers {tokenizers.__version__} does "
        "not read. Take the file again from where the model is from; an old one can be made anew from vocab.json and "
        "merges.txt, or tokenizer.model, when it is moved away."
    )


def _asked(path: str) -> dict[str, Any]:
    """What a checkpoint says of the prompt that it was trained with; empty where it says nothing."""
    file = Path(path) / ASKED
    if not file.is_file():
        return {}
    record = read_json(file)
    if not isinstance(record, dict):
        raise AhaError(f"{file} is no record of a prompt: it holds {type(record).__name__}. Remove it.")
    return record


def keeps_prompt(name: str) -> bool:
    """Whether a checkpoint that lies here, or the last one of a run, says what it was trained with."""
    folder = Path(runs.model_of(name)).expanduser()
    return (folder / ASKED).exists() or bool(runs.former_prompt(folder))


def _asked_before(path: str, tokenizer: Any) -> dict[str, Any]:
    """The same of a checkpoint of version 0.1.0, which kept no record: as its stage's settings have it."""
    name = runs.former_prompt(Path(path))
    if not name:
        return {}
    template = getattr(tokenizer, "chat_template", None)
    if name == "auto":
        name = "chat" if template else "r1_zero"
    prompt = {"chat": "bare", "none": "bare"}.get(name, name)
    own = None if name == "none" else template
    return {"prompt": prompt, "instruction": "", "words": "", "own_template": own, "template": template}


def check_config(name: str) -> None:
    """Raise AhaError for a checkpoint that lies here and whose config is none, or of a model that is not known."""
    if (folder := Path(resolve(name))).is_dir():
        examine.read_config(folder, name)


def check_files(name: str) -> None:
    """Raise AhaError for a checkpoint whose config, tokenizer or weights ``load_model`` would refuse by the files."""
    path = Path(resolve(name))
    examine.vocabulary_fits(path, name)
    if path.is_dir():
        examine.weights(path, name)


def load_model(
    name: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Any:
    """A causal language model on ``device`` in ``dtype``, in evaluation mode (dropout off).

    ``changes`` are made to its config first (see ``change_config``) and are saved with it later. Raises
    AhaError if the model is unknown, damaged, not a language model alone, lacks tensors or has others than its config
    says, or holds weights that are not finite.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from aha import trials

    quiet_transformers()
    path = resolve(name)
    examine.vocabulary_fits(Path(path), name)
    try:
        config: Any = AutoConfig.from_pretrained(path)
    except Exception as error:  # transformers raises many kinds here; all mean: this model cannot be loaded
        raise _cannot_load("model", name, error) from error
    _refuse_multimodal(config, name)
    if Path(path).is_dir():
        examine.weights(Path(path), name)
        room.check(Path(path), name, dtype or torch.float32, torch.device(device))
    if changes:
        change_config(config, changes)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=dtype or torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported, and refused below
        )
    except Exception as error:
        raise _cannot_load("model", name, error) from error
    model, info = loaded
    report.check(model, info, name)
    bad = [key for key, value in model.state_dict().items() if not _finite(value)]
    if bad:
        raise AhaError(
            f"The weights of '{name}' are not finite (NaN or infinity) in {len(bad)} tensors, first in "
            f"'{bad[0]}'. The checkpoint is damaged: use an earlier one, or download it again."
        )
    model = model.to(device).eval()
    trials.note_text(model, _sample_text(path))
    check_head(model)
    return model


@functools.cache
def _sample_text(path: str) -> tuple[int, ...]:
    """Ids of ordinary text by the checkpoint's own tokenizer, on which the model is tried; none where it has no
    ``tokenizer.json``."""
    from tokenizers import Tokenizer
    from transformers.utils.hub import cached_file

    from aha import trials

    try:
        file = cached_file(path, "tokenizer.json", local_files_only=True)
        return tuple(Tokenizer.from_file(str(file)).encode(trials.TEXT).ids)
    except Exception:  # tokenizers raises no narrower kind; a bad file is refused where it is loaded
        return ()


def _refuse_multimodal(config: Any, name: str) -> None:
    text = config.get_text_config(decoder=True)
    if text is config:
        return
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES

    text_class = CLASSES.get(text.model_type, "its text-only class")
    raise AhaError(
        f"'{name}' ({config.model_type}) reads more than text; only language models alone are sampled and "
        f"trained here. Save its text model on its own and give that folder: transformers.{text_class}"
        f".from_pretrained({name!r}).save_pretrained('text-only'), and the tokenizer beside it."
    )


def _finite(value: Tensor) -> bool:
    """One pass without a copy: the least and the largest value carry NaN and infinity."""
    import torch

    if value.numel() == 0 or not value.is_floating_point():
        return True
    return bool(torch.isfinite(torch.stack(torch.aminmax(value.detach()))).all())


def quiet_transformers() -> None:
    """Keep advice meant for other callers off the user's screen."""
    from transformers.utils import logging as hf_logging

    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    logging.getLogger("torch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*generation flags.*")


def _cannot_load(what: str, name: str, error: Exception) -> AhaError:
    if name.lower().endswith("gguf"):
        return AhaError(
            f"'{name}' holds GGUF files, of which one must be chosen: download it (hf download {name} FILE.gguf) "
            "and give the file."
        )
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    return AhaError(
        f"Cannot load the {what} '{name}': {reason}\n"
        "Give a folder with a Hugging Face checkpoint, a name on the hub (network needed), or an embedded "
        f"base: {', '.join(EMBEDDED)}."
    )


@dataclass(frozen=True, slots=True)
class Head:
    """The output projection and what a family does to its logits."""

    weight: Tensor  # [V, hidden]
    bias: Tensor | None
    scale: float = 1.0  # multiplies the logits
    softcap: float | None = None  # logits -> cap * tanh(logits / cap)

    @classmethod
    def of(cls, model: Any) -> Head:
        layer, config = model.get_output_embeddings(), model.config
        scale = getattr(config, "logit_scale", None) or 1.0
        scale /= getattr(config, "logits_scaling", None) or 1.0
        softcap = getattr(config, "final_logit_softcapping", None)
        return cls(layer.weight, getattr(layer, "bias", None), float(scale), softcap)

    @property
    def precise(self) -> bool:
        """Whether the product is float32: on CPUs, for heads so small that converting them costs little.

        It keeps sampler and trainer within rounding of each other; a large head is used in its own type.
        """
        return self.weight.device.type == "cpu" and self.weight.numel() <= PRECISE_HEAD

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits [..., V] of ``hidden`` [..., hidden]. Sums are float32 where the CPU has a kernel, and else
        as ``precise`` says."""
        import torch.nn.functional as F

        from aha import kernels

        if kernels.can_project(hidden, self.weight):
            out = kernels.project(hidden, self.weight, self.bias)
        elif self.precise:
            out = F.linear(
                hidden.float(), self.weight.float(), None if self.bias is None else self.bias.float()
            )
        else:
            out = F.linear(hidden, self.weight, self.bias).float()
        if self.scale != 1.0:
            out = out * self.scale
        if self.softcap:
            out = self.softcap * (out / self.softcap).tanh()
        return out


def check_head(model: Any) -> None:
    """Raise AhaError if ``Head`` does not make of the layers' output what the model itself makes of it."""
    import torch

    from aha import trials

    ids = trials.token_ids(model)
    with torch.no_grad():
        reference, hidden = _logits(model, ids), model.base_model(input_ids=ids, use_cache=False)[0]
        same = _fits(model, hidden) and _same_logits(Head.of(model), hidden, reference)
    if not same:
        raise AhaError(
            f"{type(model).__name__} makes logits in a way that is not known here: something other than one "
            "projection of the last layer, scaled and capped, comes after it. It cannot be sampled or trained."
        )


def _logits(model: Any, ids: Tensor) -> Tensor:
    """What transformers itself makes of some tokens. Raises AhaError where it cannot."""
    import torch

    try:
        return model(input_ids=ids, use_cache=False).logits
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise AhaError(
            f"{type(model).__name__} cannot compute {ids.shape[1]} tokens in transformers' own code: {error}\n"
            "Some size in its config.json does not fit the others, or it needs another version of transformers."
        ) from error


def _fits(model: Any, hidden: Tensor) -> bool:
    """Whether there is one output projection, and it takes what the last layer gives."""
    weight = getattr(model.get_output_embeddings(), "weight", None)
    return weight is not None and weight.ndim == 2 and weight.shape[1] == hidden.shape[-1]


def _same_logits(head: Head, hidden: Tensor, reference: Tensor) -> bool:
    """Whether the model's own logits and the head's are both those of the head in float32, but for rounding: at some
    thousand places of the vocabulary."""
    from dataclasses import replace

    from aha import trials

    logits = head.logits(hidden)
    if logits.shape != reference.shape:
        return False
    every = max(1, len(head.weight) // HEAD_ROWS)
    bias = None if head.bias is None else head.bias[::every].float()
    truth = replace(head, weight=head.weight[::every].float(), bias=bias).logits(hidden.float())
    ours, own = (trials.error(x[..., ::every], truth) for x in (logits, reference))
    coarse = max(
        (reference.dtype, head.weight.dtype), key=trials.ROUNDING.__getitem__
    )  # some make float32 of a bf16 product
    return own <= 4 * trials.ROUNDING[coarse] and trials.as_good(ours, own, coarse)


def max_context(model: Any) -> int:
    """The longest sequence the model computes the same way whatever else is in the batch, in tokens.

    Long rope ("longrope") turns to other frequencies once any sequence is longer than the original context,
    so that a token's probability would depend on what comes after it: there the original context is the end.
    """
    limit = int(getattr(model.config, "max_position_embeddings", 0) or 1 << 20)
    turns = [r["original_max_position_embeddings"] for r in _ropes(model) if r.get("rope_type") == "longrope"]
    return min([limit, *map(int, turns)])


def outgrows(model: Any, longest: int) -> bool:
    """Whether a sequence of ``longest`` tokens would change the rotary frequencies of all tokens beside it."""
    moving = any(r.get("rope_type") in ("longrope", "dynamic") for r in _ropes(model))
    return moving and longest > max_context(model)


def _ropes(model: Any) -> list[dict[str, Any]]:
    """The settings of rotary positions: one for all layers, or one for each kind of layer."""
    rope = getattr(model.config, "rope_parameters", None) or {}
    nested = [value for value in rope.values() if isinstance(value, dict)]
    return nested or [rope]


def own_weights(model: Any, state: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """A model's parameters and buffers by their names in it, each tied one once. ``state`` stands in for the
    model's own, where adapters are merged into it."""
    seen: dict[int, str] = {}
    tensors: Mapping[str, Tensor] = model.state_dict() if state is None else state
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    for name, tensor in sorted(tensors.items(), key=lambda item: item[0] in tied):
        seen.setdefault(tensor.data_ptr() if tensor.numel() else id(tensor), name)
    once = set(seen.values())
    return {name: tensor for name, tensor in tensors.items() if name in once}
