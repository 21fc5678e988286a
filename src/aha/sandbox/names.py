"""Whose the names in a test source are: the tests' own, Python's, or the candidate's."""

from __future__ import annotations

import ast
import builtins
import copy
import re
import symtable
from collections.abc import Iterator
from typing import TypeGuard

_MAIN = ("__name__ == '__main__'", "'__main__' == __name__")
_RUNNERS = ("unittest", "pytest", "doctest", "TestRunner", "main()")
_CANDIDATE_MODULES = ("solution", "candidate", "main", "submission", "answer")


def free(source: str, prelude: str = "") -> set[str]:
    """Global names that a source uses, and neither it nor a prelude defines, nor Python: the candidate's."""
    tables = list(_tables(symtable.symtable(source, "tests.py", "exec")))
    used = {
        symbol.get_name()
        for table in tables
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table is tables[0] or symbol.is_global())
    }
    return used - _defined(tables) - _defined_in(prelude) - set(dir(builtins))


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for inner in table.get_children():
        yield from _tables(inner)


def _defined(tables: list[symtable.SymbolTable]) -> set[str]:
    """Global names that are bound: at the top, or in a function that declares them global."""
    return {
        symbol.get_name()
        for table in tables
        for symbol in table.get_symbols()
        if (symbol.is_assigned() or symbol.is_imported())
        and (table is tables[0] or symbol.is_declared_global())
    }


def _defined_in(prelude: str) -> set[str]:
    return _defined(list(_tables(symtable.symtable(prelude, "prelude.py", "exec")))) if prelude else set()


def classes(prelude: str) -> list[str]:
    """Classes that a prelude defines, which both sides then have."""
    return [node.name for node in ast.parse(prelude).body if isinstance(node, ast.ClassDef)]


def bound(tree: ast.AST) -> set[str]:
    """Every name that is bound anywhere in a tree."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def candidate_builtins(tree: ast.Module, entry_point: str) -> set[str]:
    """The candidate's functions that are named like Python's own (``sum``, ``max``).

    The entry point, if it is one; else, in a source that names nothing else of the candidate's, what the
    first statement calls. The program itself has no say: one that defines ``all`` must not decide its tests.
    """
    own = set(dir(builtins))
    if entry_point:
        return {entry_point} & own
    if free(ast.unparse(tree)):
        return set()
    first = next((each for each in tree.body if isinstance(each, (ast.Assert, ast.Assign, ast.Expr))), None)
    called = [node.func for node in ast.walk(first) if isinstance(node, ast.Call)] if first else []
    return {node.id for node in called[:1] if isinstance(node, ast.Name) and node.id in own} - bound(tree)


_FILES = frozenset(("open", "tmp_path", "tmpdir", "tempfile", "shutil"))
_OS = "chdir remove unlink mkdir makedirs rename rmdir listdir getcwd exists isfile isdir getsize"
_IN_OS = frozenset(_OS.split())
_OF_PATHS = frozenset(("read_text", "write_text", "read_bytes", "write_bytes", "touch"))
_LOGS = frozenset(("caplog", "assertLogs", "assertNoLogs"))
_FIXTURES = frozenset(("monkeypatch", "mocker"))
_CALL = re.compile(r"[A-Za-z_]\w*\(")
_SCOPES = frozenset(("exec", "globals", "locals"))
_SHARED_TARGETS = frozenset(("builtins.input", "sys.stdin", "sys.stdout", "sys.stderr"))


def unjudgeable(tree: ast.Module, prelude: str = "") -> str:
    """Why tests cannot be judged from another process than the program's; "" where they can."""
    candidates = free(ast.unparse(tree), prelude)
    return next(filter(None, (_hindrance(node, candidates) for node in ast.walk(tree))), "")


