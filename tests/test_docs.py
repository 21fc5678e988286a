"""The documentation's Python examples run as they stand, and come to what stands behind them."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from aha.cli import COMMANDS, parser
from aha.recipes import RECIPES
from aha.runs.pipeline import ordered

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = {
    f"{page.name}-{number}": block
    for page in sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
    for number, block in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), 1)
}


def told(source):
    """What a comment behind an expression says that it is worth, where that is a Python value."""
    lines, links = source.split("\n"), []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr):
            said = lines[node.end_lineno - 1][node.end_col_offset :].partition("# ")[2]
            try:
                links.append((ast.unparse(node.value), ast.literal_eval(said.split(",")[0])))
            except (ValueError, SyntaxError):
                continue
    return links


@pytest.mark.parametrize("source", EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_runs(source):
    worth = dict(told(source))
    tree = ast.parse(source)
    seen = {}

    class Notes(ast.NodeTransformer):
        def visit_Expr(self, node):
            if (text := ast.unparse(node.value)) in worth:
                call = ast.Call(ast.Name("_note", ast.Load()), [ast.Constant(text), node.value], [])
                node.value = call
            return node

    exec(
        compile(ast.fix_missing_locations(Notes().visit(tree)), "example", "exec"),
        {"_note": seen.__setitem__},
    )
    assert seen == worth


def test_examples_are_found_and_so_is_what_they_are_worth():
    assert {"rewards.md-1", "security.md-1", "verifier.md-1"} <= EXAMPLES.keys()
    assert dict(told(EXAMPLES["security.md-1"]))["sandbox.run('print(6 * 7)').stdout"] == b"42\n"


def reference():
    """The module that writes the reference pages."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_has_every_command_and_setting(tmp_path):
    module = reference()
    module.main(tmp_path)
    commands = (tmp_path / "commands.md").read_text(encoding="utf-8")
    assert all(f"## aha {name}\n" in commands for name in COMMANDS)
    settings = (tmp_path / "settings.md").read_text(encoding="utf-8")
    for stage in module.stages():
        for name in type(stage).model_fields:
            assert name == "name" or f"| `{name}` |" in settings
    assert not re.findall(r"^\| `\w+` \|.*\|  \|$", settings, re.MULTILINE)  # each says what it is


def parsers(parser, name):
    """A parser and those of its subcommands, by what is typed."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                yield from parsers(inner, f"{name} {word}")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_says_what_it_does_and_what_each_option_is(command):
    every = [*parsers(reference().subparser(parser(command), command), command)]
    assert [name for name, one in every if not one.description] == []
    options = [
        (name, a)
        for name, one in every
        for a in one._actions
        if not isinstance(a, argparse._SubParsersAction)
    ]
    assert [f"{name}: {a.option_strings or a.dest}" for name, a in options if not a.help] == []


@pytest.mark.slow  # `make docs` builds the same, as strictly, wherever changes are checked
def test_the_site_is_built_and_no_link_is_dead(tmp_path):
    pytest.importorskip("zensical", reason="the site's builder is not installed: make setup")
    project = tmp_path / "project"
    project.mkdir()
    shutil.copytree(ROOT / "docs", project / "docs")
    shutil.copy(ROOT / "zensical.toml", project)
    (project / "src").symlink_to(ROOT / "src")
    reference().main(project / "docs" / "reference")
    words = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = [
        page.relative_to(project / "docs").with_suffix(".html") for page in (project / "docs").rglob("*.md")
    ]
    assert all((project / "site" / page).exists() for page in pages)
    types = (project / "site" / "reference" / "types.html").read_text(encoding="utf-8")
    assert 'id="aha.types.Rollout"' in types  # made from the code


def test_every_page_stands_in_the_navigation():
    said = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]

    def pages(entries):
        for entry in entries:
            for value in entry.values():
                yield from [value] if isinstance(value, str) else pages(value)

    there = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert there | {f"reference/{name}" for name in reference().MADE} == set(pages(said))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_makes_a_model_of_one_of_its_stages(name):
    recipe = RECIPES[name]
    assert recipe.makes in [stage.name for stage in ordered(recipe.build())]
    assert isinstance(recipe.options, tuple)


def test_pages_say_what_an_answer_earns():
    weights = RECIPES["r1_zero"].build()[0].rewards
    right, form = f"{weights['accuracy']:g}", f"{weights['format']:g}"
    start = (ROOT / "docs/start.md").read_text(encoding="utf-8")
    lesson = (ROOT / "docs/tutorials/r1_zero.md").read_text(encoding="utf-8")
    assert (
        f"{right} for a right answer and {form} for the format, so {sum(weights.values()):g} is perfect"
        in start
    )
    assert f"{right} if the answer is right, and {form} if the format is kept" in lesson


def test_hooks_call_what_there_is():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    named = re.findall(r"tests/\S+\.py", hooks)
    assert named
    assert all((ROOT / test).is_file() for test in named)
    assert hooks.index("id: ruff\n") < hooks.index("id: ruff-format"), "what is mended is formatted then"
