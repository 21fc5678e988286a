"""Small checkpoints with a ChatML chat template, as instruct models have: `<|im_end|>` ends a turn, EOS is another."""

from __future__ import annotations

from aha import modeling

CHATML = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def give_chatml(folder, base="tiny"):
    """A base with ChatML's tokens, whose embeddings are new, and its template; its EOS stays what it is."""
    tokenizer, model = modeling.load_tokenizer(base), modeling.load_model(base)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
