"""The library: compiled once, kept, and done without where it cannot be had."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from aha.kernels import build

TELL = "from aha.kernels.build import library; print(library() is not None)"


def told(**variables):
    env = {k: v for k, v in os.environ.items() if k not in ("AHA_KERNELS", "CXX")} | variables
    done = subprocess.run([sys.executable, "-c", TELL], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() == "True"


def test_without_a_compiler_or_on_request_there_is_none(tmp_path):
    assert not told(AHA_KERNELS="0")
    assert not told(PATH=str(tmp_path))
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert not told(CXX=str(broken), XDG_CACHE_HOME=str(tmp_path))


@pytest.mark.skipif(build.library() is None, reason="no C++ compiler here")
def test_it_is_compiled_once_into_a_folder_of_the_user(tmp_path):
    assert told(XDG_CACHE_HOME=str(tmp_path))
    (library,) = (tmp_path / "aha").iterdir()
    assert (tmp_path / "aha").stat().st_mode & 0o077 == 0
    before = library.stat().st_mtime_ns
    assert told(XDG_CACHE_HOME=str(tmp_path))
    assert [path.stat().st_mtime_ns for path in (tmp_path / "aha").iterdir()] == [before]


@pytest.mark.slow
@pytest.mark.skipif(build.library() is None, reason="no C++ compiler here")
def test_a_compiler_without_openmp_makes_kernels_of_one_thread(tmp_path):
    real = shutil.which("g++") or shutil.which("clang++")
    plain = tmp_path / "c++"
    plain.write_text(f'#!/bin/sh\ncase "$*" in *-fopenmp*) exit 1;; esac\nexec {real} "$@"\n')
    plain.chmod(0o755)
    told_parallel = "from aha.kernels.build import library; print(library().parallel)"
    env = os.environ | {"CXX": str(plain), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", told_parallel], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.slow
@pytest.mark.skipif(build.library() is None, reason="no C++ compiler here")
def test_a_folder_that_takes_no_files_is_left_alone(tmp_path):
    (tmp_path / "aha").write_text("not a folder")
    assert told(XDG_CACHE_HOME=str(tmp_path))


@pytest.mark.skipif(build.library() is None, reason="no C++ compiler here")
@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="no /proc")
def test_there_is_no_second_pool_of_threads():
    """Torch's threads and those of another OpenMP would wait for each other's cores."""
    used = "import torch; from aha import kernels; x = torch.ones(4096, 512)\n"
    used += "kernels.rms_norm(x, torch.ones(512), 1e-6); print(open('/proc/self/maps').read())"
    done = subprocess.run([sys.executable, "-c", used], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    files = {line.split()[-1] for line in done.stdout.splitlines() if "gomp" in line or "iomp" in line}
    assert len(files) == 1
    assert any("kernels-" in line for line in done.stdout.splitlines())
