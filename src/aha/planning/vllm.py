"""vLLM as the sampler: what its part of a GPU must hold, what it needs of the host, and what speaks against it.

It cuts the weights over ``ranks`` GPUs of the first machine, beside the trainers' ranks there. Its own needs are
taken from its documentation and have not been measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from aha.planning import passes
from aha.planning.machines import GB, NODE, Machine
from aha.planning.shapes import Shape
from aha.planning.workload import Vllm, Workload

PROCESS = 1.0 * GB
"""Its CUDA context, with its kernels: there while it sleeps too."""
COLLECTIVES = 1.0 * GB
"""NCCL's buffers, with more than one GPU."""
GRAPHS = 1.0 * GB
"""Its CUDA graphs."""
PREFILL_TOKENS = 16384
"""Tokens that its largest pass computes together."""
PIECE = 1 << 28
"""Bytes of weights that are on a GPU a second time while they come, or one tensor."""

# --- its GPUs ------------------------------------------------------------------------------------------------


def needed(shape: Shape, work: Workload, vllm: Vllm) -> dict[str, float]:
    """Bytes that it needs on each of its GPUs."""
    b, ranks = work.number_bytes, vllm.ranks
    _, kv, _ = passes.widths(shape)
    routed = shape.experts_per_token * shape.hidden
    wide = (
        4 * shape.hidden + routed + (3 * passes.inner_width(shape) + shape.heads * shape.key_dim + kv) / ranks
    )
    logits = 16.0 * min(work.max_num_seqs, work.sequences) * shape.vocabulary
    process = PROCESS + (COLLECTIVES if ranks > 1 else 0.0) + (0.0 if vllm.eager else GRAPHS)
    return {
        "weights": b * shape.parameters / ranks,
        "KV cache": vllm.cache,
        "activations": max(b * PREFILL_TOKENS * wide, logits),
        "process": process,
    }


def asleep(vllm: Vllm) -> float:
    """Bytes of a GPU that it keeps while the policy is trained, if it sleeps then."""
    return PROCESS + (COLLECTIVES if vllm.ranks > 1 else 0.0)


