"""What strangers send: wrong types, huge numbers, halves of characters, broken bodies: honoured or refused by name."""

from __future__ import annotations

import copy
import gzip
import json
import socket

import pytest
from conftest import make_model

from aha.sampling.http import Server
from aha.sampling.http.asked import RequestRefusedError, read
from aha.sampling.http.model import ModelBackend
from aha.sampling.http.server import _Handler
from aha.sampling.http.tools import Tools, find_calls, read_tools
from aha.sampling.local.engine import LocalEngine
from aha.sampling.sampler import SamplingParams

HI = [{"role": "user", "content": "hi"}]
OPENING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def tool(name="f", **more):
    parameters = {"type": "object", "properties": {"c": {"enum": ["U", "B"]}}, "required": ["c"]}
    return {"type": "function", "function": {"name": name, "parameters": parameters, **more}}


def called(text):
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "f", "arguments": text}}],
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[(name, 10**400) for name in ("temperature", "top_p", "frequency_penalty")],
        *[("logit_bias", {"1": bias}) for bias in (10**400, True, "5", float("nan"))],
        *[("logit_bias", {token: 1}) for token in ("1_0", " 5", "9" * 30)],
        *[("stop", nothing) for nothing in (False, 0, {})],
        *[("tools", nothing) for nothing in ({}, 0, "")],
        ("tools", [tool("")]),
        ("tools", [tool(), tool()]),
        ("tools", [tool(strict="x")]),
        ("tools", [tool(description=5)]),
        ("tools", [tool(parameters=[])]),
        ("parallel_tool_calls", "no"),
        ("reasoning_effort", 5),
        ("verbosity", "loud"),
        ("stream_options", {"include_usage": "yes"}),
        ("stream_options", {"continuous_usage_stats": True}),
        ("max_tokens", "x"),
        ("prompt", "x"),
        ("reasoning", {"effort": "high"}),
        ("skip_special_tokens", False),
        ("return_tokens_as_token_ids", True),
        ("chat_template_kwargs", {"add_generation_prompt": False}),
        ("chat_template_kwargs", {"return_dict": True}),
        ("messages", [{"role": "user", "content": "x", "images": ["aGk="]}]),
        ("messages", [{"role": "user", "content": "x", "attachments": [1]}]),
        ("messages", [*HI, {"role": "assistant", "content": "c", "function_call": {"name": "f"}}]),
        ("messages", [*HI, {"role": "assistant", "content": "c", "prefix": True}]),
        ("messages", [{"role": "user", "content": "x", "name": 5}]),
        ("messages", [{"role": "user", "content": "x", "tool_calls": [{"function": {"name": "f"}}]}]),
        *[("messages", [*HI, called(text)]) for text in ("[1]", "5", "[" * 50_000)],
    ],
)
def test_a_chat_refuses_by_name(field, value):
    with pytest.raises(RequestRefusedError) as error:
        read({"model": "m", "messages": HI, "max_completion_tokens": 4, field: value}, True)
    assert error.value.field == field
    assert error.value.status == 400


@pytest.mark.parametrize("field", ["messages", "parallel_tool_calls", "reasoning_effort"])
def test_a_text_refuses_what_is_a_chats(field):
    with pytest.raises(RequestRefusedError, match=field):
        read({"model": "m", "prompt": "a", field: HI}, False)


