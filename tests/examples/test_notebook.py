"""The notebook's cells run one after the other, with few steps."""

from __future__ import annotations

import ast
import json
import linecache
from pathlib import Path

import pytest

import aha

NOTEBOOK = Path(__file__).parents[2] / "examples" / "r1_zero.ipynb"
SMALL = "steps, problems, samples = 2, 2, 2"


def cells():
    """The notebook's cells of code, as (source, tags)."""
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return [
        ("".join(cell["source"]), cell["metadata"].get("tags", []))
        for cell in content["cells"]
        if cell["cell_type"] == "code"
    ]


def run(source, names):
    """Run a cell as a notebook does: its last expression is shown, and its source can be looked up."""
    file = f"<cell {len(linecache.cache)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, file, "exec"), names)
    return eval(compile(ast.Expression(last.value), file, "eval"), names) if last else None


@pytest.mark.skipif(not hasattr(aha, "zero"), reason="the functions that it uses are not there")
def test_every_cell_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names, shown = {"__name__": "__main__"}, []
    for source, tags in cells():
        shown.append(run(source, names))
        if "parameters" in tags:
            run(SMALL, names)
    assert len(names["run"].metrics) == 2
    assert "rewards/accuracy/mean" in names["run"].metrics.columns
    assert any("short" in str(row) for row in shown[-2].index)  # the reward of its own was used
    assert (tmp_path / "runs/notebook/report.html").exists()
    assert "<think>" in capsys.readouterr().out


def test_it_is_kept_without_results():
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    assert all(not cell["outputs"] for cell in content["cells"] if cell["cell_type"] == "code")
