"""The whole program as a user runs it: it learns, it resumes bit for bit, it explains its errors."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import Forked
from smallest import with_few_documents

from aha.cli import main
from aha.runs import pipeline
from aha.stages.rl import RL
from aha.stages.supervised.pretrain import Pretrain
from aha.training.sequences import split_by_group, to_examples
from aha.types import Example, Finish, Group, Problem, Rollout, Scored

SMALL = [
    "rl.steps=6", "rl.prompts_per_step=6", "rl.group_size=4", "rl.max_tokens=64", "rl.max_tokens_schedule=[[4,96]]",
    "rl.mini_batches=2", "rl.test_problems=6", "rl.test_samples=2", "rl.eval_every=3", "rl.eval_problems=4",
    "rl.eval_samples=2", "rl.save_every=2", "rl.train_problems=64", "rl.algorithm=grpo",
    "rl.algorithm.reference_every=3",
]  # fmt: skip
TIMES = ("step_time", "time/sampling", "time/training", "tokens_per_second")


def aha(*words, cwd, **options):
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "aha.cli", *words]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=900, **options)


def here(*words):
    """The command's exit code, in this process."""
    try:
        return main(list(words))
    except SystemExit as end:
        return end.code


WORDS = ("zero", "--plain", "--threads", "1", *SMALL)


def start(folder):
    """The command as a shell starts it, the doctor's checks included."""
    command = [sys.executable, "-m", "aha.cli", *WORDS]
    # Started by a script in the background, this process may have inherited an ignored Ctrl-C.
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def fork(folder, *words):
    """The same without the doctor's checks, which change no number, in a process that has its imports."""
    return Forked(folder, "-m", "aha", *WORDS, "--no-doctor", *words)


def wait_for_steps(process, folder, steps):
    """Until so many steps are written, or the process ends."""
    path = folder / "runs" / "zero" / "rl" / "metrics.jsonl"
    while process.poll() is None and not (
        steps == 0 or (path.exists() and path.read_bytes().count(b"\n") >= steps)
    ):
        time.sleep(0.003)


def checkpoints(folder):
    return folder / "runs" / "zero" / "rl" / "checkpoints"


def wait_for_checkpoint(process, folder, step):
    """Until the checkpoint of ``step`` is there, or the process ends."""
    place = checkpoints(folder) / f"step-{step:06d}"
    while process.poll() is None and not place.exists():
        time.sleep(0.005)


def rows(path):
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in lines]


