"""Scalar models: one number for a whole text, read at its last token. Reward models are these.

The layers and the head are the critic's. Losses: pairwise (Bradley and Terry, 1952; the helpful reward model
of DeepSeek-R1, arXiv 2501.12948) and pointwise logistic (its safety reward model).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aha import modeling, ranks
from aha.files import new_folder, read_json, write_json
from aha.training.batching import pack, sequence_mean
from aha.training.checkpoint import write_tokenizer, write_weights
from aha.training.critic import Critic
from aha.training.trainer import OptimizerConfig
from aha.types import AhaError, Batch, Example

HEAD_FILE, CALIBRATION = "value_head.safetensors", "calibration.json"


def text_example(prompt: Sequence[int], completion: Sequence[int], end: int, group: int = -1) -> Example:
    """Prompt, text and end-of-text mark as one sequence; only the last token, where the value is read, is in
    the mask. Examples of one ``group`` share their prompt's tokens."""
    ids = np.array([*prompt, *completion, end], np.int64)
    mask = np.arange(len(ids)) == len(ids) - 1
    return Example(ids, mask, np.zeros(len(ids)), prompt_length=len(prompt), group=group)


class ScalarModel(Critic):
    """One number for each text; 0 for every text before training."""

    def _last(self, batch: Batch) -> tuple[np.ndarray, Batch]:
        """Where the last tokens are [S], and the batch with every token its own predictor: the value is read
        off the last token itself and not off the one before it."""
        return np.flatnonzero(batch.weights != 0), replace(batch, predictor=np.arange(len(batch.token_ids)))

    def move(self, device: torch.device) -> None:
        """Put weights and head on a device; for models that only score."""
        if self.device.type != device.type:
            self.model.to(device)
            self.head.data = self.head.data.to(device)
            self.device = next(self.model.parameters()).device

    def texts(self, batch: Batch) -> Tensor:
        """Scores [S], float32, of the texts of a batch in the order of their last tokens."""
        last, own = self._last(batch)
        return self._forward(own, last)

    def score(self, examples: Sequence[Example], max_tokens: int, *, deal: bool = False) -> np.ndarray:
        """Scores [N], float64, of ``examples`` in their order, packed into batches of ``max_tokens``.

        With ``deal`` all ranks score the same examples together.
        """
        out = np.zeros(len(examples))
        ends = np.cumsum([len(e.token_ids) for e in examples]) - 1

        @torch.no_grad()
        def read(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
            return owners(batch, ends), self.texts(batch).cpu().numpy()

        batches = pack(examples, sequence_mean, max_tokens)
        for which, scores in (
            self.map_microbatches(batches, read, trains=False) if deal else map(read, batches)
        ):
            out[which] = scores
        return out

    def learn(
        self,
        examples: Sequence[Example],
        max_tokens: int,
        loss: Callable[[Tensor, np.ndarray], tuple[Tensor, Tensor]],
    ) -> dict[str, float]:
        """Add the gradient of a loss over ``examples``, normalised over all of them; returns sums.

        ``loss(scores [S], which examples [S])`` gives (sum of losses, number right). Examples of one group are
        in one batch. Raises AhaError if a group does not fit ``max_tokens``, or on a loss that is not finite.
        """
        ends = np.cumsum([len(e.token_ids) for e in examples]) - 1

        def add(batch: Batch) -> tuple[float, float]:
            value, right = loss(self.texts(batch), owners(batch, ends))
            self._accumulate(value)
            return float(value.detach()), float(right)

        sums = self.map_microbatches(pack(examples, sequence_mean, max_tokens), add)
        return {"loss": sum(value for value, _ in sums), "right": sum(right for _, right in sums)}


def owners(batch: Batch, ends: np.ndarray) -> np.ndarray:
    """Which example each last token of a batch belongs to [S]; ``ends``: where examples end when laid end to
    end."""
    return np.searchsorted(ends, batch.origin[np.flatnonzero(batch.weights != 0)])


def pairwise(pairs: int) -> Callable[[Tensor, np.ndarray], tuple[Tensor, Tensor]]:
    """Bradley-Terry: -log sigma(chosen - rejected) / ``pairs``. Examples 2i and 2i + 1 are pair i, the chosen
    one first; both are in one batch."""

    def loss(scores: Tensor, which: np.ndarray) -> tuple[Tensor, Tensor]:
        order = np.argsort(which)
        if len(order) % 2 or (which[order][0::2] + 1 != which[order][1::2]).any():
            raise AhaError("A pair of answers was split over two batches: raise max_tokens_per_batch.")
        gap = scores[torch.from_numpy(order[0::2])] - scores[torch.from_numpy(order[1::2])]
        return -F.logsigmoid(gap).sum() / pairs, (gap > 0).sum()

    return loss


def pointwise(labels: np.ndarray) -> Callable[[Tensor, np.ndarray], tuple[Tensor, Tensor]]:
    """Logistic: cross-entropy of sigma(score) against ``labels`` [N] (1 = good), over N."""

    def loss(scores: Tensor, which: np.ndarray) -> tuple[Tensor, Tensor]:
        targets = torch.from_numpy(labels[which].astype(np.float32)).to(scores.device)
        total = F.binary_cross_entropy_with_logits(scores, targets, reduction="sum") / len(labels)
        return total, ((scores > 0) == (targets > 0.5)).sum()

    return loss


# --- files -----------------------------------------------------------------------------------------------


def save_scalar(
    scalar: ScalarModel, tokenizer: Any, folder: Path, calibration: dict[str, Any], card: str = ""
) -> None:
    """A Hugging Face checkpoint with the head beside it, all or nothing."""
    from safetensors.torch import save_file

    weights, head = scalar.weights(), scalar.whole_head()
    if not ranks.is_main():
        return
    with new_folder(folder) as place:
        write_weights(scalar, place, weights)
        write_tokenizer(tokenizer, place)
        save_file({"head": head.cpu().contiguous()}, place / HEAD_FILE)
        write_json(place / CALIBRATION, calibration)
        (place / "README.md").write_text(card, encoding="utf-8")


def load_scalar(
    folder: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    optimizer: OptimizerConfig | None = None,
) -> tuple[ScalarModel, dict[str, Any]]:
    """The scalar model in ``folder`` and its calibration. Raises AhaError if it has no head."""
    from safetensors.torch import load_file

    path = Path(folder) / HEAD_FILE
    if not path.is_file():
        raise AhaError(f"'{folder}' is no reward model: it has no {HEAD_FILE}.")
    scalar = ScalarModel(modeling.load_model(folder, device, dtype), optimizer)
    with torch.no_grad():
        scalar.head.copy_(load_file(path)["head"].to(scalar.head))
    if optimizer is not None:
        with torch.no_grad():
            scalar.masters[-1].copy_(scalar.head)
    return scalar, read_json(Path(folder) / CALIBRATION)
