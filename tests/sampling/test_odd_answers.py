"""What endpoints answer that break or are odd: nothing hangs, nothing that says nothing is kept, causes are named."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
import zlib

import pytest

from aha.sampling.client.endpoint import Client, Endpoint
from aha.sampling.client.engine import ChatRequest, RemoteEngine, chat
from aha.sampling.sampler import SamplingParams
from aha.types import AhaError, Finish

QUESTION = [{"role": "user", "content": "q"}]


@pytest.fixture
def serve():
    """serve(pieces, pause) -> the address of a server that sends these bytes to whoever asks."""
    sockets = []

    def listen(pieces, pause=0.0):
        listening = socket.create_server(("127.0.0.1", 0))
        sockets.append(listening)

        def answer():
            while True:
                try:
                    one, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=send, args=(one,), daemon=True).start()

        def send(one):
            with one:
                try:
                    one.recv(1 << 16)
                    for piece in pieces:
                        one.sendall(piece)
                        time.sleep(pause)
                except OSError:
                    pass  # the client has left

        threading.Thread(target=answer, daemon=True).start()
        return f"http://127.0.0.1:{listening.getsockname()[1]}/v1"

    yield listen
    for one in sockets:
        one.close()


def whole(body, head=b"", status=b"200 OK"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [
        b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Length: %d\r\n%b\r\n%b"
        % (status, len(data), head, data)
    ]


def answer(message=None, **choice):
    message = {"role": "assistant", "content": "hi"} if message is None else message
    return {
        "choices": [{"message": message, "finish_reason": "stop", **choice}],
        "usage": {"completion_tokens": 2},
    }


def client(url, tmp_path, **options):
    endpoint = Endpoint(url, "m", **{"attempts": 2, "timeout": 5.0, **options})
    waits: list[float] = []
    asking = Client(endpoint, tmp_path / "cache.jsonl", sleep=waits.append)
    asking.waits = waits
    return asking


NOTHING = {
    "a list without text": answer({"content": [{"type": "image_url"}]}),
    "an empty list": answer({"content": []}),
    "a number": answer({"content": 5}),
    "no calls": answer({"content": None, "tool_calls": []}),
    "an empty refusal": answer({"content": None, "refusal": ""}),
    "an empty reasoning": answer({"content": None, "reasoning": ""}),
    "broken off": answer(finish_reason="error"),
    "broken off for want of machines": answer(finish_reason="insufficient_system_resource"),
    "a choice with an error": answer(error={"message": "upstream died"}),
    "token ids as text": answer(token_ids="abc"),
    "token ids that no tensor holds": answer(token_ids=[10**30]),
    "token ids that are none": answer(token_ids=[None]),
    "logprobs without numbers": answer(token_ids=[1], logprobs={"content": [{"token": "a"}]}),
    "logprobs as text": answer(token_ids=[1], logprobs={"token_logprobs": ["x"]}),
    "deep": b"[" * 100_000,
    "half": b'{"choices": [{"mess',
}


@pytest.mark.parametrize("kind", NOTHING)
def test_what_says_nothing_is_asked_again_and_never_kept(serve, tmp_path, kind):
    asking = client(serve(whole(NOTHING[kind])), tmp_path)
    with pytest.raises(AhaError, match="2 attempts"):
        chat(asking, QUESTION)
    assert len(asking.waits) == 1
    assert not (tmp_path / "cache.jsonl").exists()


@pytest.mark.parametrize("usage", [[1], "x", {"completion_tokens": "x"}, {"completion_tokens": 10**12}, None])
def test_a_usage_that_is_none_costs_no_answer(serve, tmp_path, usage):
    engine = RemoteEngine(client(serve(whole(answer() | {"usage": usage})), tmp_path))
    [(_, (rollout,))] = engine.generate([ChatRequest(tuple(QUESTION), 1, 0)], SamplingParams(max_tokens=4))
    assert (rollout.text, len(rollout.completion_ids)) == ("hi", 0)


def test_odd_answers_that_can_be_read(serve, tmp_path):
    good = json.dumps(answer()).encode()
    for n, pieces in enumerate(
        [
            whole(gzip.compress(good), b"Content-Encoding: gzip\r\n"),
            whole(zlib.compress(good), b"Content-Encoding: deflate\r\n"),
            whole(b"\xef\xbb\xbf" + good),
            [b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n" + good],
        ]
    ):
        assert chat(client(serve(pieces), tmp_path / str(n)), QUESTION).content == "hi"
    two = {"choices": [{"index": i, "message": {"content": str(i)}} for i in (1, 0)]}
    assert chat(client(serve(whole(two)), tmp_path / "two"), QUESTION).content == "0"
    cut = answer(finish_reason="MAX_TOKENS")
    assert chat(client(serve(whole(cut)), tmp_path / "cut"), QUESTION).finish is Finish.LENGTH


@pytest.mark.parametrize("thought", ["t", [{"type": "text", "text": "t"}], {"text": "t"}])
def test_reasoning_in_every_form_and_said_twice(serve, tmp_path, thought):
    said = answer({"content": "<think>t</think>c", "reasoning": thought, "reasoning_content": "t"})
    reply = chat(client(serve(whole(said)), tmp_path), QUESTION)
    assert (reply.text, reply.reasoning, reply.content) == ("<think>t</think>c", "t", "c")


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (whole(b'data: {"choices": []}\n\n', b"Content-Type: text/event-stream\r\n"), "stream of events"),
        (whole(b"", b"Location: http://[::1\r\n", b"302 Found"), "redirects"),
        (whole(b"\x1f\x8bx", b"Content-Encoding: gzip\r\n"), "gzip is"),
        (whole(b"x", b"Content-Encoding: br\r\n"), "Content-Encoding br"),
        (whole(b"[" * 100_000, b"", b"503 X"), "status 503"),
        (
            whole({"error": {"message": "You exceeded", "type": "insufficient_quota"}}, b"", b"429 X"),
            "quota is used",
        ),
    ],
)
def test_the_cause_is_named(serve, tmp_path, pieces, words):
    with pytest.raises(AhaError, match=words):
        chat(client(serve(pieces), tmp_path), QUESTION)


def test_milliseconds_to_wait_and_no_control_codes(serve, tmp_path):
    pieces = whole({"error": {"message": "\x1b[31mbusy"}}, b"Retry-After-Ms: 2500\r\n", b"429 X")
    asking = client(serve(pieces), tmp_path)
    with pytest.raises(AhaError) as error:
        chat(asking, QUESTION)
    assert 2.5 <= asking.waits[0] < 3
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 100 Continue\r\n\r\n"] * 40,
        [bytes([b]) for b in b"HTTP/1.1 200 OK\r\nA: " + b"x" * 40],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", *[b" "] * 40],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"0"] * 40],
        [b"HTTP/1.1 500 X\r\nContent-Length: 99\r\n\r\n", *[b" "] * 40],
    ],
    ids=["continue", "headers", "body", "chunks", "error"],
)
def test_a_drip_lasts_no_longer_than_the_timeout(serve, tmp_path, pieces):
    start = time.monotonic()
    with pytest.raises(AhaError):
        chat(client(serve(pieces, 0.2), tmp_path, timeout=0.7, attempts=1), QUESTION)
    assert time.monotonic() - start < 4


def test_a_key_that_no_header_holds_is_named_and_not_shown(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\nX: y")
    with pytest.raises(AhaError, match="OPENAI_API_KEY") as error:
        chat(client(serve(whole(answer())), tmp_path), QUESTION)
    assert "secret" not in str(error.value)
