"""Hugging Face models and tokenizers in, with errors a person can act on. Used by sampling and training."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha.types import AhaError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ASSETS = Path(__file__).parent / "assets"
PRECISE_HEAD = 1 << 23
EMBEDDED = {"tiny": ASSETS / "tiny-base", "countdown": ASSETS / "countdown-base"}
"""Names of the bases that ship with the program."""


def resolve(name: str) -> str:
    """A model's path: an embedded base's name, a folder, or a name on the Hugging Face hub."""
    if name in EMBEDDED:
        return str(EMBEDDED[name])
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").exists():
            raise AhaError(f"'{name}' is a folder without config.json: not a Hugging Face checkpoint.")
        return str(path)
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise AhaError(f"No model at '{name}': the folder does not exist.")
    return name


def load_tokenizer(name: str) -> Any:
    """The fast tokenizer of a checkpoint. Raises AhaError if it cannot be had."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(resolve(name))
    except (OSError, ValueError, KeyError) as error:
        raise _cannot_load("tokenizer", name, error) from error
    if tokenizer.eos_token_id is None:
        raise AhaError(f"The tokenizer of '{name}' has no EOS token: completions could never end.")
    return tokenizer


def load_model(name: str, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Any:
    """A causal language model on ``device`` in ``dtype``, in evaluation mode (dropout off).

    Raises AhaError if the model is unknown, damaged, or holds weights that are not finite.
    """
    import torch
    from transformers import AutoModelForCausalLM

    quiet_transformers()
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(resolve(name), dtype=dtype or torch.float32)
    except Exception as error:  # transformers raises many kinds here; all mean: this model cannot be loaded
        raise _cannot_load("model", name, error) from error
    bad = [key for key, value in model.state_dict().items() if not torch.isfinite(value).all()]
    if bad:
        raise AhaError(
            f"The weights of '{name}' are not finite (NaN or infinity) in {len(bad)} tensors, first in "
            f"'{bad[0]}'. The checkpoint is damaged: use an earlier one, or download it again."
        )
    return model.to(device).eval()


def quiet_transformers() -> None:
    """Keep advice meant for other callers off the user's screen."""
    from transformers.utils import logging as hf_logging

    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    logging.getLogger("torch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*generation flags.*")


def _cannot_load(what: str, name: str, error: Exception) -> AhaError:
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
        """Float32 logits [..., V] of ``hidden`` [..., hidden]; the product is as ``precise`` says."""
        import torch.nn.functional as F

        if self.precise:
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


def max_context(model: Any) -> int:
    """The longest sequence the model was built for, in tokens."""
    return int(getattr(model.config, "max_position_embeddings", 0) or 1 << 20)
