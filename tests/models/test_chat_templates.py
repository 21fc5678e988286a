"""The chat templates of the families, as their tokenizers carry them, rendered and tokenized for sampling."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from aha.chat import choose, encode_prompt, parse, render, warn_prompt

# Qwen2.5-Instruct; its base models ship the very same template.
QWEN25 = (
    "{%- if messages[0]['role'] == 'system' %}"
    "{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    "<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}"
    '{%- if (message.role == "user") or (message.role == "system" and not loop.first) '
    'or (message.role == "assistant") %}'
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
# Qwen3: the thinking of earlier turns is dropped; enable_thinking=False closes it before it begins.
QWEN3 = (
    "{%- for message in messages %}"
    "{%- set content = message.content %}"
    "{%- if message.role == 'assistant' and '</think>' in content %}"
    "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
    "{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
# Qwen3-Thinking and QwQ: the generation prompt opens the thinking.
QWEN3_THINKING = QWEN3.replace("'<|im_start|>assistant\\n' }}", "'<|im_start|>assistant\\n<think>\\n' }}")
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' "
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
# DeepSeek-R1 and its distillations.
R1 = (
    "{% set ns = namespace(system_prompt='') %}{%- for message in messages %}"
    "{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}"
    "{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}"
    "{%- if message['role'] == 'user' %}{{'<｜User｜>' + message['content']}}{%- endif %}"
    "{%- if message['role'] == 'assistant' %}{% set content = message['content'] %}"
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}{%- endif %}{%- endfor %}"
    "{% if add_generation_prompt %}{{'<｜Assistant｜><think>\\n'}}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% if message['role'] == 'assistant' %}{% set role = 'model' %}"
    "{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"
)
TEMPLATES = {  # template, BOS, EOS
    "qwen2.5": (QWEN25, None, "<|im_end|>"),
    "qwen3": (QWEN3, None, "<|im_end|>"),
    "qwen3-thinking": (QWEN3_THINKING, None, "<|im_end|>"),
    "llama3": (LLAMA3, "<|begin_of_text|>", "<|eot_id|>"),
    "r1": (R1, "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    "gemma": (GEMMA, "<bos>", "<end_of_turn>"),
}
ASKED = [{"role": "user", "content": "What is 2+2?"}]
ENDINGS = {
    "qwen2.5": "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n",
    "qwen3": "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n",
    "qwen3-thinking": "<|im_end|>\n<|im_start|>assistant\n<think>\n",
    "llama3": "What is 2+2?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "r1": "<｜begin▁of▁sentence｜><｜User｜>What is 2+2?<｜Assistant｜><think>\n",
    "gemma": "<bos><start_of_turn>user\nWhat is 2+2?<end_of_turn>\n<start_of_turn>model\n",
}


def tokenizer_of(family):
    """Bytes for words, the family's special tokens, and its BOS put in front as its own tokenizer does."""
    template, bos, eos = TEMPLATES[family]
    letters = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    core = Tokenizer(models.BPE(vocab=letters, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    special = [t for t in (bos, eos, "<|im_start|>", "<|im_end|>", "<think>", "</think>") if t]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=bos, eos_token=eos, additional_special_tokens=special
    )
    if bos:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.convert_tokens_to_ids(bos))]
        )
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("family", TEMPLATES)
def test_prompts_end_where_the_model_takes_over_and_come_back_from_their_tokens(family):
    tokenizer = tokenizer_of(family)
    rendered = render(ASKED, tokenizer)
    assert rendered.prompt == "boxed"
    assert rendered.text.endswith(ENDINGS[family])
    assert rendered.opened_think is (family in ("qwen3-thinking", "r1"))
    ids = encode_prompt(rendered, tokenizer)
    assert tokenizer.decode(ids, skip_special_tokens=False) == rendered.text
    if tokenizer.bos_token_id is not None:
        assert ids.count(tokenizer.bos_token_id) == 1, "the template wrote it; the tokenizer's is not added"
        assert ids[0] == tokenizer.bos_token_id


@pytest.mark.parametrize("family", TEMPLATES)
def test_a_completion_is_read_by_what_its_prompt_opened(family):
    opened = render(ASKED, tokenizer_of(family)).opened_think
    completion = "two and two</think> <answer>4</answer>"
    read = parse(completion if opened else "<think>" + completion, opened_think=opened)
    assert (read.think, read.answer, read.well_formed) == ("two and two", "4", True)
    assert not parse("<think>" + completion if opened else completion, opened_think=opened).well_formed


def test_qwen3_with_thinking_turned_off_opens_nothing():
    rendered = render(ASKED, tokenizer_of("qwen3"), chat_options={"enable_thinking": False})
    assert rendered.text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert not rendered.opened_think


@pytest.mark.parametrize("family", ["qwen3", "r1"])
def test_earlier_thinking_is_left_out_of_the_next_prompt(family):
    turns = [*ASKED, {"role": "assistant", "content": "<think>\nhm\n</think>\n\n4"}, *ASKED]
    text = render(turns, tokenizer_of(family)).text
    assert "hm" not in text
    assert "4" in text


def test_a_base_model_that_ships_its_siblings_template_is_warned_about():
    tokenizer = tokenizer_of("qwen2.5")
    assert not warn_prompt(choose("auto", tokenizer), tokenizer, model_name="Qwen2.5-7B-Instruct")
    tokenizer.add_special_tokens({"eos_token": "<|endoftext|>"})  # as in Qwen2.5-7B
    assert "looks like a base model" in warn_prompt(
        choose("auto", tokenizer), tokenizer, model_name="Qwen2.5-7B"
    )
    plain = render(ASKED, tokenizer, prompt="r1_zero")
    assert not warn_prompt(choose("r1_zero", tokenizer), tokenizer, model_name="Qwen2.5-7B")
    assert plain.text.endswith("User: What is 2+2? Assistant:")


def test_a_template_without_a_system_role_says_so():
    from aha.types import AhaError

    with pytest.raises(AhaError, match="System role not supported"):
        render([{"role": "system", "content": "x"}, *ASKED], tokenizer_of("gemma"))
