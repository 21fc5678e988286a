"""A small OpenAI-compatible HTTP server: /v1/models, /v1/chat/completions, /v1/completions and /health; for reward
models /classify in place of completions.

Standard library only. A backend answers; the server does everything that is HTTP: reading requests, errors in OpenAI's
form, streams, browsers' preflight requests, and noticing that a client has left. Each request has a thread of its own.
"""

from __future__ import annotations

import hmac
import json
import select
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from aha.files import loaded_json
from aha.sampling.http.answers import Answer
from aha.sampling.http.asked import CompletionRequest, read
from aha.sampling.http.bodies import BrokenBodyError, read_body
from aha.sampling.http.refusing import RequestRefusedError
from aha.sampling.http.scoring import SCORE_ROUTES, ScoringBackend, read_scored
from aha.sampling.http.work import AnswerInProgress, Backend, Choice, TextDelta
from aha.types import AhaError

SILENT_SECONDS = 60.0
"""How long a client may neither send what it began nor read what it is sent, and how long a connection is kept between
requests."""
LOOK_SECONDS = 0.25
"""How often a waiting request looks whether its client is still there."""
ROUTES = ("/v1/chat/completions", "/v1/completions")


class Server:
    """Serves a backend on ``host:port`` (0: any free port) until closed; use it in a ``with``.

    ``api_key``: if given, every request must carry it. ``origin``: which web pages' scripts may ask ("*": all).
    Raises AhaError if the port cannot be had.
    """

    def __init__(
        self,
        backend: Backend | ScoringBackend,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        origin: str = "*",
    ):
        self.backend, self.api_key, self.origin = backend, api_key, origin
        try:
            self._http = _Http((host, port), _Handler)
        except OSError as error:
            raise AhaError(
                f"Cannot serve on {host}:{port}: {error.strerror}. Give another --port."
            ) from error
        except OverflowError:
            raise AhaError(
                f"--port {port}: a port is a number from 0 to 65535; 0 takes any free one."
            ) from None
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
    request_queue_size = 512
    owner: Server

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave between requests are no errors; anything else is told on the terminal."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Left(Exception):
    """The client does not wait any more."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http  # pyright: ignore[reportIncompatibleVariableOverride]
    streaming = False
    timeout = SILENT_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: one line a request would bury what matters."""

    def do_GET(self) -> None:
        """/v1/models, /v1/models/NAME and /health."""
        self._answered(self._get)

    def do_HEAD(self) -> None:
        """As GET, without the body."""
        self._answered(self._get)

    def do_POST(self) -> None:
        """/v1/chat/completions, /v1/completions and, of a reward model, /classify."""
        self._answered(self._post)

    def do_OPTIONS(self) -> None:
        """What a browser asks before a page's script may ask."""
        self._leave_body()
        self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def end_headers(self) -> None:
        """The headers that every answer has, for browsers, and the end of all."""
        self.send_header("Access-Control-Allow-Origin", self.server.owner.origin)
        self.send_header("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS")
        headers = self.headers.get("Access-Control-Request-Headers") if hasattr(self, "headers") else None
        folded = " ".join((headers or "").split())
        self.send_header("Access-Control-Allow-Headers", folded or "Authorization, Content-Type")
        if self.close_connection:
            self.send_header("Connection", "close")
        super().end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses (methods, broken request lines), in the form of every other refusal."""
        self.close_connection = True
        if code == HTTPStatus.NOT_IMPLEMENTED:
            code, message = 405, f"{self.command} is not taken here"
        self._error(code, message or HTTPStatus(code).phrase, "invalid_request_error")

    def _leave_body(self) -> None:
        """A body that nobody reads must not be taken for the next request."""
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True

    def _answered(self, work: Callable[[], None]) -> None:
        self.streaming = False
        try:
            self._authorise()
            work()
        except RequestRefusedError as error:
            self._error(error.status, str(error), error.code, error.field)
        except AhaError as error:
            self._error(400, str(error), "invalid_request_error")
        except (_Left, BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True
        except Exception as error:  # one request's failure must not end the server; the client is told
            self._error(500, f"{type(error).__name__}: {error}", "internal_error")

    def _authorise(self) -> None:
        key = self.server.owner.api_key
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        token = token.strip() if kind.lower() == "bearer" else ""
        if key is not None and not hmac.compare_digest(token.encode(), key.encode()):
            self.close_connection = True  # the body was not read
            raise RequestRefusedError("This server needs its API key.", status=401, code="invalid_api_key")

    @property
    def _route(self) -> str:
        path = self.path.split("?")[0]
        if path.startswith(("http://", "https://")):  # as a proxy writes it
            path = "/" + path.split("/", 3)[3] if path.count("/") > 2 else "/"
        return unquote(path).rstrip("/")

    def _get(self) -> None:
        self._leave_body()
        path, backend = self._route, self.server.owner.backend
        card = backend.card if isinstance(backend, ScoringBackend) else {}
        if path in ("", "/health", "/v1/health"):
            return self._json({"status": "ok"})
        shown: list[dict[str, Any]] = [
            {"id": name, "object": "model", "created": 0, "owned_by": "aha", **card}
            for name in backend.models
        ]
        if path == "/v1/models":
            return self._json({"object": "list", "data": shown})
        if path.startswith("/v1/models/"):
            name = path.removeprefix("/v1/models/")
            chosen = next((model for model in shown if model["id"].rstrip("/") == name.rstrip("/")), None)
            if chosen is None:
                raise self._unknown(name)
            return self._json(chosen)
        if path in (*ROUTES, *SCORE_ROUTES):
            raise RequestRefusedError(f"{path} takes POST", status=405, code="method_not_allowed")
        raise RequestRefusedError(f"no {self.path} here", status=404, code="not_found")

    def _unknown(self, name: object) -> RequestRefusedError:
        known = ", ".join(self.server.owner.backend.models)
        return RequestRefusedError(f"no model {name!r}; served: {known}", "model", 404, "model_not_found")

    def _post(self) -> None:
        body = self._body()
        path, backend = self._route, self.server.owner.backend
        if path not in (*ROUTES, *SCORE_ROUTES):
            raise RequestRefusedError(f"no {self.path} here", status=404, code="not_found")
        if body.get("model") not in backend.models:
            raise self._unknown(body.get("model"))
        if path in SCORE_ROUTES:
            return self._scored(backend, body)
        asked = read(body, path == ROUTES[0])
        work = backend.begin(asked)
        try:
            if asked.stream:
                self._stream(asked, work)
            else:
                self._json(Answer(asked, work.opened).whole(self._choices(asked, work)))
        finally:
            work.cancel()

    def _scored(self, backend: Backend | ScoringBackend, body: Mapping[str, Any]) -> None:
        if not isinstance(backend, ScoringBackend):
            raise RequestRefusedError(
                f"{body.get('model')} writes answers and scores none", status=404, code="not_found"
            )
        self._json(backend.score(read_scored(body)))

    def _choices(self, asked: CompletionRequest, work: AnswerInProgress) -> list[Choice]:
        """All choices in order, as long as the client waits."""
        done: dict[int, Choice] = {}
        count = asked.sampling.n * max(1, len(asked.prompts))
        while len(done) < count:
            news = self._news(work)
            done |= {one[0]: one[1] for one in news if not isinstance(one, TextDelta)}
        return [done[i] for i in range(count)]

    def _news(self, work: AnswerInProgress) -> Sequence[TextDelta | tuple[int, Choice]]:
        """What there is of the work, if there is any. Raises ``_Left`` where there is none and the client has closed
        its connection."""
        news = work.wait(LOOK_SECONDS)
        if not news:
            readable, _, _ = select.select([self.connection], [], [], 0)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                raise _Left
        return news

    # --- reading -------------------------------------------------------------------------------------------

    def _body(self) -> dict[str, Any]:
        try:
            raw = read_body(self.headers, self.rfile)
        except BrokenBodyError:
            self.close_connection = True  # where the next request would begin is not known
            raise
        try:
            body = loaded_json(raw)
        except ValueError as error:
            raise RequestRefusedError(f"the request is not valid JSON: {error}") from None
        if not isinstance(body, dict):
            raise RequestRefusedError("the request is no JSON object")
        return body

    # --- writing -------------------------------------------------------------------------------------------

    def _json(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _error(self, status: int, message: str, code: str, field: str | None = None) -> None:
        value = {"error": {"message": message, "type": code, "code": code, "param": field}}
        try:
            if self.streaming:  # the status is sent already: the error is the last event
                self._event(value)
                self._end_stream()
            else:
                self._json(value, status)
        except OSError:
            self.close_connection = True

    def _stream(self, asked: CompletionRequest, work: AnswerInProgress) -> None:
        """Server-sent events, each as soon as its text is certain."""
        answer, done = Answer(asked, work.opened), dict[int, Choice]()
        count = asked.sampling.n * max(1, len(asked.prompts))
        self._begin_stream()
        for chunk in answer.first_chunks(count):
            self._event(chunk)
        while len(done) < count:
            for one in self._news(work):
                if isinstance(one, TextDelta):
                    chunks = answer.chunks(one)
                else:
                    done[one[0]] = one[1]
                    chunks = answer.last_chunks(*one)
                for chunk in chunks:
                    self._event(chunk)
        if asked.usage:
            self._event(answer.usage_chunk([done[i] for i in range(count)]))
        self._write(b"data: [DONE]\n\n")
        self._end_stream()

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-cache")
        if self.request_version == "HTTP/1.1":
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.close_connection = True
        self.end_headers()
        self.streaming = True

    def _event(self, value: Mapping[str, Any]) -> None:
        self._write(
            f"data: {json.dumps(value, ensure_ascii=False, allow_nan=False)}\n\n".encode("utf-8", "replace")
        )

    def _write(self, data: bytes) -> None:
        if self.request_version == "HTTP/1.1":
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self.wfile.write(data)

    def _end_stream(self) -> None:
        self.streaming = False
        if self.request_version == "HTTP/1.1":
            self.wfile.write(b"0\r\n\r\n")
