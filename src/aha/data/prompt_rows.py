"""Prompts without a verifier, in the layouts that people keep them: what is asked, and what a row says beside it.

Preference and safety sets, chat logs and lists of harmful requests all hold prompts. The first layout whose columns
a row has is taken. A conversation is asked up to its last user turn; the answer after it is the reference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aha.data.messages import Message, read_label, read_messages, read_tools, with_system
from aha.data.sources import Row
from aha.types import AhaError

SYSTEMS = ("system", "system_prompt", "system_message")
REFERENCES = ("reference", "reference_answer", "completion", "response", "output", "answer", "chosen")
TEXTS = (
    "prompt", "question", "query", "goal", "Goal", "behavior", "Behavior", "forbidden_prompt", "user_input", "request",
    "text", "input",
)  # fmt: skip
"""Columns that hold a prompt alone: TRL, AdvBench, JailbreakBench, HarmBench, do-not-answer and their like."""
TURNS = ("conversation", "conversations", "messages")
HARMFUL = {"harmful": True, "unsafe": True, "benign": False, "unharmful": False, "safe": False}


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A prompt: ``messages`` end with the user's. ``reference``: an answer that the row calls good. ``harmful``: the
    row's own word for the request, None where it says nothing. ``pairs``: (better, worse) answers that it brings;
    ``labels``: (answer, 1 safe or 0 unsafe)."""

    messages: tuple[Message, ...]
    layout: str = ""
    reference: str | None = None
    harmful: bool | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class PromptLayout:
    """A layout by name: whether a row has it, and how it is read (ValueError for a row that is broken)."""

    name: str
    fits: Callable[[Row], bool]
    read: Callable[[Row], PromptRow]


def read_prompt(row: Row) -> PromptRow:
    """The prompt of a row. Raises AhaError saying what the row lacks, or what of it cannot be asked."""
    layout = next((known for known in LAYOUTS if known.fits(row)), None)
    if layout is None:
        raise AhaError(_no_prompt(row))
    try:
        prompt = layout.read(row)
        said = next((row[name] for name in SYSTEMS if row.get(name)), None)
        messages = _offered(_checked(with_system(prompt.messages, said)), read_tools(row.get("tools")))
    except KeyError as error:
        raise AhaError(f"it lacks the column {error.args[0]} (layout {layout.name})") from error
    except (ValueError, TypeError) as error:
        raise AhaError(f"{error} (layout {layout.name})") from error
    harmful = said_harmful(row) if prompt.harmful is None else prompt.harmful
    label = read_label(row)
    good = None if label is not None and label <= 0.5 else prompt.reference
    return replace(prompt, messages=messages, layout=layout.name, harmful=harmful, reference=good)


def _no_prompt(row: Row) -> str:
    """Why no layout fits: a column for a prompt without one in it, or none that is known."""
    if (
        silent := next((c for c in (*TEXTS, "instruction", *TURNS) if c in row and _silent(row[c])), None)
    ) is not None:
        return (
            f"its prompt is empty: the column {silent} holds {'null' if row[silent] is None else 'nothing'}"
        )
    known = ", ".join(known.name for known in LAYOUTS)
    return f"it has no prompt: its columns are {sorted(row)}. Known layouts: {known}"


def _silent(value: Any) -> bool:
    return not value or (isinstance(value, str) and not value.strip())


