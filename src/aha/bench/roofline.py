"""What this machine can do at best: matrix products and memory reads, measured in the same run as a figure.

A figure alone says little. Beside the time that the same work takes at the machine's own peak it says how
much is left to win.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

MATMUL_SIZE = {"cpu": 2048, "mps": 4096, "cuda": 8192}
READ_BYTES = {"cpu": 256 << 20, "mps": 512 << 20, "cuda": 2 << 30}
_SMALLEST_READ = 1 << 20
SMALLEST_PRODUCT = 256
LONG_S = 1.0
"""Of one product or reading, in seconds: what takes longer is measured on less, or no more."""


@dataclass(frozen=True, slots=True)
class Roofline:
    """Peaks of one device, in operations and bytes a second."""

    bf16_flops: float
    float32_flops: float
    bytes_per_second: float
    device: str

    def flops(self, dtype: torch.dtype) -> float:
        """The peak of matrix products in ``dtype``."""
        import torch

        return self.bf16_flops if dtype == torch.bfloat16 else self.float32_flops

    def describe(self) -> dict[str, Any]:
        """In units people read."""
        return {
            "bf16_gflops": round(self.bf16_flops / 1e9, 1),
            "float32_gflops": round(self.float32_flops / 1e9, 1),
            "memory_gb_per_second": round(self.bytes_per_second / 1e9, 2),
            "device": self.device,
        }

    def line(self) -> str:
        """One line for people."""
        limits = self.describe()
        return (
            f"limits of this {self.device}: {limits['bf16_gflops']:,} GFLOP/s bf16, "
            f"{limits['float32_gflops']:,} GFLOP/s float32, {limits['memory_gb_per_second']} GB/s of memory"
        )


def measure(device: torch.device, size: int = 0, read_bytes: int = 0, repeats: int = 5) -> Roofline:
    """Both peaks of ``device``: the best of ``repeats``, since nothing runs faster than it can."""
    import torch

    size = size or MATMUL_SIZE.get(device.type, 2048)
    return Roofline(
        bf16_flops=matmul_peak(device, torch.bfloat16, size, repeats),
        float32_flops=matmul_peak(device, torch.float32, size, repeats),
        bytes_per_second=read_peak(device, read_bytes or READ_BYTES.get(device.type, 256 << 20), repeats),
        device=device.type,
    )


def matmul_peak(device: torch.device, dtype: torch.dtype, size: int, repeats: int) -> float:
    """Floating-point operations a second of a square product [size, size], or of the largest smaller one that does
    not take long: CPUs that only emulate a type reach a thousandth of what others do."""
    import torch

    side = min(size, SMALLEST_PRODUCT)
    while True:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        work = functools.partial(torch.mm, a, b, out=torch.empty(side, side, device=device, dtype=dtype))
        once = best_seconds(work, device, 1)
        if side == size or once > LONG_S / 8:  # twice the side is eight times the work
            return 2 * side**3 / min(once, best_seconds(work, device, repeats))
        side = min(size, 2 * side)


def read_peak(device: torch.device, size: int, repeats: int) -> float:
    """Bytes a second of reading ``size`` bytes again and again.

    ``size`` matters: weights that fit into a cache are read faster than memory gives them, so the limit of
    a small model is measured at that model's size. The best of a sum, a copy (which reads and writes) and a
    product of a matrix with a vector, whichever this device is best at.
    """
    import torch

    count = max(size, _SMALLEST_READ) // 4
    x, y = torch.ones(count, device=device), torch.empty(count, device=device)
    columns = 1024
    matrix, vector = x[: count // columns * columns].view(-1, columns), torch.ones(columns, device=device)
    bf16 = matrix.to(torch.bfloat16)
    few = torch.ones(columns, 8, device=device, dtype=torch.bfloat16)
    works: list[tuple[Callable[[], Any], int]] = [
        (lambda: x.sum(), x.nbytes),
        (lambda: y.copy_(x), 2 * x.nbytes),
        (lambda: torch.mv(matrix, vector), matrix.nbytes),
        (lambda: torch.mm(bf16, few), bf16.nbytes),
    ]
    # A small buffer is read many times in one measurement, so that the call's own cost does not count.
    loops = max(1, (32 << 20) // x.nbytes)
    rates = [0.0]
    for work, done in works:
        once = done / best_seconds(work, device, 1)
        slow = once * 4 < max(rates) or done / once > LONG_S  # it will not be the best of them
        rates.append(once if slow else loops * done / best_seconds(_repeat(work, loops), device, repeats))
    return max(rates)


def _repeat(work: Callable[[], Any], times: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(times):
            work()

    return run


def best_seconds(work: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """The shortest of ``repeats`` runs after a warm-up; on a GPU by its own clock."""
    import torch

    work()
    synchronise(device)
    times = []
    for _ in range(repeats):
        if device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1e3)
        else:
            started = time.perf_counter()
            work()
            synchronise(device)
            times.append(time.perf_counter() - started)
    return min(times)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given: a clock read earlier measures nothing."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


# --- what the work needs at least -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What counts for the cost of a model."""

    matrix_parameters: int  # that take part in a product for each token: no embedding, but the head
    layers: int
    attention_width: int  # query heads times head size
    weight_bytes: int  # read for one decoding step
    kv_bytes: int  # of one token of one row


