"""Limits that the trainer and the sampler set themselves, repeated here so that a plan needs no torch; a test
compares them with the modules they belong to."""

KEEP_PROBABILITIES_UP_TO = 1024
"""``attention.packed``: keys up to which attention's probabilities are kept for the backward pass."""
MAX_BUCKET_SCORES = 8 * 2**20
"""``attention.plan``: scores of one head held at once."""
HEAD_CHUNK_ELEMENTS = 1 << 23
"""``training.policy``: logits that exist at once."""
CACHE_BYTES = 2 << 30
"""``sampling.local``: the cache's budget, which bounds the rows decoded at once."""
PREFILL_TOKENS = 8192
"""``sampling.local``: prompt tokens computed together."""
CACHE_GROWTH = 16
"""``sampling.kv_cache``: tokens by which a row's room grows."""