def _checked(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Role and content of messages that a model can be asked: the user speaks first and last, and nobody is silent."""
    spoken = [m for m in messages if m["role"] != "system"]
    if not spoken or spoken[-1]["role"] != "user":
        raise ValueError("no user turn is left to be answered")
    if spoken[0]["role"] != "user":
        raise ValueError(f"the {spoken[0]['role']} speaks first")
    if others := {m["role"] for m in spoken} - {"user", "assistant"}:
        raise ValueError(f"it has turns of a {others.pop()}, which a prompt here cannot carry")
    if any(m.get("tool_calls") for m in spoken):
        raise ValueError("it calls tools, which a prompt here cannot carry")
    if any(not m["content"].strip() for m in spoken):
        raise ValueError("one of its turns is empty")
    if any(m["role"] == "system" for m in messages[1:]):
        raise ValueError("a system message stands in its middle")
    return tuple({"role": m["role"], "content": m["content"]} for m in messages)


OFFER = (
    'You can call these functions:\n<tools>\n{tools}\n</tools>\nTo call one, write <tool_call>{{"name": ..., '
    '"arguments": {{...}}}}</tool_call>; else answer in words.'
)
"""How tools are offered to a model whatever its template: they are a part of the system message."""


def _offered(messages: tuple[Message, ...], tools: tuple[Any, ...]) -> tuple[Message, ...]:
    """The messages with the row's tools in their system message."""
    if not tools:
        return messages
    offer = OFFER.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    if messages[0]["role"] != "system":
        return ({"role": "system", "content": offer}, *messages)
    return ({"role": "system", "content": f"{messages[0]['content']}\n\n{offer}"}, *messages[1:])


def said_harmful(row: Row) -> bool | None:
    """What a row itself says of its request: WildJailbreak's data_type, XSTest's label, WildGuard's, WildChat's."""
    for column in ("prompt_label", "prompt_harm_label", "data_type", "label"):
        value = row.get(column)
        word = value.rpartition("_")[2].lower() if isinstance(value, str) else None
        if word in HARMFUL:
            return HARMFUL[word]
    toxic = row.get("toxic")
    return toxic if isinstance(toxic, bool) else None


def cut(messages: Sequence[Message]) -> tuple[tuple[Message, ...], str | None]:
    """(the conversation up to its last user turn, the answer that follows it or None)."""
    last = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=-1)
    after = [m for m in messages[last + 1 :] if m["content"].strip()]
    reference = after[-1]["content"].strip() if after and after[-1]["role"] == "assistant" else None
    return tuple(messages[: last + 1]), reference


# --- layouts ------------------------------------------------------------------------------------------------


def _text(row: Row, *columns: str) -> str | None:
    """The first of the columns that holds a text."""
    return next((row[c] for c in columns if isinstance(row.get(c), str) and row[c].strip()), None)


def _is_list(row: Row, column: str) -> bool:
    value = row.get(column)
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0


def _conversation(column: str) -> Callable[[Row], PromptRow]:
    def read(row: Row) -> PromptRow:
        messages, reference = cut(read_messages(row[column]))
        return PromptRow(messages, reference=reference or _reference(row))

    return read


def _reference(row: Row) -> str | None:
    return _text(row, *REFERENCES[:-1])


def _wild(row: Row) -> PromptRow:
    """The adversarial wording where there is one, as the set's own use has it, else the plain request."""
    asked = _text(row, "adversarial", "vanilla")
    if asked is None:
        raise ValueError("both wordings are empty")
    return PromptRow(read_messages([{"role": "user", "content": asked}]), reference=_text(row, "completion"))


def _pku(row: Row) -> PromptRow:
    """Two answers with a word on the safety of each, which one is safer and which one better (PKU-SafeRLHF)."""
    said = [str(row[f"response_{i}"]) for i in (0, 1)]
    safe = [row.get(f"is_response_{i}_safe") for i in (0, 1)]
    labels = tuple((text, int(ok)) for text, ok in zip(said, safe, strict=True) if isinstance(ok, bool))
    safer, better = row.get("safer_response_id"), row.get("better_response_id")
    reference = said[safer] if safer in (0, 1) and safe[safer] is not False else None
    pairs = ((said[better], said[1 - better]),) if better in (0, 1) else ()
    messages, _ = cut(read_messages(row["prompt"]))
    return PromptRow(messages, reference=reference, pairs=pairs, labels=labels)


def _beavertails(row: Row) -> PromptRow:
    said, safe = str(row["response"]), bool(row["is_safe"])
    messages, _ = cut(read_messages(row["prompt"]))
    return PromptRow(messages, reference=said if safe else None, labels=((said, int(safe)),))


