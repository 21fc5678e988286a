"""The in-process engine: continuous batching over the policy's own modules. No copy of the weights exists.

The batch itself, and how rows enter, grow and leave, is in ``scheduler.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aha import attention, hardware, ranks
from aha.modeling import max_context
from aha.sampling.engine import Engine, EngineSetup, Partials, Request, check_room, ending_ids
from aha.sampling.local.fused import FusedDecoder, supports
from aha.sampling.local.graphs import graphs_for
from aha.sampling.local.kv_cache import GROWTH, SlotCache, buffer_bytes_per_token
from aha.sampling.local.scheduler import Scheduler
from aha.sampling.sampler import SamplingParams
from aha.types import AhaError, Rollout

CACHE_SHARE = 0.125
"""Of the device's whole memory, for keys and values. Of the whole and not of what is free, so that a run on
one machine always batches alike."""
DECODE_ROWS = 512


class LocalEngine(Engine):
    """Samples with ``model`` (any causal LM of transformers) as it is at the moment of the call."""

    shares_modules = True
    takes_weights = False
    computes_alike = True
    continues = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_rows: int = DECODE_ROWS,
        cache_bytes: int | None = None,
    ):
        attention.install(model)
        self.model, self.tokenizer, self.max_rows = model, tokenizer, max_rows
        memory = hardware.memory_bytes(next(model.parameters()).device)
        self.cache_bytes = int(memory * CACHE_SHARE) if cache_bytes is None else cache_bytes
        self.version = 0
        self.preempted = 0  # rows that had to make room, since the engine was made
        self.eos_ids = ending_ids(model, tokenizer)
        self.fused = supports(model)
        self.graphs = graphs_for(model) if self.fused else None
        self._cache: SlotCache | None = None
        self._decoder: FusedDecoder | None = None

    @classmethod
    def make(cls, model: Any, tokenizer: Any, setup: EngineSetup) -> LocalEngine:
        """Over the policy's own modules."""
        return cls(model, tokenizer, max_rows=setup.rows)

    def generate(
        self,
        requests: Sequence[Request],
        params: SamplingParams,
        *,
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
        leftovers: Partials | None = None,
    ) -> Iterator[tuple[int, tuple[Rollout, ...]]]:
        """Yield (index of the request, its ``n`` rollouts) as requests finish, in order of finishing.

        ``progress`` is told the number of tokens sampled at each step. Where the iterator is closed early,
        ``leftovers`` gets the rollouts of every other request by its index, those that had not ended with
        Finish.ABORT: as a later request's ``partials`` they are continued. Raises AhaError if a prompt leaves
        no room in the model's context, or one completion none in the cache.
        """
        check_room(requests, params, max_context(self.model))
        attention.install(self.model)
        with torch.inference_mode():
            run = Scheduler(self, requests, params, seed)
        try:
            while run.busy:
                with torch.inference_mode():
                    run.admit()
                    sampled = run.decode()
                ranks.progress()
                if progress is not None:
                    progress(sampled)
                yield from run.take_finished()
        finally:
            self.rest()
            if leftovers is not None:
                with torch.inference_mode():
                    leftovers.update(run.leftovers())

    def rest(self) -> None:
        """Hold no weights until the next step."""
        if self._decoder is not None:
            self._decoder.forget()

    def largest_capacity(self) -> int:
        """Tokens of the longest prompt and completion that the cache could hold if they were alone."""
        return max(1, self.cache_bytes // buffer_bytes_per_token(self.model) - GROWTH)

    def cache_for(self, rows: int, capacity: int) -> SlotCache:
        """A cache for ``rows`` rows of ``capacity`` tokens, or for as many tokens as the budget allows; kept
        from call to call while it fits. Raises AhaError if the budget does not hold a single row."""
        each = buffer_bytes_per_token(self.model)
        tokens = self.cache_bytes // each
        if tokens < capacity + GROWTH:
            raise AhaError(
                f"A completion with its prompt may take {capacity} tokens, {(capacity + GROWTH) * each / 2**20:.0f} "
                f"MiB of keys and values, but the cache has {self.cache_bytes / 2**20:.0f} MiB. Lower max_tokens, "
                "or give the engine more memory (cache_bytes)."
            )
        tokens = min(tokens, rows * (capacity + GROWTH))
        if self._cache is None or not self._cache.fits(tokens, capacity):
            self._cache = None  # free it before the larger one is made
            if self.graphs is not None:
                self.graphs.forget()
            self._cache = SlotCache(self.model, tokens, capacity, steady=self.graphs is not None)
        self._cache.clear()
        return self._cache

    def forward(self, ids: Tensor, positions: Tensor, context: attention.AttentionContext) -> Tensor:
        """Hidden states of ``ids`` [B, T] under an attention context."""
        out = self.model.base_model(input_ids=ids, position_ids=positions, context=context, use_cache=False)
        return out.last_hidden_state

    def decode(self, ids: np.ndarray, lengths: np.ndarray, cache: SlotCache) -> Tensor:
        """Hidden states [R, hidden] of one new token ``ids`` [R] a row, which has ``lengths`` [R] tokens in the
        cache: fused where the family allows it, replayed on GPUs. They stand until the next call. Raises
        ``CacheLost`` where the cache must be filled anew."""
        cache.make_room(len(ids), int(lengths.max()) + 1)
        decoder = self._decoder_for(cache) if self.fused else None
        if decoder is not None and self.graphs is not None:
            hidden = self.graphs.step(decoder, cache, ids, lengths)
            if hidden is not None:
                return hidden
        tokens, where = (torch.from_numpy(x).to(cache.lane.device) for x in (ids, lengths))
        cache.begin_step(where, int(lengths.max()) + 1)
        if decoder is not None:
            return decoder.forward(tokens, where, cache)
        return self.forward(tokens[:, None], where[:, None], cache)[:, 0]

    def _decoder_for(self, cache: SlotCache) -> FusedDecoder:
        if self._decoder is None or self._decoder.capacity < cache.capacity:
            self._decoder = FusedDecoder(self.model, cache.capacity)
        return self._decoder
