"""The documentation's Python examples run as they stand, and come to what stands behind them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from aha.recipes import RECIPES
from aha.runs.pipeline import ordered

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = {
    f"{page.name}-{number}": block
    for page in sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    for number, block in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), 1)
}


def told(source):
    """What a comment behind an expression says that it is worth, where that is a Python value."""
    lines, found = source.split("\n"), []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr):
            said = lines[node.end_lineno - 1][node.end_col_offset :].partition("# ")[2]
            try:
                found.append((ast.unparse(node.value), ast.literal_eval(said.split(",")[0])))
            except (ValueError, SyntaxError):
                continue
    return found


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


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_makes_a_model_of_one_of_its_stages(name):
    recipe = RECIPES[name]
    assert recipe.makes in [stage.name for stage in ordered(recipe.build())]
    assert isinstance(recipe.options, tuple)
