"""Decoding steps as CUDA graphs: what Python starts kernel by kernel once is started again in one call.

A step of many layers is some hundreds of small kernels, and starting them takes longer than their work. A graph
holds their addresses and sizes, so there is one for each number of rows and room of the cache; rows are rounded up,
and rows without a sample compute along. Weights are read where they stand: what an optimizer writes into them needs
no new graph.

A graph that was recorded wrongly would be silent. So the first replay of each is held against the plain step, and
once a later one, which has other lengths than were recorded. Whatever fails turns graphs off, with a warning.
``AHA_GRAPHS=0`` leaves them away.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from aha import trials
from aha.kernels.build import OFF
from aha.sampling.local.fused import FusedDecoder
from aha.sampling.local.kv_cache import SlotCache

KEPT = 64
"""Graphs that are kept, those used last."""
ROUNDINGS = 10
"""A replay's difference from the plain step that is taken for rounding, by what rounding makes of one operator. More
may be rounding too, by what the plain step itself makes of rounded inputs."""
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_log = logging.getLogger(__name__)

GraphWork = Callable[[], None]


class CacheLost(Exception):
    """A wrong replay may have written anywhere in the cache: what rows have in it must be computed again."""


class Recorder(Protocol):
    """Makes a function over tensors that stay in place repeatable."""

    def record(self, work: GraphWork) -> GraphWork:
        """Run ``work`` once and record it; returns what does the same again. Raises RuntimeError for work that
        cannot be recorded."""
        ...

    def forget(self) -> None:
        """Nothing recorded so far is used any more."""
        ...


class CudaRecorder:
    """CUDA graphs that share the memory of what they compute on the way."""

    def __init__(self, device: torch.device):
        self.device, self.stream = device, torch.cuda.Stream(device)
        self.forget()

    def record(self, work: GraphWork) -> GraphWork:
        """See ``Recorder``."""
        here, graph = torch.cuda.current_stream(self.device), torch.cuda.CUDAGraph()
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream):  # libraries set themselves up in their first call
            work()
        here.wait_stream(self.stream)
        with torch.cuda.stream(here):  # a capture that fails would leave its own stream as the current one
            capture = torch.cuda.graph(
                graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"
            )
            with capture:
                work()
        return graph.replay

    def forget(self) -> None:
        """See ``Recorder``."""
        self.pool = torch.cuda.graph_pool_handle()  # one that was given up must not be used again


@dataclass(slots=True, eq=False)
class _Captured:
    """One step: tensors it reads and writes, and how it is done, plainly and again."""

    inputs: Tensor  # [2, rows]: token ids, and tokens in the cache
    hidden: Tensor  # [rows, hidden]
    plain: GraphWork
    moved: GraphWork  # as plain, with embeddings that are moved as rounding might
    replay: GraphWork | None = None


class Graphs:
    """The captured steps of one engine."""

    def __init__(self, recorder: Recorder, kept: int = KEPT):
        self.recorder, self.kept = recorder, kept
        self.steps: OrderedDict[tuple[int, int], _Captured] = OrderedDict()
        self.owner: tuple[Any, ...] = (None, None, 0)
        self.captured = self.replayed = 0
        self.later_proven = False
        self.off: str | None = None

    def describe(self) -> dict[str, Any]:
        """For reports: graphs captured, steps replayed, and why there are no more, if so."""
        return {"captured": self.captured, "replayed": self.replayed, "off": self.off}

    def step(
        self, decoder: FusedDecoder, cache: SlotCache, ids: np.ndarray, lengths: np.ndarray
    ) -> Tensor | None:
        """Hidden states [n, hidden] of one new token ``ids`` [n] a row, of which the cache, which has room for it,
        has ``lengths`` [n] tokens; they stand until the next call. None: it is left to the caller.

        Raises CacheLost where a replay was found wrong.
        """
        if self.off is not None:
            return None
        step = self._step_for(len(ids), decoder, cache)
        inputs = np.zeros(step.inputs.shape, np.int64)
        inputs[:, : len(ids)] = ids, lengths
        step.inputs.copy_(torch.from_numpy(inputs))
        if step.replay is not None and self.later_proven:
            step.replay()
        elif not self._prove(step, cache, len(ids)):
            return None
        self.replayed += 1
        return step.hidden[: len(ids)]

    def forget(self) -> None:
        """Let go of every graph, and of the cache and the weights they know."""
        self.steps.clear()
        self.owner = (None, None, 0)
        self.recorder.forget()

    def _step_for(self, live: int, decoder: FusedDecoder, cache: SlotCache) -> _Captured:
        """The step of so many rows in this cache, captured or about to be."""
        assert cache.steady
        version = decoder.version()
        if self.owner[0] is not decoder or self.owner[1] is not cache or self.owner[2] != version:
            self.forget()
            self.owner = (decoder, cache, version)
        rows = padded(live, cache.tokens // cache.room)
        cache.pad(rows)
        key = (rows, cache.room)
        if key not in self.steps:
            self.steps[key] = _new_step(decoder, cache, rows)
            if len(self.steps) > self.kept:
                self.steps.popitem(last=False)
        self.steps.move_to_end(key)
        return self.steps[key]

    def _prove(self, step: _Captured, cache: SlotCache, live: int) -> bool:
        """Do the step plainly, and again as recorded: whether it could be recorded."""
        later = step.replay is not None
        try:
            if step.replay is None:
                step.replay = self.recorder.record(step.plain)
                self.captured += 1
            else:
                step.plain()
        except RuntimeError as error:
            self._give_up(f"recording failed: {_words(error)}")
            return False
        try:
            fault = _fault(step, cache, live)
        except RuntimeError as error:
            fault = f"a replay failed: {_words(error)}"
        if fault is not None:
            self._give_up(fault)
            raise CacheLost(fault)
        self.later_proven |= later
        return True

    def _give_up(self, reason: str) -> None:
        self.off = reason
        self.forget()
        _log.warning("CUDA graphs are turned off: decoding goes on without them, more slowly (%s)", reason)


def graphs_for(model: Any) -> Graphs | None:
    """Graphs for a model on a GPU, unless AHA_GRAPHS says no."""
    device = next(model.parameters()).device
    if device.type != "cuda" or os.environ.get("AHA_GRAPHS", "1") in OFF:
        return None
    return Graphs(CudaRecorder(device))


def padded(rows: int, most: int) -> int:
    """So many rows rounded up, to at most ``most``: to a power of two, from 8 on to eighths of one."""
    power = 1 << (rows - 1).bit_length()
    step = max(min(8, power), power // 8)
    return min(-(-rows // step) * step, most)


def _words(error: BaseException) -> str:
    """The first line of what went wrong first: ending a broken capture raises once more."""
    while error.__context__ is not None:
        error = error.__context__
    return next(iter(str(error).splitlines()), type(error).__name__)


def _new_step(decoder: FusedDecoder, cache: SlotCache, rows: int) -> _Captured:
    device = cache.lane.device
    inputs = torch.zeros(2, rows, dtype=torch.int64, device=device)
    hidden = torch.zeros(rows, decoder.width, dtype=cache.dtype, device=device)
    ids, lengths = inputs

    def take(move: Callable[[Tensor], Tensor] | None = None) -> None:
        cache.begin_step(lengths, cache.room)
        hidden.copy_(decoder.forward(ids, lengths, cache, move))
        cache.step = None  # its tensors are the graph's

    return _Captured(inputs, hidden, take, partial(take, lambda x: trials.shaken(x).to(x.dtype)))


# --- proof -------------------------------------------------------------------------------------------------


def _fault(step: _Captured, cache: SlotCache, live: int) -> str | None:
    """What a replay makes otherwise than the plain step, which has just been done: None, if nothing."""
    assert step.replay is not None
    slots = _GraphSlots(cache, step.inputs[1])
    hidden, written = step.hidden.clone(), slots.read()
    step.hidden.fill_(torch.nan)
    slots.blank()
    others = slots.sums()
    step.replay()
    replayed, again = step.hidden.clone(), slots.read()
    slots.blank()
    untouched = torch.equal(others, slots.sums())
    fault = _difference(step, slots, live, (replayed, again), (hidden, written))
    slots.write(written)
    step.hidden.copy_(replayed)
    return fault if fault or untouched else "a replay wrote into the cache of other tokens"


_Made = tuple[Tensor, list[Tensor]]  # hidden states; keys and values of each layer


def _difference(step: _Captured, slots: _GraphSlots, live: int, output: _Made, expected: _Made) -> str | None:
    """What of ``output`` is farther from what the plain step made than rounding takes it. How far that is depends on
    the model: where a difference is not small, the plain step is done with moved embeddings."""
    away = _apart(output, expected, live)
    allowed = [ROUNDINGS * trials.ROUNDING[expected[0].dtype]] * len(away)
    if not all(a <= b for a, b in zip(away, allowed, strict=True)):
        step.moved()
        rounded = _apart((step.hidden, slots.read()), expected, live)
        allowed = [a + trials.FACTOR * b for a, b in zip(allowed, rounded, strict=True)]
    wrong = [number for number, (a, b) in enumerate(zip(away, allowed, strict=True)) if not a <= b]
    if not wrong:
        return None
    return f"a replay's {'keys and values' if wrong[0] else 'hidden states'} are not those of the plain step"


def _apart(output: _Made, expected: _Made, live: int) -> list[float]:
    """The largest difference of a row [n, d], as a part of the longest row: of hidden states, and then of every
    layer's keys and values."""
    pairs = [(output[0][:live], expected[0][:live]), *zip(output[1], expected[1], strict=True)]
    return [
        float((a.float() - b.float()).norm(dim=-1).max() / b.float().norm(dim=-1).max().clamp_min(1e-30))
        for a, b in pairs
    ]


