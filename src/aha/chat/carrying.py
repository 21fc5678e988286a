"""A checkpoint keeps the prompt it was trained with: as its chat template, so that every program that renders
conversations asks the same, and by name."""

from __future__ import annotations

import json
from typing import Any

from aha.chat.prompts import THINK_SYSTEM, Prompt
from aha.chat.rendering import R1_ZERO_HEAD, Rendered, encode_prompt, folds_system, render
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
{{{{- {bos}{head} -}}}}
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
{{{{- {bos}{before} -}}}}
{{%- for message in messages if message['role'] in ['system', 'user'] -%}}
{{{{- message['content'] -}}}}{{%- if not loop.last -%}}{{{{- '\\n\\n' -}}}}{{%- endif -%}}
{{%- endfor -%}}
{{{{- {after} -}}}}
{{%- for message in messages if message['role'] == 'assistant' -%}}
{{{{- ' ' + (message['content'] | trim) + eos_token -}}}}
{{%- endfor -%}}
"""


def _quoted(text: str) -> str:
    """A text as a string of Jinja."""
    return json.dumps(text)


def _bos(tokenizer: Any) -> str:
    """``bos_token +`` where the tokenizer puts one in front: programs that render do not add it again."""
    bos = getattr(tokenizer, "bos_token_id", None)
    adds = bos is not None and int(bos) in [int(i) for i in tokenizer.encode("x", add_special_tokens=True)]
    return "bos_token + " if adds else ""


def chat_template(prompt: Prompt, tokenizer: Any, instruction: str) -> str:
    """A Jinja chat template that asks as ``prompt`` does, ``instruction`` after each question under ``boxed``."""
    if prompt.jinja:
        return prompt.words
    if prompt.words:
        before, _, after = prompt.words.partition("{question}")
        return _TEXT.format(bos=_bos(tokenizer), before=_quoted(before), after=_quoted(after))
    if prompt.name == "r1_zero":
        return _R1_ZERO.format(bos=_bos(tokenizer), head=_quoted(R1_ZERO_HEAD))
    if prompt.own is None:
        after = f"\n{instruction}" if instruction and prompt.name == "boxed" else ""
        return _TEXT.format(bos=_bos(tokenizer), before=_quoted(""), after=_quoted(after))
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
    made = f"{quoted} + {joined} + {content}" if fold else f"{content} + {joined} + {quoted}"
    alone = f"{{'role': '{role}', 'content': {quoted}}}"
    return _REBUILT.format(
        condition=f"if message['role'] == '{role}' and {content} is string and not aha.done",
        role=f"'{role}'",
        content=made,
        last=f"{{%- if not aha.done -%}}{{%- set aha.messages = [{alone}] + aha.messages -%}}{{%- endif -%}}\n",
    )


def carry(tokenizer: Any, prompt: Prompt, instruction: str | None = None) -> None:
    """Give the tokenizer the chat template of ``prompt`` and a note of it (``tokenizer.aha``, which a checkpoint keeps
    as ``aha.json``), for saving.

    ``instruction``: what the questions that were trained on are followed by. Raises AhaError where the template does
    not make the very same tokens as the prompt.
    """
    added = prompt.instruction if instruction is None else instruction
    template = chat_template(prompt, tokenizer, added)
    _prove(tokenizer, prompt, added, template)
    tokenizer.chat_template = template
    tokenizer.aha = {
        "prompt": prompt.name,
        "place": prompt.place,
        "instruction": added,
        "words": prompt.words,
        "own_template": prompt.own,
        "template": template,
    }


def _prove(tokenizer: Any, prompt: Prompt, instruction: str, template: str) -> None:
    question = {"role": "user", "content": "What is 2 + 2?"}
    wanted = render((question,), tokenizer, prompt=prompt, instruction=instruction)
    carried = Prompt("carried", words=template)
    text = render((question,), tokenizer, prompt=carried).text
    made = [int(i) for i in tokenizer.encode(text, add_special_tokens=False)]
    if made != encode_prompt(wanted, tokenizer) and encode_prompt(
        Rendered(text, False, ""), tokenizer
    ) != encode_prompt(wanted, tokenizer):
        raise AhaError(
            f"The chat template for prompt={prompt.name} does not make the prompt that was trained with: "
            f"{text[:200]!r} instead of {wanted.text[:200]!r}."
        )
