"""The rules of the house, held by a program: layers, no cycles, short files, nothing heavy at start-up."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "aha"
FILES = sorted(SOURCE.rglob("*.py"))
BESIDE = sorted(path for folder in ("tests", "scripts", "examples") for path in (ROOT / folder).rglob("*.py"))

# What each room may import. Rooms in one line of the design know nothing of each other.
BASE = {
    "types",
    "hints",
    "options",
    "plugins",
    "ranks",
    "files",
    "aside",
    "speeds",
    "hardware",
    "settings",
    "__init__",
}
ALLOWED = {
    "types": set(),
    "hints": set(),
    "options": {"types"},
    "ranks": {"types"},
    "files": {"types", "ranks"},
    "aside": {"types", "ranks", "files"},
    "speeds": {"files"},
    "hardware": {"types", "ranks", "speeds"},
    "settings": {"types"},
    "plugins": {"types", "hints"},
    "chat": {"types", "hints", "plugins"},
    "checkpoints": BASE,
    "trials": set(),
    "modeling": BASE | {"kernels", "checkpoints", "trials"},
    "kernels": {"files", "speeds", "hardware"},
    "attention": {"types", "kernels", "trials"},
    "sandbox": BASE,
    "rewards": BASE | {"chat", "sandbox"},
    "data": BASE,
    "tasks": BASE | {"chat", "rewards", "data"},
    "corpus": BASE | {"chat", "tasks"},
    "sampling": BASE | {"checkpoints", "chat", "modeling", "attention", "kernels", "trials"},
    "judges": BASE | {"chat", "rewards", "tasks", "sampling"},
    "cluster": BASE | {"modeling", "rewards", "tasks", "sampling"},
    "training": BASE | {"modeling", "attention", "kernels"},
    "runs": BASE | {"chat"},
    "diagnosis": BASE | {"checkpoints", "chat", "rewards", "tasks", "data", "runs"},
    # Estimates need configs alone; their measurement drives the trainer and the sampler. A dry run reads stages.
    "planning": BASE | {"modeling", "kernels", "sampling", "training", "runs"},
    # The quick checks, which every stage runs as it starts, and those that drive a stage themselves.
    "doctor": BASE
    | {"chat", "modeling", "attention", "rewards", "sandbox", "tasks", "sampling", "training"}
    | {"cluster", "kernels", "planning", "trials"},
    "doctor/full": BASE
    | {"modeling", "tasks", "sampling", "training", "runs", "stages", "doctor", "planning"},
    "stages": BASE
    | {"chat", "modeling", "rewards", "tasks", "corpus", "sampling", "training", "runs", "data", "judges"}
    | {"cluster", "planning", "diagnosis"},
    # The web page over runs: it reads what they left, and asks the graders again.
    "view": BASE | {"chat", "rewards", "tasks", "sandbox", "data", "runs"},
    "benchmarks": BASE
    | {"checkpoints", "chat", "rewards", "tasks", "data", "judges", "sampling", "runs", "stages"},
    "thinking": BASE | {"chat", "rewards", "tasks", "sampling", "runs", "stages", "benchmarks"},
    "analysis": BASE
    | {
        "chat",
        "modeling",
        "rewards",
        "tasks",
        "sampling",
        "training",
        "runs",
        "diagnosis",
        "stages",
        "benchmarks",
    },
    "recipes": BASE | {"modeling", "runs", "stages", "tasks"},
}
HEAVY = (
    "torch",
    "transformers",
    "numpy",
    "tokenizers",
    "rich",
    "pydantic",
    "sympy",
    "pyarrow",
    "datasets",
    "ray",
    "starlette",
    "uvicorn",
    "sqlite3",
)


def room(path: Path) -> str:
    parts = path.relative_to(SOURCE).parts
    return "doctor/full" if parts[:2] == ("doctor", "full") else parts[0].removesuffix(".py")


class Contents(NamedTuple):
    """What the rules ask of a file. It is parsed once for all of them, which takes longer than they do."""

    imported: list[str]
    edges: set[str]
    evaluated: list[int]  # lines
    classes: list[str]
    unclear: list[str]  # names that say nothing, with their lines
    settings: list[str]


@functools.cache
def contents(path: Path) -> Contents:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    name = module_of(path) if SOURCE in path.parents else ""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    called = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    return Contents(
        imported=imported(tree),
        edges=set(edges(tree, package, MODULES)) - {name},
        evaluated=[n.lineno for n in called if n.func.id in ("eval", "exec")],
        classes=[n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef)],
        unclear=[f"{name}, line {line}" for name, line in bound_names(tree) if name in SAYS_NOTHING],
        settings=declared(tree),
    )


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(("aha", *parts)).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imported(tree: ast.Module) -> list[str]:
    """Names of our modules that a file imports, wherever in it the import stands."""
    modules = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in modules if name.split(".")[0] == "aha"]


@pytest.mark.parametrize(
    "path", [p for p in FILES if room(p) in ALLOWED], ids=lambda p: str(p.relative_to(SOURCE))
)
def test_imports_point_downward(path):
    here = room(path)
    for name in contents(path).imported:
        there = name.split(".")[1] if "." in name else "__init__"
        there = "doctor/full" if name.startswith("aha.doctor.full") else there
        assert there == here or there in ALLOWED[here] | {"__version__"}, f"{path.name} imports {name}"


def asks_for_types(test: ast.expr) -> bool:
    names = (getattr(n, "id", getattr(n, "attr", "")) for n in ast.walk(test))
    return "TYPE_CHECKING" in names


def only_types(tree: ast.Module) -> set[ast.AST]:
    """What stands under ``if TYPE_CHECKING``: it never runs."""
    guards = [n for n in ast.walk(tree) if isinstance(n, ast.If) and asks_for_types(n.test)]
    return {inner for guard in guards for inner in ast.walk(guard)}


def edges(tree: ast.Module, package: str, names: Container[str]) -> Iterator[str]:
    """Modules of ours that are imported, at the top or within a function, by their names or relative ones."""
    skipped = only_types(tree)
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            targets = [f"{module}.{alias.name}" for alias in node.names]
            yield from (t if t in names else module for t in targets if t in names or module in names)


def test_the_test_of_circles_sees_relative_and_local_imports():
    local = "def f():\n    from ..c import d\n    import aha.e\n"
    tree = ast.parse(f"from . import b\n{local}if TYPE_CHECKING:\n    from . import x")
    assert set(edges(tree, "aha.a", {"aha.a.b", "aha.c", "aha.e", "aha.a.x"})) == {
        "aha.a.b",
        "aha.c",
        "aha.e",
    }


def test_no_cycles_between_modules():
    graph = {name: contents(path).edges for name, path in MODULES.items()}
    state: dict[str, int] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert state.get(name) != 1, " -> ".join((*trail, name))
        if name in state:
            return
        state[name] = 1
        for target in graph.get(name, ()):
            if target in MODULES and target != name:
                visit(target, (*trail, name))
        state[name] = 2

    for name in MODULES:
        visit(name, ())


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


def test_every_recipe_builds():
    from aha.recipes import RECIPES
    from aha.runs.pipeline import ordered

    for name, recipe in RECIPES.items():
        stages = ordered(recipe.build())
        assert stages, name
        assert len({s.fingerprint() for s in stages}) == len(stages)
        assert all(s.machine <= type(s).model_fields.keys() for s in stages), name


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from aha.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip().splitlines()[-1] == "[]"


def test_nothing_of_ours_evaluates_text():
    """No eval or exec in our process. The sandbox's inside is the place where untrusted code runs."""
    for path in FILES:
        if "inside" in path.parts:
            continue
        assert contents(path).evaluated == [], path


