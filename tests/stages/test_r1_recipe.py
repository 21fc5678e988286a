"""The whole recipe at the smallest sizes: it runs, a second run does nothing, a change re-runs what depends on it,
and killed in the middle it ends with the same figures."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from smallest import SMALL, assert_same, contents, flat, plain, times, with_few_documents

from aha.files import write_jsonl
from aha.planning import dry_run as plan
from aha.planning import throughput as plan_time
from aha.planning.throughput import Speeds
from aha.recipes import r1
from aha.runs import config, pipeline
from aha.runs.pipeline import Context, ordered
from aha.stages.data.cold_start import ColdStart
from aha.stages.rl import RL
from aha.stages.supervised import reward_model
from aha.stages.supervised.pretrain import Pretrain
from aha.stages.supervised.sft import SFT

ALL = list(SMALL)


def recipe(**changes):
    stages = list(r1.build(model="tiny"))
    config.apply(ordered(stages), flat() | changes)
    return stages


def run(folder, **changes):
    """Runs; returns the summaries and the stages that were run and not taken from before."""
    said = []
    context = Context(folder, plain=True, threads=1)
    summaries = pipeline.run(recipe(**changes), folder, context, config={}, say=said.append)
    cached = {line.partition(":")[0] for line in said if "finished before" in line}
    return plain(summaries), [name for name in summaries if name not in cached]


@pytest.fixture(scope="module", autouse=True)
def few_documents():
    with pytest.MonkeyPatch.context() as patch:
        with_few_documents(patch)
        yield


@pytest.fixture(scope="module")
def whole(few_documents, tmp_path_factory):
    folder = tmp_path_factory.mktemp("r1") / "run"
    summaries, ran = run(folder)
    assert sorted(ran) == sorted(ALL)
    return folder, summaries


def test_every_stage_leaves_what_the_next_one_needs(whole):
    folder, summaries = whole
    assert summaries["cold_start"]["rows"] >= 1
    assert summaries["dev1"]["sources"] == {"cold_start": summaries["cold_start"]["rows"]}
    assert summaries["dev3"]["model"] == "tiny", "the second SFT starts from the base again"
    assert {"countdown", "general", "total"} == set(summaries["reject"]["domains"])
    assert summaries["helpful_rm"]["kind"] == "helpful"
    assert summaries["safety_rm"]["kind"] == "safety"
    assert (folder / "helpful_rm" / "final" / "value_head.safetensors").exists()
    table = (folder / "compare" / "compare.md").read_text()
    for name in ("tiny", "zero", "dev1", "dev2", "dev3", "r1", "distilled", "student_rl"):
        assert f"| {name} |" in table
    asked = {
        step: {json.loads(line)["problem_id"].split("/")[0] for line in path.read_text().splitlines()}
        for step, path in enumerate(sorted((folder / "r1" / "rollouts").glob("step_*")), 1)
    }
    assert asked[1] | asked[2] == {"countdown"}


def test_a_second_run_does_nothing(whole):
    folder, summaries = whole
    before = times(folder)
    again, ran = run(folder)
    assert ran == []
    assert again == summaries
    assert times(folder) == before, "no file is written"


def test_a_changed_setting_runs_its_stage_and_those_after_it(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    before = times(folder)
    _, ran = run(folder, **{"helpful_rm.lr": 1e-5})
    assert ran == ["helpful_rm", "r1", "compare"]
    touched = {path for path, at in times(folder).items() if before.get(path) != at}
    assert {path.split("/run/")[1].split("/")[0].removesuffix(".old") for path in touched} == set(ran)
    _, ran = run(folder, **{"helpful_rm.lr": 1e-5, "student_rl.lr": 2e-5})
    assert ran == ["student_rl", "compare"]


class Killed(Exception):
    pass


def test_killed_again_and_again_it_ends_with_the_same_figures(whole, tmp_path, monkeypatch):
    """Each of these calls, the first time it is reached in a stage, is a kill."""
    seen = set()

    def deadly(owner, method, key):
        real = getattr(owner, method)

        def once(self, *args, **options):
            place = (method, key(self))
            if place not in seen:
                seen.add(place)
                raise Killed
            return real(self, *args, **options)

        monkeypatch.setattr(owner, method, once)

    from aha.stages.data import cold_start, reject
    from aha.stages.rl.session import RLSession
    from aha.stages.supervised import sft

    deadly(
        RLSession, "report", lambda s: s.config.name if s.start or s.config.name != "zero" else "zero first"
    )
    deadly(sft.SFTSession, "finish", lambda s: s.config.name)
    deadly(reward_model.RewardModelSession, "finish", lambda s: s.config.name)
    deadly(cold_start.ColdStart, "_queue", lambda s: s.name)
    deadly(reject.Reject, "_finished", lambda s: s.name)
    kills = 0
    while True:
        try:
            summaries, _ = run(tmp_path / "run")
            break
        except Killed:
            kills += 1
    assert kills >= 11
    assert summaries == whole[1]
    assert_same(contents(tmp_path / "run"), contents(whole[0]))


# --- killed from outside ------------------------------------------------------------------------------------


MACHINE = ["--plain", "--threads", "1", "--run", "run", "--model", "tiny"]
AHA = "import smallest; smallest.with_few_documents(); from aha.cli import command; command()"


def start(cwd):
    """``aha r1`` in a process group of its own; what it says goes to ``log.txt``."""
    settings = [f"{key}={json.dumps(value)}" for key, value in flat().items()]
    command = [sys.executable, "-c", AHA, "r1", *MACHINE, "--runs-dir", str(cwd), *settings]
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": path}
    with open(cwd / "log.txt", "ab") as log:
        return subprocess.Popen(command, cwd=cwd, env=env, stdout=log, stderr=log, start_new_session=True)


def finish(cwd):
    """The recipe to its end; returns what it said."""
    (cwd / "log.txt").unlink(missing_ok=True)
    process = start(cwd)
    process.wait()
    text = (cwd / "log.txt").read_text()
    assert process.returncode == 0, text[-2000:]
    return text


def kill_in(cwd, stage, delay):
    """Start the recipe, and kill its whole group ``delay`` seconds after it has come to ``stage``; False where it
    ended before."""
    log = cwd / "log.txt"
    said = log.stat().st_size if log.exists() else 0
    process = start(cwd)
    while process.poll() is None and not ((cwd / "run" / stage).exists() and log.stat().st_size > said):
        time.sleep(0.01)
    time.sleep(delay)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive


def killed(cwd, n, seed, whole):
    """A finished run that was killed at ``n`` moments: stages spread over the recipe, moments within two thirds of
    the time that each took undisturbed, as that time varies. Returns its folder and the number of kills."""
    rng, names = random.Random(seed), [stage.name for stage in ordered(recipe())]
    kills = 0
    for i in range(n):
        stage = names[int((i + rng.random()) * len(names) / n)]
        seconds = json.loads((whole / stage / "done.json").read_text())["seconds"]
        kills += kill_in(cwd, stage, rng.random() * seconds * 2 / 3)
    finish(cwd)
    return cwd / "run", kills


@pytest.fixture(scope="module")
def twice_killed(whole, tmp_path_factory):
    return killed(tmp_path_factory.mktemp("killed"), 2, 20260, whole[0])


@pytest.mark.slow  # by default the kills within this process, above, and those of `aha zero` in test_rl.py
@pytest.mark.timeout(1800)
def test_killed_by_the_system_it_ends_with_the_same_numbers(whole, twice_killed):
    """Every figure, chain, row of data and weight, against the run in this process that nothing disturbed."""
    folder, kills = twice_killed
    assert kills == 2
    assert_same(contents(folder), contents(whole[0]))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_command_given_again_does_nothing(twice_killed):
    folder, _ = twice_killed
    before = times(folder)
    said = finish(folder.parent)
    assert said.count("finished before, not run again") == len(ALL)
    assert times(folder) == before, "no file is written"


@pytest.mark.slow
@pytest.mark.timeout(3600)  # a busy machine
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_ten_moments_it_ends_with_the_same_numbers(whole, tmp_path, seed):
    folder, kills = killed(tmp_path, 10, seed, whole[0])
    assert kills >= 8, "the last ones may come after the end"
    assert_same(contents(folder), contents(whole[0]))


@pytest.mark.slow
@pytest.mark.timeout(3600)  # a busy machine
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_its_writes_it_ends_with_the_same_numbers(whole, tmp_path, seed):
    """Between two files that belong together, and in the middle of a line (see ``mortal``)."""
    program = Path(__file__).with_name("mortal.py")
    path = os.pathsep.join([str(program.parents[1]), *sys.path])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, str(program), str(tmp_path / "run"), str(seed)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) >= 15, "so many died"
    assert_same(contents(tmp_path / "run"), contents(whole[0]))


def test_the_plan_says_what_is_finished_and_what_differs(whole, tmp_path):
    folder = whole[0]
    text = plan.plan(recipe(), folder, r1.PAPER)
    assert text.count("finished, will not run again") == len(ALL)
    assert f"{len(ALL)} stages, {len(ALL)} finished" in text
    text = plan.plan(recipe(**{"dev3.lr": 1e-3}), folder, r1.PAPER)
    assert "dev3 (SFT): will run" in text
    assert "inputs   reject" in text
    assert "lr = 0.001  (paper: 5e-05, 20 times it)" in text
    assert "zero (RL): finished" in text
    assert "about " in text.split("r1 (RL)")[1], "a time, from the speeds of this run"


def test_estimates_by_hand(tmp_path):
    rows = [
        {"reward": 0, "tokens_per_second": v, "step_time": 2, "time/sampling": 0.5, "time/training": 1,
         "completions/mean_length": 3, "max_tokens": 12}
        for v in (10, 20, 90)
    ]  # fmt: skip
    write_jsonl(tmp_path / "old/rl/metrics.jsonl", rows)
    speeds = plan_time.of_runs(tmp_path)
    assert (speeds.sampling, speeds.training, speeds.filled) == (80, 40, 0.25)
    write_jsonl(
        tmp_path / "old/sft/metrics.jsonl", [{"loss": 0, "tokens_per_second": v} for v in (7, 8, 9, 10)]
    )
    assert plan_time.of_runs(tmp_path).training == 10
    stage = RL.model_validate({"name": "rl", "steps": 3, "prompts_per_step": 2, "group_size": 2, "max_tokens": 10,
                               "max_tokens_schedule": ((3, 20),), "eval_every": 1,
                               "eval_problems": 3, "eval_samples": 2,
                               "test_problems": 5, "test_samples": 2})  # fmt: skip
    assert stage.work() == {"trained": 160, "sampled": 160 + (2 * 10 + 2 * 6) * 20}
    assert Speeds(80, 40, 0.25).seconds(stage.work()) == (0.25 * (10 + 4), 10 + 4)
    assert Speeds(80, None).seconds(stage.work()) is None
    source = Pretrain(name="made", steps=3, tokens_per_step=7)
    assert Speeds(None, 7).seconds(source.work()) == (3, 3), "a corpus is there whole"
    tuned = SFT(name="sft", data=(source,), epochs=3)
    write_jsonl(tmp_path / "made/data.jsonl", [{"tokens": 5}, {"tokens": 9}])
    assert plan_time.work_of(tuned, tmp_path, 0.25) == {"trained": 42}
    cold = ColdStart(name="cold", problems=10, max_per_problem=2, max_tokens=8)
    assert plan_time.work_of(SFT(name="s", data=(cold,), epochs=3), tmp_path, 0.25) == {"trained": 3 * 20 * 2}


def test_without_an_earlier_run_the_model_is_tried(tmp_path):
    text = plan.plan([RL(name="rl", model="tiny", steps=2)], tmp_path / "run")
    assert "Speeds from a trial of tiny" in text
    assert "time unknown" not in text
    assert plan_time.trial("http://host/v1#model") is None


def test_parameters_are_counted_in_the_headers():
    from aha import modeling

    model = modeling.load_model("tiny")
    assert plan_time.parameters_of(SFT(name="a", model="tiny")) == sum(p.numel() for p in model.parameters())
    assert (plan.clock(90), plan.clock(600), plan.clock(9000)) == ("90 s", "10 min", "2.5 h")


def test_the_recipe_for_real_models_has_the_papers_order_and_no_programs_student():
    stages = {
        s.name: s for s in ordered(r1.build(model="Qwen/Qwen2.5-1.5B", task="gsm8k", teacher="http://h/v1#m"))
    }
    assert "student" not in stages
    assert stages["dev3"].model == "Qwen/Qwen2.5-1.5B"
    assert stages["dev1"].prompt == "think"
    assert stages["r1"].task == "gsm8k:0.5,general:0.5"
    assert stages["r1"].temperature == 0.7
    assert stages["cold_start"].teacher == stages["pairs"].judge == "http://h/v1#m"
    assert stages["dev2"].algorithm.clip_high == 10.0
    assert r1.mixture("a:3,b=f.jsonl:1", 0.5) == "a:0.375,b=f.jsonl:0.125"


def test_the_commands_show_their_plans(tmp_path, capsys, monkeypatch):
    from aha.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["r1", "--dry-run", "dev3.epochs=5"]) == 0
    text = capsys.readouterr().out
    assert "epochs = 5  (paper: 2, 2.5 times it)" in text
    assert "16 stages, 0 finished" in text
    assert main(["distill", "--teacher", "tiny", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert [name for name in ("reject", "student", "distilled", "compare") if f"{name} (" in text][0:4]
    assert main(["r1", "dev4.epochs=5"]) == 1
    assert "Did you mean 'dev" in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "a plan writes nothing"


def test_a_student_learns_from_its_teachers_answers(tmp_path):
    """The recipe of distillation with a student from scratch, and its learning rate for a known one."""
    from aha.recipes import distill

    stages = {
        s.name: s
        for s in ordered(distill.build(student="Qwen/Qwen2.5-14B", teacher="http://h/v1#m", task="gsm8k"))
    }
    assert stages["distilled"].lr == 7e-5
    assert stages["distilled"].batch_size == 64
    stages = list(distill.build())
    config.apply(ordered(stages), flat(("reject", "student", "distilled", "compare")))
    summaries = pipeline.run(stages, tmp_path, Context(tmp_path, plain=True, threads=1), config={}, say=str)
    assert summaries["distilled"]["model"] == "student"
    assert summaries["distilled"]["sources"] == {"reject": summaries["reject"]["rows"]}
    assert set(summaries["compare"]["figures"]["countdown"]) == {"teacher", "student", "distilled"}
