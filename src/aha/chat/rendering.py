"""Messages to the text that a model reads. Whether the prompt already opens ``<think>`` is read off the rendered
text, never configured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aha.chat.parsing import END_THINK, THINK
from aha.chat.prompts import R1_ZERO_TEMPLATE, THINK_SYSTEM, Prompt, choose, mentions_place
from aha.types import AhaError, Message, Problem

R1_ZERO_HEAD = R1_ZERO_TEMPLATE.partition("User: {prompt}")[0]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt as the model will read it."""

    text: str
    opened_think: bool  # the text itself ends in "<think>": the completion starts inside the thinking
    prompt: str  # its name: "r1_zero", "boxed", "think", "bare" or a file's, never "auto"
    turns: bool = False  # a chat template parts the turns: the completion follows without a space


def render(
    messages: Sequence[Message],
    tokenizer: Any = None,
    *,
    prompt: str | Prompt = "auto",
    instruction: str | None = None,
    chat_options: Mapping[str, Any] | None = None,
) -> Rendered:
    """The prompt text for ``messages``, ready for the model to continue.

    ``prompt``: a setting's name, or what ``prompts.choose`` made of it. ``instruction``: what the questions are
    followed by under ``boxed`` (None: the prompt's own). ``chat_options`` are handed to the chat template (``tools``,
    ``enable_thinking`` and the like). Raises AhaError where the prompt cannot be applied.
    """
    chosen = choose(prompt, tokenizer)
    added = chosen.instruction if instruction is None else instruction
    if chosen.jinja:
        text = _own_template(messages, tokenizer, chosen, chat_options)
    elif chosen.words:
        text = chosen.words.replace("{question}", _only_question(messages, chosen.name))
    elif chosen.name == "r1_zero":
        text = _r1_zero(messages, tokenizer)
    elif chosen.own is None:
        text = "\n\n".join(_content(m) for m in instructed(messages, added))
    elif chosen.name == "think":
        text = _with_system(messages, tokenizer, chosen.own, chat_options)
    else:
        text = apply_template(instructed(messages, added), tokenizer, chosen.own, chat_options)
    return Rendered(text, text.rstrip().endswith(THINK), chosen.name, chosen.turns)


def _own_template(
    messages: Sequence[Message], tokenizer: Any, prompt: Prompt, chat_options: Mapping[str, Any] | None
) -> str:
    """What a file's chat template makes of messages. Raises AhaError where it fails, or leaves the question out."""
    try:
        text = apply_template(messages, tokenizer, prompt.words, chat_options)
    except AhaError as error:
        said = str(error).partition("refused the messages: ")[2] or error
        raise AhaError(f"The prompt '{prompt.name}' cannot be rendered: {said}") from error
    asked = next((_content(m) for m in reversed(messages) if m.get("role") == "user"), "")
    if asked.strip() and not any(word in text for word in asked.split()):
        raise AhaError(
            f"The prompt '{prompt.name}' leaves the question out: a template writes message['content'] of each message."
        )
    return text


def _content(message: Message) -> str:
    content = message.get("content")
    if not isinstance(content, str):
        role = message.get("role", "?")
        raise AhaError(f"the {role} message's content is {type(content).__name__}, not text")
    return content


def instructed(messages: Sequence[Message], instruction: str) -> list[Message]:
    """The messages, each question followed by the instruction unless it says itself where the answer stands."""
    return [
        {**m, "content": f"{_content(m)}\n{instruction}"}
        if instruction and m.get("role") == "user" and not _told(_content(m), instruction)
        else m
        for m in messages
    ]


def _told(content: str, instruction: str) -> bool:
    return instruction in content or mentions_place(content)


def in_messages(problem: Problem, prompt: Prompt) -> list[Message]:
    """A problem's conversation for whoever renders it with a chat template of its own: an endpoint.

    Raises AhaError for prompts that are whole texts.
    """
    if prompt.words or prompt.name == "r1_zero":
        raise AhaError(
            f"prompt={prompt.name} is a whole text, and an endpoint renders conversations itself: use boxed, think or "
            "bare."
        )
    if prompt.name == "think":
        return with_system(problem.messages, fold=False)
    return instructed(problem.messages, prompt.asks(problem)[0])


# --- without a chat template -----------------------------------------------------------------------------


def _only_question(messages: Sequence[Message], name: str) -> str:
    """The one question that a text with a place for it takes; a system message stands in front."""
    others = [m for m in messages if m.get("role") not in ("system", "user")]
    users = [_content(m) for m in messages if m.get("role") == "user"]
    if others or len(users) != 1:
        raise AhaError(
            f"the prompt '{name}' takes one question, and this conversation has more turns; give a Jinja chat template"
        )
    return "\n\n".join([*(_content(m) for m in messages if m.get("role") == "system"), users[0]])


