"""Trackers get what a run writes, under TRL's names; and nothing that befalls a tracker befalls a run."""

from __future__ import annotations

import glob
import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

from aha.cli import main
from aha.files import append_jsonl, write_jsonl
from aha.runs import pipeline, trackers
from aha.runs.pipeline import Context, Stage
from aha.runs.trackers import follower, names
from aha.types import AhaError

SCORES = {"accuracy": {"value": 1.0, "note": ""}, "format": {"value": None, "note": "cut"}}


def rollouts(step):
    said = {"step": step, "question": "1 + 1 = | ?", "text": "<think>two\nof them</think>", "scores": SCORES}
    return [said | {"member": i, "reward": 1.0, "advantage": None} for i in range(20)]


class Writes(Stage):
    """A stage that writes what reinforcement learning writes."""

    steps: int = 3
    first: int = 1
    fails: bool = False

    def run(self, context):
        for step in range(self.first, self.steps + 1):
            write_jsonl(context.folder / f"rollouts/step_{step:05d}.jsonl", rollouts(step))
            row = {
                "step": step,
                "reward": step / 2,
                "lr": 1e-6,
                "kl": float("nan"),
                "sampler_mismatch/mean": 0.25,
            }
            append_jsonl(context.folder / "metrics.jsonl", [row])
        append_jsonl(
            context.folder / "warnings.jsonl", [{"step": 2, "key": "x", "text": "the reward <fell>"}]
        )
        for name, split in (("before", "test"), ("step", "validation"), ("after", "test")):
            step = {"before": 0, "step": 2, "after": self.steps}[name]
            evaluation = {"name": name, "step": step, "split": split, "pass@1": 0.5, "pass@1_ci": [0.1, 0.9]}
            append_jsonl(context.folder / "evals.jsonl", [evaluation])
        if self.fails:
            raise AhaError("The loss is not finite.")
        return {"steps": self.steps}


def run(folder, chosen, **settings):
    stage = Writes(name="rl", **settings)
    return pipeline.run([stage], folder, Context(folder, trackers=chosen), config={}, say=print)


class Notebook:
    """What a tracker was told; it can be made to fail."""

    def __init__(self, about):
        self.about, self.told = about, []
        self.broken, self.hangs = set(), None

    def _tell(self, *what):
        if self.hangs:
            self.hangs.wait()
        if what[0] in self.broken:
            raise ConnectionError("no\nroute")
        self.told.append(what)

    def log(self, step, values):
        self._tell("log", step, dict(values))

    def table(self, step, name, columns, rows):
        self._tell("table", step, name, columns, rows)

    def note(self, step, text):
        self._tell("note", step, text)

    def close(self, failed):
        self._tell("close", failed)


@pytest.fixture
def notebook(monkeypatch):
    """Stands for TensorBoard's sink; returns the list of those that were made, and how they are set up."""
    trackers_made, options = [], {}

    def sink(about):
        if "raises" in options:
            raise options["raises"]
        trackers_made.append(Notebook(about))
        vars(trackers_made[-1]).update(options)
        return trackers_made[-1]

    module = ModuleType("aha.runs.trackers.tensorboard")
    module.opened = sink
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(trackers, "check", lambda chosen: None)
    return trackers_made, options


def test_everything_is_told_in_order_and_under_trls_names(tmp_path, notebook):
    run(tmp_path / "zero", ("tensorboard",))
    (told,) = [n.told for n in notebook[0]]
    logs = [(step, values) for kind, step, values in (t for t in told if t[0] == "log")]
    assert [values for step, values in logs if "train/reward" in values] == [
        {
            "train/reward": s / 2,
            "train/learning_rate": 1e-6,
            "train/sampling/sampling_logp_difference/mean": 0.25,
        }
        for s in (1, 2, 3)
    ]
    assert [(s, v) for s, v in logs if "train/reward" not in v] == [
        (0, {"test/pass@1": 0.5}), (2, {"eval/pass@1": 0.5}), (3, {"test/pass@1": 0.5}),
    ]  # fmt: skip
    tables = [t[1:] for t in told if t[0] == "table"]
    columns = ["step", "prompt", "completion", "accuracy", "format", "reward", "advantage"]
    assert [(t[0], t[1], t[2], len(t[3])) for t in tables] == [
        (step, "completions", columns, follower.SAMPLES) for step in (1, 2, 3)
    ]
    assert tables[0][3][0] == [1, "1 + 1 = | ?", "<think>two\nof them</think>", 1.0, None, 1.0, None]
    assert ("note", 2, "the reward <fell>") in told
    assert told[-1] == ("close", False)
    about = notebook[0][0].about
    assert (about.run, about.stage, about.name) == ("zero", "rl", "zero/rl")
    assert about.settings["steps"] == 3


