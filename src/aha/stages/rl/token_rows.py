"""What is known of each token of a step's completions, for ``rollouts/`` (``rollout_tokens=true``) and ``aha view``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aha.sampling.http.text import TextStream
from aha.types import Example, Rollout

Columns = Mapping[str, np.ndarray]


class TokenRows:
    """The text of each token, its logprob under the sampler and under the policy before the update, its advantage."""

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self._known: dict[bytes, Columns] = {}

    def note(self, examples: Sequence[Example]) -> None:
        """What a step's examples know of their tokens. Those that are not trained on have only what was sampled."""
        self._known = {}
        for example in examples:
            mask = example.mask
            columns = {"policy_logprobs": example.policy_logprobs, "advantages": example.advantage}
            trained = {name: values[mask] for name, values in columns.items() if values is not None}
            self._known[_key(example.token_ids)] = trained

    def columns(self, rollout: Rollout) -> dict[str, Any]:
        """The fields of a rollout's row; all as long as it has tokens."""
        whole = np.concatenate([rollout.prompt_ids, rollout.completion_ids])
        known = self._known.get(_key(whole), {})
        return {
            "token_texts": token_texts(self.tokenizer, rollout.completion_ids.tolist()),
            "logprobs": _short(rollout.logprobs),
            **{name: _short(values) for name, values in known.items()},
        }


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text that each token adds; a character of several tokens stands at its last one."""
    stream = TextStream(lambda part: tokenizer.decode(part, skip_special_tokens=False))
    return [stream.feed(token) for token in ids]


def _key(ids: np.ndarray) -> bytes:
    return np.ascontiguousarray(ids, np.int64).tobytes()


def _short(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]
