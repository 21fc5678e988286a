"""Limits that the trainer and the sampler set themselves, repeated here so that a plan needs no torch; a test
compares them with the modules they belong to."""

KEEP_PROBABILITIES_UP_TO = 1024
"""``attention.packed``: keys up to which attention's probabilities are kept for the backward pass."""
MAX_BUCKET_SCORES = 8 * 2**20
"""``attention.plan``: scores of one head held at once."""
HEAD_CHUNK_ELEMENTS = 1 << 25
"""``training.policy``: logits that exist at once."""
LASTING_SCORES = 1 << 26
"""``attention.plan``: elements of masks that are kept for all layers."""
CACHE_SHARE = 0.125
"""``sampling.local.engine``: the cache's part of the device's memory."""
PREFILL_TOKENS = 8192
"""``sampling.local.scheduler``: prompt tokens computed together."""
CACHE_GROWTH = 16
"""``sampling.local.kv_cache``: tokens by which a row's room grows."""


def piece_length(tokens: int) -> int:
    """``attention.plan``: tokens of a long sequence whose scores are computed together."""
    return max(64, MAX_BUCKET_SCORES // max(1, tokens))
