"""The requests of clients as they send them: Open WebUI's chats, tasks and tools, LangChain's `ChatOpenAI`."""

from __future__ import annotations

import copy
import json
import statistics
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from aha import chat, modeling
from aha.sampling.http import Server
from aha.sampling.http.asked import RequestRefusedError, read
from aha.sampling.http.model import ModelBackend
from aha.sampling.http.tool_words import in_words
from aha.sampling.local.engine import LocalEngine

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Ulm", "Bonn"]}},
            "required": ["city"],
        },
    },
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Hello?"}]},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "What is 2 + 2?"},
]


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def served(model, tokenizer):
    """A random model with a ChatML template, for whatever does not depend on what it says."""
    own = copy.copy(tokenizer)
    own.chat_template = CHATML
    with Server(ModelBackend(LocalEngine(model, own), own, "m", max_tokens=24)) as server:
        yield server


def ask(server, path, body=None, headers=()):
    """What the server says, as JSON or, of a stream, as the list of its events."""
    data = None if body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **dict(headers)}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(server.url + path, data, sent), timeout=120) as answer:
        text = answer.read().decode()
    if "text/event-stream" not in answer.headers["Content-Type"]:
        return json.loads(text)
    events = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


# --- Open WebUI ----------------------------------------------------------------------------------------------------

WEBUI_HEADERS = {
    "Authorization": "Bearer ",
    "X-OpenWebUI-User-Name": "Ada",
    "X-OpenWebUI-User-Id": "1",
    "X-OpenWebUI-User-Email": "ada@example.org",
    "X-OpenWebUI-User-Role": "admin",
    "X-OpenWebUI-Chat-Id": "c-1",
}
TASK_META = {"task": "title_generation", "task_body": {"model": "m"}, "chat_id": "c-1"}
SET = {"temperature": 0.8, "top_p": 0.9, "min_p": 0.0, "top_k": 40, "seed": 0, "stop": ["</end>"], 
       "max_tokens": 12, "frequency_penalty": 0.0, "presence_penalty": 0.0, "reasoning_effort": "low",
       "logit_bias": {"11": 1}}  # fmt: skip
WEBUI = {
    "a chat": {"stream": True, "messages": TURNS, "max_tokens": 6},
    "a chat with usage": {
        "stream": True, "stream_options": {"include_usage": True}, "messages": TURNS, "max_tokens": 6
    },
    "every setting of its controls": {"stream": True, "messages": TURNS, **SET},
    "a title": {
        "stream": False, "messages": TURNS[-1:], "max_completion_tokens": 100, "metadata": TASK_META
    },
    "tags, follow-ups, queries": {"stream": False, "messages": TURNS[-1:], "metadata": TASK_META},
    "an autocompletion": {"stream": False, "messages": TURNS[-1:], "metadata": TASK_META, "temperature": 0.0},
    "a pipeline's user": {
        "stream": False, "messages": TURNS, "max_tokens": 4,
        "user": {"name": "Ada", "id": "1", "email": "ada@example.org", "role": "admin"},
    },
    "what the page sends to its own server": {
        "stream": True, "messages": TURNS, "max_tokens": 4, "params": {}, "files": [], "tool_ids": [],
        "features": {"web_search": False, "image_generation": False, "code_interpreter": False},
        "variables": {"{{USER_NAME}}": "Ada"}, "model_item": {"id": "m"}, "session_id": "s", "chat_id": "c",
        "id": "m", "background_tasks": {"title_generation": True},
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", WEBUI)
def test_open_webuis_requests_are_answered(served, kind):
    body = {"model": "m", **WEBUI[kind]}
    answer = ask(served, "/chat/completions", body, WEBUI_HEADERS)
    if not body["stream"]:
        assert isinstance(answer["choices"][0]["message"]["content"], str)
        assert {"prompt_tokens", "completion_tokens", "total_tokens"} == answer["usage"].keys()
        return
    assert answer[0]["choices"][0]["delta"]["role"] == "assistant"
    ends = [c["finish_reason"] for event in answer for c in event["choices"] if c["finish_reason"]]
    assert ends in (["stop"], ["length"])
    counted = [event["usage"] for event in answer if event.get("usage")]
    assert len(counted) == ("stream_options" in body)


def test_open_webui_finds_the_models(served):
    models = ask(served, "/models", headers=WEBUI_HEADERS)
    assert [model["id"] for model in models["data"]] == ["m"]
    assert models["object"] == "list"


@pytest.mark.parametrize(
    "body",
    [
        {"features": {"web_search": True}},
        {"files": [{"type": "file", "id": "1"}]},
        {"tool_ids": ["weather"]},
        {"num_ctx": 2048},
        {"think": True},
    ],
)
def test_what_would_change_an_answer_is_refused_by_name(body):
    with pytest.raises(RequestRefusedError, match=next(iter(body))):
        read({"model": "m", "messages": TURNS, **body}, is_chat=True)


def test_a_tool_is_offered_called_and_answered(smollm2_server):
    """Native function calling: a call of the model in a stream, then its result in the conversation."""
    body = {
        "model": "smollm2",
        "stream": True,
        "messages": TURNS[:2],
        "tools": [WEATHER],
        "seed": 1,
        "max_tokens": 40,
    }
    events = ask(smollm2_server, "/chat/completions", body | {"tool_choice": "required"})
    (called,) = [
        c["delta"]["tool_calls"] for e in events for c in e["choices"] if c["delta"].get("tool_calls")
    ]
    assert called[0]["function"]["name"] == "weather"
    after = [
        *TURNS[:2],
        {"role": "assistant", "content": "", "tool_calls": called},
        {"role": "tool", "tool_call_id": called[0]["id"], "content": "Sunny, 20 degrees"},
    ]
    answer = ask(smollm2_server, "/chat/completions", body | {"messages": after, "stream": False})
    assert answer["choices"][0]["message"]["role"] == "assistant"


def test_a_template_without_tools_tells_of_them_in_words(smollm2_server):
    """What this model's template would leave out: the functions, a call, and what it returned."""
    backend = smollm2_server._http.owner.backend
    assert not backend.knows_tools
    asked = [
        {"role": "user", "content": "Weather in Ulm?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny, 20 degrees"},
    ]
    request = read({"model": "smollm2", "messages": asked, "tools": [WEATHER]}, is_chat=True)
    text = backend._conversation(request).text
    for part in ("The weather of a city.", "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\"}}",
                 "<tool_response>\nSunny, 20 degrees"):  # fmt: skip
        assert text.count(part) == 1


def test_a_template_with_tools_is_left_alone(tokenizer):
    """A template of its own that writes tools down gets them as they are."""
    own = copy.copy(tokenizer)
    own.chat_template = (
        "{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}"
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ m.tool_calls or '' }}{% endfor %}<assistant>"
    )
    backend = ModelBackend.__new__(ModelBackend)
    backend.tokenizer, backend.prompt = own, chat.choose("bare", own)
    assert backend.knows_tools
    request = read({"model": "m", "messages": TURNS[:2], "tools": [WEATHER]}, is_chat=True)
    assert backend._conversation(request).text.startswith("[weather]<system>")


