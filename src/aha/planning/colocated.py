"""An engine with weights of its own beside the policy, such as vLLM: what its part of a GPU must hold, what it needs of
the host, and what speaks against it.

It cuts the weights over ``ranks`` GPUs of the first machine, beside the trainers' ranks there. Its own needs are
taken from vLLM's documentation and have not been measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from aha.planning import passes
from aha.planning.machines import GB, NODE, Machine
from aha.planning.shapes import Shape
from aha.planning.workload import Workload
from aha.sampling.colocated import Colocated, ColocatedSettings
from aha.sampling.engines import ENGINES

PROCESS = 1.0 * GB
"""Its CUDA context, with its kernels: there while it sleeps too."""
COLLECTIVES = 1.0 * GB
"""NCCL's buffers, with more than one GPU."""
GRAPHS = 1.0 * GB
"""Its CUDA graphs."""

# --- its GPUs ------------------------------------------------------------------------------------------------


def needed(shape: Shape, work: Workload, engine: Colocated) -> dict[str, float]:
    """Bytes that it needs on each of its GPUs."""
    b, ranks = work.number_bytes, engine.ranks
    _, kv, _ = passes.widths(shape)
    routed = shape.experts_per_token * shape.hidden
    wide = (
        4 * shape.hidden + routed + (3 * passes.inner_width(shape) + shape.heads * shape.key_dim + kv) / ranks
    )
    logits = 16.0 * min(work.max_num_seqs, work.sequences) * shape.vocabulary
    process = PROCESS + (COLLECTIVES if ranks > 1 else 0.0) + (0.0 if engine.eager else GRAPHS)
    return {
        "weights": b * shape.parameters / ranks,
        "KV cache": engine.cache,
        "activations": max(b * engine.prefill_tokens * wide, logits),
        "process": process,
    }


def asleep(engine: Colocated) -> float:
    """Bytes of a GPU that it keeps while the policy is trained, if it sleeps then."""
    return PROCESS + (COLLECTIVES if engine.ranks > 1 else 0.0)


