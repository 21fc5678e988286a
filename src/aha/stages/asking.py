"""What a stage asks its model: shown before it begins, and kept with the checkpoint that it makes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aha import chat
from aha.runs.console import Console
from aha.sampling.engine import ending_ids
from aha.types import Problem


def show(console: Console, prompter: Any, problems: Sequence[Problem], source: str) -> None:
    """The first prompt as the model will read it, by which name, and where its answer is looked for; a warning where
    the prompt does not suit the model."""
    if problems:
        rendered = prompter.render(problems[0])
        console.note(f"First prompt ({rendered.prompt}{_reason(prompter)}): {rendered.text}")
        console.note(f"Answers are looked for {where(prompter.prompt, problems[0])}.")
    if tokenizer := getattr(prompter, "tokenizer", None):  # none behind an endpoint
        warn(console, prompter.prompt, tokenizer, source)


def name_of(source: Any) -> str:
    """What a model is called: a stage's name, or as it was given."""
    return source if isinstance(source, str) else str(source.name)


def warn(console: Console, prompt: chat.Prompt, tokenizer: Any, source: str) -> None:
    """Say where the prompt does not suit the checkpoint."""
    warning = chat.warn_prompt(prompt, tokenizer, model_name=Path(source).name)
    if warning:
        console.warn(warning)


def _reason(prompter: Any) -> str:
    if prompter.setting != "auto":
        return ""
    return ", which the checkpoint was trained with" if prompter.prompt.trained else ", chosen for this model"


def where(prompt: chat.Prompt, problem: Problem) -> str:
    """The place of a problem's answer in words."""
    kind, place = chat.kind_of(problem), prompt.asks(problem)[1]
    if kind == "free":
        return "in all that follows the thinking"
    if kind == "program":
        return "in the last Python block"
    if place == "boxed" and kind == "choice":
        return "in the last line that says 'Answer:', or in the last \\boxed{}"
    return {
        "tags": "in <answer> after the thinking",
        "boxed": "in the last \\boxed{} after the thinking",
        "any": "in <answer> or the last \\boxed{}, for which nothing asks",
    }[place]


def for_rows(setting: str, tokenizer: Any) -> chat.Prompt:
    """The prompt of conversations that are learned: their questions are taken as they are, so that ``auto`` adds
    nothing to them, but for what the checkpoint was trained with."""
    prompt = chat.choose(setting, tokenizer)
    return (
        chat.choose("bare", tokenizer)
        if setting == "auto" and prompt.name == "boxed" and not prompt.trained
        else prompt
    )


def keep(model: Any, tokenizer: Any, prompt: chat.Prompt, instruction: str | None = None) -> None:
    """From now on what is saved of ``model`` and ``tokenizer`` carries the prompt, and ends where its turns end."""
    ends = ending_ids(model, tokenizer) | {chat.turn_end(tokenizer, prompt)[-1]}
    chat.save_prompt(tokenizer, prompt, instruction)
    first = int(tokenizer.eos_token_id)
    config = getattr(model, "generation_config", None)
    if config is not None:
        others = sorted(ends - {first})
        config.eos_token_id = [first, *others] if others else first
