"""What a package index and a continuous integration are told: names, versions, pins, types."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import aha
from aha.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = {
    re.split("[=<>~!]", line)[0].lower().replace("_", "-")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
}
UNPINNED = {"vllm", "wandb", "trackio", "mlflow"}
"""Have environments of their own, or are installed by those who use them."""


def texts():
    """Every file of ours that may tell people what to install."""
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "src/**/*.py",
        "examples/**/*",
        "launchers/*",
        "Makefile",
        ".github/**/*",
    ):
        yield from (path for path in ROOT.glob(pattern) if path.is_file())


def wanted(requirement):
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-")


def test_the_version_is_one_in_every_place():
    cited = re.search(r"(?m)^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest = re.search(r"(?m)^## (\d\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert cited is not None
    assert newest is not None
    assert PROJECT["version"] == cited[1] == newest[1] == aha.__version__


def test_the_index_has_another_project_called_aha_and_nobody_is_sent_there():
    assert PROJECT["name"] == "aha-rl"
    wrong = re.compile(r"pip install[^\n`]*?[ '\"]aha(?![-\w./])")
    hints = [
        str(path) for path in texts() if wrong.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not hints
    assert wrong.search("pip install 'aha[vllm]'")
    assert wrong.search("pip install -q aha")
    assert not wrong.search("pip install 'aha-rl[vllm]'")


@pytest.mark.parametrize("group", [None, *PROJECT["optional-dependencies"]])
def test_what_setup_installs_has_one_version(group):
    asked = PROJECT["dependencies"] if group is None else PROJECT["optional-dependencies"][group]
    assert {wanted(r) for r in asked} - UNPINNED <= PINS


def test_every_pinned_version_takes_the_oldest_python_that_is_promised():
    """Of those that are installed here: "3.11 and newer" is 3.11.0, which a long-lived system may still have."""
    oldest = PROJECT["requires-python"].removeprefix(">=") + ".0"
    refusing = {
        d.name: d.metadata["Requires-Python"]
        for d in importlib.metadata.distributions()
        if d.name.lower().replace("_", "-") in PINS
        and oldest not in SpecifierSet(d.metadata["Requires-Python"] or "")
    }
    assert refusing == {}


def test_continuous_integration_runs_linter_types_and_tests():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    targets = " ".join(re.findall(r"^make (.*)$", script, re.MULTILINE)).split()
    assert {"lint", "types", "test"} <= set(targets)
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^types: .*\n\t\$\(BIN\)/basedpyright", rules, re.MULTILINE)  # brings its own node


def test_a_type_checker_may_read_the_package():
    assert Path(aha.__file__).with_name("py.typed").exists()
    assert "py.typed" in str(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"])


def test_the_readme_names_every_command_once_with_what_it_does():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Commands")[2].splitlines()
    cells = [line.split(" | ")[0] for line in lines if line.startswith("| `aha ")]
    assert len(set(cells)) == len(cells)
    named = [name for cell in cells for name in re.findall(r"`aha ([a-z0-9-]+)", cell)]
    assert set(named) >= set(COMMANDS), "a command that the table leaves out"
    twice = {name for name in named if named.count(name) > 1}
    assert twice <= {"data", "eval"}, "one task or many; rows before a run or for training"


def test_the_workflow_runs_make_on_every_python_that_is_promised():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    rules = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    ran = [step["run"].split() for job in jobs.values() for step in job["steps"] if "run" in step]
    ran = [
        words for words in ran if words[:3] != ["sudo", "sysctl", "-w"]
    ]  # namespaces for the sandbox's tests
    assert all(words[0] == "make" and set(words[1:]) <= rules for words in ran)
    assert {"lint", "types", "docs", "test"} <= {target for words in ran for target in words}
    promised = re.findall(r"Python :: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE)
    assert jobs["tests"]["strategy"]["matrix"]["python"] == promised
