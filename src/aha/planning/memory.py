"""What one GPU must hold, part by part, and the two moments at which it holds most.

Every part follows from an allocation of the trainer or the sampler, named beside it; ``aha plan --check``
measures them. All sequences are taken to be as long as they may get. b is the size of a number in the compute
type, T the packed tokens of a pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from aha.planning import limits
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
    """Bytes on each GPU: what stays, what each phase adds to it, and what is no tensor."""

    resident: dict[str, float]
    training: dict[str, float]
    sampling: dict[str, float] = field(default_factory=dict)
    overhead: float = 0.0

    @property
    def tensors(self) -> float:
        """Bytes in tensors at the peak of the phase that needs more."""
        return sum(self.resident.values()) + max(sum(self.training.values()), sum(self.sampling.values()))

    @property
    def peak(self) -> float:
        """Bytes of the GPU at most."""
        return self.tensors * (1 + (SLACK if self.overhead else 0.0)) + self.overhead


def estimate(
    shape: Shape,
    work: Workload,
    room: float,
    gpus: int = 1,
    sharded: bool = False,
    tensors_only: bool = False,
) -> Memory:
    """The memory of one GPU of ``gpus``, each of ``room`` bytes; ``sharded`` as ``training.sharding`` cuts, else
    each holds all. ``tensors_only``: without what a CUDA process takes besides."""
    resident = held_weights(shape, work)
    training, sampling = training_bytes(shape, work), dict[str, float]()
    if work.kind == "rl":
        sampling = sampling_bytes(shape, work, gpus)
    if sharded and gpus > 1:
        resident.pop("weights")  # working weights are made of the masters whenever they are needed
        resident = {name: size / gpus for name, size in resident.items()}
        training |= gathered(shape, work.number_bytes)
        if sampling:
            sampling["whole weights"] = float(work.number_bytes * shape.parameters)
    if sampling:  # kept from rollout to rollout, the update between them included
        resident["sampler's cache"] = cache_bytes(shape, work, room, gpus)
    overhead = 0.0 if tensors_only else CONTEXT + COLLECTIVES * (gpus > 1)
    return Memory(resident, training, sampling, overhead)


def trained_parameters(shape: Shape, work: Workload) -> int:
    """Parameters under the optimizer."""
    return shape.adapter_parameters(work.lora) if work.lora else shape.parameters


def held_weights(shape: Shape, work: Workload) -> dict[str, float]:
    """What is held for each parameter: working weights, float32 state, frozen copies."""
    b, trained = work.number_bytes, trained_parameters(shape, work)
    adapters = trained if work.lora else 0
    found = {
        "weights": float(b * (shape.parameters + adapters)),
        "float32 masters": 4.0 * trained,
        "gradient sums": 4.0 * trained,
        "Adam moments": 8.0 * trained,
    }
    if work.reference:  # stages.rl.frozen_copy: a whole model, adapters included
        found["reference model"] = float(b * (shape.parameters + adapters))
    if work.critic:  # training.critic: a copy of the model, its layers under an optimizer of their own
        layers = shape.parameters - (0 if shape.tied else shape.embedding)
        found["critic"] = float(b * shape.parameters + MASTERS * layers)
    return found


def gathered(shape: Shape, b: int) -> dict[str, float]:
    """What of a sharded model is whole while it trains: the layer in use and the next one, both ends, and one
    layer's gradient, in the compute type and as the float32 that is summed over ranks."""
    ends = shape.embedding * (1 if shape.tied else 2)
    layer = shape.layer_parameters()
    return {
        "layers gathered": float(b * (2 * layer + ends)),
        "gradients not yet scattered": float((b + 4) * max(layer, ends)),
    }


# --- training --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Layout:
    """What one rank has of a packed batch of the longest sequences: tokens, and attention scores of one head."""

    tokens: int
    trained: int  # tokens whose logprobs are asked for
    scores: float  # of all rectangles
    kept: float  # of those whose probabilities are kept for the backward pass
    bucket: float  # of the largest bucket
    keys: float  # rows times keys of the largest bucket


