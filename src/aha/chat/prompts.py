"""What a model is asked: one setting with a name, and one contract of prompt, place of the answer, and format.

``r1_zero``: the paper's template. ``boxed``: the model's own chat template, the question followed by the instruction
that the R1 evaluation uses. ``think``: its own chat template and a system message that asks for think and answer
tags; ``r1_zero`` where it has none. ``bare``: its own chat template, or the text alone, and nothing added. A file: a
Jinja chat template, or a text with ``{question}``. ``auto``: what the checkpoint was trained with, else ``boxed``
where there is a chat template (for questions that have an answer to state), else ``r1_zero``.

The place where the answer stands follows from the prompt and is written into each problem that is asked
(``PLACE`` in its metadata), where verifiers and the format reward read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from aha import plugins
from aha.hints import nearest
from aha.types import AhaError, Message, Problem, TestCase

R1_ZERO_TEMPLATE = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
    "The assistant first thinks about the reasoning process in the mind and then provides the user with the "
    "answer. The reasoning process and answer are enclosed within <think>...</think> and "
    "<answer>...</answer> tags, respectively, i.e., <think> reasoning process here </think> "
    "<answer> answer here </answer>. User: {prompt} Assistant:"
)
"""The template of DeepSeek-R1-Zero (arXiv 2501.12948, Table 1); ``{prompt}`` stands for the question."""

THINK_SYSTEM = (
    "Think about the question first, and answer it then. Write your thoughts between <think> and </think>, and after "
    "them the final answer, alone, between <answer> and </answer>, like this:\n"
    "<think>\n...\n</think>\n<answer>\n...\n</answer>"
)
"""The system message of ``think``."""

FINAL = {
    "en": "Please reason step by step, and put your final answer within \\boxed{}.",
    "zh": "请一步一步地推理，并把最终答案写在 \\boxed{} 中。",
}
"""What ``boxed`` adds to a question with one final answer, by language. The English one is that of the R1
evaluation (DeepSeek-R1's usage recommendations)."""
CHOICE = {
    "en": "Please reason step by step. The last line of your response should be 'Answer: $LETTER' (without quotes), "
    "where LETTER is one of {letters}.",
    "zh": "请一步一步地推理。回答的最后一行写“答案：字母”，字母是 {letters} 之一。",
}
"""The same for multiple choice, as simple-evals asks it."""
PROGRAM = {
    "en": "Write a complete Python program that reads from standard input and writes to standard output, in one "
    "```python block.",
    "zh": "写一个完整的Python程序，从标准输入读取，写到标准输出，放在一个 ```python 代码块中。",
}
FUNCTION = {
    "en": "Write the complete Python function in one ```python block.",
    "zh": "写出完整的Python函数，放在一个 ```python 代码块中。",
}

NAMES = ("r1_zero", "boxed", "think", "bare")
SETTING = "what the model is asked: auto, r1_zero (the paper's), boxed, think, bare, or a file"
_FORMER = {"chat": "bare", "none": "bare"}
_JINJA = (".jinja", ".jinja2", ".j2")
PLACE, FORM = "place", "form"
"""Keys of a problem's metadata: where its answer is asked to stand; its kind, where its data say so themselves."""

Place = Literal["tags", "boxed", "any"]
"""tags: in ``<answer>`` after ``<think>``. boxed: in the last box; for choice the line "Answer: LETTER", for programs
a Python block. any: nothing was asked, whichever of them is there."""
Kind = Literal["final", "choice", "program", "free"]
KINDS: tuple[Kind, ...] = ("final", "choice", "program", "free")
LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked. ``own``: its own chat template, None where it has none. ``words``: a file's text.
    ``instruction``: what is added to messages that are no problem of a task. ``trained``: the name of the prompt that
    the checkpoint says it was trained with, "" where it says nothing."""

    name: str
    own: str | None = None
    words: str = ""
    instruction: str = ""
    trained: str = ""

    @property
    def jinja(self) -> bool:
        """Whether it is a file that is a chat template itself."""
        return bool(self.words) and "{question}" not in self.words

    @property
    def turns(self) -> bool:
        """Whether a chat template parts the turns, so that completions follow without a space."""
        return self.jinja or (self.own is not None and self.name in ("boxed", "think", "bare"))

    @property
    def place(self) -> Place:
        """Where answers are asked to stand, unless a question says so itself."""
        if self.words:
            return "tags" if "<answer>" in self.words else "boxed" if "\\boxed" in self.words else "any"
        return "boxed" if self.name == "boxed" else "any" if self.name == "bare" else "tags"

    def asks(self, problem: Problem) -> tuple[str, Place]:
        """(what is added to the problem's question, where its answer is to stand)."""
        if self.name != "boxed":
            return "", _stated(problem.messages) or "any" if self.name == "bare" else self.place
        stated = _stated(problem.messages)
        if stated:
            return "", stated
        kind = kind_of(problem)
        return self.instruction if kind is None else instruction_for(problem), "boxed"

    def asked(self, problem: Problem) -> Problem:
        """The problem with the place of its answer in its metadata."""
        _, place = self.asks(problem)
        if problem.metadata.get(PLACE) == place:
            return problem
        return replace(problem, metadata={**problem.metadata, PLACE: place})

    def one_instruction(self, problems: Iterable[Problem]) -> str:
        """What is added to each of these questions, if it is the same for all; else ""."""
        instructions = {self.asks(p)[0] for p in problems}
        return instructions.pop() if len(instructions) == 1 else ""

    def warning(self) -> str:
        """In words, where the checkpoint was trained with another prompt; else ""."""
        if not self.trained or self.trained == self.name:
            return ""
        return (
            f"The checkpoint was trained with prompt={self.trained} and is asked with prompt={self.name}: what it "
            f"learned may not show. prompt=auto takes {self.trained}."
        )


def kind_of(problem: Problem) -> Kind | None:
    """What kind of answer a problem has: one final answer, a letter, a program, or anything; None: not known."""
    said = problem.metadata.get(FORM)
    if said in KINDS:
        return said
    if isinstance(problem.answer, tuple):
        return "program"
    if problem.metadata.get("options"):
        return "choice"
    if problem.metadata.get("rubric"):
        return "free"
    return None if problem.answer is None else "final"


def instruction_for(problem: Problem) -> str:
    """What ``boxed`` adds to a problem's question."""
    kind, language = kind_of(problem), "zh" if problem.language == "zh" else "en"
    if kind == "choice":
        return CHOICE[language].format(letters=LETTERS[: len(problem.metadata["options"])])
    if kind == "program":
        tests: Sequence[TestCase] = problem.answer if isinstance(problem.answer, tuple) else ()
        return (PROGRAM if any(t.kind == "stdio" for t in tests) else FUNCTION)[language]
    return FINAL[language] if kind == "final" else ""


def _stated(messages: Sequence[Message]) -> Place | None:
    """The place that the messages themselves name for the answer, if they do."""
    text = "\n".join(str(m.get("content", "")) for m in messages)
    return "tags" if "<answer>" in text else "boxed" if "\\boxed" in text else None


def mentions_place(text: str) -> bool:
    """Whether a question says itself where its answer is to stand."""
    return "<answer>" in text or "\\boxed" in text


# --- choosing ------------------------------------------------------------------------------------------


def check_setting(setting: str) -> str:
    """The setting, its former names replaced. Raises AhaError for no name and no readable file with a placeholder."""
    setting = _FORMER.get(setting, setting)
    if setting not in ("auto", *NAMES):
        read_words(setting)
    return setting


def prompt_files(setting: str) -> list[str]:
    """The file that the setting names, if it does: its content counts as well as its name."""
    return [] if setting in ("auto", *NAMES, *_FORMER) or own_prompt(setting) else [setting]


def own_prompt(setting: str) -> str | None:
    """The reference that a setting names a prompt of one's own by; None for a name and for a file of text."""
    if plugins.is_reference(setting):
        return setting
    return plugins.entry("prompts", setting) if setting.isidentifier() else None


def _own_words(reference: str) -> str:
    """The text that a reference stands for: a string, or what a function of no arguments returns."""
    part = plugins.resolve(reference)
    if callable(part):
        options = plugins.options(reference, plugins.reference(reference).options)
        try:
            part = plugins.call(part, **options)
        except plugins.CallFailed as error:
            raise AhaError(f"The prompt '{reference}' cannot be made: {error}.") from error
    if not isinstance(part, str):
        raise AhaError(
            f"The prompt '{reference}' is {type(part).__name__}: give a text with {{question}}, a Jinja chat "
            "template, or a function of no arguments that returns one. The checkpoint keeps it, so it must be text."
        )
    return part


def read_words(path: str) -> str:
    """The text of a prompt's file, or of one's own in Python. Raises AhaError where there is none, or where it has no
    placeholder."""
    file = Path(path).expanduser()
    if (reference := own_prompt(path)) is not None:
        return _checked_words(_own_words(reference), path, jinja=False)
    if said := plugins.of_file(path):
        raise AhaError(f"There is no prompt '{path}'. {said}")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        hint = nearest(path, ("auto", *NAMES), f"Known: auto, {', '.join(NAMES)}, or a file.")
        reason = "" if isinstance(error, FileNotFoundError) else f" ({error})"
        raise AhaError(
            f"There is no prompt '{path}', and no file of that name can be read{reason}. {hint}"
        ) from error
    return _checked_words(text, path, jinja=file.suffix in _JINJA)


def _checked_words(text: str, path: str, *, jinja: bool) -> str:
    """The text as it is kept. Raises AhaError where the question has no place in it, or several."""
    if jinja or "{%" in text:
        if "messages" not in text:
            raise AhaError(
                f"The prompt '{path}' is a Jinja template that never uses `messages`: nothing is asked."
            )
        if "{question}" in text:
            raise AhaError(f"The prompt '{path}' is Jinja and has {{question}} too: use `messages` alone.")
        return text
    if "{{question}}" in text or "{{ question }}" in text:
        raise AhaError(
            f"The prompt '{path}' has {{{{question}}}} in double braces: write {{question}} in single ones. Everything "
            "else in braces stays as it is."
        )
    if text.count("{question}") != 1:
        raise AhaError(
            f"The prompt '{path}' has {text.count('{question}')} places for the question: write {{question}} once "
            "where it belongs, or give a Jinja chat template (FILE.jinja)."
        )
    return text.rstrip("\n")


def own_template(tokenizer: Any) -> str | None:
    """The model's own chat template: the one that its checkpoint kept where it carries another, else the
    tokenizer's; None without any."""
    kept = saved_prompt(tokenizer)
    if kept:
        own = kept.get("own_template")
        return str(own) if own else None
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, Mapping):
        template = template.get("default")
    return str(template) if template else None


def saved_prompt(tokenizer: Any) -> Mapping[str, Any]:
    """What the checkpoint of a tokenizer says of its prompt (its ``aha.json``); empty where it says nothing, or
    where its chat template was changed since."""
    kept = getattr(tokenizer, "aha", None)
    if not isinstance(kept, Mapping) or not kept.get("prompt"):
        return {}
    return kept if kept.get("template") == getattr(tokenizer, "chat_template", None) else {}


def choose(setting: str | Prompt = "auto", tokenizer: Any = None) -> Prompt:
    """The prompt that a setting means for a tokenizer. Raises AhaError for what it cannot be asked with."""
    if isinstance(setting, Prompt):
        return setting
    setting, kept, own = check_setting(setting), saved_prompt(tokenizer), own_template(tokenizer)
    trained = str(kept.get("prompt", ""))
    if setting == "auto" and trained:
        return Prompt(trained, own, str(kept.get("words", "")), str(kept.get("instruction", "")), trained)
    if setting == "auto":
        return Prompt("boxed" if own else "r1_zero", own)
    if setting == "think" and own is None:  # the same for models without turns to put a system message into
        setting = "r1_zero"
    if setting not in NAMES:
        words = read_words(setting)
        name = plugins.label(setting) if own_prompt(setting) else Path(setting).name
        return Prompt(name, own, words, "", trained)
    return Prompt(setting, own, "", FINAL["en"] if setting == "boxed" else "", trained)


# --- does it suit the model? ---------------------------------------------------------------------------

_BASE_NAMES = ("base", "pt", "pretrain", "pretrained")
_INSTRUCT_NAMES = ("instruct", "chat", "it", "sft", "dpo", "rlhf", "distill", "thinking", "assistant")


def warn_prompt(prompt: Prompt, tokenizer: Any, *, model_name: str = "") -> str:
    """A warning in words where a checkpoint is asked otherwise than it was trained, a base model with its chat
    template, or an instruct model without; else "".

    The kind of the model is a guess. A part of ``model_name`` decides if it can ("base", "instruct", "chat",
    "it", ...). Otherwise the tokenizer does: a chat-tuned model stops at the token with which its template
    ends a turn, so an EOS token that the template never writes (as in base models that ship their instruct
    sibling's template) speaks for a base model.
    """
    if prompt.trained:
        return prompt.warning()
    kind = _kind_of_model(tokenizer, prompt.own, model_name)
    shown = model_name or "this model"
    if kind == "base" and prompt.turns:
        return (
            f"{shown} looks like a base model, but it is asked with a chat template (prompt={prompt.name}) that it may "
            "never have been trained on; prompt=r1_zero is the paper's for base models"
        )
    if kind == "instruct" and not prompt.turns:
        return (
            f"{shown} looks like an instruct model, but it is asked with prompt={prompt.name}; prompt=boxed and "
            "prompt=think use the model's own chat template"
        )
    return ""


def _kind_of_model(
    tokenizer: Any, own: str | None, model_name: str
) -> Literal["base", "instruct", "unknown"]:
    name = model_name.rstrip("/").rsplit("/", 1)[-1].lower()
    parts = set(name.replace("_", "-").replace(".", "-").split("-"))
    if parts & set(_INSTRUCT_NAMES):  # first: "base" also occurs in names such as "v3-base-instruct"
        return "instruct"
    if parts & set(_BASE_NAMES):
        return "base"
    if not own:
        return "base" if tokenizer is not None else "unknown"
    eos = getattr(tokenizer, "eos_token", None)
    if not eos:
        return "unknown"
    return "instruct" if "eos_token" in own or str(eos) in own else "base"
