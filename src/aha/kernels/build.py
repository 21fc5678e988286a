"""The kernels' library: compiled for this CPU at its first use, and kept.

Nothing depends on it but speed: without a C++ compiler, or with ``AHA_KERNELS=0``, torch's own operators do the
same work. Threads are torch's: the library takes OpenMP from the process that loads it.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from aha import hardware
from aha.files import cache_folder

SOURCES = Path(__file__).parent / "cpp"
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-fno-math-errno", "-Wno-psabi")
TIMEOUT_S = 600
OFF = ("0", "no", "false")
"""Values of AHA_KERNELS that leave the kernels away."""
_log = logging.getLogger(__name__)


class Library(ctypes.CDLL):
    """The compiled kernels."""

    parallel: bool = True
    """Whether they divide their work over threads."""
    version: str = ""
    """Of their sources, the compiler and the CPU."""


def compiled() -> bool:
    """Whether there are kernels on this machine; the first call may compile them."""
    return library() is not None


def advice() -> str | None:
    """What would make a CPU faster here, if anything would."""
    if compiled() or os.environ.get("AHA_KERNELS", "1") in OFF:
        return None
    return (
        "No kernels could be compiled for this CPU, so torch's own operators do their work: the same results, more "
        "slowly. Install g++ (or name another C++ compiler in CXX)."
    )


@functools.cache
def library() -> Library | None:
    """The kernels, or None where they cannot be had."""
    if os.environ.get("AHA_KERNELS", "1") in OFF or os.name != "posix":
        return None
    import torch  # noqa: F401  its OpenMP is the one that the library finds

    compiler = _compiler()
    if compiler is None:
        return None
    for openmp in (True, False):  # some compilers, and builds of torch, have none
        try:
            path = _built(compiler, openmp)
            loaded = Library(str(path))
            loaded.parallel, loaded.version = openmp, path.stem
            return loaded
        except (OSError, subprocess.SubprocessError) as error:
            _log.info("kernels: %s", getattr(error, "stderr", None) or error)
    return None


def _compiler() -> str | None:
    candidates = [os.environ.get("CXX"), "g++", "clang++"]
    return next((path for name in candidates if name and (path := shutil.which(name))), None)


def _built(compiler: str, openmp: bool) -> Path:
    """The library's file, compiled if it is not there for these sources, this compiler and this CPU."""
    version = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, check=True, timeout=TIMEOUT_S
    )
    known = hashlib.sha256()
    for source in sorted(SOURCES.iterdir()):
        known.update(source.read_bytes())
    for fact in (version.stdout, *FLAGS, openmp, platform.machine(), *sorted(hardware.cpu_flags())):
        known.update(str(fact).encode() + b"\0")
    folder = cache_folder()
    path = folder / f"kernels-{known.hexdigest()[:20]}.so"
    if not path.is_file():
        with tempfile.TemporaryDirectory(dir=folder) as place:
            part = Path(place) / "kernels"
            extra = ["-fopenmp"] if openmp else []
            _run([compiler, *FLAGS, *extra, "-c", SOURCES / "kernels.cpp", "-o", part.with_suffix(".o")])
            _run([compiler, "-shared", part.with_suffix(".o"), "-o", part.with_suffix(".so")])
            part.with_suffix(".so").replace(path)  # at once: other processes may be about the same
    return path


def _run(command: list[str | Path]) -> None:
    subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
