"""Low-rank adapters through peft (an optional package): a frozen base, small trained matrices beside it.

peft puts its layers into the model in place, so the trainer and the sampler go on with the model itself; only
what is trained and what is written changes. The base under the adapters is the reference model for free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aha.types import AhaError


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """``targets``: ends of module names ("q_proj"), or "all-linear" for every linear layer but the head."""

    rank: int = 16
    alpha: float = 32.0
    targets: str | Sequence[str] = "all-linear"


class Adapters:
    """The adapters of one model: they are in it from here on, and alone are trained."""

    def __init__(self, model: Any, settings: LoraSettings, seed: int = 0):
        peft = _peft()
        targets = settings.targets if isinstance(settings.targets, str) else list(settings.targets)
        config = peft.LoraConfig(
            r=settings.rank, lora_alpha=settings.alpha, target_modules=targets, task_type="CAUSAL_LM"
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                # In the compute type like all working weights: float32 masters are the trainer's.
                self.wrapper: Any = peft.get_peft_model(model, config, autocast_adapter_dtype=False)
            except ValueError as error:
                raise AhaError(f"No adapters for {type(model).__name__}: {error}") from error
        self.model = model
        if any("lora_" in name for name, _ in model.get_output_embeddings().named_parameters()):
            raise AhaError("The output head cannot have adapters: its probabilities are computed in parts.")

    def save(self, folder: Path) -> None:
        """The adapters alone, as ``peft.PeftModel.from_pretrained(base, folder)`` loads them."""
        self.wrapper.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)  # peft's empty card; the checkpoint has its own

    def disabled(self) -> AbstractContextManager[None]:
        """Within it the model is the base alone: the reference policy."""
        return self.wrapper.disable_adapter()

    @contextmanager
    def merged(self) -> Iterator[None]:
        """Within it the adapters are part of the weights, so that sampling does not pay for them. The base's
        weights are put back bit for bit; taking the product off again would leave its rounding behind."""
        before = {name: p.detach().clone() for name, p in self._adapted().items()}
        self.wrapper.merge_adapter()
        try:
            yield
        finally:
            self.wrapper.unmerge_adapter()
            with torch.no_grad():
                for name, p in self._adapted().items():
                    p.copy_(before[name])

    def plain_state(self) -> Mapping[str, Tensor]:
        """The base's weights by the names they have in a plain model; within ``merged`` the merged ones."""
        state = {}
        for name, value in self.model.state_dict().items():
            if ".lora_" not in name:
                state[".".join(part for part in name.split(".") if part != "base_layer")] = value
        return state

    def _adapted(self) -> dict[str, torch.nn.Parameter]:
        """The base's parameters that adapters stand beside."""
        return {n: p for n, p in self.model.named_parameters() if ".base_layer." in n and ".lora_" not in n}


def _peft() -> Any:
    try:
        import peft  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise AhaError("Adapters need peft: pip install peft.") from error
    return peft
