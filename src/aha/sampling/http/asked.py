"""A request's body, read field by field: what is asked is honoured, or refused with the field's name.

The fields are those of OpenAI's chat and text completions, and a few that vLLM adds. A field that is in the API and is
not honoured here may stand at its neutral value, since clients write defaults down; any other value is refused, and so
is a name that the API does not know. Nothing is ignored in silence but what cannot change an answer (``HARMLESS``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from aha.sampling.http.refusing import RequestRefusedError
from aha.sampling.http.tools import Tools, read_tools
from aha.types import Message

HARMLESS = frozenset(
    {
        "model", "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
        "prompt_cache_retention", "parallel_tool_calls", "stream", "stream_options", "verbosity", "reasoning_effort",
        "add_special_tokens", "skip_special_tokens", "spaces_between_special_tokens", "return_tokens_as_token_ids",
        "max_tokens", "max_completion_tokens", "messages", "prompt", "reasoning",
        # notes of web faces about the conversation (Open WebUI, and what stands behind it)
        "chat_id", "session_id", "id", "message_id", "parent_id", "background_tasks", "variables", "model_item",
        "user_message", "filter_ids",
        # how another server would do the work (Ollama, llama.cpp)
        "keep_alive", "cache_prompt", "num_thread", "num_gpu", "num_batch", "use_mmap", "use_mlock",
    }
)  # fmt: skip
"""Read elsewhere, or without influence on what is answered."""
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "suffix": (None, ""),
    "best_of": (None, 1),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None,),
    "web_search_options": (None,),
    "use_beam_search": (None, False),
    "length_penalty": (None, 1, 1.0),
    "repetition_penalty": (None, 1, 1.0),
    "ignore_eos": (None, False),
    "min_tokens": (None, 0),
    "stop_token_ids": (None, []),
    "include_stop_str_in_output": (None, False),
    "prompt_logprobs": (None,),
    "truncate_prompt_tokens": (None,),
    "guided_json": (None,),
    "guided_regex": (None,),
    "guided_choice": (None,),
    "function_call": (None, "none", "auto"),
    "functions": (None, []),
    "chat_template": (None,),
    "continue_final_message": (None, False),
    "add_generation_prompt": (None, True),
    "files": (None, []),
    "tool_ids": (None, []),
    "tool_servers": (None, []),
    "skill_ids": (None, []),
    "params": (None, {}),
}
"""Fields of the API that are not honoured, and the values that ask for nothing."""
MOST_LOGPROBS = 20


@dataclass(frozen=True, slots=True)
class RequestSampling:
    """How to sample, as asked; ``max_tokens`` None leaves it to the backend. ``seed`` None asks for a fresh draw."""

    n: int = 1
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A request that was read: either ``messages``, or ``prompts`` (each a text or token ids)."""

    model: str
    sampling: RequestSampling
    messages: tuple[Message, ...] = ()
    prompts: tuple[str | tuple[int, ...], ...] = ()
    tools: Tools | None = None
    schema: str | None = None  # a JSON schema that the answer's content keeps
    template_options: Mapping[str, Any] | None = None
    echo: bool = False
    logprobs: bool = False
    top_logprobs: int = 0
    token_ids: bool = False  # vLLM's return_token_ids
    stream: bool = False
    usage: bool = False  # stream_options.include_usage

    @property
    def is_chat(self) -> bool:
        """Whether it is a conversation."""
        return bool(self.messages)


def read(body: Mapping[str, Any], is_chat: bool) -> CompletionRequest:
    """The request in ``body``. Raises RequestRefusedError naming the field that cannot be honoured."""
    _only_known(body, is_chat)
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise RequestRefusedError("stream_options must be an object", "stream_options")
    common: dict[str, Any] = {
        "model": str(body.get("model")),
        "sampling": _sampling(body),
        "token_ids": _flag(body, "return_token_ids"),
        "stream": _flag(body, "stream"),
        "usage": bool((options or {}).get("include_usage")),
    }
    if not is_chat:
        return _text(body, common)
    tools = read_tools(body.get("tools"), body.get("tool_choice"))
    schema = _schema(body.get("response_format"))
    if schema is not None and tools is not None and tools.must_call:
        raise RequestRefusedError(
            "response_format and a forced tool_choice exclude each other", "response_format"
        )
    logprobs = _flag(body, "logprobs")
    top = _whole(body, "top_logprobs", 0, 0, MOST_LOGPROBS)
    if top and not logprobs:
        raise RequestRefusedError("top_logprobs needs logprobs=true", "top_logprobs")
    return CompletionRequest(
        **common, messages=_messages(body.get("messages")), tools=tools, schema=schema, logprobs=logprobs,
        top_logprobs=top,
        template_options=_object(body, "chat_template_kwargs"),
    )  # fmt: skip


