"""How long a step may take: operations, bytes and messages, at stated parts of what the data sheet promises.

Every completion is taken to be as long as it may get, so these are upper bounds as far as lengths go. The
utilisations are assumptions, printed with every estimate; ``aha bench`` measures a machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from aha.planning import colocated, memory, passes
from aha.planning.machines import GB, PCIE, Machine
from aha.planning.shapes import Shape
from aha.planning.workload import Workload
from aha.sampling.colocated import Colocated


@dataclass(frozen=True, slots=True)
class Utilisation:
    """What part of the data sheet's figures is reached, and what each layer costs to start."""

    products: float = 0.30
    bandwidth: float = 0.50
    link: float = 0.50
    layer_seconds: float = 2.5e-4  # one layer of one decoding step: about 25 kernels started from Python
    graph_seconds: float = 5e-5  # the same in CUDA graphs of an engine beside, with two sums over its GPUs

    def describe(self, engine: Colocated | None = None) -> str:
        """In words."""
        other = engine and (
            f"; {engine.title} on one machine alone, {1e3 * self.graph_seconds:.2g} ms for a layer in its CUDA graphs, "
            f"weights to it over PCIe at {PCIE * self.link / GB:.0f} GB/s, hashes not counted"
        )
        return (
            f"{self.products:.0%} of the bf16 peak, {self.bandwidth:.0%} of the memory's bandwidth, "
            f"{self.link:.0%} of the links', {1e3 * self.layer_seconds:.2g} ms to start a layer's kernels"
        ) + (other or "")


SCORE_BYTES = {"forward": 40, "backward": 50}
"""Bytes moved for each attention score of each head: plain products and a float32 softmax write every step."""
LOGIT_BYTES = 60
"""Bytes moved for each logit when a token is drawn."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of one step by what they are spent on."""

    parts: dict[str, float]

    @property
    def step(self) -> float:
        """Seconds of one step."""
        return sum(self.parts.values())


def estimate(
    shape: Shape, work: Workload, machine: Machine, sharded: bool, used: Utilisation | None = None
) -> Times:
    """The seconds of one step on ``machine``, whose GPUs share the sequences."""
    used = used or Utilisation()
    parts: dict[str, float] = {}
    if work.kind == "rl":
        if (engine := work.colocated) is None:
            parts["sampling"] = sampling_seconds(shape, work, machine, sharded, used)
        else:
            parts["sampling"] = colocated_seconds(shape, work, engine, machine, used)
            parts[f"weights to {engine.title}"] = delivery_seconds(
                shape, work, engine, machine, sharded, used
            )
        passes = int(work.reference) + int(work.policy_again) + int(work.critic)
        if passes:
            parts["logprobs and values"] = passes * pass_seconds(shape, work, machine, used, forward=1)
    passes = pass_seconds(shape, work, machine, used, forward=2 if work.recompute else 1, backward=True)
    parts["training"] = passes * (2 if work.critic else 1)
    if machine.count > 1:
        parts["exchange"] = exchange_seconds(shape, work, machine, sharded, used)
    return Times(parts)


def flops_per_token(shape: Shape, work: Workload, forward: int, backward: bool) -> float:
    """2 operations a parameter forward and 4 backward (2 where weights are frozen)."""
    return shape.active * (2.0 * forward + (0 if not backward else 2.0 if work.lora else 4.0))


def pass_seconds(
    shape: Shape, work: Workload, machine: Machine, used: Utilisation, forward: int, backward: bool = False
) -> float:
    """One pass over a step's tokens: products at their rate, attention's scores at the memory's."""
    batch = passes.layout(work)
    scale = work.tokens / batch.tokens / machine.count
    products = flops_per_token(shape, work, forward, backward) * batch.tokens
    seconds = products / (machine.gpu.flops * used.products)
    moved = forward * SCORE_BYTES["forward"] + (SCORE_BYTES["backward"] if backward else 0)
    seconds += moved * batch.scores * shape.heads * shape.layers / (machine.gpu.bandwidth * used.bandwidth)
    return seconds * scale


