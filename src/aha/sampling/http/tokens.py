"""Tokens as clients see them: text, bytes, log probability."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from aha.sampling.http.work import TokenScore
from aha.sampling.local.scoring import Top


class Tokens:
    """The text and bytes of single tokens of one tokenizer."""

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self._special = set(tokenizer.all_special_ids)

    def text(self, token: int) -> str:
        """A token's text; half a character is a replacement mark."""
        return str(self.tokenizer.decode([token], skip_special_tokens=False))

    def raw(self, token: int) -> bytes:
        """A token's bytes, of which half a character has its own."""
        name = self.tokenizer.convert_ids_to_tokens(token) or ""
        if token not in self._special:
            if len(name) == 6 and name.startswith("<0x"):
                return bytes([int(name[3:5], 16)])
            if all(ch in _letters() for ch in name) and "\ufffd" in self.text(token):
                return bytes(_letters()[ch] for ch in name)
        return self.text(token).encode()

    def score(self, token: int, logprob: float | None, top: Top) -> TokenScore:
        """A token with what is known of it."""
        likely = tuple((self.text(i), self.raw(i), value) for i, value in top)
        return TokenScore(token, self.text(token), self.raw(token), logprob, likely)

    def scores(
        self, ids: Sequence[int], logprobs: Sequence[float | None], tops: Sequence[Top] = ()
    ) -> tuple[TokenScore, ...]:
        """Tokens [C] with their log probabilities [C] and, where there are any, the likeliest at each place."""
        alternatives = tops or [()] * len(ids)
        return tuple(map(self.score, ids, logprobs, alternatives))


@lru_cache(1)
def _letters() -> dict[str, int]:
    """The bytes behind the letters of byte-level vocabularies: printable ones stand for themselves, the others for the
    letters from 256 on, in order (Radford et al., 2019)."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in own]
    return {chr(b): b for b in own} | {chr(256 + i): b for i, b in enumerate(rest)}
