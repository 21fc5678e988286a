"""What a request may do to the logits of its next token: penalties, biases, and a JSON schema that must be kept."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aha.chat.parsing import END_THINK, find_tags
from aha.sampling.http.asked import RequestSampling
from aha.sampling.http.refusing import RequestRefusedError

EXTRA = "llguidance"
LAST = 16
"""So many tokens hold a tag that the last of them ended, whatever it was spelled with."""
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

    def __init__(self, tokenizer: Any, vocabulary: int, eos: int, ends: Collection[int] = ()):
        self.tokenizer, self.vocabulary, self.eos, self.ends = tokenizer, vocabulary, eos, ends
        self._lock = threading.Lock()
        self._known: Any = None

    def try_out(self, schema: str, field: str) -> None:
        """Raise RequestRefusedError, naming the request's ``field``, for a schema that cannot be kept and where the
        library is missing."""
        try:
            guide = self.guide(schema)
        except ImportError:
            raise RequestRefusedError(
                f"response_format and forced tool calls need the package {EXTRA}: pip install {EXTRA}", field
            ) from None
        except ValueError as error:
            raise RequestRefusedError(f"the JSON schema cannot be kept: {error}", field) from None
        if not guide.can_begin():
            raise RequestRefusedError("the JSON schema cannot be kept: no text fits it", field)

    def guide(self, schema: str, *, opened: bool = False) -> Guide:
        """What keeps one completion to ``schema``; ``opened``: its prompt opened a thinking. Raises ValueError for a
        schema that cannot be kept."""
        import llguidance
        import llguidance.hf

        with self._lock:
            if self._known is None:
                self._known = llguidance.hf.from_tokenizer(self.tokenizer, self.vocabulary, self.eos)
        grammar = llguidance.LLMatcher.grammar_from_json_schema(schema, defaults=_ON_ONE_LINE)
        matcher = llguidance.LLMatcher(self._known, grammar)
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        return Guide(
            matcher, self.vocabulary, self.eos, self.ends, Thinking(self.tokenizer) if opened else None
        )


class Thinking:
    """Where the thinking ends that a prompt opened: only what comes after it can keep a grammar."""

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer

    def end(self, ids: np.ndarray) -> list[int] | None:
        """The tokens of what the last token wrote behind the end of the thinking; None while it goes on."""
        if END_THINK not in self._text(ids[-LAST:]):
            return None
        text = self._text(ids)
        tag = next((t for t in find_tags(text) if t.name == END_THINK and not t.quoted), None)
        if tag is None:
            return None
        rest = text[tag.end :].strip()
        return self.tokenizer.encode(rest, add_special_tokens=False) if rest else []

    def _text(self, ids: np.ndarray) -> str:
        return str(self.tokenizer.decode(ids.tolist(), skip_special_tokens=False))


class Guide:
    """Keeps one completion to a grammar, from its beginning or from the end of its ``thinking`` on, before which it
    does not end."""

    def __init__(
        self,
        matcher: Any,
        vocabulary: int,
        eos: int,
        ends: Collection[int] = (),
        thinking: Thinking | None = None,
    ):
        self.matcher, self.vocabulary, self.eos = matcher, vocabulary, eos
        self.ends, self.thinking = torch.tensor([*{eos, *ends}]), thinking
        self.read = 0

    def can_begin(self) -> bool:
        """Whether some token other than the end of text may come first."""
        allowed = self._allowed()
        allowed[self.eos] = False
        return bool(allowed.any())

    def shape(self, logits: Tensor, ids: np.ndarray) -> None:
        """Leave only tokens with which the text can go on; the end of text where the grammar is through."""
        fresh = [int(i) for i in ids[self.read :]]
        self.read = len(ids)
        if self.thinking is not None:
            behind = self.thinking.end(ids)
            if behind is None:
                logits[self.ends.to(logits.device)] = -torch.inf
                return
            fresh, self.thinking = behind, None
        if fresh and not self.matcher.is_stopped():
            self.matcher.consume_tokens(fresh)
        if self.matcher.is_stopped() or self.matcher.is_error():
            logits.fill_(-torch.inf)
            logits[self.eos] = 0.0
            return
        logits.masked_fill_(~self._allowed().to(logits.device), -torch.inf)

    def _allowed(self) -> Tensor:
        bits = np.frombuffer(self.matcher.compute_bitmask(), np.uint8)
        return torch.from_numpy(np.unpackbits(bits, bitorder="little")[: self.vocabulary].astype(bool))
