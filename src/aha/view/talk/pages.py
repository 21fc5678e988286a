"""What the page asks of models: which there are, and an answer as it is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from aha.tasks import countdown
from aha.types import AhaError
from aha.view.shelf import RunShelf
from aha.view.talk import models
from aha.view.talk.children import ModelChild, ModelChildren

SENT = ("temperature", "top_p", "max_tokens", "seed", "think_budget")
"""Fields that go on to the model as they are; what they may be is for it to say."""


class TalkAnswers:
    """Conversations of the page. It keeps none: each question comes with what was said before it."""

    def __init__(self, shelf: RunShelf):
        self.shelf, self.children = shelf, ModelChildren()

    def there(self, request: Request) -> dict[str, Any]:
        """Models to choose from, and those in memory."""
        every = models.models(self.shelf)
        ids = {model.name: model.id for model in every}
        loaded = [{**one, "id": ids.get(one.pop("name"), "")} for one in self.children.loaded()]
        return {
            "models": [models.as_json(model) for model in every],
            "loaded": loaded,
            "idle": self.children.idle,
        }

    def unload(self, said: dict[str, Any]) -> dict[str, Any]:
        """Give a model's memory back."""
        self.children.end(models.find(self.shelf, str(said.get("model", ""))).name)
        return {}

    async def answer(self, said: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """Lines of JSON as the model writes; who leaves ends the answer. The first is there once the question is
        known to be one: what is wrong with it is raised as AhaError."""
        body = question(said)
        model = await run_in_threadpool(models.find, self.shelf, str(said.get("model", "")))
        child = await run_in_threadpool(self.children.of, model.name)
        return _lines(child, body)

    def close(self) -> None:
        """End all models."""
        self.children.end()


async def _lines(child: ModelChild, body: dict[str, Any]) -> AsyncIterator[bytes]:
    loop, heard = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any]]()

    def hear(line: dict[str, Any]) -> None:
        with suppress(RuntimeError):  # the server has stopped meanwhile
            loop.call_soon_threadsafe(heard.put_nowait, line)

    number = await run_in_threadpool(child.ask, body, hear)
    try:
        if not child.ready:
            yield _line({"loading": True})
        while True:
            news = await heard.get()
            yield _line(news)
            if "end" in news or "error" in news:
                return
    finally:
        child.cancel(number)


def _line(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def question(said: Mapping[str, Any]) -> dict[str, Any]:
    """What the model is asked: the conversation, and how to sample. Raises AhaError for what is no conversation."""
    turns = said.get("messages")
    if not isinstance(turns, list) or not turns or not all(_is_turn(turn) for turn in turns):
        raise AhaError("A question is a list of messages, each with a role and a text.")
    messages = [
        {**turn, "content": countdown.spelled_out(turn["content"])} if turn["role"] == "user" else turn
        for turn in turns
    ]
    return {"messages": messages, **{name: said[name] for name in SENT if said.get(name) is not None}}


def _is_turn(turn: Any) -> bool:
    return (
        isinstance(turn, dict)
        and set(turn) == {"role", "content"}
        and turn["role"] in ("system", "user", "assistant")
        and isinstance(turn["content"], str)
    )
