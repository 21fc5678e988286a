"""Which of a conversation is learned: every turn of the assistant up to what its template ends it with, tool calls as
the template writes them, and nothing that the template could not show."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from aha.chat import choose, render, stop_ids
from aha.data.schemas import read_record
from aha.files import write_jsonl
from aha.stages.data.conversations import load, to_examples

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from test_chat_templates import TEMPLATES, tokenizer_of

TURNS = [
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "<think>two and two</think> 4"},
    {"role": "user", "content": "3+3?"},
    {"role": "assistant", "content": "<think>three and three</think> 6"},
]
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 2}}}
WITH_TOOLS = (
    "{%- if tools %}{{- '<|im_start|>system\\nTools: ' + (tools | map(attribute='function') | map(attribute='name') "
    "| join(',')) + '<|im_end|>\\n' }}{%- endif %}"
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + (m.content or '') }}"
    "{%- for call in m.tool_calls or [] %}{{- '<call>' + call.function.name + '</call>' }}{%- endfor %}"
    "{{- '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def chatml(template=TEMPLATES["qwen2.5"][0]):
    """A ChatML tokenizer whose EOS is not what ends a turn."""
    tokenizer = tokenizer_of("qwen2.5")
    tokenizer.add_special_tokens({"eos_token": "<|endoftext|>"})
    tokenizer.chat_template = template
    return tokenizer


def learned(tokenizer, example):
    """The stretches that are trained on, as text."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], example.mask.astype(int), [0]])))
    return [tokenizer.decode(example.token_ids[a:b]) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def examples(tokenizer, prompt="bare", turns="all", **row):
    record, _ = read_record({"messages": TURNS} | row, 1)
    return to_examples(record, tokenizer, choose(prompt, tokenizer), turns)


def test_a_chatml_turn_ends_with_im_end_though_eos_is_another():
    tokenizer = chatml()
    rows, reason = examples(tokenizer, turns="last")
    assert (len(rows), reason) == (1, "")
    assert learned(tokenizer, rows[0]) == ["<think>three and three</think> 6<|im_end|>"]
    assert rows[0].token_ids[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert stop_ids(tokenizer) == {rows[0].token_ids[-1], tokenizer.eos_token_id}


def test_every_turn_is_learned_in_one_sequence_where_prompts_go_on_from_turns():
    tokenizer = chatml()
    rows, _ = examples(tokenizer)
    assert len(rows) == 1
    assert learned(tokenizer, rows[0]) == [
        "<think>two and two</think> 4<|im_end|>", "<think>three and three</think> 6<|im_end|>",
    ]  # fmt: skip
    # The last turn stands after the very prompt that it would be asked with.
    prompt = tokenizer.encode(render(TURNS[:3], tokenizer, prompt="bare").text, add_special_tokens=False)
    assert rows[0].token_ids[: len(prompt)].tolist() == prompt


@pytest.mark.parametrize("family", ["qwen3", "r1"])
def test_turns_are_sequences_of_their_own_where_earlier_thinking_is_left_out(family):
    tokenizer = tokenizer_of(family)
    rows, _ = examples(tokenizer)
    assert len(rows) == 2
    texts = [tokenizer.decode(e.token_ids[~e.mask]) for e in rows]
    assert "two and two" not in texts[1]
    assert ["two and two" in learned(tokenizer, e)[0] for e in rows] == [True, False]


def test_the_papers_template_goes_on_over_several_turns():
    tokenizer = chatml()
    rows, _ = examples(tokenizer, prompt="r1_zero")
    assert len(rows) == 1
    end = tokenizer.eos_token
    assert learned(tokenizer, rows[0]) == [
        f" <think>two and two</think> 4{end}", f" <think>three and three</think> 6{end}",
    ]  # fmt: skip


def test_tools_and_calls_are_written_by_the_template():
    tokenizer = chatml(WITH_TOOLS)
    called = [TURNS[0], {"role": "assistant", "content": "", "tool_calls": [CALL]}]
    after = [*called, {"role": "tool", "content": "4"}, {"role": "assistant", "content": "It is 4."}]
    rows, reason = examples(tokenizer, messages=after, tools=TOOLS)
    assert (len(rows), reason) == (1, "")
    assert learned(tokenizer, rows[0]) == ["<call>add</call><|im_end|>", "It is 4.<|im_end|>"]
    assert "Tools: add" in tokenizer.decode(rows[0].token_ids)


def test_what_the_template_cannot_show_is_set_aside_with_the_reason(tmp_path):
    called = {
        "messages": [TURNS[0], {"role": "assistant", "content": "x", "tool_calls": [CALL]}],
        "tools": TOOLS,
    }
    plain = {"messages": TURNS}
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [called, plain])
    tokenizer = chatml()  # its template knows no calls
    loaded = load([str(path)], (), None, tokenizer, choose("bare", tokenizer), 512, 0)
    assert len(loaded.examples) == 1
    assert dict(loaded.dropped) == {"tool calls, which the chat template does not write": 1}
    loaded = load([str(path)], (), None, tokenizer, choose("r1_zero", tokenizer), 512, 0)
    assert list(loaded.dropped) == ["tools, and the prompt is no chat template that could show them"]