def _text(body: Mapping[str, Any], common: Mapping[str, Any]) -> CompletionRequest:
    top = body.get("logprobs")
    if top is False or top is None:
        top = None
    elif isinstance(top, bool) or not isinstance(top, int) or not 0 <= top <= MOST_LOGPROBS:
        raise RequestRefusedError(f"logprobs must be a whole number from 0 to {MOST_LOGPROBS}", "logprobs")
    echo = _flag(body, "echo")
    asked = CompletionRequest(
        **common, prompts=_prompts(body.get("prompt")), echo=echo, logprobs=top is not None, top_logprobs=top or 0,
        schema=_schema(body.get("response_format")),
    )  # fmt: skip
    if asked.sampling.max_tokens == 0 and not echo:
        raise RequestRefusedError(
            "max_tokens=0 asks for nothing, unless echo gives the prompt back", "max_tokens"
        )
    return asked


_BOTH = frozenset(
    {
        "n", "temperature", "top_p", "top_k", "min_p", "stop", "seed", "frequency_penalty", "presence_penalty",
        "logit_bias", "logprobs", "return_token_ids", "response_format",
    }
)  # fmt: skip
_OF_CHAT = frozenset({"tools", "tool_choice", "top_logprobs", "chat_template_kwargs"})
_OF_TEXT = frozenset({"echo"})


def _only_known(body: Mapping[str, Any], is_chat: bool) -> None:
    honoured = HARMLESS | _BOTH | (_OF_CHAT if is_chat else _OF_TEXT)
    for name, value in body.items():
        if name in honoured:
            continue
        if name in NEUTRAL:
            if not any(type(value) is type(v) and value == v for v in NEUTRAL[name]):
                raise RequestRefusedError(f"{name}={_short(value)} is not supported here: leave it out", name)
        elif name == "features" and isinstance(value, dict) and not any(value.values()):
            continue  # what a web face could add to an answer, and does not
        elif value is not None:
            raise RequestRefusedError(f"unknown field '{name}': this API does not have it", name)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


# ------------------------------------------------------------------------------------------------- values


