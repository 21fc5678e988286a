"""A small OpenAI-compatible HTTP server: what a local model or a program of ours looks like to a client.

Standard library only. A backend answers conversations and text prompts; the server does everything that is
HTTP: models, errors in OpenAI's form, reasoning split out, streaming. Each request has a thread of its own.
"""

from __future__ import annotations

import hmac
import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from aha.sampling.remote import message_with_reasoning
from aha.types import AhaError, Message

MAX_BODY = 16 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """One completion as a backend gives it. ``finish`` is "stop" or "length"."""

    text: str
    finish: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_ids: tuple[int, ...] = ()
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()


class Backend(Protocol):
    """What answers. Raises AhaError for a request it cannot serve (400), KeyError for an unknown model."""

    @property
    def models(self) -> Sequence[str]:
        """The names under which it serves."""
        ...

    def chat(self, body: Mapping[str, Any]) -> list[Answer]:
        """The choices for a conversation: ``body["messages"]``."""
        ...

    def complete(self, body: Mapping[str, Any]) -> list[Answer]:
        """The choices for ``body["prompt"]``: a text or a list of token ids."""
        ...


Program = Callable[[Sequence[Message], int], str]
"""A judge or a teacher: (messages, seed) -> what it says."""


class Programs:
    """Programs as models, by name: the miniature's judges and teachers behind the interface of real ones."""

    def __init__(self, programs: Mapping[str, Program]):
        self._programs = dict(programs)

    @property
    def models(self) -> Sequence[str]:
        """The programs' names."""
        return list(self._programs)

    def chat(self, body: Mapping[str, Any]) -> list[Answer]:
        """What the program named by ``model`` says; ``n`` choices are drawn with seeds one apart."""
        program = self._programs[body["model"]]
        messages, seed = body["messages"], int(body.get("seed") or 0)
        asked = sum(len(str(m.get("content", "")).split()) for m in messages)
        texts = [program(messages, seed + i) for i in range(int(body.get("n") or 1))]
        return [Answer(text, "stop", asked, len(text.split())) for text in texts]

    def complete(self, body: Mapping[str, Any]) -> list[Answer]:
        """Programs answer conversations only."""
        raise AhaError("A program answers /v1/chat/completions only.")


