"""What a forward and backward pass holds beside the weights, at the moment at which it holds most.

Going backward, what a layer kept goes as its parts are done: the feed-forward part first, then attention. So three
moments can be the fullest: the output head's, and of the last layer its feed-forward part's and its attention's.
All numbers of bytes follow from ``attention.packed``, ``attention.plan``, ``training.policy`` and transformers'
modules. b is the size of a number in the compute type.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from dataclasses import dataclass, replace

from aha.planning import limits
from aha.planning.shapes import Shape
from aha.planning.workload import Workload


@dataclass(frozen=True, slots=True)
class Rectangles:
    """A bucket of attention: ``rows`` rectangles of queries by keys."""

    rows: int
    queries: int
    keys: int

    @property
    def scores(self) -> int:
        """Of one head."""
        return self.rows * self.queries * self.keys


@dataclass(frozen=True, slots=True)
class PassLayout:
    """What one rank has of a packed batch of the longest sequences: tokens, and attention scores of one head."""

    tokens: int
    trained: int  # tokens whose logprobs are asked for
    scores: float  # of all rectangles
    kept: float  # of those whose probabilities are kept for the backward pass
    buckets: tuple[Rectangles, ...]  # the fullest of each size, in the order in which they are computed

    @property
    def bucket(self) -> float:
        """Scores of the largest bucket."""
        return min(max(bucket.scores for bucket in self.buckets), self.scores)


def layout(work: Workload) -> PassLayout:
    """How ``batching.pack`` and ``attention.make_plan`` lay out a full batch, and ``attention.divided`` divides it
    where ranks share it."""
    members = min(work.group, max(1, (work.batch_tokens - work.prompt) // work.completion))
    block = work.prompt + members * work.completion
    tokens = max(block, min(work.batch_tokens, work.tokens // work.mini_batches))
    return _laid_out(work.prompt, work.completion, members, tokens, work.context)


@functools.lru_cache(maxsize=1024)
def _laid_out(prompt: int, completion: int, members: int, tokens: int, ranks: int) -> PassLayout:
    blocks = tokens / (prompt + members * completion)
    pieces = in_pieces(completion, prompt, blocks * members)
    pieces += in_pieces(prompt, 0, blocks)
    keep = limits.KEEP_PROBABILITIES_UP_TO
    return PassLayout(
        tokens=-(-tokens // ranks),
        trained=round(blocks * members * completion / ranks),
        scores=sum(q * k * rows for q, k, rows in pieces) / ranks,
        kept=sum(q * k * rows for q, k, rows in pieces if k <= keep) / ranks,
        buckets=tuple(in_buckets(pieces)),
    )


def in_pieces(length: int, prefix: int, rows: float) -> list[tuple[int, int, float]]:
    """(queries, keys, rows) of the rectangles of ``rows`` segments of one length."""
    step = limits.piece_length(length + prefix)
    return [
        (min(step, length - at), prefix + at + min(step, length - at), rows) for at in range(0, length, step)
    ]


def in_buckets(pieces: list[tuple[int, int, float]]) -> list[Rectangles]:
    """The fullest bucket that each size of ``pieces`` (queries, keys, rows) leads, as ``layout._split_rows`` forms
    them: pieces of about as many queries join up to the limit, padded to the longest."""
    counts: dict[int, list[tuple[int, float]]] = {}
    for queries, keys, rows in sorted(pieces):
        sizes = counts.setdefault(queries, [])
        sizes.append((keys, rows + (sizes[-1][1] if sizes else 0)))  # pieces with at most so many keys

    def joined(queries: int, keys: int) -> float:
        alike = [sizes for q, sizes in counts.items() if 0.8 * queries - 8 <= q <= queries]
        at = [(sizes, bisect_right(sizes, keys, key=lambda size: size[0])) for sizes in alike]
        return sum(sizes[i - 1][1] for sizes, i in at if i)

    buckets = []
    for queries, keys, _ in sorted(pieces, reverse=True):
        rows = min(int(joined(queries, keys)), limits.MAX_BUCKET_SCORES // (queries * keys))
        buckets.append(Rectangles(max(1, rows), queries, keys))
    return buckets


def added(shape: Shape, work: Workload) -> dict[str, float]:
    """What a forward and backward pass adds at its peak. Advice asks for one pass many times, beside samplers of many
    sizes, which change nothing of it."""
    return dict(_added(shape, replace(work, max_num_seqs=0, colocated=None, least_pass=0, name="")))


@functools.lru_cache(maxsize=1024)
def _added(shape: Shape, work: Workload) -> dict[str, float]:
    b, batch = work.number_bytes, layout(work)
    t, width = batch.tokens, shape.hidden
    whole = t * saved_per_token(shape, b, work.lora) + shape.heads * batch.kept * b
    windows = 2 if shape.window and shape.window < work.longest else 1
    masks = min(batch.scores * windows, limits.LASTING_SCORES)
    # The head goes backward while every layer's activations are there; with recomputation a layer's own come
    # back only after it. Its input is the last norm's result, of which the chosen rows are taken.
    again = whole if work.recompute else 0.0
    waiting = 0 if work.lora or not shape.tied else b * shape.embedding
    gone = whole - attention_kept(shape, work, batch)
    moments = {
        "output head": t * width * (4 + 2 * b) + head_bytes(shape, work, batch.trained),
        "feed-forward backward": again + feedforward_bytes(shape, work, t) + waiting,
        "attention backward": again - gone + attention_bytes(shape, work, batch) + waiting,
    }
    if batch.scores * windows > masks:  # the others are made for each bucket
        moments["attention backward"] += b * batch.bucket
    fullest = max(moments, key=lambda name: moments[name])
    return {
        "activations": shape.layers * (t * width * b if work.recompute else whole),
        "attention's masks": float(b) * masks,
        fullest: moments[fullest],
    }


# --- what autograd keeps -----------------------------------------------------------------------------------


def norm_bytes(width: int, b: int, gemma: bool, frozen: bool, feeds_linear: bool = True) -> float:
    """What autograd keeps of one RMS norm a token: its input in float32, what the scale multiplies, and the
    result where a linear layer keeps it as its input."""
    scaled = 4 if gemma else (0 if frozen else b)
    return width * (4 + scaled + (b if feeds_linear else 0))


def saved_per_token(shape: Shape, b: int, lora: int = 0) -> float:
    """What autograd keeps of one layer a token, attention probabilities aside. Of layers with experts where
    the model has them."""
    h, inner = shape.hidden, inner_width(shape)
    total = attended_per_token(shape, b, lora) + b * shape.heads * shape.value_dim  # attention's result
    total += norm_bytes(h, b, shape.gemma, bool(lora))
    if shape.gemma:
        total += 2 * norm_bytes(h, b, True, bool(lora), feeds_linear=False)
    if shape.experts:
        total += b * 2 * shape.experts_per_token * h + 8 * shape.experts
    total += 4 * b * inner  # gate, its activation, up, their product
    return total + 7 * lora * b


def attended_per_token(shape: Shape, b: int, lora: int = 0) -> float:
    """Of these what is still there while attention goes backward: the norm before it, queries, keys and values."""
    q, kv, _ = widths(shape)
    total = norm_bytes(shape.hidden, b, shape.gemma, bool(lora)) + b * (q + kv)
    if shape.qk_norm:
        total += norm_bytes(q + kv // 2, b, shape.gemma, bool(lora), feeds_linear=False)
    if shape.kv_rank:
        total += norm_bytes(shape.q_rank + shape.kv_rank, b, False, bool(lora))
    return total


def attention_kept(shape: Shape, work: Workload, batch: PassLayout) -> float:
    """What is kept of one layer while its attention goes backward."""
    b = work.number_bytes
    return batch.tokens * attended_per_token(shape, b, work.lora) + shape.heads * batch.kept * b


def widths(shape: Shape) -> tuple[int, int, int]:
    """Numbers of a token's queries, of its keys and values together, and of attention's result. Latent attention
    is computed with the keys and values it expands to."""
    heads = shape.heads if shape.kv_rank else shape.kv_heads
    return (
        shape.heads * shape.key_dim,
        heads * (shape.key_dim + shape.value_dim),
        shape.heads * shape.value_dim,
    )


def inner_width(shape: Shape) -> int:
    """Numbers between the two products of the feed-forward part that a token passes."""
    if not shape.experts:
        return shape.intermediate
    return shape.experts_per_token * shape.expert_intermediate + shape.shared_intermediate


# --- what each moment adds -----------------------------------------------------------------------------------


def head_bytes(shape: Shape, work: Workload, trained: int) -> float:
    """``policy._LogprobHead`` going backward: a float32 sum of the head's gradient, beside five float32 chunks of
    logits and the gradient of the chunk before, or beside two and a product in the compute type."""
    rows, b = min(trained, max(1, limits.HEAD_CHUNK_ELEMENTS // shape.vocabulary)), work.number_bytes
    chunk, weight = rows * shape.vocabulary, 0 if work.lora else shape.embedding
    hidden = trained * shape.hidden * b * 2
    return (
        hidden + 4.0 * weight + max((20.0 + (b if trained > rows else 0)) * chunk, 8.0 * chunk + b * weight)
    )


def feedforward_bytes(shape: Shape, work: Workload, tokens: int) -> float:
    """The feed-forward part going backward: gradients of what it is made of, or of a norm in float32, one
    matrix's gradient, and those of the residual stream."""
    b, h = work.number_bytes, shape.hidden
    matrix = 2 * shape.experts * shape.expert_intermediate * h if shape.experts else h * shape.intermediate
    inner = b * (3 * tokens * inner_width(shape) + (0 if work.lora else matrix))
    return max(inner, 16.0 * tokens * h) + 2 * b * tokens * h