def test_a_stage_that_fails_is_closed_as_failed_with_its_last_step(tmp_path, notebook):
    with pytest.raises(AhaError, match="not finite"):
        run(tmp_path / "zero", ("tensorboard",), fails=True)
    told = notebook[0][0].told
    assert [t[1] for t in told if t[0] == "table"] == [1, 2, 3]
    assert told[-1] == ("close", True)


def test_steps_that_come_again_after_a_kill_are_told_once(tmp_path, notebook):
    place = tmp_path / "rl"
    for first, last in ((1, 4), (3, 6)):  # the second process goes on from a checkpoint of step 2
        with follower.following(("tensorboard",), place, "zero", "rl", {}):
            if first > 1:
                write_jsonl(place / "metrics.jsonl", [{"step": s, "reward": s} for s in range(1, first)])
            for step in range(first, last + 1):
                write_jsonl(place / f"rollouts/step_{step:05d}.jsonl", rollouts(step))
                append_jsonl(place / "metrics.jsonl", [{"step": step, "reward": step}])
    told = [t for n in notebook[0] for t in n.told]
    assert [t[1] for t in told if t[0] == "log"] == [1, 2, 3, 4, 5, 6]
    assert [t[1] for t in told if t[0] == "table"] == [1, 2, 3, 4, 5, 6]


def test_what_a_tracker_raises_is_said_and_ends_nothing(tmp_path, notebook, capsys):
    notebook[1]["broken"] = {"table"}
    assert run(tmp_path / "zero", ("tensorboard",)) == {"rl": {"steps": 3}}
    said = capsys.readouterr().err
    assert "! The tracker tensorboard failed (ConnectionError: no route). The run goes on." in said
    assert "It is left out from here on." in said


@pytest.mark.parametrize("error", [ValueError("no key"), SystemExit(1), ImportError("libtracker.so")])
def test_a_tracker_that_does_not_begin_is_left_out(tmp_path, notebook, capsys, error):
    notebook[1]["raises"] = error
    assert run(tmp_path / "zero", ("tensorboard",)) == {"rl": {"steps": 3}}
    said = capsys.readouterr().err
    assert said.count("It is left out from here on.") == 1
    assert type(error).__name__ in said


def test_a_tracker_that_hangs_is_left_behind(tmp_path, notebook, capsys, monkeypatch):
    monkeypatch.setattr(follower, "PATIENCE", 0.2)
    hangs = notebook[1]["hangs"] = threading.Event()
    assert run(tmp_path / "zero", ("tensorboard",)) == {"rl": {"steps": 3}}
    assert "did not finish within" in capsys.readouterr().err
    hangs.set()
    for thread in threading.enumerate():
        if thread.name == "trackers":
            thread.join(20)


def test_a_line_that_is_being_written_waits(tmp_path):
    lines = follower.Lines(tmp_path / "metrics.jsonl")
    assert lines.new() == []
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    assert lines.new() == [{"step": 1}]
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    assert lines.new() == [{"step": 2}]
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')  # taken back
    assert lines.new() == [{"step": 1}]


def test_what_is_no_number_is_not_told():
    row = {"step": 3, "loss": None, "note": "text", "kl": float("inf"), "flag": True, "validation_loss": 2.5}
    assert names.train(row) == {"eval/loss": 2.5}


@pytest.mark.parametrize("named", ["tensorboard, wandb", ["tensorboard", "wandb", "tensorboard"]])
def test_trackers_are_named_by_words_or_lists(named):
    assert trackers.read(named) == ("tensorboard", "wandb")
    assert trackers.read(None) == trackers.read("") == ()


def test_slips_and_absent_packages_are_told_before_a_folder_is_made(tmp_path, capsys, monkeypatch):
    assert main(["zero", "--trackers", "tensorbord", "--runs-dir", str(tmp_path / "runs")]) == 1
    assert "Unknown tracker 'tensorbord'. Did you mean 'tensorboard'?" in capsys.readouterr().err
    monkeypatch.setitem(trackers.TRACKERS, "wandb", ("no_such_package", "no-such-package"))
    assert main(["zero", "trackers=wandb", "--runs-dir", str(tmp_path / "runs")]) == 1
    assert "pip install no-such-package" in capsys.readouterr().err
    assert main(["zero", "trackers=3", "--runs-dir", str(tmp_path / "runs")]) == 1
    assert "give names" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_the_setting_is_written_and_read_back(tmp_path, capsys):
    assert main(["zero", "--trackers", "wandb,mlflow", "--print-config"]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "my.toml").write_text(printed)
    assert main(["zero", "--config", str(tmp_path / "my.toml"), "--print-config"]) == 0
    assert capsys.readouterr().out == printed
    assert 'trackers = ["wandb", "mlflow"]' in printed


# ------------------------------------------------------------------------------------- the packages themselves


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0})
    accumulator.Reload()
    return accumulator