def _ultrafeedback(row: Row) -> PromptRow:
    """Several answers with scores: the best one is the reference, and is better than the worst."""
    scored = [(c.get("overall_score", c.get("fine-grained_score")), str(c.get("response", ""))) for c in
              row["completions"] if isinstance(c, Mapping)]  # fmt: skip
    known = sorted((float(s), text) for s, text in scored if s is not None and text.strip())
    pairs = ((known[-1][1], known[0][1]),) if known and known[0][0] < known[-1][0] else ()
    asked = read_messages([{"role": "user", "content": str(row["instruction"])}])
    return PromptRow(asked, reference=known[-1][1] if known else None, pairs=pairs)


def _preference(row: Row) -> PromptRow:
    """Two sides, as answers or whole conversations (HH-RLHF's texts among them): the chosen one is asked."""
    chosen, rejected = (_side(row.get("prompt"), row.get(side)) for side in ("chosen", "rejected"))
    messages, better = cut(chosen)
    worse = cut(rejected)[1] if cut(rejected)[0] == messages else None
    pairs = ((better, worse),) if better and worse and better != worse else ()
    return PromptRow(messages, reference=better, pairs=pairs)


def _side(prompt: Any, side: Any) -> tuple[Message, ...]:
    asked = () if prompt is None else cut(read_messages(prompt))[0]
    if isinstance(side, str) and asked:
        said = read_messages(side)
        return said if len(said) > 1 else (*asked, {"role": "assistant", "content": side})
    said = read_messages([side] if isinstance(side, Mapping) else side)
    if any(m["role"] == "user" for m in said):
        if len(said) == 1:
            raise ValueError("its chosen side is a text without turns, and it has no prompt")
        return said
    return (*asked, *said)


def _alpaca(row: Row) -> PromptRow:
    asked = "\n".join(part for part in (_text(row, "instruction"), _text(row, "input", "context")) if part)
    turns: list[dict[str, Any]] = []
    for user, said in row.get("history") or ():
        turns += [{"role": "user", "content": str(user)}, {"role": "assistant", "content": str(said)}]
    messages = read_messages([*turns, {"role": "user", "content": asked}])
    return PromptRow(messages, reference=_text(row, "output", "response", *REFERENCES))


def _alone(row: Row) -> PromptRow:
    asked = next(row[c] for c in TEXTS if _asks(row.get(c)))
    messages, reference = cut(read_messages(asked))
    return PromptRow(messages, reference=reference or _reference(row))


def _asks(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else isinstance(value, list) and bool(value)


LAYOUTS: tuple[PromptLayout, ...] = (
    PromptLayout("wildjailbreak", lambda r: "data_type" in r and bool({"vanilla", "adversarial"} & r.keys()), _wild),
    PromptLayout("pku-saferlhf", lambda r: {"prompt", "response_0", "response_1"} <= r.keys(), _pku),
    PromptLayout("beavertails", lambda r: {"prompt", "response", "is_safe"} <= r.keys(), _beavertails),
    PromptLayout("lmsys-chat", lambda r: _is_list(r, "conversation"), _conversation("conversation")),
    PromptLayout("sharegpt", lambda r: _is_list(r, "conversations"), _conversation("conversations")),
    PromptLayout("ultrafeedback", lambda r: "instruction" in r and _is_list(r, "completions"), _ultrafeedback),
    PromptLayout("alpaca", lambda r: isinstance(r.get("instruction"), str), _alpaca),
    PromptLayout("preference", lambda r: {"chosen", "rejected"} <= r.keys(), _preference),
    PromptLayout("messages", lambda r: _is_list(r, "messages"), _conversation("messages")),
    PromptLayout("prompt", lambda r: any(_asks(r.get(c)) for c in TEXTS), _alone),
)  # fmt: skip
"""In the order in which they are tried."""


def spoken(messages: Sequence[Message]) -> str:
    """A conversation as one text for whoever judges an answer to it: the question alone where it is all there is."""
    if len(messages) == 1:
        return str(messages[0]["content"])
    return "\n\n".join(f"{str(m['role']).capitalize()}: {m['content']}" for m in messages)
