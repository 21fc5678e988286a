"""What a request may do to the logits of its next token: penalties, biases, and a JSON schema that must be kept."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aha.sampling.http.asked import RequestRefusedError, RequestSampling

EXTRA = "llguidance"
_ON_ONE_LINE: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""Free white space would let a model go on with it for ever."""


class LogitAdjustment:
    """OpenAI's penalties for what was said already, and biases of single tokens."""

    def __init__(self, sampling: RequestSampling):
        self.sampling = sampling
        self.ids = torch.tensor([token for token, _ in sampling.logit_bias], dtype=torch.long)
        self.bias = torch.tensor([bias for _, bias in sampling.logit_bias])

    def shape(self, logits: Tensor, ids: np.ndarray) -> None:
        """Change ``logits`` [V] in place: minus frequency_penalty times how often a token stands in ``ids`` [C], minus
        presence_penalty if it does, plus its bias."""
        s = self.sampling
        if len(ids) and (s.frequency_penalty or s.presence_penalty):
            tokens, counts = np.unique(ids, return_counts=True)
            minus = torch.from_numpy(counts).float() * s.frequency_penalty + s.presence_penalty
            logits[torch.from_numpy(tokens).long().to(logits.device)] -= minus.to(logits)
        if len(self.ids):
            logits[self.ids.to(logits.device)] += self.bias.to(logits)

    @staticmethod
    def needed(sampling: RequestSampling) -> bool:
        """Whether a request asks for any of it."""
        return bool(sampling.frequency_penalty or sampling.presence_penalty or sampling.logit_bias)


class Schemas:
    """JSON schemas as automata over one tokenizer's tokens, by the library llguidance."""

    def __init__(self, tokenizer: Any, vocabulary: int, eos: int):
        self.tokenizer, self.vocabulary, self.eos = tokenizer, vocabulary, eos
        self._lock = threading.Lock()
        self._known: Any = None

    def guide(self, schema: str) -> Guide:
        """What keeps one completion to ``schema``. Raises RequestRefusedError for a schema that cannot be kept,
        and where the library is missing."""
        try:
            import llguidance
            import llguidance.hf
        except ImportError:
            raise RequestRefusedError(
                f"response_format and forced tool calls need the package {EXTRA}: pip install {EXTRA}",
                "response_format",
            ) from None
        with self._lock:
            if self._known is None:
                self._known = llguidance.hf.from_tokenizer(self.tokenizer, self.vocabulary, self.eos)
        try:
            grammar = llguidance.LLMatcher.grammar_from_json_schema(schema, defaults=_ON_ONE_LINE)
            matcher = llguidance.LLMatcher(self._known, grammar)
        except ValueError as error:
            raise RequestRefusedError(f"the JSON schema cannot be kept: {error}", "response_format") from None
        if matcher.is_error():
            raise RequestRefusedError(
                f"the JSON schema cannot be kept: {matcher.get_error()}", "response_format"
            )
        return Guide(matcher, self.vocabulary, self.eos)


class Guide:
    """Keeps one completion to a grammar."""

    def __init__(self, matcher: Any, vocabulary: int, eos: int):
        self.matcher, self.vocabulary, self.eos = matcher, vocabulary, eos
        self.read = 0

    def shape(self, logits: Tensor, ids: np.ndarray) -> None:
        """Leave only tokens with which the text can go on; the end of text where the grammar is through."""
        fresh = [int(i) for i in ids[self.read :]]
        self.read = len(ids)
        if fresh and not self.matcher.is_stopped():
            self.matcher.consume_tokens(fresh)
        if self.matcher.is_stopped() or self.matcher.is_error():
            logits.fill_(-torch.inf)
            logits[self.eos] = 0.0
            return
        bits = np.frombuffer(self.matcher.compute_bitmask(), np.uint8)
        allowed = torch.from_numpy(np.unpackbits(bits, bitorder="little")[: self.vocabulary].astype(bool))
        logits.masked_fill_(~allowed.to(logits.device), -torch.inf)
