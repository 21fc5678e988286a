"""Dealing requests over workers, so that all of them are busy for about as long."""

from __future__ import annotations

from collections.abc import Sequence

from aha.sampling.engine import Request
from aha.types import Finish

PREFILL_COST = 0.1
"""Of a token that is read, in tokens that are sampled."""


def cost(request: Request, expected: float, longest: int) -> float:
    """Tokens that a request will take, where completions are ``expected`` tokens long on average.

    What has been going on for longer than that is expected to go on for half of what is left to it.
    """
    total = 0.0
    for number in range(request.n):
        partial = request.partials[number] if request.partials else None
        if partial is not None and partial.finish is not Finish.ABORT:
            continue
        sampled = 0 if partial is None else len(partial.completion_ids)
        total += expected - sampled if sampled < expected else max(1.0, (longest - sampled) / 2)
        total += PREFILL_COST * sampled
    return total + PREFILL_COST * len(request.prompt_ids)


def deal(costs: Sequence[float], workers: int) -> list[list[int]]:
    """Indices of ``costs`` for each worker: the dearest first, each to the worker with the least so far; within
    a worker in the order given."""
    loads, shares = [0.0] * workers, [[] for _ in range(workers)]
    for index in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        least = min(range(workers), key=lambda w: (loads[w], w))
        loads[least] += costs[index]
        shares[least].append(index)
    return [sorted(share) for share in shares]