def test_the_best_of_as_many_as_are_asked_for_is_all_of_them():
    assert read({"model": "m", "prompt": "a", "n": 3, "best_of": 3}, False).sampling.n == 3


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "function": "f"},
        {"function": None},
        {"type": "function", "function": {"name": ["f"]}},
    ]
    + [{"type": "allowed_tools", "allowed_tools": some} for some in (None, {"mode": "auto", "tools": []})]
    + [{"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"function": {"name": "z"}}]}}],
)
def test_a_choice_of_tools_in_no_known_form(choice):
    with pytest.raises(RequestRefusedError) as error:
        read_tools([tool()], choice)
    assert error.value.field == "tool_choice"


def test_a_choice_among_some_tools():
    some = {"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]}
    tools = read_tools([tool(), tool("g")], {"type": "allowed_tools", "allowed_tools": some})
    assert tools is not None
    assert [one["function"]["name"] for one in tools.offered] == ["g"]
    assert tools.must_call


def test_one_call_where_one_is_allowed():
    text = '<tool_call>{"name": "f", "arguments": {}}</tool_call>' * 2
    assert len(find_calls(text, Tools((tool(),)))[1]) == 2
    assert len(find_calls(text, Tools((tool(),), several=False))[1]) == 1


def test_references_inside_a_tools_parameters_stay_inside():
    deep = {"type": "object", "properties": {"x": {"$ref": "#/$defs/y"}}, "$defs": {"y": {"enum": ["#/z"]}}}
    schema = json.loads(Tools((tool(), tool("g", parameters=deep))).schema())
    assert schema["$defs"]["1"]["properties"]["x"] == {"$ref": "#/$defs/1/$defs/y"}
    assert schema["$defs"]["1"]["$defs"]["y"] == {"enum": ["#/z"]}


def test_refused_messages_of_the_assistant_are_shown():
    said = read(
        {"model": "m", "messages": [*HI, {"role": "assistant", "content": None, "refusal": "no"}, *HI]}, True
    )
    assert said.messages[1]["content"] == "no"


def test_a_temperature_too_small_to_divide_by_is_greedy():
    assert SamplingParams(temperature=1e-300).temperature == 0
    assert SamplingParams(temperature=1e-3).temperature == 1e-3


# --- asked of a model ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(tokenizer):
    """A random model whose chat template opens the thinking."""
    own = copy.copy(tokenizer)
    own.chat_template = OPENING
    model = make_model(tokenizer, max_position_embeddings=2048)
    with Server(ModelBackend(LocalEngine(model, own), own, "m", max_tokens=24)) as server:
        yield server


def raw(server, data: bytes) -> bytes:
    host, port = server.url.split("//")[1].split("/")[0].split(":")
    with socket.create_connection((host, int(port)), timeout=120) as connection:
        connection.sendall(data)
        parts = []
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def post(path, body, more=b""):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = b"POST /v1%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n"
    return head % (path.encode(), len(data)) + more + b"\r\n" + data


def ask(server, path, **body):
    """(status, answer); of a stream its events."""
    head, _, said = raw(server, post(path, {"model": "m", **body})).partition(b"\r\n\r\n")
    status = int(head.split()[1])

    def strict(text):
        return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    if b"event-stream" not in head:
        return status, strict(said)
    lines = [line for line in said.decode().splitlines() if line.startswith("data: {")]
    return status, [strict(line[6:]) for line in lines]


def test_what_follows_an_opened_thinking_keeps_the_schema(opened, tokenizer):
    pytest.importorskip("llguidance")
    bias = {str(i): 7 for i in tokenizer.encode("</think>", add_special_tokens=False)}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["a", "b"]}}}
    more = {"messages": HI, "max_tokens": 400, "logit_bias": bias, "seed": 1}
    _, answer = ask(opened, "/chat/completions", response_format=form, **more)
    assert json.loads(answer["choices"][0]["message"]["content"]) in ("a", "b")
    _, answer = ask(opened, "/chat/completions", tools=[tool()], tool_choice="required", **more)
    assert answer["choices"][0]["finish_reason"] == "tool_calls"


def test_a_thinking_that_keeps_a_schema_does_not_end_the_answer(opened, tokenizer):
    pytest.importorskip("llguidance")
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["a"]}}}
    bias = {str(tokenizer.eos_token_id): 100}
    _, answer = ask(
        opened, "/chat/completions", messages=HI, max_tokens=9, response_format=form, logit_bias=bias
    )
    assert answer["choices"][0]["finish_reason"] == "length"


def test_log_probabilities_of_what_cannot_be_drawn_are_json(opened):
    body = {"messages": HI, "max_tokens": 2, "logprobs": True, "top_logprobs": 3, "top_k": 1}
    for stream in (False, True):
        _, answer = ask(opened, "/chat/completions", stream=stream, **body)
        shown = [c["logprobs"] for a in (answer if stream else [answer]) for c in a["choices"]]
        first = next(one["content"][0] for one in shown if one)
        assert first["logprob"] == first["top_logprobs"][0]["logprob"] == 0
        assert first["top_logprobs"][1]["logprob"] == -9999
    status, _ = ask(opened, "/completions", prompt="a", max_tokens=2, temperature=1e-300, logprobs=2)
    assert status == 200


