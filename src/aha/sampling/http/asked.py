"""A request's body, read field by field: what is asked is honoured, or refused with the field's name.

The fields are those of OpenAI's chat and text completions, and a few that vLLM adds. A field that is in the API and is
not honoured here may stand at its neutral value, since clients write defaults down; any other value is refused, and so
is a name that the API does not know. Nothing is ignored in silence but what cannot change an answer (``HARMLESS``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from aha.sampling.http.conversation import read_messages
from aha.sampling.http.refusing import RequestRefusedError
from aha.sampling.http.tools import Tools, read_tools
from aha.types import Message

HARMLESS = frozenset(
    {
        "model", "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
        "prompt_cache_retention", "stream", "stream_options", "verbosity", "best_of",
        "max_tokens", "max_completion_tokens",
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
    "add_special_tokens": (None, True),
    "skip_special_tokens": (None, True),
    "spaces_between_special_tokens": (None, True),
    "return_tokens_as_token_ids": (None, False),
    "reasoning": (None, {}),
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
LARGEST = 1e300
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
VERBOSITIES = ("low", "medium", "high")
RENDERING = frozenset(
    {
        "messages", "conversation", "tools", "chat_template", "add_generation_prompt", "continue_final_message",
        "tokenize",
        "padding", "truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask",
        "tokenizer_kwargs",
    }
)  # fmt: skip
"""Arguments of a tokenizer's rendering that are no options of its template."""


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
    def asks(self) -> str:
        """The field that holds what is to be continued."""
        return "messages" if self.messages else "prompt"

    @property
    def is_chat(self) -> bool:
        """Whether it is a conversation."""
        return bool(self.messages)


def read(body: Mapping[str, Any], is_chat: bool) -> CompletionRequest:
    """The request in ``body``. Raises RequestRefusedError naming the field that cannot be honoured."""
    _only_known(body, is_chat)
    _choice_of(body, "verbosity", VERBOSITIES)
    common: dict[str, Any] = {
        "model": str(body.get("model")),
        "sampling": _sampling(body),
        "token_ids": _flag(body, "return_token_ids"),
        "stream": _flag(body, "stream"),
        "usage": _usage(body),
    }
    if not is_chat:
        return _text(body, common)
    tools = read_tools(body.get("tools"), body.get("tool_choice"), _parallel(body))
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
        **common, messages=read_messages(body.get("messages")), tools=tools, schema=schema, logprobs=logprobs,
        top_logprobs=top, template_options=_template_options(body),
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
_OF_CHAT = frozenset(
    {
        "messages", "tools", "tool_choice", "parallel_tool_calls", "top_logprobs", "chat_template_kwargs",
        "reasoning_effort",
    }
)  # fmt: skip
_OF_TEXT = frozenset({"prompt", "echo"})


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
            path = "/v1/chat/completions" if is_chat else "/v1/completions"
            raise RequestRefusedError(f"unknown field '{name}': {path} does not have it", name)
    if body.get("best_of") not in (
        None,
        1,
        body.get("n", 1),
    ):  # the best of as many as are asked for is all of them
        raise RequestRefusedError("best_of above n is not supported here: leave it out", "best_of")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


# ------------------------------------------------------------------------------------------------- values


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value of JSON is a number that a float can hold."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST


def _number(body: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if not is_number(value):
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


def _choice_of(body: Mapping[str, Any], name: str, among: Sequence[str]) -> str | None:
    value = body.get(name)
    if value is not None and value not in among:
        raise RequestRefusedError(f"{name} must be one of {', '.join(among)}", name)
    return value


def _parallel(body: Mapping[str, Any]) -> bool:
    return body.get("parallel_tool_calls") is None or _flag(body, "parallel_tool_calls")


def _usage(body: Mapping[str, Any]) -> bool:
    options = _object(body, "stream_options") or {}
    for name, value in options.items():
        known = name in ("include_usage", "include_obfuscation")
        if (known and not isinstance(value, bool)) or not (known or value in (None, False)):
            raise RequestRefusedError(
                "stream_options may hold include_usage and include_obfuscation, each true or false",
                "stream_options",
            )
    return bool(options.get("include_usage"))


def _template_options(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the chat template is given: its options, and how hard to think, which some templates write out."""
    options = dict(_object(body, "chat_template_kwargs") or {})
    if taken := RENDERING & options.keys():
        raise RequestRefusedError(
            f"chat_template_kwargs holds {', '.join(sorted(taken))}, which is no option of a template",
            "chat_template_kwargs",
        )
    effort = _choice_of(body, "reasoning_effort", EFFORTS)
    return options if effort is None else {"reasoning_effort": effort, **options}


def _limit(body: Mapping[str, Any]) -> int | None:
    limits = {
        name: _whole(body, name, 0, 1 if "messages" in body else 0, 1 << 24)
        for name in ("max_completion_tokens", "max_tokens")
        if body.get(name) is not None
    }
    return next(iter(limits.values()), None)


def _sampling(body: Mapping[str, Any]) -> RequestSampling:
    seed = body.get("seed")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise RequestRefusedError("seed must be a whole number", "seed")
    return RequestSampling(
        n=_whole(body, "n", 1, 1, 1024),
        max_tokens=_limit(body),
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
    stops = [value] if isinstance(value, str) else [] if value is None else value
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
    read = isinstance(value, dict) and all(re.fullmatch(r"[0-9]{1,12}", t, re.ASCII) for t in value)
    if not read or not all(is_number(bias) and -100 <= bias <= 100 for bias in value.values()):
        raise RequestRefusedError("logit_bias must map token ids to numbers from -100 to 100", "logit_bias")
    biases = {int(token): float(bias) for token, bias in value.items()}
    return tuple(sorted(biases.items()))


def _schema(value: Any) -> str | None:
    """The JSON schema of a ``response_format``, as text; None for plain text."""
    kind = value.get("type") if isinstance(value, dict) else None
    if value is None or kind == "text":
        return None
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
