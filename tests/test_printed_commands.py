"""Every command that the documentation prints is one of today: its words are parsed, its settings known."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path

import pytest

from aha.cli import COMMANDS, parse, parser
from aha.recipes import RECIPES
from aha.runs.pipeline import ordered

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "examples" / "README.md",
    *(ROOT / "docs").rglob("*.md"),
]
FENCE = re.compile(r"^```(?:sh|bash|console)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:\.venv/bin/)?aha [a-z][^`]*)`")
BEFORE = re.compile(r"^\s*(\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?")
ENDS = (">", ">>", "2>", "|", "&", "&&", ";")
"""Words at which a command ends and the shell's begin."""
PLACEHOLDERS = {"N": "1", "S": "1", "K": "1", "NAME": "smollm2", "PART": "rollout"}
"""Words that stand for one's own, and what is put in their place."""


def printed(text):
    """The commands of a page as lists of words, whole ones from blocks, and those in sentences that have words."""
    lines = [line for block in FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    inline = [said.replace("\n", " ") for said in INLINE.findall(FENCE.sub("", text))]
    for line in [*lines, *(said for said in inline if len(said.split()) > 3 and "|" not in said)]:
        line = BEFORE.sub("", line)
        if line.startswith("aha ") and "..." not in line and "…" not in line:
            for words in commands(shlex.split(line, comments=True)):
                yield [PLACEHOLDERS.get(word, word) for word in words]


def commands(words):
    """Of one line, those of the program, without its name; a semicolon may stand at a word's end."""
    parts = [part for word in words for part in ([word[:-1], ";"] if word[1:].endswith(";") else [word])]
    ends = [i for i, part in enumerate(parts) if part in ENDS]
    for start, end in itertools.pairwise([-1, *ends, len(parts)]):
        if parts[start + 1 : start + 2] == ["aha"]:
            yield parts[start + 2 : end]


COMMANDS_PRINTED = {
    f"{page.relative_to(ROOT)}: {shlex.join(words)}": words
    for page in sorted(PAGES)
    for words in printed(page.read_text(encoding="utf-8"))
}


def test_commands_are_seen_in_blocks_and_sentences():
    text = "```sh\nOMP=1 .venv/bin/aha zero \\\n  rl.lr=1 > out  # it\n$ aha list\n```\n"
    text += "`aha plan --gpus N big` `aha eval` `aha fetch qwen; aha list && ls`"
    seen = [["zero", "rl.lr=1"], ["list"], ["plan", "--gpus", "1", "big"], ["fetch", "qwen"], ["list"]]
    assert list(printed(text)) == seen
    assert len(COMMANDS_PRINTED) > 150


@pytest.mark.parametrize("words", COMMANDS_PRINTED.values(), ids=COMMANDS_PRINTED)
def test_a_printed_command_is_parsed(words, capsys):
    assert words[0] in COMMANDS
    try:
        parse(parser(words[0]), words)
    except SystemExit as end:
        assert end.code in (0, None), capsys.readouterr().err  # noqa: PT017


def known_settings():
    """Names of settings in every stage of every recipe, and in what they hold."""
    names = set()
    models = [stage for recipe in RECIPES.values() for stage in ordered(recipe.build())]
    while models:
        model = models.pop()
        names |= set(type(model).model_fields)
        inner = (getattr(model, name) for name in type(model).model_fields)
        models += [value for value in inner if hasattr(type(value), "model_fields")]
    return names


def test_the_settings_of_printed_commands_are_known():
    names = known_settings()
    unknown = [
        (place, word)
        for place, words in COMMANDS_PRINTED.items()
        for word in words
        if (match := re.match(r"[a-z]\w*(?:\.\w+)*\.(\w+)=", word)) and match[1] not in names
    ]
    assert unknown == []