class Server:
    """Serves a backend on ``host:port`` (0: any free port) until closed; use it in a ``with``.

    ``api_key``: if given, every request must carry it. Raises AhaError if the port cannot be had.
    """

    def __init__(self, backend: Backend, host: str = "127.0.0.1", port: int = 0, api_key: str | None = None):
        self.backend, self.api_key = backend, api_key
        try:
            self._http = _Http((host, port), _Handler)
        except OSError as error:
            raise AhaError(
                f"Cannot serve on {host}:{port}: {error.strerror}. Give another --port."
            ) from error
        self._http.owner = self
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The base address, ending in /v1."""
        host, port = self._http.server_address[:2]
        shown = host.decode() if isinstance(host, (bytes, bytearray)) else host
        return f"http://{shown}:{port}/v1"

    def __enter__(self) -> Server:
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        if self._thread is not None:
            self._thread.join(5)

    def serve(self) -> None:
        """Serve in this thread until interrupted."""
        try:
            self._http.serve_forever()
        finally:
            self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    owner: Server


class _RefusedError(Exception):
    def __init__(self, status: int, message: str, code: str):
        super().__init__(message)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: one line a request would bury what matters."""

    def do_GET(self) -> None:
        """/v1/models, and /health."""
        self._answered(self._get)

    def do_POST(self) -> None:
        """/v1/chat/completions and /v1/completions."""
        self._answered(self._post)

    def _answered(self, work: Callable[[], None]) -> None:
        try:
            self._authorise()
            work()
        except _RefusedError as error:
            self._error(error.status, str(error), error.code)
        except AhaError as error:
            self._error(400, str(error), "invalid_request_error")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        except Exception as error:  # one request's failure must not end the server; the client is told
            self._error(500, f"{type(error).__name__}: {error}", "internal_error")

    def _authorise(self) -> None:
        wanted = self.server.owner.api_key
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if wanted is not None and not hmac.compare_digest(given.encode(), wanted.encode()):
            self.close_connection = True  # the body was not read
            raise _RefusedError(401, "This server needs its API key.", "invalid_api_key")

    def _get(self) -> None:
        path = self.path.split("?")[0].rstrip("/")
        if path == "/health":
            return self._json({"status": "ok"})
        if path != "/v1/models":
            raise _RefusedError(404, f"no {self.path} here", "not_found")
        models = [
            {"id": name, "object": "model", "owned_by": "aha"} for name in self.server.owner.backend.models
        ]
        return self._json({"object": "list", "data": models})

    def _post(self) -> None:
        body = self._body()
        path = self.path.split("?")[0].rstrip("/")
        backend = self.server.owner.backend
        if path not in ("/v1/chat/completions", "/v1/completions"):
            raise _RefusedError(404, f"no {self.path} here", "not_found")
        if body.get("model") not in backend.models:
            known = ", ".join(backend.models)
            raise _RefusedError(404, f"no model {body.get('model')!r}; served: {known}", "model_not_found")
        is_chat = path == "/v1/chat/completions"
        _check(body, is_chat)
        answers = backend.chat(body) if is_chat else backend.complete(body)
        if body.get("stream"):
            return self._stream(body, answers, is_chat)
        return self._json(completion(body, answers, is_chat))

    def _body(self) -> dict[str, Any]:
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            self.close_connection = True
            raise _RefusedError(411, "the request has no Content-Length", "invalid_request_error") from None
        if not 0 <= length <= MAX_BODY:
            self.close_connection = True
            raise _RefusedError(413, f"a request has at most {MAX_BODY} bytes", "invalid_request_error")
        try:
            body = json.loads(self.rfile.read(length))
        except ValueError as error:
            raise _RefusedError(
                400, f"the request is not valid JSON: {error}", "invalid_request_error"
            ) from None
        if not isinstance(body, dict):
            raise _RefusedError(400, "the request is no JSON object", "invalid_request_error")
        return body

    def _json(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _error(self, status: int, message: str, code: str) -> None:
        try:
            self._json({"error": {"message": message, "type": code, "code": code}}, status)
        except OSError:
            self.close_connection = True

    def _stream(self, body: Mapping[str, Any], answers: Sequence[Answer], is_chat: bool) -> None:
        """The finished completion as server-sent events: for clients that know nothing else."""
        whole = completion(body, answers, is_chat)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for choice in whole["choices"]:
            piece = {k: v for k, v in choice.items() if k != "message"}
            if is_chat:
                piece["delta"] = choice["message"]
                whole["object"] = "chat.completion.chunk"
            event = whole | {"choices": [piece]}
            self.wfile.write(f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")


def _check(body: Mapping[str, Any], is_chat: bool) -> None:
    wrong = ""
    messages, prompt = body.get("messages"), body.get("prompt")
    if is_chat:
        right = isinstance(messages, list) and messages
        if not right or not all(
            isinstance(m, dict) and isinstance(m.get("content"), str) for m in messages or ()
        ):
            wrong = "messages must be a list of at least one {role, content} with text as content"
    elif not (isinstance(prompt, str) and prompt) and not (
        isinstance(prompt, list) and prompt and all(type(i) is int for i in prompt)
    ):
        wrong = "prompt must be a text or a list of token ids"
    n = body.get("n", 1)
    if n is not None and not (type(n) is int and 1 <= n <= 1024):
        wrong = "n must be a whole number from 1 to 1024"
    if wrong:
        raise _RefusedError(400, wrong, "invalid_request_error")


def completion(body: Mapping[str, Any], answers: Sequence[Answer], is_chat: bool) -> dict[str, Any]:
    """The response's JSON: OpenAI's, with reasoning in both fields in use and, on ``return_token_ids``, ids."""
    choices = []
    for index, answer in enumerate(answers):
        choice: dict[str, Any] = {"index": index, "finish_reason": answer.finish}
        choice |= {"message": message_with_reasoning(answer.text)} if is_chat else {"text": answer.text}
        if body.get("return_token_ids"):
            choice |= {"token_ids": list(answer.token_ids), "prompt_token_ids": list(answer.prompt_ids)}
        wanted = body.get("logprobs")  # a chat says true; a text completion a number, of which 0 is one
        if wanted is not None and wanted is not False and answer.logprobs:
            values = list(answer.logprobs)
            choice["logprobs"] = (
                {"content": [{"logprob": value} for value in values]}
                if is_chat
                else {"token_logprobs": values}
            )
        choices.append(choice)
    prompt = max((a.prompt_tokens for a in answers), default=0)
    made = sum(a.completion_tokens for a in answers)
    return {
        "id": f"cmpl-{uuid.uuid4().hex}",
        "object": "chat.completion" if is_chat else "text_completion",
        "created": int(time.time()),
        "model": body.get("model"),
        "choices": choices,
        "usage": {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made},
    }
