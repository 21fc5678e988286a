"""Where an assistant's turn ends: what the chat template writes after it, and what sampling stops at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aha.chat.prompts import Prompt, choose, own_template
from aha.chat.rendering import Rendered, apply_template
from aha.types import AhaError, Message

_MARK = "zqxj"
"""An answer that no template writes by itself."""


def turn_end(tokenizer: Any, prompt: Prompt | None = None) -> tuple[int, ...]:
    """The token ids that end an assistant's turn under a prompt: what its chat template writes there, up to its first
    special token; the tokenizer's EOS where it writes none."""
    prompt = choose("auto", tokenizer) if prompt is None else prompt
    return _end_ids(tokenizer, _template_of(prompt)) or (int(tokenizer.eos_token_id),)


def _template_of(prompt: Prompt) -> str | None:
    return prompt.words if prompt.jinja else prompt.own if prompt.turns else None


def _after_turn(tokenizer: Any, template: str | None) -> str:
    """The text that a template writes after an assistant's turn, "" where that cannot be told."""
    if not template:
        return ""
    turns = ({"role": "user", "content": "x"}, {"role": "assistant", "content": _MARK})
    try:
        _, mark, rest = apply_template(turns, tokenizer, template, generation=False).rpartition(_MARK)
    except AhaError:
        return ""
    return rest if mark else ""


def _end_ids(tokenizer: Any, template: str | None) -> tuple[int, ...]:
    rest = _after_turn(tokenizer, template)
    if not rest.strip():
        return ()
    ids = [int(i) for i in tokenizer.encode(rest, add_special_tokens=False)]
    special = special_ids(tokenizer)
    at = next((i for i, token in enumerate(ids) if token in special), None)
    return () if at is None else tuple(ids[: at + 1])


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Tokens that text never becomes by itself: the named special ones and added ones that are special."""
    ids = {int(i) for i in getattr(tokenizer, "all_special_ids", None) or ()}
    added = getattr(tokenizer, "added_tokens_decoder", None) or {}
    return frozenset(ids | {int(i) for i, token in added.items() if getattr(token, "special", False)})


def stop_ids(tokenizer: Any) -> frozenset[int]:
    """What ends a completion: the tokenizer's EOS and the token that ends a turn in the model's own chat template, or
    in the one that its checkpoint carries."""
    ids = {int(tokenizer.eos_token_id), turn_end(tokenizer)[-1]}
    ends = _end_ids(tokenizer, own_template(tokenizer))
    return frozenset(ids | set(ends[-1:]))


def render_call(
    before: Sequence[Message],
    said: Message,
    rendered: Rendered,
    tokenizer: Any,
    prompt: Prompt,
    options: Mapping[str, Any],
) -> str:
    """What an assistant's message with tool calls adds after its rendered prompt, as the chat template writes it,
    without what ends the turn. Raises AhaError where the template does not write calls."""
    template = _template_of(prompt)
    if not template:
        raise AhaError("tool calls, and the prompt is no chat template that could write them")
    plain = {k: v for k, v in said.items() if k != "tool_calls"} | {"content": said.get("content") or ""}
    text = apply_template((*before, said), tokenizer, template, options, generation=False)
    if text == apply_template((*before, plain), tokenizer, template, options, generation=False):
        raise AhaError("tool calls, which the chat template does not write")
    if not text.startswith(rendered.text):
        raise AhaError("tool calls, which the chat template does not write after the prompt")
    return text[len(rendered.text) :].removesuffix(_after_turn(tokenizer, template))
