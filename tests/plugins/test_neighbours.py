"""A part whose file imports others beside it: relatively, or by their plain names."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aha import plugins
from aha.stages.rl import RL
from aha.types import AhaError

PACKAGE = {
    "rewards/__init__.py": "FACTOR = 2\n",
    "rewards/own.py": "from . import FACTOR, deeper\n"
    "from .helper import size\n"
    "from ..shared.words import count\n"
    "def f(problem, text): return FACTOR * size(text) + count(text) + deeper.one.ONE\n",
    "rewards/helper.py": "def size(text):\n    from .late import LATE\n    return len(text) + LATE\n",
    "rewards/late.py": "LATE = 0\n",
    "rewards/deeper/__init__.py": "from . import one\n",
    "rewards/deeper/one.py": "from ...shared.words import count\nONE = count('a b') - 1\n",
    "shared/words.py": "def count(text): return len(text.split())\n",
}
"""As a package has it: relative imports of several levels, one in a function, a folder without ``__init__.py``."""

PLAIN = {
    "own.py": "import helper\nfrom tools.words import count\n"
    "def f(problem, text): return helper.size(text) + count(text)\n",
    "helper.py": "import tools.words\ndef size(text): return 2 * len(text)\n",
    "tools/words.py": "def count(text): return len(text.split())\n",
}
"""As a folder of scripts has it."""


def laid(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("files", "place", "value"),
    [(PACKAGE, "rewards/own.py", 13), (PLAIN, "own.py", 12)],
    ids=["package", "plain"],
)
def test_a_part_imports_what_is_beside_it(tmp_path, files, place, value):
    laid(tmp_path, files)
    # 5 letters twice, 2 words, and 1 in the package.
    assert plugins.resolve(f"{tmp_path / place}:f")(None, "ab cd") == value


def test_a_file_beside_that_changed_is_another_run_and_is_loaded_anew(tmp_path):
    laid(tmp_path, PACKAGE)
    laid(tmp_path / "scripts", PLAIN)
    for place, file, text, value in (
        ("rewards/own.py", "rewards/late.py", "LATE = 10\n", 33),
        ("scripts/own.py", "scripts/helper.py", "def size(text): return 100\n", 102),
    ):
        name = f"{tmp_path / place}:f"
        stage = RL.model_validate({"name": "rl", "rewards": [name]})
        before = stage.fingerprint()
        laid(tmp_path, {file: text})
        assert stage.fingerprint() != before
        assert plugins.resolve(name)(None, "ab cd") == value


def test_all_files_are_kept_with_the_stage(tmp_path):
    laid(tmp_path / "project", PACKAGE)
    copies = plugins.keep_copies([f"{tmp_path / 'project/rewards/own.py'}:f"], tmp_path / "rl")
    names = {copy.relative_to(tmp_path / "rl/own").as_posix(): copy.read_text() for copy in copies}
    inner = {name.removeprefix("rewards/"): text for name, text in PACKAGE.items()}
    assert names == inner


def test_folders_with_files_of_one_name_each_get_their_own(tmp_path):
    for folder, size in (("a", 1), ("b", 2)):
        laid(
            tmp_path / folder,
            {
                "own.py": "from helper import SIZE\ndef f(problem, text): return SIZE\n",
                "helper.py": f"SIZE = {size}\n",
            },
        )
    values = [plugins.resolve(f"{tmp_path / folder}/own.py:f")(None, "") for folder in ("a", "b", "a")]
    assert values == [1, 2, 1]
    laid(tmp_path / "c", {"own.py": "import json, numpy\ndef f(): return json.dumps, numpy.ones\n",
                          "json.py": "raise ValueError\n", "numpy.py": "raise ValueError\n"})  # fmt: skip
    assert plugins.resolve(f"{tmp_path / 'c'}/own.py:f")()[0].__module__ == "json", (
        "what is installed comes first"
    )


JOB = """
import pickle, sys
from aha import plugins
files, name, value = pickle.load(sys.stdin.buffer)
plugins.install(files)
assert plugins.resolve(name)(None, "ab cd") == value
"""


@pytest.mark.parametrize(
    ("files", "place", "value"),
    [(PACKAGE, "rewards/own.py", 13), (PLAIN, "own.py", 12)],
    ids=["package", "plain"],
)
def test_a_worker_elsewhere_is_sent_all_of_them(tmp_path, files, place, value):
    """On a machine that has none of the files: all come from what Ray's workers are given."""
    laid(tmp_path / "here", files)
    name = f"{tmp_path / 'here' / place}:f"
    sent = pickle.dumps((plugins.parcel([name]), name, value))
    shutil.rmtree(tmp_path / "here")
    ran = subprocess.run([sys.executable, "-c", JOB], input=sent, capture_output=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr.decode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("from .absent import f\n", r"own.py:1: ModuleNotFoundError: No module named '.absent'"),
        (
            "from .helper import absent\n",
            r"own.py:1: ImportError: cannot import name 'absent' from '.helper'",
        ),
        ("\nimport helper, absent\n", r"own.py:2: ModuleNotFoundError: No module named 'absent'"),
        (f"from {'.' * 99}up import f\n", "imports from 99 folders above it, and there are not so many"),
        ("from . import broken\n", "cannot be loaded: own.py:1: ZeroDivisionError"),
    ],
)
def test_what_cannot_be_imported_is_named_with_its_line(tmp_path, text, said):
    laid(tmp_path, {"own.py": text, "helper.py": "", "broken.py": "1 / 0\n"})
    with pytest.raises(AhaError, match=said):
        plugins.resolve(f"{tmp_path}/own.py:f")
    laid(tmp_path, {"own.py": "from .helper import f\n", "helper.py": "def f(): return 7\n"})
    assert plugins.resolve(f"{tmp_path}/own.py:f")() == 7, "nothing of it is left behind"


def test_a_function_of_such_a_file_is_named_by_its_place(tmp_path):
    laid(tmp_path, PACKAGE)
    name = f"{tmp_path / 'rewards/own.py'}:f"
    assert plugins.reference_to(plugins.resolve(name)) == name


def test_a_package_whose_init_imports_the_part_runs_it_once(tmp_path):
    laid(tmp_path, {"p/__init__.py": "RUNS = []\nfrom .own import f\n",
                    "p/own.py": "from . import RUNS\nRUNS.append(1)\ndef f(): return len(RUNS)\n"})  # fmt: skip
    assert plugins.resolve(f"{tmp_path / 'p/own.py'}:f")() == 1