def texts(accumulator, name):
    return [
        (e.step, e.tensor_proto.string_val[0].decode()) for e in accumulator.Tensors(f"{name}/text_summary")
    ]


def test_tensorboard_shows_them(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed: pip install tensorboard")
    run(tmp_path / "zero", ("tensorboard",))
    accumulator = events(tmp_path / "zero" / "rl" / "trackers" / "tensorboard")
    assert [(e.step, e.value) for e in accumulator.Scalars("train/reward")] == [(1, 0.5), (2, 1.0), (3, 1.5)]
    assert [e.step for e in accumulator.Scalars("test/pass@1")] == [0, 3]
    step, table = texts(accumulator, "completions")[0]
    assert step == 1
    assert table.splitlines()[2].startswith("|1|1 + 1 = &#124; ?|&lt;think>two<br>of them&lt;/think>|1||1||")
    assert texts(accumulator, "warnings") == [(2, "the reward <fell>")]


def test_a_real_run_is_followed(tmp_path, capsys):
    """Reinforcement learning of the embedded base: two steps, with the figures that dashboards of TRL draw."""
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed: pip install tensorboard")
    words = [
        "rl.prompts_per_step=2",
        "rl.group_size=2",
        "rl.max_tokens=24",
        "rl.test_problems=2",
        "rl.test_samples=1",
    ]
    more = [
        "rl.steps=2",
        "rl.eval_every=0",
        "rl.train_problems=8",
        "--plain",
        "--no-doctor",
        "--dtype",
        "float32",
    ]
    where = ["--runs-dir", str(tmp_path), "--trackers", "tensorboard"]
    assert main(["zero", *words, *more, *where]) == 0
    accumulator = events(tmp_path / "zero" / "rl" / "trackers" / "tensorboard")
    drawn = set(accumulator.Tags()["scalars"])
    assert {
        "train/reward", "train/reward_std", "train/rewards/accuracy/mean", "train/rewards/accuracy/std",
        "train/frac_reward_zero_std", "train/completions/mean_length", "train/completions/min_length",
        "train/completions/max_length", "train/completions/clipped_ratio", "train/num_tokens", "train/entropy",
        "train/learning_rate", "train/grad_norm", "train/loss", "train/step_time", "test/pass@1",
        "train/sampling/sampling_logp_difference/mean", "train/sampling/importance_sampling_ratio/mean",
    } <= drawn  # fmt: skip
    assert [e.step for e in accumulator.Scalars("train/reward")] == [1, 2]
    assert len(texts(accumulator, "completions")) == 2


def test_wandb_takes_them_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="W&B is not installed: pip install wandb")
    for name, value in (("MODE", "offline"), ("PROJECT", "here"), ("ERROR_REPORTING", "false")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    run(tmp_path / "zero", ("wandb",))
    (log,) = glob.glob(f"{tmp_path}/zero/rl/trackers/wandb/wandb/offline-run-*/run-*.wandb")
    content = Path(log).read_bytes()
    for name in (b"train/reward", b"train/learning_rate", b"test/pass@1", b"completions", b"zero/rl"):
        assert name in content
    assert (
        len(glob.glob(f"{tmp_path}/zero/rl/trackers/wandb/wandb/offline-run-*/files/media/table/*.json")) == 3
    )


def test_trackio_takes_them(tmp_path, monkeypatch):
    pytest.importorskip("trackio", reason="trackio is not installed: pip install trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    code = f"import test_trackers as t; from pathlib import Path; t.run(Path({str(tmp_path)!r}) / 'zero', ('trackio',))"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stderr
    (file,) = (tmp_path / "trackio").glob("*.db")
    rows = [
        json.loads(m) for (m,) in sqlite3.connect(file).execute("select metrics from metrics order by id")
    ]
    assert [row["train/reward"] for row in rows if "train/reward" in row] == [0.5, 1.0, 1.5]
    assert len([row for row in rows if "completions" in row]) == 3


@pytest.mark.parametrize("store", ["sqlite:///ml.db", "file:ml"])
def test_mlflow_takes_them(tmp_path, monkeypatch, store):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed: pip install mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "zero", ("mlflow",))
    client = mlflow.MlflowClient()
    (logged,) = client.search_runs([client.get_experiment_by_name("aha").experiment_id])
    assert (logged.info.status, logged.info.run_name) == ("FINISHED", "zero/rl")
    history = client.get_metric_history(logged.info.run_id, "train/reward")
    assert [(m.step, m.value) for m in history] == [(1, 0.5), (2, 1.0), (3, 1.5)]
    assert logged.data.metrics["test/pass_at_1"] == 0.5
    assert logged.data.params["steps"] == "3"
    assert logged.data.tags["warning.2"] == "the reward <fell>"
    assert len(client.list_artifacts(logged.info.run_id, "completions")) == 3
