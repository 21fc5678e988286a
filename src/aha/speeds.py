"""What this CPU does best, measured: products in each compute type, kept for this machine; and how many threads
help at this moment. Imports torch only when asked."""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from aha.files import cache_folder, json_object

T = TypeVar("T")
TYPES = ("float32", "bfloat16")
SHAPES = {"decoding": (32, 896, 4864), "training": (1024, 896, 1536)}
"""Rows, inputs and outputs of a product: few rows against a layer's weights, and many."""
SECONDS = 1.0
"""What a trial of all types and shapes may take, once each was done."""
THREADS_SECONDS = 0.3
THREADS_GAIN = 1.1
"""So many times as fast fewer threads must be to be taken: a choice that does not turn with every breath."""
TURNS = 4
"""Two ways of the same are timed so often each; the shortest counts."""
GAIN = 1.1
"""So many times as fast one must be to be taken instead of the usual: a busy machine is no reason to."""
FILE = "compute.json"
PATIENCE = 60.0
"""Seconds that others may take to measure."""


@dataclass(frozen=True, slots=True)
class Products:
    """Billions of operations a second of products with weights, by shape (``SHAPES``) and compute type."""

    decoding: dict[str, float]
    training: dict[str, float]
    measured: str  # the day

    def score(self, kind: str) -> float:
        """What a type is compared by: the mean of both, where twice as fast in one makes up for half in the other."""
        return math.sqrt(self.decoding[kind] * self.training[kind])

    @property
    def best(self) -> str:
        """The type that is faster."""
        return max(TYPES, key=self.score)

    def words(self) -> str:
        """The figures for people."""
        each = (
            f"{kind} {self.decoding[kind]:,.0f} decoding, {self.training[kind]:,.0f} training"
            for kind in TYPES
        )
        return f"{'; '.join(each)} (GFLOP/s, measured {self.measured})"

    @classmethod
    def read(cls, record: Any) -> Products | None:
        """Of what a file had; None where that is something else."""
        try:
            decoding, training = ({kind: float(record[shape][kind]) for kind in TYPES} for shape in SHAPES)
            sound = all(math.isfinite(x) and x > 0 for x in (*decoding.values(), *training.values()))
            return cls(decoding, training, str(record["measured"])) if sound else None
        except (KeyError, TypeError, ValueError):
            return None


def products(facts: Mapping[str, Any]) -> Products:
    """What was measured on a machine of these ``facts``; measured now, and kept, where it was not."""
    values = kept(FILE, facts, lambda: asdict(measure()), lambda x: x if Products.read(x) else None)
    return Products(**values)


def measure(seconds: float = SECONDS) -> Products:
    """The best of as many turns as the time allows, all types and shapes in turn: others slow each of them alike."""
    works = {(shape, kind): _product(shape, kind) for shape in SHAPES for kind in TYPES}
    shortest = dict.fromkeys(works, math.inf)
    for work in works.values():
        work()
    ends = time.perf_counter() + seconds
    while True:
        for name, work in works.items():
            shortest[name] = min(shortest[name], timed(work))
        if time.perf_counter() > ends:
            break
    speed = lambda shape, kind: round(2e-9 * math.prod(SHAPES[shape]) / shortest[shape, kind], 1)  # noqa: E731
    decoding, training = ({kind: max(0.1, speed(shape, kind)) for kind in TYPES} for shape in SHAPES)
    return Products(decoding, training, time.strftime("%Y-%m-%d"))


def _product(shape: str, kind: str) -> Callable[[], Any]:
    import torch

    rows, inputs, outputs = SHAPES[shape]
    dtype = getattr(torch, kind)
    x, weight = torch.ones(rows, inputs, dtype=dtype), torch.ones(outputs, inputs, dtype=dtype)
    return lambda: torch.nn.functional.linear(x, weight)


def timed(work: Callable[[], Any]) -> float:
    """Seconds that ``work`` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def faster(one: Callable[[], Any], other: Callable[[], Any]) -> bool:
    """Whether ``one`` takes clearly less time, both in turn."""
    times = [(timed(one), timed(other)) for _ in range(TURNS)]
    first, second = (min(column) for column in zip(*times, strict=True))
    return first * GAIN < second


# --- threads ---------------------------------------------------------------------------------------------


def threads(most: int) -> tuple[int, dict[int, float]]:
    """How many of ``most`` threads are fastest at this moment, and how many times as fast as one each number is.

    Threads wait for each other behind every product, so that one which has no core to itself holds up all: small
    products are then many times slower than on one thread.
    """
    counts = sorted({most, max(1, most // 2), 1}, reverse=True)
    if len(counts) == 1:
        return 1, {1: 1.0}
    seconds = _by_threads(counts)
    return chosen(seconds), {n: round(seconds[1] / seconds[n], 2) for n in counts}


def chosen(seconds: Mapping[int, float]) -> int:
    """The number of threads to take by the ``seconds`` of each: the most, unless fewer are clearly faster."""
    most = max(seconds)
    quickest = min(seconds, key=lambda n: seconds[n])
    return quickest if seconds[quickest] * THREADS_GAIN < seconds[most] else most


def _by_threads(counts: Sequence[int]) -> dict[int, float]:
    """Median seconds of the same work on each number of threads, all in turn."""
    import torch

    before, works = torch.get_num_threads(), [_steps(), _product("training", "float32")]
    timings: dict[int, list[float]] = {n: [] for n in counts}
    ends = time.perf_counter() + THREADS_SECONDS
    try:
        while True:
            for n in counts:
                torch.set_num_threads(n)
                timings[n].append(math.sqrt(math.prod(map(timed, works))))
            if len(timings[1]) > 2 and time.perf_counter() > ends:
                break
    finally:
        torch.set_num_threads(before)
    return {n: statistics.median(times[1:]) for n, times in timings.items()}  # the first ones start threads


def _steps(layers: int = 24) -> Callable[[], Any]:
    """A decoding step of a small model: short products, one behind the other."""
    import torch

    x, up, down = torch.ones(64, 256), torch.ones(768, 256), torch.full((256, 768), 1e-3)

    def work() -> Any:
        y = x
        for _ in range(layers):
            y = torch.nn.functional.linear(torch.nn.functional.linear(y, up), down).clamp_(-1, 1)
        return y

    return work


# --- what is kept ----------------------------------------------------------------------------------------


def kept(file: str, facts: Mapping[str, Any], measure: Callable[[], T], read: Callable[[Any], T | None]) -> T:
    """What ``measure`` found for these ``facts``, as plain data, when it was first asked on this machine: so what is
    chosen by it stays. ``read`` tells what a file had from what makes no sense (None), which is measured over."""
    path, key = cache_folder() / file, json.dumps(facts, sort_keys=True)
    value = read(json_object(path).get(key))
    if value is None:
        with _alone(
            path
        ):  # ranks that begin together have one figure, of a machine that they do not share meanwhile
            value = read(json_object(path).get(key))
            if value is None:
                value = measure()
                with contextlib.suppress(OSError):  # it is measured again, then
                    _write(path, json_object(path) | {key: value})
    return value


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """While no other process measures for the same file; not for longer than ``PATIENCE``, and not at all where nothing
    can be written beside it."""
    from filelock import FileLock

    lock = FileLock(path.with_suffix(".lock"))
    with contextlib.suppress(OSError):
        lock.acquire(timeout=PATIENCE)
    try:
        yield
    finally:
        lock.release()


def _write(path: Path, value: Mapping[str, Any]) -> None:
    """At once: other processes may be about the same."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as part:
        part.write(json.dumps(value, indent=1) + "\n")
    os.replace(part.name, path)
