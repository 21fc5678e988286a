"""A server on loopback that answers by a script, and a client of it that does not sleep."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aha.sampling.client.endpoint import Client, Endpoint

KEY = "AHA_TEST_KEY"
ASK = [{"role": "user", "content": "hi"}]


def good(text="hello", **message):
    return {
        "choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 4},
    }


class Scripted:
    """A server that answers each request by the next step of a script; the last step repeats."""

    def __init__(self, *steps: Callable | dict | tuple):
        self.steps, self.requests, self.times, self.lock = list(steps), [], [], threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                self.reply(200, {"data": [{"id": "served-model"}]})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with owner.lock:
                    number = len(owner.requests)
                    owner.requests.append((self.path, body, dict(self.headers)))
                    owner.times.append(time.monotonic())
                step = owner.steps[min(number, len(owner.steps) - 1)]
                if callable(step):
                    step = step(self, body)
                if isinstance(step, dict):
                    step = (200, step)
                if step is not None:
                    self.reply(*step)

            def reply(self, status, value, headers=()):
                data = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                for name, text in headers:
                    self.send_header(name, text)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


def cut(handler, body):
    """Half of a body, and the line goes dead."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


def client(server, cache=None, sleeps=None, **changes):
    settings = {
        "attempts": 4,
        "timeout": 20.0,
        "backoff": 0.5,
        "concurrency": 4,
        "api_key_env": KEY,
    } | changes
    slept = sleeps if sleeps is not None else []
    return Client(Endpoint(server.url, "m", **settings), cache, sleep=slept.append, jitter=lambda: 1.0)
