"""Programs behind the server, asked by the real client over loopback."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from aha.sampling.endpoint import Client, Endpoint
from aha.sampling.remote import chat, complete_many, message_with_reasoning
from aha.sampling.served import Answer, Programs, Server, completion
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
        with opener.open(request, timeout=30) as response:
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
    found = json.loads(text)
    assert [c["message"]["reasoning"] for c in found["choices"]] == ["seed 0", "seed 1"]
    assert all(c["message"]["reasoning"] == c["message"]["reasoning_content"] for c in found["choices"])
    assert found["usage"]["completion_tokens"] > 0
    assert message_with_reasoning("no thinking") == {"role": "assistant", "content": "no thinking"}


def test_models_and_streaming(server):
    assert json.loads(ask(server, "/models", None)[1])["data"][0]["id"] == "echo"
    _, text = ask(server, "/chat/completions", {"model": "echo", "messages": MESSAGES, "stream": True})
    events = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert events[-1] == "[DONE]"
    assert json.loads(events[0])["choices"][0]["delta"]["content"] == "hello"


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


def test_ids_and_logprobs_are_given_when_asked():
    answer = Answer("hi", "length", 3, 2, (1, 2, 3), (4, 5), (-0.1, -0.2))
    plain = completion({"model": "m"}, [answer], False)
    assert plain["choices"] == [{"index": 0, "finish_reason": "length", "text": "hi"}]
    assert plain["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    full = completion({"model": "m", "return_token_ids": True, "logprobs": 0}, [answer], False)["choices"][0]
    assert (full["token_ids"], full["prompt_token_ids"]) == ([4, 5], [1, 2, 3])
    assert full["logprobs"] == {"token_logprobs": [-0.1, -0.2]}