def cache_token_bytes(shape: Shape, work: Workload, ranks: int) -> float:
    """Bytes of a token in the cache of one of its GPUs. Heads are cut while there are enough of them; latent
    attention is cached as latents, on every GPU."""
    if shape.kv_rank:
        return work.number_bytes * shape.layers * (shape.kv_rank + shape.rope_dim)
    heads = max(1, -(-shape.kv_heads // ranks))
    return work.number_bytes * shape.layers * heads * (shape.key_dim + shape.value_dim)


def rows(shape: Shape, work: Workload, vllm: Vllm) -> int:
    """Completions of full length that it decodes at once; 0 if not one."""
    fitting = int(vllm.cache // (cache_token_bytes(shape, work, vllm.ranks) * work.longest))
    return min(work.max_num_seqs, work.sequences, fitting)


def on_the_way(shape: Shape, work: Workload, sharded: bool) -> float:
    """Bytes of weights that are on a GPU a second time while they come: of sharded ones a parameter is gathered,
    with all experts of a layer."""
    inner = max(shape.intermediate, shape.shared_intermediate, shape.expert_intermediate)
    largest = max(shape.embedding, shape.hidden * inner)
    if sharded:
        largest = max(largest, shape.experts * 2 * shape.expert_intermediate * shape.hidden)
    return max(float(PIECE), float(work.number_bytes * largest))


def room_for_cache(shape: Shape, work: Workload, machine: Machine) -> int:
    """GiB of cache that its share of a GPU has room for, beside the rest that it needs."""
    assert work.vllm is not None
    others = sum(size for name, size in needed(shape, work, work.vllm).items() if name != "KV cache")
    return max(0, int((work.vllm.share * machine.gpu.memory - others) // 2**30))


# --- the host ------------------------------------------------------------------------------------------------


def host_bytes(shape: Shape, work: Workload, vllm: Vllm, sharded: bool) -> dict[str, float]:
    """Bytes of the first machine's memory while weights go to vLLM, and while it sleeps."""
    whole = float(work.number_bytes * shape.parameters)
    sizes = {"weights gathered": whole} if sharded else {}
    if vllm.parcel:
        sizes["weights on their way"] = whole
    if vllm.sleep:  # level 1: its weights wait there
        sizes["weights of vLLM asleep"] = whole
    return sizes


# --- whether it can be ---------------------------------------------------------------------------------------


def lacks(shape: Shape, work: Workload, machine: Machine) -> list[str]:
    """Why it cannot sample, in words, with what to do; nothing where it is not to."""
    vllm = work.vllm
    if vllm is None:
        return []
    name, lacking = f"{work.name}.vllm" if work.name else "vllm", []
    most, sizes = ranks_of(shape, machine)[-1], needed(shape, work, vllm)
    if vllm.ranks not in ranks_of(shape, machine):
        lacking.append(
            f"{name}.tensor_parallel_size={vllm.ranks} are not GPUs of one machine "
            f"({min(NODE, machine.count)}) among which the "
            f"model's {shape.heads} heads can be dealt evenly: give {most}."
        )
    each = cache_token_bytes(shape, work, vllm.ranks) * work.longest
    if vllm.cache < each:
        lacking.append(
            f"vLLM's KV cache of {vllm.cache / 2**30:g} GiB does not hold one sequence of {work.longest} tokens: "
            f"set {name}.kv_cache_gib={math.ceil(each / 2**30)} or lower max_tokens."
        )
    total, room = sum(sizes.values()), vllm.share * machine.gpu.memory
    if total > room:
        parts = ", ".join(f"{what} {size / GB:,.1f} GB" for what, size in sizes.items())
        ways = (
            [f"{name}.gpu_memory_utilization={fitted:g}"]
            if (fitted := fitted_share(total, machine)) < 1
            else []
        )
        ways += [f"{name}.tensor_parallel_size={most}"] if vllm.ranks < most else []
        hint = (
            f"raise {' or '.join(ways)}" if ways else "use GPUs with more memory: it samples on one machine"
        )
        sleeps = (
            ""
            if vllm.sleep or not ways
            else f"; {name}.enable_sleep_mode=true frees it while the policy is trained"
        )
        lacking.append(
            f"vLLM's part of a GPU, {vllm.share:g} of its memory or {room / GB:,.0f} GB, does not hold what it needs "
            f"({parts}): {hint}{sleeps}."
        )
    return lacking


def ranks_of(shape: Shape, machine: Machine) -> list[int]:
    """Numbers of GPUs of one machine that it can cut the model over."""
    most = min(NODE, machine.count)
    return [n for n in range(1, most + 1) if shape.heads % n == 0 and NODE % n == 0]


def fitted_share(total: float, machine: Machine) -> float:
    """The least share of a GPU's memory, in steps of 0.05, that holds ``total`` bytes."""
    return math.ceil(20 * total / machine.gpu.memory) / 20


def choices(shape: Shape, work: Workload, machine: Machine) -> Iterator[tuple[str, Vllm]]:
    """Settings with which it asks less of each GPU, and their words: asleep while the policy is trained, over more
    GPUs, with the share that it has or just enough of one. Nothing for one GPU that needs none."""
    now, name = work.vllm or Vllm(), f"{work.name}." if work.name else ""
    if work.kind != "rl" or "vllm" not in work.fields or (work.vllm is None and machine.count == 1):
        return
    for ranks in ranks_of(shape, machine):
        over = replace(now, ranks=ranks, sleep=True)
        total = sum(needed(shape, work, over).values())
        fewer = ranks < now.ranks and now.ranks in ranks_of(shape, machine)
        if fewer or (ranks == 1 and work.vllm is None):
            continue
        for share in sorted({now.share, fitted_share(total, machine)}, reverse=True):
            if total <= share * machine.gpu.memory and share < 1:
                changed = replace(over, share=share)
                words = [] if work.vllm else [f"{name}engine=vllm"]
                words += [f"{name}vllm.tensor_parallel_size={ranks}"] if ranks != now.ranks else []
                words += [] if now.sleep else [f"{name}vllm.enable_sleep_mode=true"]
                words += [f"{name}vllm.gpu_memory_utilization={share:g}"] if share != now.share else []
                if words:
                    yield " ".join(words), changed