def _hindrance(node: ast.AST, candidates: set[str]) -> str:
    if isinstance(node, ast.ClassDef):
        for base in map(ast.unparse, node.bases):
            if base in candidates and not base.endswith(("Error", "Exception", "Warning")):
                return f"the tests derive a class from the program's {base}"
    if isinstance(node, ast.arg) and node.arg in _FILES | _LOGS | _FIXTURES:
        return f"the tests reach into the program's process ({node.arg})"
    if not isinstance(node, ast.Call):
        return ""
    called = ast.unparse(node.func)
    first, _, last = called.rpartition(".")
    if (
        called in _FILES
        or first.split(".")[0] in _FILES
        or last in _OF_PATHS
        or (first in ("os", "os.path") and last in _IN_OS)
    ):
        return f"the tests share files with the program ({called})"
    if last in _LOGS or called in ("doctest.testmod", "testmod"):
        return f"the tests look into the program's process ({called})"
    if called in _SCOPES - candidates:
        return f"the tests look names up by {called}"
    target = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
    if called == "eval" and isinstance(target, str) and _CALL.search(target):
        return "the tests call the program from a text (eval)"
    if last == "patch" and isinstance(target, str) and target not in _SHARED_TARGETS:
        return f"the tests replace {target} within the program"
    return ""


def is_check_call(statement: ast.stmt, entry_point: str) -> bool:
    """Whether a statement is ``check(entry_point)``."""
    if not entry_point or not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return False
    return ast.unparse(statement.value) == f"check({entry_point})"


def without_candidate(tree: ast.Module, entry_point: str) -> ast.Module:
    """The tests without a stub or an import of the candidate, and without the call of ``check``, which the
    runner makes."""
    body: list[ast.stmt] = []
    for each in _without_module(tree).body:
        if _is_main_guard(each):
            body += each.body
            continue
        stub = isinstance(each, ast.FunctionDef) and each.name == entry_point
        if isinstance(each, ast.ImportFrom) and each.module in _CANDIDATE_MODULES and not each.level:
            body += [_renamed(alias) for alias in each.names if alias.asname]
        elif not stub and not is_check_call(each, entry_point):
            body.append(each)
    module = _ClassesAsked().visit(copy.deepcopy(ast.Module(body, tree.type_ignores)))
    return ast.fix_missing_locations(module)


class _ClassesAsked(ast.NodeTransformer):
    """``x.__class__`` as ``type(x)``, which asks the program of its objects."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        self.generic_visit(node)
        if node.attr != "__class__" or not isinstance(node.ctx, ast.Load):
            return node
        return ast.Call(ast.Name("type", ast.Load()), [node.value], [])


def _is_main_guard(statement: ast.stmt) -> TypeGuard[ast.If]:
    """Whether a statement runs what stands in it where the tests are the program that is run, and no runner is."""
    if not isinstance(statement, ast.If) or ast.unparse(statement.test) not in _MAIN:
        return False
    text = ast.unparse(statement)
    return not statement.orelse and not any(runner in text for runner in _RUNNERS)


def _without_module(tree: ast.Module) -> ast.Module:
    """``import solution`` and ``solution.f`` as ``f``."""
    imports = [each for each in ast.walk(tree) if isinstance(each, ast.Import)]
    aliases = [alias for each in imports for alias in each.names if alias.name in _CANDIDATE_MODULES]
    if not aliases:
        return tree
    return _WithoutModule({alias.asname or alias.name for alias in aliases}).visit(copy.deepcopy(tree))


class _WithoutModule(ast.NodeTransformer):
    def __init__(self, names: set[str]) -> None:
        self._names = names

    def visit_Import(self, node: ast.Import) -> ast.stmt:
        kept = [alias for alias in node.names if alias.name not in _CANDIDATE_MODULES]
        return ast.copy_location(ast.Import(kept) if kept else ast.Pass(), node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id in self._names:
            return ast.copy_location(ast.Name(node.attr, node.ctx), node)
        return node


def _renamed(alias: ast.alias) -> ast.stmt:
    return ast.parse(f"{alias.asname} = {alias.name}").body[0]


def imported(source: str) -> set[str]:
    """The top-level names of the modules that a source imports, wherever it does."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module.split(".")[0])
    return modules - set(_CANDIDATE_MODULES)
