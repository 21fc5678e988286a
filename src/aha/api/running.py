"""Runs from Python: the recipes by name, and any stages, in the same folders as the command line's."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aha import plugins
from aha.api.results import Result
from aha.files import well_formed
from aha.types import AhaError

if TYPE_CHECKING:
    from aha.runs.pipeline import Stage

PARTS = ("task", "prompt", "engine", "algorithm")
"""Settings that may be given as functions, classes or objects."""


def zero(model: str | None = None, task: Any = None, *, rewards: Any = None, **options: Any) -> Result:
    """R1-Zero: reinforcement learning from a base model, as ``aha zero``.

    ``task`` and ``rewards`` may be functions. ``options``: those of ``run``, the recipe's (``data``, ``test_data``,
    ``steps``, ``seed``), and any setting of the stage by its name (``lr=1e-4``, ``group_size=8``).
    """
    return _recipe("r1_zero", "rl", options, model=model, task=task, rewards=rewards)


def r1(model: str | None = None, task: Any = None, **options: Any) -> Result:
    """The whole R1 recipe, as ``aha r1``; settings of stages stand in ``settings={"dev3.epochs": 3}``."""
    return _recipe("r1", "", options, model=model, task=task)


def sft(data: Any, model: str | None = None, **options: Any) -> Result:
    """Supervised fine-tuning on traces of one's own, as ``aha sft``: files, hub names, or a list of rows."""
    return _recipe("sft", "sft", options, model=model, data=_files(data))


def dpo(data: Any, model: str | None = None, **options: Any) -> Result:
    """Preference optimisation on pairs (``loss="dpo"``, ``"ipo"``, ``"orpo"``, ``"simpo"``), or on labelled completions
    too (``loss="kto"``), as ``aha dpo``."""
    return _recipe("dpo", "dpo", options, model=model, data=_files(data))


def reward_model(data: Any, model: str | None = None, **options: Any) -> Result:
    """A reward model from pairs (``kind="helpful"``) or labels (``kind="safety"``), as ``aha reward-model``."""
    return _recipe("reward_model", "reward_model", options, model=model, data=_files(data))


def run(
    stages: Stage | Sequence[Stage],
    run: str = "own",
    *,
    runs_dir: str | Path = "runs",
    device: str = "auto",
    dtype: str = "auto",
    threads: int = 0,
    fresh: bool = False,
    doctor: bool = True,
    plain: bool = True,
) -> Result:
    """Run stages, or take them up where they were interrupted; returns what came of them.

    ``run`` names the folder in ``runs_dir``. Raises AhaError for what cannot be run, before anything is written.
    """
    plugins.check_not_loading()
    from aha.recipes import Recipe
    from aha.runs.pipeline import ordered

    asked: list[Any] = list(stages) if isinstance(stages, Sequence) else [stages]
    in_order = ordered(asked)
    recipe = Recipe("", "stages of one's own", run, in_order[-1].name)
    options = {
        "runs_dir": Path(runs_dir),
        "device": device,
        "dtype": dtype,
        "threads": threads,
        "fresh": fresh,
    }
    return _execute(recipe, "python", asked, run, options | {"no_doctor": not doctor, "plain": plain})


_RUN = ("runs_dir", "device", "dtype", "threads", "fresh", "doctor", "plain", "trackers")
"""Options of a run that are none of its recipe."""


def _recipe(name: str, stage: str, options: dict[str, Any], **arguments: Any) -> Result:
    """Build a recipe's stages with the settings that are given, and run them."""
    plugins.check_not_loading()
    from aha.recipes import get_recipe
    from aha.runs import config
    from aha.runs.pipeline import ordered

    recipe = get_recipe(name)
    run_name, processes = options.pop("run", None) or recipe.run, options.pop("ranks", None)
    settings: dict[str, Any] = dict(options.pop("settings", None) or {})
    machine = {key: options.pop(key) for key in _RUN if key in options}
    taken = {k: options.pop(k) for k in recipe.options if k in options}
    taken |= {k: arguments.pop(k) for k in list(arguments) if k in recipe.options}
    settings |= {
        f"{stage}.{k}" if stage else k: v for k, v in {**arguments, **options}.items() if v is not None
    }
    settings = {key: _named(key, value) for key, value in settings.items()}
    taken = {key: _named(key, value) if key in PARTS else value for key, value in taken.items()}
    stages = recipe.build(**taken)
    config.apply(ordered(stages), settings)
    run_name = str(run_name)
    if processes and int(processes) > 1:
        return _in_processes(int(processes), name, stages, run_name, machine)
    args = {"runs_dir": Path(machine.pop("runs_dir", "runs")), "no_doctor": not machine.pop("doctor", True)}
    return _execute(recipe, name, stages, run_name, {"plain": True} | machine | args)