def cache_token_bytes(shape: Shape, work: Workload, ranks: int) -> float:
    """Bytes of a token in the cache of one of its GPUs. Heads are cut while there are enough of them; latent
    attention is cached as latents, on every GPU."""
    if shape.kv_rank:
        return work.number_bytes * shape.layers * (shape.kv_rank + shape.rope_dim)
    heads = max(1, -(-shape.kv_heads // ranks))
    return work.number_bytes * shape.layers * heads * (shape.key_dim + shape.value_dim)


def rows(shape: Shape, work: Workload, engine: Colocated) -> int:
    """Completions of full length that it decodes at once; 0 if not one."""
    fitting = int(engine.cache // (cache_token_bytes(shape, work, engine.ranks) * work.longest))
    return min(work.max_num_seqs, work.sequences, fitting)


def on_the_way(shape: Shape, work: Workload, engine: Colocated, sharded: bool) -> float:
    """Bytes of weights that are on a GPU a second time while they come: of sharded ones a parameter is gathered,
    with all experts of a layer."""
    inner = max(shape.intermediate, shape.shared_intermediate, shape.expert_intermediate)
    largest = max(shape.embedding, shape.hidden * inner)
    if sharded:
        largest = max(largest, shape.experts * 2 * shape.expert_intermediate * shape.hidden)
    return max(float(engine.piece), float(work.number_bytes * largest))


def room_for_cache(shape: Shape, work: Workload, machine: Machine) -> int:
    """GiB of cache that its share of a GPU has room for, beside the rest that it needs."""
    assert work.colocated is not None
    others = sum(size for name, size in needed(shape, work, work.colocated).items() if name != "KV cache")
    return max(0, int((work.colocated.share * machine.gpu.memory - others) // 2**30))


# --- the host ------------------------------------------------------------------------------------------------


def host_bytes(shape: Shape, work: Workload, engine: Colocated, sharded: bool) -> dict[str, float]:
    """Bytes of the first machine's memory while weights go to it, and while it sleeps."""
    whole = float(work.number_bytes * shape.parameters)
    sizes = {"weights gathered": whole} if sharded else {}
    if engine.parcel:
        sizes["weights on their way"] = whole
    if engine.sleep:  # level 1: its weights wait there
        sizes[f"weights of {engine.title} asleep"] = whole
    return sizes


# --- whether it can be ---------------------------------------------------------------------------------------


def lacks(shape: Shape, work: Workload, machine: Machine) -> list[str]:
    """Why it cannot sample, in words, with what to do; nothing where it is not to."""
    engine = work.colocated
    if engine is None:
        return []
    name, lacking = f"{work.name}.{engine.name}" if work.name else engine.name, []
    possible = ranks_of(shape, machine)
    if engine.ranks not in possible:
        lacking.append(
            f"{name}.tensor_parallel_size={engine.ranks} are not GPUs of one machine "
            f"({min(NODE, machine.count)}) among which the "
            f"model's {shape.heads} heads can be dealt evenly: give {possible[-1]}."
        )
    each = cache_token_bytes(shape, work, engine.ranks) * work.longest
    if engine.cache < each:
        lacking.append(
            f"{engine.title}'s KV cache of {engine.cache / 2**30:g} GiB does not hold one sequence of "
            f"{work.longest} tokens: set {name}.kv_cache_gib={math.ceil(each / 2**30)} or lower max_tokens."
        )
    sizes, room = needed(shape, work, engine), engine.share * machine.gpu.memory
    if sum(sizes.values()) > room:
        parts = ", ".join(f"{what} {size / GB:,.1f} GB" for what, size in sizes.items())
        lacking.append(
            f"{engine.title}'s part of a GPU, {engine.share:g} of its memory or {room / GB:,.0f} GB, does not hold "
            f"what it needs ({parts}): {_way_out(engine, name, sum(sizes.values()), possible[-1], machine)}."
        )
    return lacking


def _way_out(engine: Colocated, name: str, total: float, most: int, machine: Machine) -> str:
    """What to change where its part of a GPU is too small for ``total`` bytes; ``most``: GPUs that it may have."""
    share = fitted_share(total, machine)
    ways = [f"{name}.gpu_memory_utilization={share:g}"] if share < 1 else []
    ways += [f"{name}.tensor_parallel_size={most}"] if engine.ranks < most else []
    if not ways:
        return "use GPUs with more memory: it samples on one machine"
    sleeps = "" if engine.sleep else f"; {name}.enable_sleep_mode=true frees it while the policy is trained"
    return f"raise {' or '.join(ways)}{sleeps}"


def ranks_of(shape: Shape, machine: Machine) -> list[int]:
    """Numbers of GPUs of one machine that it can cut the model over."""
    most = min(NODE, machine.count)
    return [n for n in range(1, most + 1) if shape.heads % n == 0 and NODE % n == 0]


def fitted_share(total: float, machine: Machine) -> float:
    """The least share of a GPU's memory, in steps of 0.05, that holds ``total`` bytes."""
    return math.ceil(20 * total / machine.gpu.memory) / 20


def unset_engines() -> Iterator[tuple[str, Colocated]]:
    """Every engine of this kind that there is, by its name, with the settings that it has where nobody set any."""
    for name, entry in ENGINES.items():
        if entry.group and issubclass(settings := entry.settings_class, ColocatedSettings):
            yield name, settings.model_validate({}).planned()


def choices(shape: Shape, work: Workload, machine: Machine) -> Iterator[tuple[str, Colocated]]:
    """Settings with which one asks less of each GPU, and their words: asleep while the policy is trained, over more
    GPUs, with the share that it has or just enough of one. Nothing for one GPU that needs none."""
    if work.kind != "rl" or (work.colocated is None and machine.count == 1):
        return
    for new, now in unset_engines() if work.colocated is None else [("", work.colocated)]:
        if now.name in work.fields:
            yield from _choices(shape, work, machine, now, new)


def _choices(
    shape: Shape, work: Workload, machine: Machine, now: Colocated, new: str
) -> Iterator[tuple[str, Colocated]]:
    """Of one engine, as it is set ``now``; ``new``: its name where the stage does not have it yet."""
    possible, stage = ranks_of(shape, machine), f"{work.name}." if work.name else ""
    for ranks in possible:
        over = replace(now, ranks=ranks, sleep=True)
        total = sum(needed(shape, work, over).values())
        fewer = ranks < now.ranks and now.ranks in possible
        if fewer or (ranks == 1 and new):
            continue
        for share in sorted({now.share, fitted_share(total, machine)}, reverse=True):
            if total <= share * machine.gpu.memory and share < 1:
                words = [f"{stage}engine={new}"] if new else []
                group = f"{stage}{now.name}"
                words += [f"{group}.tensor_parallel_size={ranks}"] if ranks != now.ranks else []
                words += [] if now.sleep else [f"{group}.enable_sleep_mode=true"]
                words += [f"{group}.gpu_memory_utilization={share:g}"] if share != now.share else []
                if words:
                    yield " ".join(words), replace(over, share=share)
