"""What the fullest GPU must hold, part by part: as it starts, while it samples, and while it trains.

Every part follows from an allocation of the trainer or the sampler, named beside it; ``aha plan --check``
measures them. All sequences are taken to be as long as they may get. b is the size of a number in the compute
type.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from aha.planning import colocated, limits, passes
from aha.planning.shapes import Shape
from aha.planning.workload import Workload

GB = 10**9
CONTEXT = 0.8 * GB
"""A process's CUDA context with the kernels of torch and cuBLAS's workspace."""
COLLECTIVES = 1.0 * GB
"""NCCL's buffers, with more than one GPU."""
SLACK = 0.05
"""What the caching allocator holds beyond the tensors, as a part of them."""
MASTERS = 16
"""Float32 master, gradient sum and AdamW's two moments of a trained parameter, in bytes."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on the fullest GPU: what stays, what each phase adds to it, all there is while the weights come, what
    an engine beside takes in each phase, and what is no tensor."""

    resident: dict[str, float]
    training: dict[str, float]
    sampling: dict[str, float] = field(default_factory=dict)
    starting: dict[str, float] = field(default_factory=dict)
    beside: dict[str, float] = field(default_factory=dict)
    overhead: float = 0.0

    def phases(self) -> dict[str, float]:
        """Bytes in our tensors, by phase."""
        resident = sum(self.resident.values())
        return {
            "training": resident + sum(self.training.values()),
            "sampling": resident + sum(self.sampling.values()),
            "starting": sum(self.starting.values()),
        }

    @property
    def tensors(self) -> float:
        """Bytes in our tensors at the peak of the phase that needs most."""
        return max(self.phases().values())

    @property
    def besides(self) -> float:
        """Bytes that our process takes beside its tensors."""
        return self.overhead + self.tensors * (SLACK if self.overhead else 0.0)

    @property
    def peak(self) -> float:
        """Bytes of the GPU at most."""
        slack = 1 + (SLACK if self.overhead else 0.0)
        return self.overhead + max(
            size * slack + self.beside.get(name, 0.0) for name, size in self.phases().items()
        )


def estimate(
    shape: Shape,
    work: Workload,
    room: float,
    gpus: int = 1,
    sharded: bool = False,
    tensors_only: bool = False,
) -> Memory:
    """The memory of the fullest GPU of ``gpus``, each of ``room`` bytes; ``sharded`` as ``training.sharding`` cuts,
    else each holds all. ``tensors_only``: without what a CUDA process takes besides."""
    resident, starting = held_weights(shape, work), dict[str, float]()
    training, sampling, beside = passes.added(shape, work), dict[str, float](), dict[str, float]()
    cut = sharded and gpus > 1
    if cut:
        resident.pop("weights")  # working weights are made of the masters whenever they are needed
        resident = {name: size / gpus for name, size in resident.items()}
        training |= gathered(shape, work.number_bytes)
        starting = starting_bytes(shape, work, gpus)
    if work.kind == "rl" and work.colocated is None:
        sampling = sampling_bytes(shape, work, gpus)
        if cut:
            sampling["whole weights"] = float(work.number_bytes * shape.parameters)
        # Kept from rollout to rollout, the update between them included.
        resident["sampler's cache"] = cache_bytes(shape, work, room, gpus)
    elif (engine := work.colocated) is not None:
        share = engine.share * room
        sampling = {"weights on their way": colocated.on_the_way(shape, work, engine, cut)}
        beside = {"sampling": share, "training": colocated.asleep(engine) if engine.sleep else share}
        if work.reference:  # copied when the engine is there already
            beside["starting"] = share
    overhead = 0.0 if tensors_only else CONTEXT + COLLECTIVES * (gpus > 1)
    return Memory(resident, training, sampling, starting, beside, overhead)


def starting_bytes(shape: Shape, work: Workload, gpus: int) -> dict[str, float]:
    """All that a GPU holds while a model is put into shards, or copied to be a reference: every rank reads it
    whole, and a unit at a time becomes float32; what can be sampled from stays whole until the end."""
    whole, samples = float(work.number_bytes * shape.parameters), work.kind == "rl"
    reading = {"weights as they are read": whole, "a layer in float32": 4.0 * shape.layer_parameters()}
    if samples:
        reading["float32 masters"] = 4.0 * shape.parameters / gpus
    if work.critic:  # which begins as a copy
        reading["weights of the critic"] = whole
    if not work.reference:
        return reading
    state = MASTERS * shape.parameters / gpus
    copying = {"weights gathered": whole, "their copy, a reference": whole, "float32 state": state}
    return max(reading, copying, key=lambda parts: sum(parts.values()))