def sampling_seconds(
    shape: Shape, work: Workload, machine: Machine, sharded: bool, used: Utilisation
) -> float:
    """Waves of as many rows as the cache holds; a decoding step reads weights and cache, or computes, whichever
    takes longer. A sharded model is gathered whole before."""
    b, rows = work.number_bytes, memory.rows_of(shape, work, machine.gpu.memory, machine.count)
    waves = -(-work.sequences // (machine.count * rows))
    flops, bandwidth = machine.gpu.flops * used.products, machine.gpu.bandwidth * used.bandwidth
    context = work.prompt + work.completion / 2
    read = b * shape.parameters + rows * context * shape.cache_numbers * b
    read += LOGIT_BYTES * rows * shape.vocabulary
    step = max(read / bandwidth, 2.0 * shape.active * rows / flops, shape.layers * used.layer_seconds)
    prompts = -(-work.sequences // work.group) / machine.count
    prefill = prompts * work.prompt * 2.0 * shape.active / flops
    gather = b * shape.parameters / (machine.link * used.link) if sharded and machine.count > 1 else 0.0
    return waves * work.completion * step + prefill + gather


def colocated_seconds(
    shape: Shape, work: Workload, engine: Colocated, machine: Machine, used: Utilisation
) -> float:
    """As ``sampling_seconds``, of all completions on the GPUs of one machine, which read the weights together."""
    b, rows = work.number_bytes, max(1, colocated.rows(shape, work, engine))
    flops = machine.gpu.flops * used.products * engine.ranks
    bandwidth = machine.gpu.bandwidth * used.bandwidth
    context = work.prompt + work.completion / 2
    read = b * shape.parameters / engine.ranks
    read += rows * context * colocated.cache_token_bytes(shape, work, engine.ranks)
    read += LOGIT_BYTES * rows * shape.vocabulary
    start = shape.layers * (used.layer_seconds if engine.eager else used.graph_seconds)
    step = max(read / bandwidth, 2.0 * shape.active * rows / flops, start)
    prefill = -(-work.sequences // work.group) * work.prompt * 2.0 * shape.active / flops
    return -(-work.sequences // rows) * work.completion * step + prefill


def delivery_seconds(
    shape: Shape, work: Workload, engine: Colocated, machine: Machine, sharded: bool, used: Utilisation
) -> float:
    """All weights over PCIe to the engine's GPUs, to all of them at once; sharded ones are gathered over the links and
    go to the first machine's memory before, as they do where a file there carries them."""
    whole, cut = work.number_bytes * shape.parameters, sharded and machine.count > 1
    gather = whole / (machine.link * used.link) if cut else 0.0
    return gather + (1 + (cut or engine.parcel)) * whole / (PCIE * used.link)


def exchange_seconds(
    shape: Shape, work: Workload, machine: Machine, sharded: bool, used: Utilisation
) -> float:
    """Messages of one step's updates: float32 gradients summed once an update; sharded, weights gathered for
    each pass over a batch (twice, thrice with recomputation) and its float32 gradients scattered. Where ranks share
    a pass, its keys and values likewise."""
    b, link = work.number_bytes, machine.link * used.link
    trained, times = memory.trained_parameters(shape, work), 3 if work.recompute else 2
    shared = 0.0
    if work.context > 1:
        tokens = work.tokens * work.context / machine.count
        heads = shape.heads if shape.kv_rank else shape.kv_heads
        numbers = tokens * shape.layers * heads * (shape.key_dim + shape.value_dim)
        shared = numbers * (times * b + 4.0) / link
    if not sharded:
        return shared + work.mini_batches * 2 * 4.0 * trained / link
    batches = max(work.mini_batches, work.tokens / passes.layout(work).tokens / machine.count)
    return shared + batches * (times * b * shape.parameters + 4.0 * trained) / link
