"""A model at the other end of a pipe: questions in as lines of JSON, their answers out as they are written.

    python -m aha.sampling.http.piped MODEL

In: ``{"id": 1, "messages": [...], "think_budget": 200, ...}`` with the sampling fields of a chat completion, or
``{"cancel": 1}``. Out: ``{"ready": {...}}`` once the model is loaded, then of each question ``{"id", "note"}``,
``{"id", "kind": "reasoning" | "content", "text"}`` and at last ``{"id", "end": {...}}`` or ``{"id", "error"}``. It ends
with its input.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aha import chat, hardware, modeling
from aha.sampling.http.asked import CompletionRequest, read
from aha.sampling.http.model import ModelBackend
from aha.sampling.http.text import Splitter
from aha.sampling.http.work import Choice
from aha.sampling.local.engine import LocalEngine
from aha.types import AhaError, Message

MOST_TOKENS = 480
"""Of an answer that names no length."""
Say = Callable[[dict[str, Any]], None]


def load(name: str) -> ModelBackend:
    """The model with what it is asked with. Talk is no task: a prompt that only asks for a box is left away."""
    hardware.set_threads()
    device = hardware.pick_device()
    _refuse_too_large(name, hardware.free_bytes(device))
    tokenizer = modeling.load_tokenizer(name)
    prompt = chat.choose("auto", tokenizer)
    if prompt.name == "boxed" and not prompt.trained:
        prompt = chat.choose("bare", tokenizer)
    model = modeling.load_model(name, device, hardware.pick_dtype("auto", device))
    return ModelBackend(LocalEngine(model, tokenizer), tokenizer, name, prompt, MOST_TOKENS)


def _refuse_too_large(name: str, free: int) -> None:
    """Raise AhaError for weights that the memory that is free does not hold: the system would end whoever has most."""
    files = [file for kind in ("*.safetensors", "*.bin") for file in Path(modeling.resolve(name)).glob(kind)]
    need = sum(file.stat().st_size for file in files)
    if need > free:
        raise AhaError(
            f"'{name}' has {need / 2**30:.1f} GiB of weights, and {free / 2**30:.1f} GiB of memory are free. Talk to "
            "it when nothing else runs here."
        )


# --- one answer --------------------------------------------------------------------------------------------


class PipedAnswer:
    """One question, answered in pieces. Where thinking has a budget and has used it up, it is ended and the answer goes
    on from there."""

    def __init__(self, backend: ModelBackend, body: dict[str, Any], say: Say, left: threading.Event):
        self.backend, self.say, self._left = backend, say, left
        self.budget = _budget(body.pop("think_budget", None))
        asked = read({**body, "model": backend.name, "stream": True}, is_chat=True)
        self.asked, self.opened, notes = fitting(backend, asked)
        self.split = Splitter(self.opened)
        for note in notes:
            say({"note": note})

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._left.is_set()

    def run(self) -> None:
        """Sample, and tell every piece and the end."""
        limit = self.asked.sampling.max_tokens or MOST_TOKENS
        first = min(limit, self.budget or limit)
        choice = self._sampled(_limited(self.asked, first))
        text, tokens, prompt = choice.text, choice.completion_tokens, choice.prompt_tokens
        if choice.finish == "length" and first < limit and not self.cancelled:
            closing = chat.END_THINK if self._thinks(text) else ""
            self._tell(self.split.feed(closing))
            choice = self._sampled(self._continued(choice, closing, limit - first))
            text, tokens = text + closing + choice.text, tokens + choice.completion_tokens
        self._tell(self.split.close())
        said = (chat.THINK if self.opened else "") + text
        finish = "stopped" if self.cancelled else choice.finish
        self.say({"end": {"finish": finish, "tokens": tokens, "prompt_tokens": prompt, "said": said}})

    def _thinks(self, text: str) -> bool:
        whole = (chat.THINK if self.opened else "") + text
        return whole.rfind(chat.THINK) > whole.rfind(chat.END_THINK)

    def _continued(self, choice: Choice, closing: str, left: int) -> CompletionRequest:
        more = self.backend.tokenizer.encode(closing, add_special_tokens=False) if closing else []
        ids = (*choice.prompt_ids, *choice.token_ids, *map(int, more))
        return _limited(replace(self.asked, messages=(), prompts=(ids,)), left)

    def _sampled(self, asked: CompletionRequest) -> Choice:
        """The finished choice; its pieces were told. A cancelled one is what there is of it."""
        work, pieces = self.backend.begin(asked), list[str]()
        try:
            while not self.cancelled:
                for one in work.wait(0.25):
                    if isinstance(one, tuple):
                        return one[1]
                    pieces.append(one.text)
                    self._tell(self.split.feed(one.text))
        finally:
            work.cancel()
        return Choice("".join(pieces), "stop", completion_tokens=0)

    def _tell(self, parts: Iterable[tuple[str, str]]) -> None:
        for kind, text in parts:
            self.say({"kind": kind, "text": text})


def _budget(value: Any) -> int:
    """Tokens of thinking at most; 0: as many as it likes. Raises AhaError for what is no number of tokens."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise AhaError(f"The budget of thinking is a number of tokens, not {str(value)[:40]!r}.")
    return value


