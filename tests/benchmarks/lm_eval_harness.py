"""lm-evaluation-harness, run on a task of ours in its own environment (`aha bench peers install lm-eval`)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from aha.bench import peers
from aha.files import read_jsonl


def python() -> Path:
    """Its interpreter; the test is skipped where there is none."""
    path = peers.folder("lm-eval") / "bin" / "python"
    if not path.exists():
        pytest.skip(f"lm-eval is not installed: {path}")
    return path


def samples(checkpoint: str, name: str, yaml: str, folder: Path, *more: str) -> list[dict[str, Any]]:
    """What it wrote of each row of the task ``name`` in float32. ``more``: further options."""
    (folder / f"{name}.yaml").write_text(yaml)
    out = folder / "-".join(("out", name, *more))
    words = [
        python(), "-m", "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={checkpoint},dtype=float32",
        "--tasks", name, "--include_path", folder, "--device", "cpu", "--batch_size", "16", "--log_samples",
        "--output_path", out, *more,
    ]  # fmt: skip
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    subprocess.run(list(map(str, words)), check=True, env=os.environ | offline, cwd=folder)
    (file,) = out.glob(f"*/samples_{name}_*.jsonl")
    return read_jsonl(file)