def attention_bytes(shape: Shape, work: Workload, batch: PassLayout) -> float:
    """``packed._PackedAttention`` going backward, beside what was kept: a bucket at a time, and at its end.

    All the while: queries, keys, values and the result's gradient with a row of padding; that gradient itself and
    the residual stream's; sums of what meets in a prompt, in float32.
    """
    b, t = work.number_bytes, batch.tokens
    q, kv, v = widths(shape)
    total = b * t * (q + kv + v) + b * t * (v + shape.hidden)
    past = any(bucket.keys > bucket.queries for bucket in batch.buckets)
    total += 4 * t * kv if past else 0
    inside = max(_bucket_bytes(shape, work, batch, bucket) for bucket in batch.buckets)
    # Gradients of queries as the buckets gave them and in order; of keys and values likewise, and their sums.
    sums = (2 * b + 4 + (4 if b < 4 else 0)) * kv if past else 2 * b * kv
    end = t * (2 * b * q + sums) + _left(shape, b, batch.buckets[-1], batch.kept >= batch.scores)
    if work.context > 1:
        # keys and values of all ranks, gathered and laid out; their gradients, summed and sent
        total += t * work.context * kv * (2 * b + 8)
    return total + max(inside, end)


def _bucket_bytes(shape: Shape, work: Workload, batch: PassLayout, bucket: Rectangles) -> float:
    """One bucket going backward: its scores, or its keys' and values' gradients on their way to tokens; with the
    gradients of the buckets before."""
    b = work.number_bytes
    q, kv, v = widths(shape)
    scores = min(bucket.scores, batch.scores)
    share = scores / bucket.scores  # of a bucket that ranks divide
    queries, keys = share * bucket.rows * bucket.queries, bucket.rows * bucket.keys
    several = scores < 0.75 * batch.scores
    kept = bucket.keys <= limits.KEEP_PROBABILITIES_UP_TO
    # Probabilities and their gradient, that of the scores, and that of the bucket before, which is still there.
    each = 2 * b + (0 if kept else b) + (b if several else 0)
    if shape.family == "gemma2":  # capped scores and what they are capped by, in float32
        each = max(each, 8 + 2 * b + (b if several else 0))
    laid_out = b * queries * (q + 2 * v) + b * keys * kv
    left = (b * queries * q + 1.5 * b * keys * kv) if several else 0.0
    first = each * shape.heads * scores + laid_out + b * keys * kv / 2 + left
    second = (2 - kept) * b * shape.heads * scores + laid_out + b * queries * q + (3 * b + 4) * keys * kv
    done = (1 - scores / batch.scores) * batch.tokens * b * (q + kv)
    return max(first, second) + done


def _left(shape: Shape, b: int, bucket: Rectangles, kept: bool) -> float:
    """What of the last bucket is there until the end."""
    q, kv, v = widths(shape)
    queries, keys = bucket.rows * bucket.queries, bucket.rows * bucket.keys
    return b * ((2 - kept) * shape.heads * bucket.scores + queries * (2 * q + 2 * v) + 3 * keys * kv)
