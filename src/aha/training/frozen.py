"""A reference policy beside adapters: the adapters as they once were, in the model that the policy has too."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from aha.training.policy import Policy
from aha.training.sharding import Shards
from aha.types import Batch

T = TypeVar("T")


class FrozenAdapters:
    """What ``policy``, which trains adapters, is now; it takes their memory and not that of another model."""

    def __init__(self, policy: Policy):
        self.policy, self.model = policy, policy.model
        self.kept = {name: p.detach().clone() for name, p in self._adapters()}

    def _adapters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """Within it the model has these adapters; afterwards its own again, bit for bit."""
        now = {name: p.detach().clone() for name, p in self._adapters()}
        self._put(self.kept)
        try:
            yield
        finally:
            self._put(now)

    def _put(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, p in self._adapters():
                p.copy_(values[name])

    def logprobs(self, batch: Batch, temperature: float = 1.0) -> np.ndarray:
        """As ``Policy.logprobs`` [T], of the policy as it was."""
        with self._in_place():
            return self.policy.logprobs(batch, temperature)

    @property
    def dp_size(self) -> Any:
        """Among how many batches are dealt: as the policy's."""
        return self.policy.dp_size

    def map_microbatches(
        self, batches: Sequence[Batch], work: Callable[[Batch], T], *, trains: bool = True
    ) -> list[T]:
        """As the policy's own."""
        return self.policy.map_microbatches(batches, work, trains=trains)

    def weights(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return dict(self.kept)

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Take up what a checkpoint has: of the whole model's weights, where it is an older one, the adapters."""
        for name, value in self.kept.items():
            value.copy_(state[name])


def frozen_copy(policy: Policy) -> Policy | FrozenAdapters:
    """The policy as it is now, without an optimizer: a reference."""
    if policy.adapters is not None:
        return FrozenAdapters(policy)
    with policy.unsharded():
        model = copy.deepcopy(policy.sampler)
    for param in model.parameters():
        param.grad = None
        param.requires_grad_(False)
    copied = Policy(model, shards=None if policy.shards is None else Shards(model, trains=False))
    copied.context = policy.context
    return copied