class _GraphSlots:
    """Where the new tokens' keys and values stand in every layer."""

    def __init__(self, cache: SlotCache, lengths: Tensor):
        self.cache = cache
        cache.begin_step(lengths, cache.room)
        assert cache.step is not None
        self.step = cache.step

    def _places(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Each layer's keys and values [rows * Hkv * room, D], and where the new ones stand."""
        for layer, shapes in enumerate(self.cache.shapes):
            for i, (heads, dim) in enumerate(shapes):
                yield self.cache.view(layer, i, self.step.count).view(-1, dim), self.step.target(heads)

    def read(self) -> list[Tensor]:
        """Copies of them."""
        return [store.index_select(0, at) for store, at in self._places()]

    def blank(self) -> None:
        """Zeros in their place."""
        for store, at in self._places():
            store.index_fill_(0, at, 0)

    def write(self, values: list[Tensor]) -> None:
        """Put ``values`` there."""
        for (store, at), value in zip(self._places(), values, strict=True):
            store.index_copy_(0, at, value)

    def sums(self) -> Tensor:
        """One number of the bits of each layer's keys and values: int64."""
        kind = _INTEGERS[self.cache.dtype.itemsize]
        return torch.stack([store.view(kind).sum(dtype=torch.int64) for store, _ in self._places()])
