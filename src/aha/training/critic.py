"""A critic: a language model's layers with one number read off each token, on the policy's own trainer."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aha.training.losses import value_loss
from aha.training.sharding import Shards, unsharded
from aha.training.trainer import OptimizerConfig, Trainer
from aha.types import Batch

HEAD = "value_head"
"""The head's name among the model's parameters, where weights are sharded."""


class Critic(Trainer):
    """V(prompt and completion so far), read where the next token is chosen; starts at 0 everywhere.

    The layers are a copy of the policy's; the head is one row of zeros. Reward models use it as well.
    """

    def __init__(self, model: Any, optimizer: OptimizerConfig | None = None, *, sharded: bool = False):
        model = copy.deepcopy(model)
        weight = next(model.parameters())
        self.head = nn.Parameter(
            torch.zeros(model.config.hidden_size, dtype=weight.dtype, device=weight.device)
        )
        for param in model.base_model.parameters():
            param.requires_grad_(optimizer is not None)
        shards = None
        if sharded:
            model.register_parameter(HEAD, self.head)  # so that it is sharded with the embeddings
            shards = Shards(model, trains=optimizer is not None)
            self.head = getattr(model, HEAD)
        super().__init__(model, optimizer, [*model.base_model.parameters(), self.head], shards)

    def whole_head(self) -> Tensor:
        """The head [hidden]; every rank must call it where weights are sharded."""
        head = self.head.detach()
        return head if self.shards is None else unsharded(head.to(self.shards.dtype))

    def _forward(self, batch: Batch, chosen: np.ndarray) -> Tensor:
        """Values [n], float32, at the ``chosen`` tokens."""

        def read(hidden: Tensor, which: np.ndarray) -> tuple[Tensor, ...]:
            head = self.head if self.shards is None else getattr(self.model, HEAD)  # gathered, in here
            return ((hidden.float() * head.float()).sum(-1),)

        return self._read(batch, chosen, read)[0]

    def _values_of(self, batch: Batch) -> Tensor:
        return self._forward(batch, np.flatnonzero(batch.predictor >= 0))

    @torch.no_grad()
    def values(self, batch: Batch) -> np.ndarray:
        """The value of the state in which each token of the batch was chosen [T]; 0 where there is none."""
        out = np.zeros(len(batch.token_ids), np.float32)
        chosen = np.flatnonzero(batch.predictor >= 0)
        out[chosen] = self._forward(batch, chosen).cpu().numpy()
        return out

    def backward(self, batch: Batch, clip: float | None) -> dict[str, float]:
        """Add the gradient of the weighted value loss; returns its sum, and the squared error's."""
        assert batch.returns is not None
        assert batch.values is not None
        chosen = np.flatnonzero((batch.weights != 0) & (batch.predictor >= 0))
        weights, old, returns = (
            self._tensor(column[chosen]) for column in (batch.weights, batch.values, batch.returns)
        )
        values = self._forward(batch, chosen)
        total = (value_loss(values, old, returns, clip) * weights).sum()
        self._accumulate(total)
        error = ((values.detach() - returns).square() * weights).sum()
        return {"critic/loss": float(total.detach()), "critic/squared_error": float(error)}
