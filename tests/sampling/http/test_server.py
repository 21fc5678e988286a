"""Programs behind the server, asked by the real client over loopback."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request

import pytest

from aha.cli import main
from aha.sampling.client.endpoint import Client, Endpoint
from aha.sampling.client.engine import chat, complete_many, message_with_reasoning
from aha.sampling.http import Programs, Server
from aha.types import AhaError


def echo(messages, seed):
    return f"<think>seed {seed}</think>{messages[-1]['content']}"


@pytest.fixture
def server():
    with Server(Programs({"echo": echo})) as opened:
        yield opened


def ask(server, path, body, raw=None):
    data = raw if raw is not None else json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(server.url + path, data)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=120) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


MESSAGES = [{"role": "user", "content": "hello"}]


def test_the_client_talks_to_a_program(server):
    client = Client(Endpoint(server.url, "echo"))
    reply = chat(client, MESSAGES, seed=5)
    assert (reply.reasoning, reply.content) == ("seed 5", "hello")
    many = [[{"role": "user", "content": str(i)}] for i in range(40)]
    assert complete_many(client, many) == [str(i) for i in range(40)]


def test_both_reasoning_fields_are_written(server):
    _, text = ask(server, "/chat/completions", {"model": "echo", "messages": MESSAGES, "n": 2})
    parsed = json.loads(text)
    first, second = (int(c["message"]["reasoning"].split()[1]) for c in parsed["choices"])
    assert second == first + 1
    assert all(c["message"]["reasoning"] == c["message"]["reasoning_content"] for c in parsed["choices"])
    assert parsed["usage"]["completion_tokens"] > 0
    assert message_with_reasoning("no thinking") == {"role": "assistant", "content": "no thinking"}


def test_models_and_one_of_them(server):
    assert json.loads(ask(server, "/models", None)[1])["data"][0]["id"] == "echo"
    assert json.loads(ask(server, "/models/echo", None)[1])["object"] == "model"
    code, text = ask(server, "/models/other", None)
    assert (code, json.loads(text)["error"]["code"]) == (404, "model_not_found")


def test_a_stream_parts_reasoning_and_content(server):
    body = {
        "model": "echo",
        "messages": MESSAGES,
        "stream": True,
        "seed": 3,
        "n": 2,
        "stream_options": {"include_usage": True},
    }
    _, text = ask(server, "/chat/completions", body)
    events = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    deltas = [c for chunk in chunks[:-1] for c in chunk["choices"]]
    for index, seed in ((0, 3), (1, 4)):
        own = [c for c in deltas if c["index"] == index]
        assert "".join(c["delta"].get("reasoning", "") for c in own) == f"seed {seed}"
        assert "".join(c["delta"].get("content", "") for c in own) == "hello"
        assert [c["finish_reason"] for c in own if c["finish_reason"]] == ["stop"]


def raw(server, text: bytes) -> bytes:
    """What the server answers to bytes on its socket."""
    host, port = server.url.split("//")[1].split("/")[0].split(":")
    with socket.create_connection((host, int(port)), timeout=120) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def test_head_options_and_browsers(server):
    answered = raw(server, b"HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 200")
    assert answered.endswith(b"\r\n\r\n"), "no body"
    asked = (
        b"OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAccess-Control-Request-Headers: x-mine\r\n\r\n"
    )
    answered = raw(server, asked)
    assert answered.startswith(b"HTTP/1.1 204")
    assert b"Access-Control-Allow-Origin: *" in answered
    assert b"Access-Control-Allow-Headers: x-mine" in answered
    assert b"POST" in answered


def test_a_body_in_chunks(server):
    body = json.dumps({"model": "echo", "messages": MESSAGES}).encode()
    parts = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:7], body[7:]))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b'"content": "hello"' in raw(server, head + parts + b"0\r\n\r\n")
    assert b"HTTP/1.1 400" in raw(server, head + b"zz\r\nnonsense")
    assert b"HTTP/1.1 411" in raw(server, b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n\r\n")


def test_programs_without_a_seed_draw_anew(server):
    seeds = {
        json.loads(ask(server, "/chat/completions", {"model": "echo", "messages": MESSAGES})[1])["choices"][
            0
        ]["message"]["reasoning"]
        for _ in range(5)
    }
    assert len(seeds) == 5


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/chat/completions", {"model": "other", "messages": MESSAGES}, 404, "served: echo"),
        ("/chat/completions", {"model": "echo"}, 400, "messages must be a list"),
        (
            "/chat/completions",
            {"model": "echo", "messages": [{"role": "user", "content": 3}]},
            400,
            "messages",
        ),
        ("/chat/completions", {"model": "echo", "messages": MESSAGES, "n": 0}, 400, "n must be"),
        ("/completions", {"model": "echo", "prompt": []}, 400, "prompt must be"),
        ("/completions", {"model": "echo", "prompt": "x"}, 400, "answers /v1/chat/completions only"),
        ("/nowhere", {"model": "echo"}, 404, "no /v1/nowhere here"),
    ],
)
def test_bad_requests_are_answered_in_openais_form(server, path, body, status, words):
    code, text = ask(server, path, body)
    assert code == status
    assert words in json.loads(text)["error"]["message"]


def test_no_json_is_refused_and_the_server_lives_on(server):
    assert ask(server, "/chat/completions", None, b"{nonsense")[0] == 400
    assert ask(server, "/chat/completions", None, b"[1]")[0] == 400
    assert ask(server, "/chat/completions", {"model": "echo", "messages": MESSAGES})[0] == 200


def test_a_program_that_fails_is_the_requests_failure():
    def broken(messages, seed):
        raise ValueError("broken program")

    with Server(Programs({"m": broken})) as opened:
        client = Client(Endpoint(opened.url, "m", attempts=2), sleep=lambda _: None)
        with pytest.raises(AhaError, match="status 500: ValueError: broken program"):
            chat(client, MESSAGES)


def test_the_key_is_asked_for(monkeypatch):
    with Server(Programs({"echo": echo}), api_key="open sesame") as opened:
        client = Client(Endpoint(opened.url, "echo", api_key_env="AHA_TEST_KEY"))
        monkeypatch.setenv("AHA_TEST_KEY", "wrong")
        with pytest.raises(AhaError, match="holds a key that is not accepted"):
            chat(client, MESSAGES)
        monkeypatch.setenv("AHA_TEST_KEY", "open sesame")
        assert chat(client, MESSAGES).content == "hello"


def test_a_taken_port_is_said(server):
    port = int(server.url.rsplit(":", 1)[1].split("/")[0])
    with pytest.raises(AhaError, match="Cannot serve on"):
        Server(Programs({"echo": echo}), port=port)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_cannot_be_is_a_sentence(port, capsys):
    with pytest.raises(AhaError, match="from 0 to 65535"):
        Server(Programs({"echo": echo}), port=port)
    for engine in ("local", "vllm"):  # before the model is loaded
        assert main(["serve", "nothing", "--port", str(port), "--engine", engine]) == 1
        assert "from 0 to 65535" in capsys.readouterr().err


def test_no_tokens_are_no_answer(capsys):
    assert main(["serve", "nothing", "--max-tokens", "0"]) == 1
    assert "--max-tokens 0" in capsys.readouterr().err
    for words in (["--max-tokens", "-3"], ["--think-budget", "-5"], ["--think-budget", "0"]):
        assert main(["chat", "nothing", "--ask", "hi", *words]) == 1
        assert f"{words[0]} {words[1]}" in capsys.readouterr().err