def state_of(folder):
    """Everything of a finished run that must not depend on how often it was killed."""
    rl = folder / "runs" / "zero" / "rl"
    rollouts = {p.name: p.read_text(encoding="utf-8") for p in sorted((rl / "rollouts").iterdir())}
    return {
        "metrics": rows(rl / "metrics.jsonl"),
        "evals": rows(rl / "evals.jsonl"),
        "rollouts": rollouts,
        "weights": (rl / "final" / "model.safetensors").read_bytes(),
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    started = time.monotonic()
    process = start(folder)
    output = process.communicate(timeout=900)[0].decode()
    assert process.returncode == 0, output
    return folder, time.monotonic() - started, output


def test_killed_at_five_random_moments_it_ends_with_the_same_numbers(undisturbed, tmp_path):
    wanted_folder, _, _ = undisturbed
    rng = random.Random(time.time_ns())
    kills = 0
    for steps in sorted(rng.randint(0, 5) for _ in range(5)):
        process = fork(tmp_path)
        wait_for_steps(process, tmp_path, steps)
        time.sleep(rng.uniform(0.0, 0.25))
        kills += process.poll() is None
        process.kill()
        process.communicate()
    assert kills >= 1
    process = fork(tmp_path)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    assert state_of(tmp_path) == state_of(wanted_folder)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run that was killed right after its first checkpoint."""
    folder = tmp_path_factory.mktemp("killed")
    process = fork(folder)
    wait_for_checkpoint(process, folder, 2)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return folder


@pytest.fixture
def copied(killed, tmp_path):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_killed_right_after_a_checkpoint_it_continues_there(undisturbed, copied):
    last = max(int(place.name.removeprefix("step-")) for place in checkpoints(copied).glob("step-*"))
    assert 2 <= last < 6
    output = fork(copied).communicate()[0]
    assert f"Continuing after step {last}" in output, output
    assert state_of(copied) == state_of(undisturbed[0])


def test_it_continues_with_other_settings_of_the_machine(undisturbed, copied):
    """As after running out of memory: in smaller passes, with layers computed again."""
    rl = copied / "runs" / "zero" / "rl"
    process = fork(
        copied, "rl.max_tokens_per_batch=700", "rl.max_num_seqs=5", "rl.gradient_checkpointing=true"
    )
    output = process.communicate()[0]
    assert process.returncode == 0, output
    assert "Continuing after step" in output
    assert json.loads((rl / "settings.json").read_text())["settings"]["max_num_seqs"] == 5
    metrics, others = (rows(folder / "metrics.jsonl") for folder in (rl, undisturbed[0] / "runs/zero/rl"))
    assert [row["step"] for row in metrics] == [row["step"] for row in others]
    assert metrics[:2] == others[:2]


def test_a_finished_run_is_not_run_again(undisturbed):
    folder, _, _ = undisturbed
    before = (folder / "runs/zero/rl/metrics.jsonl").stat().st_mtime_ns
    again = fork(folder, "rl.max_num_seqs=7")  # how many at once is the machine's affair
    output = again.communicate()[0]
    assert again.returncode == 0
    assert "finished before, not run again" in output
    assert (folder / "runs/zero/rl/metrics.jsonl").stat().st_mtime_ns == before


def test_the_run_folder_holds_what_was_promised(undisturbed):
    run = undisturbed[0] / "runs" / "zero"
    summary = json.loads((run / "summary.json").read_text())
    for part in ("before", "after"):
        for key in (
            "pass@1",
            "maj@2",
            "pass@2",
            "format",
            "mean_length",
            "reflections",
            "truncated",
            "n_problems",
        ):
            assert key in summary[part]
    assert {"rl_seconds", "tokens_per_second", "steps", "seed"} <= set(summary)
    config = json.loads((run / "config.json").read_text())
    assert config["stages"]["rl"]["group_size"] == 4
    assert config["machine"]["torch"]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    metrics = rows(run / "rl" / "metrics.jsonl")
    assert [m["step"] for m in metrics] == [1, 2, 3, 4, 5, 6]
    assert metrics[-1]["kl"] >= 0
    assert max(m["sampler_mismatch/mean"] for m in metrics) < 0.02
    row = rows(run / "rl" / "rollouts" / "step_00001.jsonl")[0]
    assert {"text", "reward", "scores", "advantage", "finish", "question"} <= set(row)
    assert "note" in row["scores"]["accuracy"]


def test_the_checkpoint_loads_in_transformers(undisturbed):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = undisturbed[0] / "runs/zero/rl/final"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("Using the numbers [3, 5, 7]", return_tensors="pt")
    assert torch.isfinite(model(**{k: ids[k] for k in ("input_ids", "attention_mask")}).logits).all()


def test_ctrl_c_leaves_a_run_that_continues(undisturbed, tmp_path):
    process = start(tmp_path)
    wait_for_checkpoint(process, tmp_path, 2)
    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=900)[0].decode()
    assert process.returncode == 130, output
    assert "Give the same command again to continue" in output
    assert "Traceback" not in output
    fork(tmp_path).communicate()
    assert state_of(tmp_path) == state_of(undisturbed[0])


def test_the_embedded_base_learns(tmp_path):
    """A few steps of the recipe, on two ranks as `make zero` has them and half as many questions: accuracy at least
    doubles."""
    done = aha(
        "zero", "--plain", "--ranks", "2", "rl.steps=5", "rl.prompts_per_step=16", "rl.test_problems=64",
        "rl.test_samples=4", "rl.eval_every=0", "rl.min_lr_ratio=1.0", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "runs/zero/summary.json").read_text())
    assert 0.02 <= summary["before"]["pass@1"] <= 0.15
    assert 0.10 <= summary["before"]["format"] <= 0.50
    assert summary["after"]["pass@1"] >= 2 * summary["before"]["pass@1"] + 0.1
    assert summary["after"]["format"] > summary["before"]["format"] + 0.1


@pytest.mark.parametrize("prompt", ["boxed", "r1_zero"])
def test_another_model_and_task_take_the_same_path(tmp_path, tokenizer, prompt):
    """A random Qwen2 with a chat template, or the paper's, on rows from a file."""
    from conftest import make_model

    model = tmp_path / "qwen2-random"
    make_model(tokenizer, family="qwen2", max_position_embeddings=1024).save_pretrained(model)
    changed = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, eos_token=tokenizer.eos_token)
    changed.chat_template = (
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant] <think>\n"
    )
    changed.save_pretrained(model)
    data = tmp_path / "rows.jsonl"
    data.write_text(
        "".join(
            json.dumps({"question": f"{i} + 1 = ?", "answer": f"easy\n#### {i + 1}"}) + "\n"
            for i in range(120)
        )
    )
    process = Forked(
        tmp_path, "-m", "aha", "zero", "--plain", "--model", model, "--task", "gsm8k", "--data", data, "--steps", "2",
        "rl.prompts_per_step=3", "rl.group_size=2", "rl.max_tokens=24", "rl.max_tokens_schedule=[]",
        "rl.test_problems=2", "rl.test_samples=2", "rl.eval_every=0", f"rl.prompt={prompt}",
        "rl.max_tokens_per_batch=2048",
    )  # fmt: skip
    output = process.communicate()[0]
    assert process.returncode == 0, output
    assert f"First prompt ({prompt})" in output
    assert (tmp_path / "runs/zero/rl/final/model.safetensors").exists()