def test_readme_names_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make zero" in text
    assert "make test" in text


def test_a_class_name_has_one_meaning():
    """Two classes of one name are two meanings of a word."""
    places: dict[str, list[str]] = {}
    for path in FILES:
        for name in contents(path).classes:
            places.setdefault(name, []).append(str(path.relative_to(SOURCE)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


# Participles that say that something happened, and not what the value is.
SAYS_NOTHING = {"found", "made", "wanted", "given", "held", "begun", "carried"}


def bound_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names that are bound as variables, parameters or fields, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, (ast.MatchAs, ast.MatchStar, ast.ExceptHandler)) and node.name:
            yield node.name, node.lineno


def test_the_test_of_names_sees_every_binding():
    text = (
        "class A:\n    held: int\ndef f(made, *, wanted=1):\n    (a, found), given = made\n"
        "lambda held: 1\n[found for found in x]\nwith a as made: pass\nfor wanted in x: pass\n"
        "if (given := 1): pass\ntry: pass\nexcept E as found: pass\nx.found = y[made]\n"
    )
    lines = [line for name, line in bound_names(ast.parse(text)) if name in SAYS_NOTHING]
    assert sorted(lines) == [2, 3, 3, 4, 4, 5, 6, 7, 8, 9, 11]


@pytest.mark.parametrize("path", [*FILES, *BESIDE], ids=lambda p: str(p.relative_to(ROOT)))
def test_variables_are_named_for_what_they_hold(path):
    assert contents(path).unclear == []


STAGES_SETTINGS = 133
"""Settings that stages and their groups declare: a setting that several have is declared once, in a group. 104 of them
are those for which 0.1.0 had 195 declarations; 29 came since, with what they set."""


def declared(tree: ast.Module) -> list[str]:
    """Class.name of every setting that a module's classes declare."""
    return [
        f"{node.name}.{line.target.id}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
        if isinstance(line.value, ast.Call) and ast.unparse(line.value.func) in ("setting", "Field")
    ]


def test_stages_declare_few_settings():
    names = [name for path in FILES if room(path) == "stages" for name in contents(path).settings]
    assert "SeedSettings.seed" in names
    assert len(names) <= STAGES_SETTINGS, names
    assert len(names) == STAGES_SETTINGS, "fewer: lower STAGES_SETTINGS"


def test_no_two_test_files_have_one_name():
    """pytest imports them by name: of two, one is not run."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) > 100
    assert sorted({name for name in names if names.count(name) > 1}) == []