def test_tools_stand_in_the_question_where_there_is_no_system_message():
    (told,) = in_words([{"role": "user", "content": "Weather?"}], [WEATHER], fold=True)
    assert told["role"] == "user"
    assert told["content"].endswith("\n\nWeather?")
    first, _ = in_words([{"role": "user", "content": "Weather?"}], [WEATHER])
    assert first["role"] == "system"


def test_answers_to_calls_made_together_are_one_turn():
    """Many templates refuse two turns of a user in a row."""
    asked = [
        {"role": "user", "content": "Weather in Ulm and Bonn?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny"},
        {"role": "tool", "tool_call_id": "call_2", "content": "Rain"},
        {"role": "user", "content": "And?"},
    ]
    told = in_words(asked, [])
    assert [message["role"] for message in told] == ["user", "assistant", "user", "user"]
    answers = "<tool_response>\nSunny\n</tool_response>\n<tool_response>\nRain\n</tool_response>"
    assert told[2]["content"] == answers


# --- LangChain -----------------------------------------------------------------------------------------------------

PERSON = {
    "type": "object",
    "title": "Person",
    "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer", "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def test_langchains_stream_with_usage(served):
    body = {"model": "m", "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.7, "n": 1,
            "messages": [{"content": "Hello?", "role": "user"}], "max_completion_tokens": 5}  # fmt: skip
    events = ask(served, "/chat/completions", body)
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] <= 5
    assert all(event["usage"] is None for event in events[:-1])


def test_langchains_structured_output(smollm2_server):
    form = {"name": "Person", "description": "Somebody.", "schema": PERSON, "strict": True}
    kept = {"type": "json_schema", "json_schema": form}
    body = {"model": "smollm2", "stream": False, "messages": [{"content": "Who?", "role": "user"}],
            "response_format": kept, "max_completion_tokens": 60, "seed": 3}  # fmt: skip
    parsed = json.loads(ask(smollm2_server, "/chat/completions", body)["choices"][0]["message"]["content"])
    assert parsed.keys() == {"name", "age"}


def test_langchains_bound_tool(smollm2_server):
    """``with_structured_output(method="function_calling")``: one tool, forced, no parallel calls."""
    choice = {"type": "function", "function": {"name": "weather"}}
    body = {"model": "smollm2", "messages": [{"content": "Weather?", "role": "user", "name": "ada"}],
            "tools": [WEATHER], "tool_choice": choice, "parallel_tool_calls": False,
            "max_completion_tokens": 40}  # fmt: skip
    (call,) = ask(smollm2_server, "/chat/completions", body)["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"])["city"] in ("Ulm", "Bonn")


# --- many at once --------------------------------------------------------------------------------------------------


def streamed(server, number):
    """(seconds to the first words, text, tokens) of one conversation."""
    body = {"model": "tiny", "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 64,
            "seed": number, "messages": [{"role": "user", "content": f"{number % 40 + 2} 7 3 -> 171"}]}  # fmt: skip
    request = urllib.request.Request(
        server.url + "/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    start, first, text, tokens = time.perf_counter(), None, "", 0
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=300) as answer:
        for line in answer:
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                said = "".join(c["delta"].get("content") or "" for c in event["choices"])
                first = first or (time.perf_counter() - start if said else None)
                text, tokens = text + said, (event.get("usage") or {}).get("completion_tokens", tokens)
    return first or 0.0, text, tokens


@pytest.mark.slow
def test_two_hundred_talk_to_the_tiny_base_at_once():
    """All of them end, and each says what it says alone; with -s it prints how fast."""
    model, tokenizer = modeling.load_model("tiny"), modeling.load_tokenizer("tiny")
    with Server(ModelBackend(LocalEngine(model, tokenizer), tokenizer, "tiny")) as server:
        streamed(server, 0)
        start = time.perf_counter()
        with ThreadPoolExecutor(200) as pool:
            texts = list(pool.map(lambda number: streamed(server, number), range(200)))
        seconds, tokens = time.perf_counter() - start, sum(n for *_, n in texts)
        median = statistics.median(first for first, *_ in texts)
        print(
            f"200 streams: {seconds:.2f} s, {tokens} tokens, first words after {median:.2f} s in the median"
        )
        assert [texts[i][1] for i in range(0, 200, 40)] == [streamed(server, i)[1] for i in range(0, 200, 40)]