# --- errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["zero", "--model", "./nowhere"], "there is no such folder or file"),
        (["zero", "--model", "nobody/no-such-model"], "Cannot load"),
        (["zero", "--task", "cuntdown"], "Did you mean 'countdown'"),
        (["zero", "--task", "gsm8k", "--data", "missing.jsonl"], "No data file 'missing.jsonl'"),
        (["zero", "--task", "math"], "give --data"),
        (["zero", "rl.leraning=1"], "Unknown setting 'rl.leraning'"),
        (["zero", "rl.max_tokens=5000", "rl.max_tokens_schedule=[]"], "Lower rl.max_tokens"),
        (
            ["zero", "--device", "cuda:0"] if not torch.cuda.is_available() else ["zero", "--device", "x"],
            "evice",
        ),
        (["run", "r1zero"], "Did you mean 'r1_zero'"),
        (["eval", "tiny", "--split", "tests"], "no split 'tests'"),
        (["report", "nothing"], "nothing"),
        (["grade", "missing.jsonl"], "missing.jsonl"),
        (["zeero"], "Did you mean 'zero'"),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, list) else "",
)
def test_bad_input_is_explained_without_a_traceback(tmp_path, words, message, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert here(*words) in (1, 2)
    said = capfd.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_the_process_explains_it_too(tmp_path):
    done = aha("zero", "--model", "./nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert "there is no such folder or file" in done.stderr
    assert "Traceback" not in done.stderr


def test_weights_that_are_not_finite_are_refused(tmp_path, tokenizer, capfd, monkeypatch):
    from conftest import make_model

    model = make_model(tokenizer)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    model.save_pretrained(tmp_path / "broken")
    tokenizer.save_pretrained(tmp_path / "broken")
    monkeypatch.chdir(tmp_path)
    assert here("zero", "--model", str(tmp_path / "broken"), "rl.max_tokens=64") == 1
    said = capfd.readouterr().err
    assert "not finite" in said
    assert "up_proj" in said


def test_prompts_that_are_all_too_long(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert here("zero", "rl.max_prompt_tokens=5") == 1
    assert "Every prompt is longer than 5 tokens" in capfd.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists() or os.geteuid() != 0, reason="needs root and tmpfs")
def test_a_full_disk_is_explained_and_the_run_continues(undisturbed, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=90m", "tmpfs", str(small)], capture_output=True
    ).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        filler = small / "filler"
        filler.write_bytes(bytes(60 << 20))
        process = fork(small)
        output = process.communicate()[0]
        assert process.returncode == 1, output
        assert "Not enough room for" in output
        filler.unlink()
        process = fork(small)
        wait_for_steps(process, small, 1)
        with contextlib.suppress(OSError), open(filler, "wb") as file:  # another program takes what was free
            while True:
                file.write(bytes(1 << 18))
                file.flush()
        output = process.communicate()[0]
        assert process.returncode == 1, output
        assert "disk is full" in output
        assert "Traceback" not in output
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,size=400m", str(small)], check=True)
        process = fork(small)
        output = process.communicate()[0]
        assert process.returncode == 0, output
        assert state_of(small) == state_of(undisturbed[0])
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


# --- pieces ---------------------------------------------------------------------------------------------


def test_the_schedules():
    rl = RL(
        name="rl",
        steps=13,
        lr=1.0,
        min_lr_ratio=0.5,
        warmup_steps=3,
        max_tokens=10,
        max_tokens_schedule=((5, 20),),
    )
    assert [rl.lr_at(s) for s in (1, 2, 3, 8, 13)] == pytest.approx([1 / 3, 2 / 3, 1, 0.75, 0.5])
    assert [rl.tokens_at(s) for s in (1, 4, 5, 13)] == [10, 10, 20, 20]


def test_groups_become_examples():
    r = Rollout(np.array([1, 2]), np.array([3, 4, 5]), np.array([-1.0, -2, -3], np.float32), "x", Finish.STOP)
    group = Group(Problem("p", "t", ()), tuple(Scored(r, {}, 1.0) for _ in range(3)))
    examples = to_examples([group], [np.array([0.5, np.nan, -0.5])])
    assert len(examples) == 2, "a member without an advantage is not trained on"
    first = examples[0]
    assert first.token_ids.tolist() == [1, 2, 3, 4, 5]
    assert first.mask.tolist() == [False, False, True, True, True]
    assert first.advantage.tolist() == [0, 0, 0.5, 0.5, 0.5]
    assert first.sampler_logprobs is not None
    assert first.sampler_logprobs.tolist() == [0, 0, -1, -2, -3]


def test_mini_batches_hold_whole_groups_once():
    examples = [
        Example(np.array([g]), np.ones(1, bool), np.ones(1), group=g) for g in range(10) for _ in range(3)
    ]
    parts = split_by_group(examples, 4, random.Random(0))
    assert sorted(len(p) for p in parts) == [6, 6, 9, 9]
    groups = [{e.group for e in p} for p in parts]
    assert sum(map(len, groups)) == 10
    assert set.union(*groups) == set(range(10))
    assert [len(p) for p in split_by_group(examples[:6], 4, random.Random(0))] == [3, 3]


def test_a_recipe_of_two_stages_hands_the_model_on(tmp_path, monkeypatch):
    with_few_documents(monkeypatch)

    def recipe(**changes):
        base = Pretrain(
            name="base", steps=2, hidden_size=24, heads=4, layers=1, intermediate_size=32, tokens_per_step=512,
        )  # fmt: skip
        small = {"steps": 1, "prompts_per_step": 2, "group_size": 2, "max_tokens": 16, "test_problems": 2}
        common = {"name": "rl", "model": base, "task": "countdown", "eval_every": 0, "test_samples": 2}
        common |= {"train_problems": 16}
        return [RL.model_validate(common | small | changes)]

    def run(stages):
        said = []
        context = pipeline.Context(tmp_path, plain=True, threads=1)
        pipeline.run(stages, tmp_path, context, config={}, say=said.append)
        return " ".join(said)

    run(recipe())
    pretrained, used = (
        json.loads((tmp_path / s / "final" / "config.json").read_text()) for s in ("base", "rl")
    )
    assert pretrained["hidden_size"] == used["hidden_size"] == 24
    assert "rl: finished before, not run again. Its figures were measured with test_samples=2" in run(
        recipe(test_samples=3)
    )
    said = run(recipe(lr=1e-4))
    assert "base: finished before" in said
    assert "rl: its settings or inputs changed" in said