def _named(key: str, value: Any) -> Any:
    """A function, class or object as its reference; all else as it is."""
    last = key.rpartition(".")[2]
    if last == "rewards":
        names = value if isinstance(value, (Mapping, list, tuple)) else [value]
        if isinstance(names, Mapping):
            return dict(zip(plugins.references_to(names), names.values(), strict=True))
        return dict.fromkeys(plugins.references_to(names), 1.0)
    if last in PARTS and value is not None and not isinstance(value, (str, Mapping)):
        return plugins.reference_to(value)
    return value


def _execute(
    recipe: Any, name: str, stages: Sequence[Stage], run_name: str, arguments: Mapping[str, Any]
) -> Result:
    from aha import aside
    from aha.cli import parser
    from aha.commands import run as command

    args = parser("run").parse_args(["run", name])
    for key, value in arguments.items():
        setattr(args, key, value)
    args.words = ["run", name]
    with aside.settings(share=None):
        folder = command.settle(args, args.runs_dir / run_name, stages)
        command.execute(args, folder, stages, recipe)
    return Result(folder)


def _in_processes(
    n: int, name: str, stages: Sequence[Stage], run_name: str, machine: Mapping[str, Any]
) -> Result:
    """The same run on ``n`` processes of this machine: the command, with all settings in a file."""
    from aha.runs.config_toml import written
    from aha.runs.pipeline import ordered

    in_order = ordered(stages)
    plugins.parcel(
        [part for stage in in_order for part in stage.own_parts()]
    )  # what is in no file cannot go along
    runs_dir = Path(machine.get("runs_dir", "runs"))
    with tempfile.TemporaryDirectory() as place:
        settings = Path(place) / "settings.toml"
        settings.write_text(written(in_order, f"aha run {name}"), encoding="utf-8")
        words = [
            sys.executable,
            "-m",
            "aha",
            "run",
            name,
            "--config",
            str(settings),
            "--ranks",
            str(n),
            "--plain",
        ]
        words += ["--run", run_name, "--runs-dir", str(runs_dir)]
        words += [f"--{k}={machine[k]}" for k in ("device", "dtype", "threads") if k in machine]
        words += ["--fresh"] * bool(machine.get("fresh")) + ["--no-doctor"] * (
            not machine.get("doctor", True)
        )
        done = subprocess.run(words, check=False)
    if done.returncode:
        raise AhaError(
            f"The run on {n} processes ended with exit code {done.returncode}; what it said stands above."
        )
    return Result(_newest(runs_dir, run_name))


def _newest(runs_dir: Path, run_name: str) -> Path:
    """The run's folder: other settings make one beside it, with a number behind its name."""
    folders = [runs_dir / run_name, *runs_dir.glob(f"{run_name}-[0-9]*")]
    done = [folder for folder in folders if (folder / "summary.json").exists()]
    return max(done, key=lambda folder: (folder / "summary.json").stat().st_mtime)


def _files(data: Any) -> tuple[str, ...]:
    """Sources of rows: names as they are; rows are written into a file, by their content."""
    if isinstance(data, (str, Path)):
        return (str(data),)
    if not data:
        raise AhaError("There is no data: give a file, a hub name, or a list of rows.")
    if all(isinstance(source, (str, Path)) for source in data):
        return tuple(str(source) for source in data)
    return (_written(data),)


def _written(rows: Sequence[Mapping[str, Any]]) -> str:
    import hashlib
    import json

    if not all(isinstance(row, Mapping) for row in rows):
        raise AhaError("Rows are dicts, with messages, or prompt and completion, or chosen and rejected.")
    text = well_formed("".join(json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows))
    folder = Path(tempfile.gettempdir()) / "aha-rows"
    folder.mkdir(exist_ok=True)
    file = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.jsonl"
    file.write_text(text, encoding="utf-8")
    return str(file)