def _r1_zero(messages: Sequence[Message], tokenizer: Any) -> str:
    """The paper's template; further turns follow in its own words, each answer ended as completions are."""
    if not any(m.get("role") == "user" for m in messages):
        raise AhaError("the r1_zero template needs a user message, and there is none")
    eos = getattr(tokenizer, "eos_token", None) or ""
    parts = [_content(m) for m in messages if m.get("role") == "system"]
    for message in messages:
        role = message.get("role")
        if role == "user":
            parts.append(f"User: {_content(message)} Assistant:")
        elif role == "assistant":
            parts.append(f"{flat(message).strip()}{eos}")
        elif role != "system":
            raise AhaError(f"the r1_zero template knows no {role} messages; use a model with a chat template")
    return R1_ZERO_HEAD + " ".join(parts)


def flat(message: Message) -> str:
    """A message's text, its ``reasoning`` in front between think tags."""
    reasoning = message.get("reasoning")
    return f"{THINK}{reasoning}{END_THINK}{_content(message)}" if reasoning else _content(message)


# --- with one ----------------------------------------------------------------------------------------------


def apply_template(
    messages: Sequence[Message],
    tokenizer: Any,
    template: str,
    options: Mapping[str, Any] | None = None,
    *,
    generation: bool = True,
) -> str:
    """What a chat template makes of messages, by default up to where the model takes over. Raises AhaError with the
    template's own words where it refuses them."""
    try:
        text = tokenizer.apply_chat_template(
            [_for_template(m) for m in messages],
            chat_template=template,
            tokenize=False,
            add_generation_prompt=generation,
            **(options or {}),
        )
    except Exception as error:  # the template is the model's own program and may raise anything
        raise AhaError(f"the tokenizer's chat template refused the messages: {error}") from error
    return str(text)


def _for_template(message: Message) -> dict[str, Any]:
    """A message as templates know it: reasoning also under the name that they read."""
    copied = dict(message)
    if not copied.get("tool_calls"):
        _content(message)
    if copied.get("reasoning"):
        copied.setdefault("reasoning_content", copied["reasoning"])
    return copied


def _with_system(
    messages: Sequence[Message], tokenizer: Any, template: str, options: Mapping[str, Any] | None
) -> str:
    fold = folds_system(tokenizer, template)
    return apply_template(with_system(messages, fold=fold), tokenizer, template, options)


def with_system(messages: Sequence[Message], *, fold: bool) -> list[Message]:
    """The messages with ``think``'s system message: after their own, or where the template knows no system messages
    in front of the first question."""
    turns = [dict(m) for m in messages]
    role = "user" if fold else "system"
    at = next((i for i, m in enumerate(turns) if m.get("role") == role), None)
    if at is None:
        return [{"role": role, "content": THINK_SYSTEM}, *turns]
    own = _content(turns[at])
    turns[at]["content"] = f"{THINK_SYSTEM}\n\n{own}" if fold else f"{own}\n\n{THINK_SYSTEM}"
    return list(turns)


def folds_system(tokenizer: Any, template: str) -> bool:
    """Whether a chat template refuses or leaves out system messages."""
    mark = "a system message"
    try:
        text = apply_template(
            ({"role": "system", "content": mark}, {"role": "user", "content": "x"}), tokenizer, template
        )
    except AhaError:
        return True
    return mark not in text


# --- completions and tokens ------------------------------------------------------------------------------------


def render_completion(message: Message, rendered: Rendered) -> str:
    """What an assistant's message adds after a rendered prompt, without the mark that ends the turn.

    A ``reasoning`` field stands in front between think tags. A thinking that the prompt opened is not opened
    again, and is closed at once where the message has none. A space parts prompt and completion where no
    chat template does, as base models continue ``Assistant:``.
    """
    text = flat(message)
    if rendered.opened_think:
        bare = text.strip()
        return bare.removeprefix(THINK) if END_THINK in bare else f"\n{END_THINK}\n\n{bare}"
    spaced = not rendered.turns and not rendered.text[-1:].isspace()
    return f" {text.lstrip()}" if spaced else text


def encode_prompt(rendered: Rendered, tokenizer: Any) -> list[int]:
    """Token ids of a rendered prompt: special tokens that the tokenizer puts in front (BOS) appear once,
    whether or not the template wrote them too; those it puts behind (EOS) are left off, since the
    completion follows here."""
    bare = _ids(tokenizer, rendered.text, special=False)
    prefix = _prefix(_ids(tokenizer, rendered.text, special=True), bare)
    return bare if bare[: len(prefix)] == prefix else prefix + bare


def _ids(tokenizer: Any, text: str, *, special: bool) -> list[int]:
    return [int(i) for i in tokenizer.encode(text, add_special_tokens=special)]


def _prefix(full: list[int], bare: list[int]) -> list[int]:
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return full[:start]
    return []
