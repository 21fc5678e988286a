"""A checkpoint keeps the prompt it was trained with: as its chat template, so that every program that renders
conversations asks the same, and by name."""

from __future__ import annotations

import json
from typing import Any

from aha.chat.prompts import THINK_SYSTEM, Prompt
from aha.chat.rendering import R1_ZERO_HEAD, encode_prompt, folds_system, render
from aha.types import AhaError

_REBUILT = """\
{{%- set aha = namespace(messages=[], done=false) -%}}
{{%- for message in messages -%}}
{{%- {condition} -%}}
{{%- set aha.messages = aha.messages + [{{'role': {role}, 'content': {content}}}] -%}}
{{%- set aha.done = true -%}}
{{%- else -%}}
{{%- set aha.messages = aha.messages + [message] -%}}
{{%- endif -%}}
{{%- endfor -%}}
{last}{{%- set messages = aha.messages -%}}
"""
_R1_ZERO = """\
{{{{- {head} -}}}}
{{%- set aha = namespace(space='') -%}}
{{%- for message in messages if message['role'] == 'system' -%}}
{{{{- aha.space + message['content'] -}}}}{{%- set aha.space = ' ' -%}}
{{%- endfor -%}}
{{%- for message in messages if message['role'] != 'system' -%}}
{{%- if message['role'] == 'user' -%}}
{{{{- aha.space + 'User: ' + message['content'] + ' Assistant:' -}}}}
{{%- elif message['role'] == 'assistant' -%}}
{{{{- aha.space + (message['content'] | trim) + eos_token -}}}}
{{%- else -%}}
{{{{- raise_exception('this prompt knows no ' + message['role'] + ' messages') -}}}}
{{%- endif -%}}
{{%- set aha.space = ' ' -%}}
{{%- endfor -%}}
"""
_TEXT = """\
{{{{- {before} -}}}}
{{%- for message in messages if message['role'] in ['system', 'user'] -%}}
{{{{- message['content'] -}}}}{{%- if not loop.last -%}}{{{{- '\\n\\n' -}}}}{{%- endif -%}}
{{%- endfor -%}}
{{{{- {after} -}}}}
{{%- for message in messages if message['role'] == 'assistant' -%}}
{{{{- ' ' + (message['content'] | trim) + eos_token -}}}}
{{%- endfor -%}}
"""


_PLAIN = """\
{%- for message in messages -%}
{{- message['content'] -}}{%- if not loop.last -%}{{- '\\n\\n' -}}{%- endif -%}
{%- endfor -%}
"""
_BOS = "{{- bos_token -}}"
"""In front of templates that leave it out where the tokenizer adds it: programs that render do not add it again."""


def _quoted(text: str) -> str:
    """A text as a string of Jinja."""
    return json.dumps(text)


def chat_template(prompt: Prompt, tokenizer: Any, instruction: str) -> str:
    """A Jinja chat template that asks as ``prompt`` does, ``instruction`` after each question under ``boxed``."""
    if prompt.jinja:
        return prompt.words
    if prompt.words:
        before, _, after = prompt.words.partition("{question}")
        return _TEXT.format(before=_quoted(before), after=_quoted(after))
    if prompt.name == "r1_zero":
        return _R1_ZERO.format(head=_quoted(R1_ZERO_HEAD))
    if prompt.own is None:
        return (_instructing(instruction) if instruction and prompt.name == "boxed" else "") + _PLAIN
    if prompt.name == "think":
        return _system_first(folds_system(tokenizer, prompt.own)) + prompt.own
    return (_instructing(instruction) if instruction and prompt.name == "boxed" else "") + prompt.own


def _instructing(instruction: str) -> str:
    quoted = _quoted(instruction)
    content = "message['content']"
    told = f"{quoted} in {content} or '<answer>' in {content} or '\\\\boxed' in {content}"
    return _REBUILT.format(
        condition=f"if message['role'] == 'user' and {content} is string and not ({told})",
        role="'user'",
        content=f"{content} + {_quoted(chr(10) + instruction)}",
        last="",
    )


def _system_first(fold: bool) -> str:
    role = "user" if fold else "system"
    quoted, content = _quoted(THINK_SYSTEM), "message['content']"
    joined = _quoted("\n\n")
    expression = f"{quoted} + {joined} + {content}" if fold else f"{content} + {joined} + {quoted}"
    alone = f"{{'role': '{role}', 'content': {quoted}}}"
    return _REBUILT.format(
        condition=f"if message['role'] == '{role}' and {content} is string and not aha.done",
        role=f"'{role}'",
        content=expression,
        last=f"{{%- if not aha.done -%}}{{%- set aha.messages = [{alone}] + aha.messages -%}}{{%- endif -%}}\n",
    )


def save_prompt(tokenizer: Any, prompt: Prompt, instruction: str | None = None) -> None:
    """Give the tokenizer the chat template of ``prompt`` and a note of it (``tokenizer.aha``, which a checkpoint keeps
    as ``aha.json``), for saving.

    ``instruction``: what the questions that were trained on are followed by. Raises AhaError where the template does
    not make the very same tokens as the prompt.
    """
    added = prompt.instruction if instruction is None else instruction
    template = _proven(tokenizer, prompt, added, chat_template(prompt, tokenizer, added))
    tokenizer.chat_template = template
    tokenizer.aha = {
        "prompt": prompt.name,
        "place": prompt.place,
        "instruction": added,
        "words": prompt.words,
        "own_template": prompt.own,
        "template": template,
    }


def _proven(tokenizer: Any, prompt: Prompt, instruction: str, template: str) -> str:
    """The template, with a BOS in front where it needs one, which makes the prompt's tokens."""
    question = {"role": "user", "content": "What is 2 + 2?"}
    rendered = render((question,), tokenizer, prompt=prompt, instruction=instruction)
    prompt_ids, text = encode_prompt(rendered, tokenizer), ""
    for tried in (template, _BOS + template):
        text = render((question,), tokenizer, prompt=Prompt("carried", words=tried)).text
        if [int(i) for i in tokenizer.encode(text, add_special_tokens=False)] == prompt_ids:
            return tried
    raise AhaError(
        f"The chat template for prompt={prompt.name} does not make the prompt that is trained with: {text[:200]!r} "
        f"instead of {rendered.text[:200]!r}."
    )