def test_a_stream_echoes_its_prompt(opened):
    _, chunks = ask(opened, "/completions", prompt="1+2=", max_tokens=0, echo=True, logprobs=1, stream=True)
    choices = [c for chunk in chunks for c in chunk["choices"]]
    assert "".join(c["text"] for c in choices) == "1+2="
    assert len(choices[0]["logprobs"]["tokens"]) == len(choices[0]["logprobs"]["token_logprobs"]) == 4


def test_halves_of_characters_are_replaced(opened):
    for body in (
        {"messages": [{"role": "user", "content": "cut \ud83d"}]},
        {"messages": HI, "stop": "\ud83d"},
    ):
        assert ask(opened, "/chat/completions", max_tokens=2, **body)[0] == 200


def test_a_schema_that_no_text_fits_is_refused(opened):
    pytest.importorskip("llguidance")
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#"}}}
    status, answer = ask(opened, "/chat/completions", messages=HI, response_format=form)
    assert (status, answer["error"]["param"]) == (400, "response_format")
    bad = tool(parameters={"type": "object", "properties": 5})
    status, answer = ask(opened, "/chat/completions", messages=HI, tools=[bad], tool_choice="required")
    assert (status, answer["error"]["param"]) == (400, "tools")


def test_a_prompt_that_is_too_long_is_named(opened):
    for path, field, value in (
        ("/completions", "prompt", "1" * 3000),
        ("/chat/completions", "messages", [{"role": "user", "content": "1" * 3000}]),
    ):
        status, answer = ask(opened, path, **{field: value})
        assert (status, answer["error"]["param"]) == (400, field)
        assert answer["error"]["code"] == "context_length_exceeded"


# --- bodies and connections ------------------------------------------------------------------------------------


BODY = b'{"model": "m", "prompt": "a", "max_tokens": 1}'


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n", 400),
        (b"Content-Length: 4\r\nContent-Length: 5\r\n", b"hello", 400),
        (b"Content-Length: 1_0\r\n", b"0123456789", 400),
        (b"Content-Length: -5\r\n", b"", 400),
        (b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n", b"-5\r\nhello\r\n0\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello0\r\n\r\n", 400),
        (b"Content-Encoding: gzip\r\nContent-Length: 30\r\n", gzip.compress(b"{}", mtime=0), 415),
        (b"Content-Length: 3\r\n", b"[[[", 400),
        (b"Content-Length: 9000\r\n", b"[" * 9000, 400),
    ],
)
def test_a_body_whose_end_is_in_doubt_is_refused_and_the_connection_closed(opened, head, body, status):
    said = raw(opened, b"POST /v1/completions HTTP/1.1\r\nConnection: close\r\n" + head + b"\r\n" + body)
    assert int(said.split()[1]) == status
    assert said.count(b"HTTP/1.1 ") == 1
    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["message"]


@pytest.mark.parametrize("method", [b"GET", b"OPTIONS", b"PUT", b"DELETE"])
def test_a_body_that_nobody_reads_is_no_request(opened, method):
    smuggled = method + b" /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    said = raw(opened, smuggled + post("/completions", BODY))
    assert said.count(b"HTTP/1.1 ") == 1
    if method in (b"PUT", b"DELETE"):
        assert said.startswith(b"HTTP/1.1 405")
        assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["message"]


def test_a_body_that_does_not_come_is_not_waited_for(opened, monkeypatch):
    monkeypatch.setattr(_Handler, "timeout", 0.3)
    assert b"408" in raw(opened, post("/completions", BODY)[:-5])[:40]
    assert raw(opened, b"GET /v1/mod") == b""


def test_an_address_as_proxies_write_it_and_folded_headers(opened):
    assert raw(opened, b"GET http://x/v1/models HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(
        b"HTTP/1.1 200"
    )
    asked = (
        b"OPTIONS /v1/models HTTP/1.1\r\nConnection: close\r\nAccess-Control-Request-Headers: a\r\n b\r\n\r\n"
    )
    assert b"Allow-Headers: a b\r\n" in raw(opened, asked)