def trained_parameters(shape: Shape, work: Workload) -> int:
    """Parameters under the optimizer."""
    return shape.adapter_parameters(work.lora) if work.lora else shape.parameters


def held_weights(shape: Shape, work: Workload) -> dict[str, float]:
    """What is held for each parameter: working weights, float32 state, frozen copies."""
    b, trained = work.number_bytes, trained_parameters(shape, work)
    adapters = trained if work.lora else 0
    weights = {
        "weights": float(b * (shape.parameters + adapters)),
        "float32 masters": 4.0 * trained,
        "gradient sums": 4.0 * trained,
        "Adam moments": 8.0 * trained,
    }
    if work.reference:  # training.frozen.frozen_copy: a whole model, or the adapters that stood in it
        weights["reference model"] = float(b * (adapters or shape.parameters))
    if work.critic:  # training.critic: a copy of the model, its layers under an optimizer of their own
        layers = shape.parameters - (0 if shape.tied else shape.embedding)
        weights["critic"] = float(b * shape.parameters + MASTERS * layers)
    return weights


def gathered(shape: Shape, b: int) -> dict[str, float]:
    """What of a sharded model is whole while it trains: the layer in use and the next one, both ends, and one
    layer's gradient, in the compute type and as the float32 that is summed over ranks."""
    ends = shape.embedding * (1 if shape.tied else 2)
    layer = shape.layer_parameters()
    return {
        "layers gathered": float(b * (2 * layer + ends)),
        "gradients not yet scattered": float((b + 4) * max(layer, ends)),
    }


# --- sampling --------------------------------------------------------------------------------------------


def cache_tokens(shape: Shape, work: Workload, room: float, gpus: int = 1) -> int:
    """Tokens that the sampler's cache has memory for, as ``LocalEngine.cache_for`` decides: its share of ``room``,
    or all that the rows could take."""
    rows = min(work.max_num_seqs, -(-work.sequences // gpus))
    budget = limits.CACHE_SHARE * room // cache_token_bytes(shape, work)
    return int(min(budget, rows * (work.longest + limits.CACHE_GROWTH)))


def cache_token_bytes(shape: Shape, work: Workload) -> int:
    """``kv_cache.buffer_bytes_per_token``: keys and values of every layer, and a spare of each size."""
    heads = shape.heads if shape.kv_rank else shape.kv_heads
    spares = heads * sum({shape.key_dim, shape.value_dim})
    return work.number_bytes * (shape.cache_numbers + spares)


def rows_of(shape: Shape, work: Workload, room: float, gpus: int = 1) -> int:
    """Completions of full length that one GPU decodes at once."""
    fitting = cache_tokens(shape, work, room, gpus) // (work.longest + limits.CACHE_GROWTH)
    return max(1, min(work.max_num_seqs, fitting, -(-work.sequences // gpus)))


def cache_bytes(shape: Shape, work: Workload, room: float, gpus: int = 1) -> float:
    """``SlotCache``; at least one row, without which the sampler refuses to begin."""
    tokens = max(cache_tokens(shape, work, room, gpus), work.longest + limits.CACHE_GROWTH)
    return float(tokens * cache_token_bytes(shape, work))


def sampling_bytes(shape: Shape, work: Workload, gpus: int = 1) -> dict[str, float]:
    """What prefilling the prompts and decoding add to the cache: the larger of the two. Rows are as many as may
    be in flight while all are short."""
    b, rows = work.number_bytes, min(work.max_num_seqs, -(-work.sequences // gpus))
    logits = 24.0 * rows * shape.vocabulary
    decode = logits + rows * shape.heads * work.prompt * 2 * b + 8.0 * rows * work.longest
    prompts = min(-(-rows // work.group), max(1, limits.PREFILL_TOKENS // work.prompt))
    t = prompts * work.prompt
    bucket = passes.in_buckets([(work.prompt, work.prompt, prompts)])[0].scores
    layer = max(3 * b * t * passes.inner_width(shape), 2 * b * shape.heads * bucket) + 8 * t * shape.hidden
    prefill = max(float(t * shape.cache_numbers * b) + layer, logits + 6.0 * prompts * shape.vocabulary)
    name = "decoding" if decode >= prefill else "prefilling"
    return {name: max(decode, prefill)}
