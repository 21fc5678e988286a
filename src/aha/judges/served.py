"""The model that a server serves as its own reviewer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aha.judges import prompts
from aha.judges.asking import Complete
from aha.sampling.http.asked import read
from aha.sampling.http.work import Backend, TextDelta
from aha.types import Message


def over_backend(backend: Backend, max_tokens: int = 512) -> Complete:
    """A backend's one model as ``Complete``, without a way through the network, its verdicts held to their schema. The
    answer joins the batch of the requests that are being served."""

    def call(messages: Sequence[Message], seed: int) -> str:
        body: dict[str, Any] = {"model": backend.models[0], "messages": [dict(m) for m in messages]}
        if form := prompts.SCHEMAS.get(messages[0]["content"]):
            schema = {"name": "verdict", "strict": True, "schema": form}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        work = backend.begin(read(body | {"temperature": 0.0, "seed": seed, "max_tokens": max_tokens}, True))
        try:
            while True:
                for one in work.wait(1.0):
                    if not isinstance(one, TextDelta):
                        return one[1].text.rpartition("</think>")[2]
        finally:
            work.cancel()

    return call
