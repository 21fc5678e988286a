"""Scores of conversations over HTTP: what a reward model behind an address is asked and answers, in vLLM's form.

``POST /classify`` with ``messages`` that end in the answer: the head's outputs stand under ``data[0].probs``. They are
the head's own, before any activation, as vLLM gives them for ``use_activation: false``.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from aha.sampling.http.conversation import read_messages
from aha.sampling.http.refusing import TOO_LONG, RequestRefusedError
from aha.types import AhaError, Message

SCORE_ROUTES = ("/classify", "/v1/classify")
"""OpenAI's code for what does not fit the model."""
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "add_generation_prompt": (None, False), "add_special_tokens": (None, False),
    "continue_final_message": (None, False), "use_activation": (None, False), "activation": (None, False),
    "softmax": (None, False), "truncate_prompt_tokens": (None,), "chat_template": (None,),
    "chat_template_kwargs": (None, {}), "priority": (None, 0), "encoding_format": (None, "float"),
}  # fmt: skip
"""Fields of vLLM's that are not honoured, and the values that ask for nothing."""
READ = frozenset({"model", "messages", "user", "request_id"})


class ScoringBackend(ABC):
    """What scores conversations, under the names of ``models``."""

    card: Mapping[str, Any] = {}
    """What ``/v1/models`` says of it beside its name."""

    @property
    @abstractmethod
    def models(self) -> Sequence[str]:
        """The names under which it serves."""

    @abstractmethod
    def score(self, messages: Sequence[Message]) -> Mapping[str, Any]:
        """The answer's body for a conversation. Raises RequestRefusedError for one that does not fit."""

    def begin(self, asked: Any) -> Any:
        """Raises RequestRefusedError: it writes no answers."""
        raise RequestRefusedError(
            f"{self.models[0]} is a reward model: it answers {SCORE_ROUTES[0]} only", status=404, code="not_found"
        )  # fmt: skip


def read_scored(body: Mapping[str, Any]) -> tuple[Message, ...]:
    """The conversation to score. Raises RequestRefusedError naming the field that cannot be honoured."""
    for name, value in body.items():
        if name in READ or value in NEUTRAL.get(name, ()):
            continue
        if name == "input":
            raise RequestRefusedError(
                "give the conversation in messages: its template is the model's own", name
            )
        raise RequestRefusedError(f"{name} is not supported here: scores are the head's own", name)
    messages = read_messages(body.get("messages"))
    if messages[-1]["role"] != "assistant":
        raise RequestRefusedError(
            "the last message must be the assistant's: it is what is scored", "messages"
        )
    return messages


class ScoringModel(Protocol):
    """A reward model in this process."""

    longest: int  # tokens of a conversation

    def encode(self, messages: Sequence[Mapping[str, str]], answer: str) -> Any:
        """A conversation with the answer to it as one row."""
        ...

    def length(self, row: Any) -> int:
        """Tokens of a row."""
        ...

    def score(self, rows: Sequence[Any]) -> Any:
        """Scores [N] of rows, as an array or a list."""
        ...


class _Waiting:
    """A row, and what became of it."""

    def __init__(self, row: Any):
        self.row = row
        self.value: float | None = None
        self.error: Exception | None = None


class RewardModelBackend(ScoringBackend):
    """Scores by a model in this process. Requests that wait for it together are scored together."""

    def __init__(self, model: ScoringModel, name: str, card: Mapping[str, Any]):
        self.model, self.card, self._name = model, card, name
        self._waiting: list[_Waiting] = []
        self._list, self._turn = threading.Lock(), threading.Lock()

    @property
    def models(self) -> Sequence[str]:
        """Its one name."""
        return [self._name]

    def score(self, messages: Sequence[Message]) -> Mapping[str, Any]:
        """Its output for a conversation, with the hash of the weights that gave it."""
        row = self.model.encode(messages[:-1], messages[-1]["content"])
        if (length := self.model.length(row)) > self.model.longest:
            raise RequestRefusedError(
                f"the conversation has {length} tokens, and the model's context length is {self.model.longest}",
                "messages", code=TOO_LONG,
            )  # fmt: skip
        value = self._scored(_Waiting(row))
        row = {"index": 0, "label": "LABEL_0", "probs": [value], "num_classes": 1}
        usage = {"prompt_tokens": length, "completion_tokens": 0, "total_tokens": length}
        answer = {"object": "list", "model": self._name, "data": [row], "usage": usage}
        return answer | ({"weights": self.card["weights"]} if "weights" in self.card else {})

    def _scored(self, one: _Waiting) -> float:
        with self._list:
            self._waiting.append(one)
        with self._turn:
            if one.value is None and one.error is None:
                with self._list:
                    batch, self._waiting = self._waiting, []
                self._run(batch)
        if one.error is not None:
            raise AhaError(str(one.error)) from one.error
        assert one.value is not None
        return one.value

    def _run(self, batch: Sequence[_Waiting]) -> None:
        try:
            values = self.model.score([one.row for one in batch])
        except Exception as error:  # every request of the batch is told
            for one in batch:
                one.error = error
            return
        for one, value in zip(batch, values, strict=True):
            one.value = float(value)
