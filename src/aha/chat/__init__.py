"""The only place that renders prompts and reads ``<think>`` and ``<answer>`` out of completions.

``prompts``: what a model is asked, by name. ``rendering``: messages to the text that it reads. ``turns``: where a
turn ends. ``saving``: a checkpoint keeps the prompt it was trained with. ``parsing``: completions taken apart.
"""

from aha.chat.parsing import (
    ANSWER,
    END_ANSWER,
    END_THINK,
    TAGS,
    THINK,
    Parsed,
    Tag,
    code_spans,
    find_tags,
    parse,
)
from aha.chat.prompts import (
    NAMES,
    PLACE,
    R1_ZERO_TEMPLATE,
    SETTING,
    Kind,
    Place,
    Prompt,
    check_setting,
    choose,
    kind_of,
    prompt_files,
    warn_prompt,
)
from aha.chat.rendering import Rendered, encode_prompt, folds_system, in_messages, render, render_completion
from aha.chat.saving import save_prompt
from aha.chat.turns import render_call, stop_ids, turn_end

__all__ = [
    "ANSWER", "END_ANSWER", "END_THINK", "NAMES", "PLACE", "R1_ZERO_TEMPLATE", "SETTING", "TAGS", "THINK", "Kind",
    "Parsed", "Place", "Prompt", "Rendered", "Tag", "check_setting", "choose", "code_spans", "encode_prompt",
    "find_tags", "folds_system", "in_messages", "kind_of", "parse", "prompt_files", "render", "render_call",
    "render_completion", "save_prompt", "stop_ids", "turn_end", "warn_prompt",
]  # fmt: skip