def _limited(asked: CompletionRequest, tokens: int) -> CompletionRequest:
    return replace(asked, sampling=replace(asked.sampling, max_tokens=tokens))


def fitting(backend: ModelBackend, asked: CompletionRequest) -> tuple[CompletionRequest, bool, list[str]]:
    """The request with as many earlier turns as there is room for, whether its prompt opens the thinking, and what was
    left out, in words."""
    messages, notes = list(asked.messages), list[str]()
    most = asked.sampling.max_tokens or MOST_TOKENS
    if bool(backend.prompt.words) and not backend.prompt.jinja and len(_turns(messages)) > 1:
        messages = [m for m in messages if m["role"] == "system"] + messages[-1:]
        notes.append("The prompt takes one question: what was said before is not shown to the model.")
    while True:
        rendered = chat.render(messages, backend.tokenizer, prompt=backend.prompt)
        left = backend.context - len(chat.encode_prompt(rendered, backend.tokenizer))
        turns = _turns(messages)
        if left >= most or len(turns) < 3:
            break
        messages = [m for i, m in enumerate(messages) if i not in turns[:2]]
        notes = ["The model's context is full: the oldest turns are not shown to it."]
    if 0 < left < most:
        notes.append(f"The model's context has room for {left} tokens of an answer.")
    sampling = replace(asked.sampling, max_tokens=min(most, left) if left > 0 else most)
    return replace(asked, messages=tuple(messages), sampling=sampling), rendered.opened_think, notes


def _turns(messages: Sequence[Message]) -> list[int]:
    """Places of what was said, without system messages."""
    return [i for i, message in enumerate(messages) if message["role"] != "system"]


# --- the pipe ----------------------------------------------------------------------------------------------


class Pipe:
    """Answers the lines of ``lines`` with ``write``, several at a time."""

    def __init__(self, backend: ModelBackend, write: Say):
        self.backend, self.write = backend, write
        self.running: dict[Any, threading.Event] = {}  # set where nobody waits any more

    def serve(self, lines: Iterable[str]) -> None:
        """Until there are no more."""
        for line in lines:
            message = json.loads(line)
            if "cancel" in message:
                if (left := self.running.get(message["cancel"])) is not None:
                    left.set()
            else:  # known before its thread begins: the next line may take it back
                number = message.pop("id")
                left = self.running[number] = threading.Event()
                threading.Thread(target=self._answer, args=(number, message, left), daemon=True).start()

    def _answer(self, number: Any, body: dict[str, Any], left: threading.Event) -> None:
        def say(what: dict[str, Any]) -> None:
            self.write({"id": number, **what})

        try:
            PipedAnswer(self.backend, body, say, left).run()
        except AhaError as error:
            say({"error": str(error)})
        except Exception as error:  # one answer's failure must not end the others; who asked is told
            say({"error": f"{type(error).__name__}: {error}"})
        finally:
            self.running.pop(number, None)


def main(name: str) -> int:
    """Load, say so, and answer until the input ends."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    os.dup2(2, 1)  # what a library prints must not stand between the lines
    lock = threading.Lock()

    def write(what: dict[str, Any]) -> None:
        with lock:
            out.write(json.dumps(what, ensure_ascii=False) + "\n")
            out.flush()

    try:
        backend = load(name)
    except AhaError as error:
        write({"failed": str(error)})
        return 1
    warning = chat.warn_prompt(backend.prompt, backend.tokenizer, model_name=os.path.basename(name))
    write({"ready": {"prompt": backend.prompt.name, "context": backend.context, "warning": warning}})
    Pipe(backend, write).serve(sys.stdin)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
