"""Requests' fields: honoured, or refused with the field's name; nothing is ignored in silence."""

from __future__ import annotations

import pytest

from aha.sampling.http.asked import RequestRefusedError, RequestSampling, read
from aha.sampling.http.tools import find_calls, read_tools

HI = [{"role": "user", "content": "hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def chat(**more):
    return read({"model": "m", "messages": HI, **more}, True)


def text(**more):
    return read({"model": "m", "prompt": "a", **more}, False)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("suffix", "end"),
        ("best_of", 3),
        ("stop", [""]),
        ("stop", ""),
        ("stop", 3),
        ("logit_bias", {"a": 1}),
        ("logit_bias", {"1": 101}),
        ("frequency_penalty", 3),
        ("presence_penalty", "x"),
        ("temperature", "hot"),
        ("temperature", float("nan")),
        ("temperature", True),
        ("top_p", 7),
        ("top_p", 0),
        ("n", 0),
        ("n", 1.5),
        ("seed", "x"),
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_tokens", 1.5),
        ("logprobs", 21),
        ("logprobs", True),
        ("echo", "yes"),
        ("stream", 1),
        ("stream_options", 3),
        ("response_format", {"type": "xml"}),
        ("guided_json", {}),
        ("repetition_penalty", 1.1),
        ("ignore_eos", True),
        ("frequency", 1),
        ("prompt", ""),
        ("prompt", []),
        ("prompt", ["a", ""]),
        ("prompt", [[1], []]),
        ("prompt", [1, "a"]),
        ("prompt", 3),
        ("use_beam_search", True),
        ("prompt_logprobs", 1),
    ],
)
def test_what_a_text_completion_cannot_honour(field, value):
    with pytest.raises(RequestRefusedError, match=field) as error:
        text(**{field: value})
    assert error.value.field == field
    assert error.value.status == 400


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", "x"),
        ("tools", [{"type": "web_search"}]),
        ("tool_choice", "required"),
        ("response_format", {"type": "json_schema"}),
        ("response_format", "json"),
        ("logprobs", 3),
        ("top_logprobs", 3),
        ("functions", [{"name": "f"}]),
        ("modalities", ["audio"]),
        ("audio", {"voice": "x"}),
        ("max_completion_tokens", 0),
        ("max_tokens", 0),
        ("echo", True),
        ("suffix", "x"),
        ("chat_template", "x"),
        ("chat_template_kwargs", 3),
        ("messages", []),
        ("messages", [{"role": "user"}]),
        ("messages", [{"role": "robot", "content": "x"}]),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
        ("messages", "hi"),
        (
            "messages",
            [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"function": {"name": "f", "arguments": "{"}}],
                }
            ],
        ),
        ("prediction", {}),
    ],
)
def test_what_a_conversation_cannot_honour(field, value):
    with pytest.raises(RequestRefusedError, match=field):
        chat(**{field: value})


def test_neutral_values_and_clients_notes_are_fine():
    asked = chat(
        user="me",
        metadata={"a": "b"},
        store=False,
        suffix=None,
        best_of=None,
        modalities=["text"],
        function_call="none",
        logprobs=False,
        temperature=None,
        seed=None,
        stop=None,
        service_tier="auto",
        parallel_tool_calls=True,
        tools=[],
        tool_choice="none",
        reasoning_effort="low",
    )
    assert asked.sampling == RequestSampling()
    assert text(best_of=1, suffix="", logprobs=None, repetition_penalty=1.0).sampling == RequestSampling()


def test_every_honoured_field_arrives():
    asked = text(
        n=3,
        max_tokens=7,
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        min_p=0.1,
        stop=["a", "b"],
        seed=11,
        frequency_penalty=1,
        presence_penalty=-1,
        logit_bias={"5": 2},
        echo=True,
        logprobs=2,
        return_token_ids=True,
        stream=True,
        stream_options={"include_usage": True},
    )
    assert asked.sampling == RequestSampling(3, 7, 0.5, 0.9, 4, 0.1, ("a", "b"), 11, 1.0, -1.0, ((5, 2.0),))
    assert (asked.echo, asked.logprobs, asked.top_logprobs, asked.token_ids, asked.stream, asked.usage) == (
        True,
        True,
        2,
        True,
        True,
        True,
    )
    assert chat(max_completion_tokens=9, max_tokens=3).sampling.max_tokens == 9
    assert text(max_tokens=0, echo=True).sampling.max_tokens == 0
    assert text(stop="x", top_k=-1).sampling.stop == ("x",)


def test_the_four_forms_of_a_prompt():
    assert text().prompts == ("a",)
    assert text(prompt=[1, 2]).prompts == ((1, 2),)
    assert text(prompt=["a", "b"]).prompts == ("a", "b")
    assert text(prompt=[[1], [2, 3]]).prompts == ((1,), (2, 3))


def test_contents_in_parts_roles_and_tool_messages():
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
    asked = read(
        {
            "model": "m",
            "messages": [
                {"role": "developer", "content": "be brief"},
                {"role": "user", "content": parts, "name": "Ann"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "content": "rain", "tool_call_id": "c1"},
            ],
        },
        True,
    ).messages
    assert asked[0] == {"role": "system", "content": "be brief"}
    assert asked[1] == {"role": "user", "content": "one\ntwo", "name": "Ann"}
    assert asked[2]["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"city": "Ulm"}}
    assert asked[3] == {"role": "tool", "content": "rain", "tool_call_id": "c1"}


def test_schemas():
    assert chat(response_format={"type": "text"}).schema is None
    assert chat(response_format={"type": "json_object"}).schema == '{"type": "object"}'
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integer"}}}
    assert chat(response_format=response_format).schema == '{"type": "integer"}'


@pytest.mark.parametrize(
    ("text", "said", "name", "arguments"),
    [
        (
            'Let me see. <tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>',
            "Let me see.",
            "weather",
            '{"city": "Ulm"}',
        ),
        (
            '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Ulm"}}]',
            "",
            "weather",
            '{"city": "Ulm"}',
        ),
        ('{"name": "weather", "parameters": {"city": "Ulm"}}', "", "weather", '{"city": "Ulm"}'),
        ('<|python_tag|>{"name": "weather", "parameters": {}}', "", "weather", "{}"),
    ],
)
def test_calls_are_found_in_the_forms_of_several_families(text, said, name, arguments):
    rest, calls = find_calls(text, read_tools([WEATHER], None))
    assert rest == said
    assert [(c["function"]["name"], c["function"]["arguments"]) for c in calls] == [(name, arguments)]
    assert calls[0]["type"] == "function"


@pytest.mark.parametrize(
    "text",
    [
        "no call",
        '<tool_call>{"name": "other"}</tool_call>',
        "<tool_call>{broken",
        '{"name": 3}',
        "[1]",
        "[" * 5000,
    ],
)
def test_what_is_no_call_stays_text(text):
    assert find_calls(text, read_tools([WEATHER], "auto")) == (text, [])


def test_choices_of_tools():
    assert read_tools([WEATHER], "none") is None
    assert read_tools([WEATHER], "required").must_call
    assert read_tools([WEATHER], {"type": "function", "function": {"name": "weather"}}).named == "weather"
    with pytest.raises(RequestRefusedError, match="tool_choice"):
        read_tools([WEATHER], {"type": "function", "function": {"name": "other"}})
