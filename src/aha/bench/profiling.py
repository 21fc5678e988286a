"""Where a step's time goes: a trace for Perfetto, and the same time added up in classes.

Operators are told apart by the named stretch they run in (attention, sampling, grading, optimizer) and, outside
of all stretches, by what they are. What no operator accounts for is Python.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

CLASSES = (
    "matrix products",
    "decoding kernels",
    "attention kernels",
    "attention products",
    "attention layout and softmax",
    "sampling",
    "grading",
    "optimizer",
    "copies",
    "other operators",
    "Python",
)
_STRETCHES = ("attention", "sampling", "grading", "optimizer")
_PREFIX = "aha: "
_WORK = ("matrix products", "decoding kernels", "attention kernels", "attention products", "sampling")
_ATTENTION_KERNELS = (
    "aha::attend", "aha::attend_backward", "aha::decode", "_flash_attention_forward", "_flash_attention_backward",
)  # fmt: skip
# Their backward runs from autograd, outside of any stretch.
_ATTENTION_NODES = ("_PackedAttention", "_PackedKeys", "_varlen_attn")
_PRODUCTS = (
    "mm",
    "addmm",
    "addmm_",
    "bmm",
    "baddbmm",
    "baddbmm_",
    "mv",
    "linear",
    "matmul",
    "mkldnn_linear",
    "onednn_linear",
    "aha::project",
)
_COPIES = (
    "copy_", "_to_copy", "to", "clone", "contiguous", "cat", "index_select", "index", "index_put_", "gather",
    "_index_put_impl_", "index_add_", "index_add", "scatter_add_", "embedding", "embedding_dense_backward",
    "fill_", "zero_", "zeros", "zeros_like", "empty", "empty_like", "repeat_interleave", "stack",
)  # fmt: skip


def profile(
    step: Callable[[], Any], device: torch.device, trace: Path, more: Sequence[tuple[str, Any, str]] = ()
) -> dict[str, Any]:
    """Run ``step`` once under the profiler, write the trace and say where the time went; ``more``: stretches that
    are the step's own, as (stretch, owner, function)."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    from aha.bench.roofline import synchronise

    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with named_stretches(more), torch_profile(activities=activities, acc_events=True) as profiler:
        synchronise(device)
        started = time.perf_counter()
        step()
        synchronise(device)
        seconds = time.perf_counter() - started
    trace.parent.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(trace))
    return summarise(profiler.events() or [], seconds, on_gpu=device.type == "cuda")


def summarise(events: Iterable[Any], seconds: float, on_gpu: bool) -> dict[str, Any]:
    """Seconds in each class; together they are the whole. On a GPU the time of the kernels that an operator
    launched counts; the kernels' own events say the same once more and are left out."""
    totals: dict[str, float] = dict.fromkeys(CLASSES, 0.0)
    for event in events:
        spent = (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e6
        if spent > 0 and str(event.device_type).endswith("CPU"):
            totals[classify(event)] += spent
    # What no operator accounts for: Python, and on a GPU waiting. Kernels that overlap could be more than all.
    totals["Python"] += max(0.0, seconds - sum(totals.values()))
    whole = sum(totals.values())
    share = {name: round(value / whole, 4) for name, value in totals.items()}
    return {
        "seconds": round(seconds, 6),
        "classes": {name: round(value, 6) for name, value in totals.items()},
        "shares": share,
        "matrix_and_sampling": round(sum(share[name] for name in _WORK), 4),
    }


def classify(event: Any) -> str:
    """The class of one operator: by the stretch around it, else by its name."""
    name = event.name.removeprefix("aten::")
    if name in _ATTENTION_KERNELS:  # products and softmax in one
        return "attention kernels"
    if name == "aha::step":  # all layers of a sampled token in one
        return "decoding kernels"
    stretch = _stretch_of(event)
    if stretch == "attention":
        return "attention products" if name in _PRODUCTS else "attention layout and softmax"
    if stretch:
        return stretch
    if name in _PRODUCTS:
        return "matrix products"
    return "copies" if name in _COPIES else "other operators"


def _stretch_of(event: Any) -> str | None:
    while event is not None:
        name = event.name
        if name.startswith(_PREFIX):
            return name.removeprefix(_PREFIX)
        if any(part in name for part in _ATTENTION_NODES):
            return "attention"
        event = event.cpu_parent
    return None


def page(shown: dict[str, Any]) -> tuple[str, ...]:
    """The classes, largest first, one line each."""
    shares = sorted(shown["shares"].items(), key=lambda item: -item[1])
    lines = [f"{name:<30} {share:>6.1%}" for name, share in shares]
    lines.append(f"matrix products and sampling together {shown['matrix_and_sampling']:.1%}")
    return tuple(lines)


# --- stretches --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def named_stretches(more: Sequence[tuple[str, Any, str]] = ()) -> Iterator[None]:
    """While this lasts, the parts of a step name themselves to the profiler; ``more``: (stretch, owner, function)."""
    from aha import attention
    from aha.sampling.local import kv_cache, scheduler
    from aha.training.policy import Policy

    places = [
        ("attention", attention.Packed, "attend"),
        ("attention", kv_cache.SlotCache, "attend_rows"),
        ("sampling", scheduler, "sample"),
        ("optimizer", Policy, "step"),
    ]
    with contextlib.ExitStack() as stack:
        for stretch, owner, attribute in (*places, *more):
            original, own = getattr(owner, attribute), attribute in vars(owner)
            setattr(owner, attribute, _named(stretch, original))
            if own:
                stack.callback(setattr, owner, attribute, original)
            else:  # it was inherited
                stack.callback(delattr, owner, attribute)
        yield


def _named(stretch: str, function: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    assert stretch in _STRETCHES

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with torch.profiler.record_function(_PREFIX + stretch):
            return function(*args, **kwargs)

    return wrapped
