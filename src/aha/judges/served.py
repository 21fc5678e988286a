"""The model that a server serves as its own reviewer."""

from __future__ import annotations

from collections.abc import Sequence

from aha.judges.asking import Complete
from aha.sampling.http.asked import read
from aha.sampling.http.work import Backend, TextDelta
from aha.types import Message


def over_backend(backend: Backend, max_tokens: int = 512) -> Complete:
    """A backend's one model as ``Complete``, without a way through the network. The answer joins the batch of the
    requests that are being served."""

    def call(messages: Sequence[Message], seed: int) -> str:
        body = {"model": backend.models[0], "messages": [dict(m) for m in messages], "temperature": 0.0}
        work = backend.begin(read(body | {"seed": seed, "max_tokens": max_tokens}, True))
        try:
            while True:
                for one in work.wait(1.0):
                    if not isinstance(one, TextDelta):
                        return one[1].text.rpartition("</think>")[2]
        finally:
            work.cancel()

    return call