def anatomy(model: Any) -> Anatomy:
    """Count ``model``."""
    from aha import attention
    from aha.sampling.local.kv_cache import bytes_per_token

    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    used = [p for p in model.parameters() if p is not embedding or embedding is head]
    config = model.config
    return Anatomy(
        matrix_parameters=sum(p.numel() for p in used if p.ndim >= 2),
        layers=config.num_hidden_layers,
        attention_width=config.num_attention_heads * attention.layers(model)[0].key_dim,
        weight_bytes=sum(p.numel() * p.element_size() for p in used),
        kv_bytes=bytes_per_token(model),
    )


@dataclass(frozen=True, slots=True)
class Least:
    """The least time that some work takes on this machine, and what bounds it."""

    seconds: float
    flops: float
    bytes: float
    binds: str  # "matrix products" or "memory"

    def compare(self, seconds: float) -> dict[str, Any]:
        """How near a measured time comes to it."""
        return {
            "percent_of_limit": round(100 * self.seconds / seconds, 4),
            "binds": self.binds,
            "gflops": round(self.flops / seconds / 1e9, 2),
            "gb_per_second": round(self.bytes / seconds / 1e9, 3),
        }


def training_flops(parts: Anatomy, lengths: list[int]) -> float:
    """6 N D for the products with weights, and causal attention: half of the square, forward and backward."""
    attention = sum(6 * parts.layers * parts.attention_width * n * n for n in lengths)
    return 6.0 * parts.matrix_parameters * sum(lengths) + attention


def training(parts: Anatomy, lengths: list[int], limits: Roofline, dtype: torch.dtype) -> Least:
    """One optimizer step over sequences of these lengths. Matrix products bind: tokens share the weights."""
    flops = training_flops(parts, lengths)
    return Least(flops / limits.flops(dtype), flops, 0.0, "matrix products")


def decoding(
    parts: Anatomy, rows: int, prompts: int, prompt_tokens: int, tokens: int, peaks: tuple[float, float]
) -> Least:
    """``rows`` completions decoded together after ``prompts`` prompts; ``peaks``: flops and bytes a second.

    Each step reads the weights once and every row's keys and values once; whichever of reading and
    computing takes longer bounds the step. Each prompt is computed once.
    """
    flops_peak, read_peak_ = peaks
    flops = prompts * (2.0 * parts.matrix_parameters * prompt_tokens)
    flops += prompts * 2.0 * parts.layers * parts.attention_width * prompt_tokens**2
    seconds, total_bytes, read_bound = flops / flops_peak, 0.0, 0.0
    for drawn in range(1, tokens):  # the first token comes from the prompt's own pass
        context = prompt_tokens + drawn
        step_flops = rows * (
            2.0 * parts.matrix_parameters + 4.0 * parts.layers * parts.attention_width * context
        )
        step_bytes = parts.weight_bytes + rows * context * parts.kv_bytes
        reading, computing = step_bytes / read_peak_, step_flops / flops_peak
        seconds += max(reading, computing)
        read_bound += max(reading, computing) if reading > computing else 0.0
        flops, total_bytes = flops + step_flops, total_bytes + step_bytes
    return Least(seconds, flops, total_bytes, "memory" if read_bound > seconds / 2 else "matrix products")


def join(*parts: Least) -> Least:
    """Work done one after the other."""
    longest = max(parts, key=lambda part: part.seconds)
    return Least(
        sum(p.seconds for p in parts), sum(p.flops for p in parts), sum(p.bytes for p in parts), longest.binds
    )


@functools.cache
def read_peak_at(device: torch.device, size: int) -> float:
    """``read_peak`` for a working set of about ``size`` bytes, never more than a large buffer."""
    return read_peak(device, min(size, READ_BYTES.get(device.type, 256 << 20)), repeats=5)