def layout(work: Workload) -> Layout:
    """How ``batching.pack`` and ``attention.make_plan`` lay out a full batch, and ``attention.divided`` divides it
    where ranks share it."""
    members = min(work.group, max(1, (work.batch_tokens - work.prompt) // work.completion))
    block = work.prompt + members * work.completion
    tokens = max(block, min(work.batch_tokens, work.tokens // work.mini_batches))
    blocks = tokens / block
    pieces = in_pieces(work.completion, work.prompt, blocks * members)
    pieces += in_pieces(work.prompt, 0, blocks)
    keep, ranks = limits.KEEP_PROBABILITIES_UP_TO, work.context
    scores = sum(q * k * rows for q, k, rows in pieces) / ranks
    return Layout(
        tokens=-(-tokens // ranks),
        trained=round(blocks * members * work.completion / ranks),
        scores=scores,
        kept=sum(q * k * rows for q, k, rows in pieces if k <= keep) / ranks,
        bucket=largest_bucket(pieces) if ranks == 1 else min(largest_bucket(pieces), scores),
        keys=max(bucket_scores(q * k, rows) / q for q, k, rows in pieces),
    )


def in_pieces(length: int, prefix: int, rows: float) -> list[tuple[int, int, float]]:
    """(queries, keys, rows) of the rectangles of ``rows`` segments of one length."""
    step = limits.piece_length(length + prefix)
    return [
        (min(step, length - at), prefix + at + min(step, length - at), rows) for at in range(0, length, step)
    ]


def largest_bucket(pieces: list[tuple[int, int, float]]) -> float:
    """Scores of one head in the largest bucket. Pieces of one sequence join up to the limit, padded to each
    other's past."""
    found = max(bucket_scores(q * k, rows) for q, k, rows in pieces)
    split = len(pieces) > 2  # more than completions and prompts
    return max(found, min(limits.MAX_BUCKET_SCORES, sum(q * k * n for q, k, n in pieces))) if split else found


def bucket_scores(area: float, rows: float) -> float:
    """Scores of one head in the largest bucket of ``rows`` rectangles of one size."""
    return area * max(1, min(rows, limits.MAX_BUCKET_SCORES // area))


def training_bytes(shape: Shape, work: Workload) -> dict[str, float]:
    """What a forward and backward pass adds at its peak."""
    b, batch = work.number_bytes, layout(work)
    t, width = batch.tokens, shape.hidden
    per_token, kept = saved_per_token(shape, b, work.lora), shape.heads * batch.kept * b
    layer = t * per_token + kept
    ends = t * width * (4 + 3 * b)  # embedded tokens, the last norm, the chosen rows
    windows = 2 if shape.window and shape.window < work.longest else 1
    # The head goes backward while every layer's activations are there; with recomputation a layer's own come
    # back only after it.
    head, deep = head_bytes(shape, work, batch.trained), layer_bytes(shape, work, batch)
    activations = shape.layers * (t * width * b if work.recompute else layer)
    deep += layer if work.recompute else 0
    return {
        "activations": activations + ends,
        "attention's masks": float(b) * min(batch.scores * windows, limits.LASTING_SCORES + batch.bucket),
        "output head" if head >= deep else "one layer backward": max(head, deep),
    }


def norm_bytes(width: int, b: int, gemma: bool, frozen: bool, feeds_linear: bool = True) -> float:
    """What autograd keeps of one RMS norm a token: its input in float32, what the scale multiplies, and the
    result where a linear layer keeps it as its input."""
    scaled = 4 if gemma else (0 if frozen else b)
    return width * (4 + scaled + (b if feeds_linear else 0))


def saved_per_token(shape: Shape, b: int, lora: int = 0) -> float:
    """What autograd keeps of one layer a token, attention probabilities aside. Of layers with experts where
    the model has them."""
    h, q = shape.hidden, shape.heads * shape.key_dim
    v = shape.heads * shape.value_dim
    kv = (shape.heads if shape.kv_rank else shape.kv_heads) * (shape.key_dim + shape.value_dim)
    frozen = bool(lora)
    found = 2 * norm_bytes(h, b, shape.gemma, frozen)
    if shape.gemma:
        found += 2 * norm_bytes(h, b, True, frozen, feeds_linear=False)
    found += b * (q + kv + v)  # queries, keys and values of the attention, and its result
    if shape.qk_norm:
        found += norm_bytes(q + kv // 2, b, shape.gemma, frozen, feeds_linear=False)
    if shape.kv_rank:
        found += norm_bytes(shape.q_rank + shape.kv_rank, b, False, frozen)
    inner = shape.intermediate
    if shape.experts:
        inner = shape.experts_per_token * shape.expert_intermediate + shape.shared_intermediate
        found += b * 2 * shape.experts_per_token * h + 8 * shape.experts
    found += 4 * b * inner  # gate, its activation, up, their product
    return found + 7 * lora * b


def head_bytes(shape: Shape, work: Workload, trained: int) -> float:
    """``policy._LogprobHead`` going backward: five float32 chunks of logits, and the head's gradient as a
    float32 sum beside a product in the compute type."""
    rows = min(trained, max(1, limits.HEAD_CHUNK_ELEMENTS // shape.vocabulary))
    chunk = 20.0 * rows * shape.vocabulary
    hidden = trained * shape.hidden * work.number_bytes * 2
    return chunk + hidden + (0 if work.lora else (4 + work.number_bytes) * shape.embedding)


def layer_bytes(shape: Shape, work: Workload, batch: Layout) -> float:
    """One layer going backward, beside what was kept: gradients of its parts, its scores, one matrix's
    gradient, and the head's where the embedding waits for it."""
    b, t, h = work.number_bytes, batch.tokens, shape.hidden
    kv = shape.kv_heads * (shape.key_dim + shape.value_dim)
    q = shape.heads * shape.key_dim
    inner, matrix = shape.intermediate, h * shape.intermediate
    if shape.experts:
        inner = shape.experts_per_token * shape.expert_intermediate + shape.shared_intermediate
        matrix = 2 * shape.experts * shape.expert_intermediate * h
    mlp = b * (3 * t * inner + (0 if work.lora else matrix))
    kept = batch.kept >= batch.scores
    each = 2 * b + (0 if kept else b) + (8 if shape.family == "gemma2" else 0)
    # Keys and values of a bucket, their gradients laid out for heads, for tokens and joined, and in float32 to be
    # summed; then the gradients of all tokens: as the buckets gave them, in order, and in float32 with the sum.
    attention = shape.heads * batch.bucket * each + 4 * b * t * q
    attention += kv * max((4 * b + 4) * batch.keys, (2 * b + 8) * t)
    if work.context > 1:
        # keys and values of all ranks, gathered and laid out; their gradients, summed and sent
        attention += t * work.context * kv * (2 * b + 8)
    norm = 16.0 * t * h
    waiting = 0 if work.lora or not shape.tied else b * shape.embedding
    return max(mlp, attention, norm) + 2 * b * t * h + waiting


# --- sampling --------------------------------------------------------------------------------------------


def cache_tokens(shape: Shape, work: Workload, room: float, gpus: int = 1) -> int:
    """Tokens that the sampler's cache has memory for, as ``LocalEngine.cache_for`` decides: its share of ``room``,
    or all that the rows could take."""
    rows = min(work.decode_rows, -(-work.sequences // gpus))
    budget = limits.CACHE_SHARE * room // cache_token_bytes(shape, work)
    return int(min(budget, rows * (work.longest + limits.CACHE_GROWTH)))


def cache_token_bytes(shape: Shape, work: Workload) -> int:
    """``kv_cache.buffer_bytes_per_token``: keys and values of every layer, and a spare of each size."""
    heads = shape.heads if shape.kv_rank else shape.kv_heads
    spares = heads * sum({shape.key_dim, shape.value_dim})
    return work.number_bytes * (shape.cache_numbers + spares)


def rows_of(shape: Shape, work: Workload, room: float, gpus: int = 1) -> int:
    """Completions of full length that one GPU decodes at once."""
    held = cache_tokens(shape, work, room, gpus) // (work.longest + limits.CACHE_GROWTH)
    return max(1, min(work.decode_rows, held, -(-work.sequences // gpus)))


def cache_bytes(shape: Shape, work: Workload, room: float, gpus: int = 1) -> float:
    """``SlotCache``; at least one row, without which the sampler refuses to begin."""
    tokens = max(cache_tokens(shape, work, room, gpus), work.longest + limits.CACHE_GROWTH)
    return float(tokens * cache_token_bytes(shape, work))


def sampling_bytes(shape: Shape, work: Workload, gpus: int = 1) -> dict[str, float]:
    """What prefilling the prompts and decoding add to the cache: the larger of the two. Rows are as many as may
    be in flight while all are short."""
    b, rows = work.number_bytes, min(work.decode_rows, -(-work.sequences // gpus))
    logits = 24.0 * rows * shape.vocabulary
    decode = logits + rows * shape.heads * work.prompt * 2 * b + 8.0 * rows * work.longest
    prompts = min(-(-rows // work.group), max(1, limits.PREFILL_TOKENS // work.prompt))
    t = prompts * work.prompt
    bucket = bucket_scores(work.prompt**2, prompts)
    inner = shape.intermediate
    if shape.experts:
        inner = shape.experts_per_token * shape.expert_intermediate + shape.shared_intermediate
    layer = max(3 * b * t * inner, 2 * b * shape.heads * bucket) + 8 * t * shape.hidden
    prefill = max(float(t * shape.cache_numbers * b) + layer, logits + 6.0 * prompts * shape.vocabulary)
    name = "decoding" if decode >= prefill else "prefilling"
    return {name: max(decode, prefill)}
