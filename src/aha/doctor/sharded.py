"""A policy whose weights are sharded, one a rank: the first rank examines it, the others do their part of each
question."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch.distributed as dist
from torch import Tensor

from aha import ranks
from aha.training import policy as policies
from aha.training import sharding
from aha.types import AhaError, Batch


class ShardRequest:
    """The policy as the first rank examines it, while the others ``assist``; within ``policy.unsharded()``."""

    def __init__(self, policy: policies.Policy):
        self.policy, self.model = policy, policy.model
        self.masters = policy.masters
        self._unread: Iterator[Tensor] = iter(())  # of the last ``weights``

    def optimizer_bytes(self) -> int:
        """The first rank's."""
        return self.policy.optimizer_bytes()

    def logprobs(self, batch: Batch, temperature: float = 1.0) -> np.ndarray:
        """Of every token [T], through the parts."""
        self._ask("logprobs", batch, temperature)
        return self.policy.logprobs(batch, temperature)

    def weights(self) -> Iterator[Tensor]:
        """The parts, put together in the compute type, parameter by parameter."""
        self._ask("weights")
        self._unread = gathered(self.policy)
        return self._unread

    def _ask(self, *question: Any) -> None:
        """Have the others do the same, who went to the end of what was asked before."""
        for _ in self._unread:
            pass
        _tell(question)

    def done(self) -> None:
        """The others need not wait for more questions."""
        self._ask()


def gathered(policy: policies.Policy) -> Iterator[Tensor]:
    """Every parameter in the compute type, made of all ranks' parts; every rank must read to the end."""
    assert policy.shards is not None
    for param in policy.model.parameters():
        yield sharding.unsharded(param.detach().to(policy.shards.dtype))


def led(policy: policies.Policy, work: Callable[[ShardRequest], None]) -> None:
    """Have the first rank run ``work`` by itself on the policy; an AhaError there ends every rank."""
    error: AhaError | None = None
    with ranks.alone():
        if not ranks.is_main():
            _assist(policy)
        else:
            asked = ShardRequest(policy)
            try:
                work(asked)
            except AhaError as failure:
                error = failure
            finally:
                asked.done()

    def say() -> None:
        if error is not None:
            raise error

    ranks.broadcast_object(say)


def _assist(policy: policies.Policy) -> None:
    """Answer with the first rank until it is done."""
    while question := _tell(None):
        if question[0] == "logprobs":
            policy.logprobs(*question[1:])
        else:
            for _ in gathered(policy):
                pass


def _tell(question: tuple[Any, ...] | None) -> tuple[Any, ...]:
    """The first rank's question, on every rank."""
    box = [question]
    dist.broadcast_object_list(box, src=0)
    ranks.progress()
    assert box[0] is not None
    return box[0]


__all__ = ["ShardRequest", "gathered", "led"]