def _number(body: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise RequestRefusedError(f"{name} must be a number, and is {_short(value)}: no number", name)
    if not low <= value <= high:
        raise RequestRefusedError(f"{name}={value} is out of range: {low:g} to {high:g}", name)
    return float(value)


def _whole(body: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise RequestRefusedError(f"{name} must be a whole number from {low} to {high}", name)
    return value


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise RequestRefusedError(f"{name} must be true or false", name)
    return bool(value)


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise RequestRefusedError(f"{name} must be an object", name)
    return value


def _sampling(body: Mapping[str, Any]) -> RequestSampling:
    name = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    limit = None if body.get(name) is None else _whole(body, name, 0, 0, 1 << 24)
    if limit == 0 and "messages" in body:
        raise RequestRefusedError(f"{name} must be at least 1", name)
    seed = body.get("seed")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise RequestRefusedError("seed must be a whole number", "seed")
    return RequestSampling(
        n=_whole(body, "n", 1, 1, 1024),
        max_tokens=limit,
        temperature=_number(body, "temperature", 1.0, 0.0, 100.0),
        top_p=_number(body, "top_p", 1.0, 1e-9, 1.0),
        top_k=max(0, _whole(body, "top_k", 0, -1, 1 << 30)),
        min_p=_number(body, "min_p", 0.0, 0.0, 0.999999),
        stop=_stop(body.get("stop")),
        seed=seed,
        frequency_penalty=_number(body, "frequency_penalty", 0.0, -2.0, 2.0),
        presence_penalty=_number(body, "presence_penalty", 0.0, -2.0, 2.0),
        logit_bias=_bias(body.get("logit_bias")),
    )


def _stop(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value or []
    if not isinstance(stops, list) or not all(isinstance(s, str) for s in stops):
        raise RequestRefusedError("stop must be a text or a list of texts", "stop")
    if "" in stops:
        raise RequestRefusedError(
            "stop must not hold an empty text: every completion would end before it begins", "stop"
        )
    if len(stops) > 64:
        raise RequestRefusedError("stop holds at most 64 texts", "stop")
    return tuple(stops)


def _bias(value: Any) -> tuple[tuple[int, float], ...]:
    if value is None:
        return ()
    try:
        biases = {int(token): float(bias) for token, bias in value.items()}
    except (AttributeError, TypeError, ValueError):
        raise RequestRefusedError(
            "logit_bias must map token ids to numbers from -100 to 100", "logit_bias"
        ) from None
    if not all(-100 <= bias <= 100 for bias in biases.values()):
        raise RequestRefusedError("logit_bias must map token ids to numbers from -100 to 100", "logit_bias")
    return tuple(sorted(biases.items()))


def _schema(value: Any) -> str | None:
    """The JSON schema of a ``response_format``, as text; None for plain text."""
    if value is None or value == {"type": "text"}:
        return None
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "json_object":
        return '{"type": "object"}'
    if kind == "json_schema":
        inner = value.get("json_schema")
        schema = inner.get("schema") if isinstance(inner, dict) else None
        if isinstance(schema, (dict, bool)):
            return json.dumps(schema)
        raise RequestRefusedError(
            "response_format.json_schema.schema must be a JSON schema", "response_format"
        )
    raise RequestRefusedError(
        "response_format.type must be text, json_object or json_schema", "response_format"
    )


# ------------------------------------------------------------------------------------------- what is asked


def _prompts(value: Any) -> tuple[str | tuple[int, ...], ...]:
    """OpenAI's four forms: a text, token ids, a list of texts, a list of token ids."""
    if isinstance(value, str) and value:
        return (value,)
    if _ids(value):
        return (tuple(value),)
    if isinstance(value, list) and value and all((isinstance(p, str) and p) or _ids(p) for p in value):
        prompts: list[str | tuple[int, ...]] = [p if isinstance(p, str) else tuple(p) for p in value]
        return tuple(prompts)
    raise RequestRefusedError(
        "prompt must be a text, a list of token ids, or a list of either; none of them empty", "prompt"
    )


def _ids(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and bool(value) and all(type(i) is int for i in value)


ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise RequestRefusedError("messages must be a list of at least one {role, content}", "messages")
    return tuple(_message(item, i) for i, item in enumerate(value))


def _message(item: Any, i: int) -> Message:
    where = f"messages[{i}]"
    if not isinstance(item, dict) or item.get("role") not in ROLES:
        raise RequestRefusedError(
            f"{where} must be an object with a role among {', '.join(ROLES)}", "messages"
        )
    role, calls = item["role"], item.get("tool_calls")
    message = {k: v for k, v in item.items() if v is not None and k not in ("content", "role")}
    message["role"] = "system" if role == "developer" else role
    content = item.get("content")
    if content is None and not calls:
        raise RequestRefusedError(
            f"{where} ({role}) must have content: a text, or a list of text parts", "messages"
        )
    message["content"] = "" if content is None else _content(content, where)
    if calls is not None:
        message["tool_calls"] = _calls(calls, where)
    return message


def _content(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise RequestRefusedError(f"{where}.content must be a text or a list of text parts", "messages")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("text") if isinstance(part, dict) else None
        if isinstance(part, str):
            texts.append(part)
        elif kind in ("text", "input_text", "output_text") and isinstance(text, str):
            texts.append(text)
        else:
            raise RequestRefusedError(
                f"{where}.content holds a part of type {kind!r}: only text is read here", "messages"
            )
    return "\n".join(texts) if len(texts) > 1 else "".join(texts)


def _calls(calls: Any, where: str) -> list[dict[str, Any]]:
    """Tool calls with their arguments as objects, which is what chat templates write out."""
    checked = []
    for item in calls if isinstance(calls, list) else [None]:
        call: dict[str, Any] = item if isinstance(item, dict) else {}
        function = call.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RequestRefusedError(
                f"{where}.tool_calls must be a list of {{type, function: {{name, arguments}}}}", "messages"
            )
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments or "{}")
            except ValueError:
                raise RequestRefusedError(f"{where}.tool_calls: arguments are no JSON", "messages") from None
        checked.append({**call, "function": {**function, "arguments": arguments}})
    return checked


def texts_of(messages: Sequence[Message]) -> list[str]:
    """What the messages say."""
    return [str(m.get("content", "")) for m in messages]
