"""Runs compared, graded anew, listed and watched: on two small real runs."""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil

import pytest

from aha.analysis import compare, rescore
from aha.cli import main
from aha.diagnosis import stored
from aha.runs import locks
from aha.runs.overview import is_running, overview, overviews
from aha.runs.watching import watch
from aha.stages.rl import state
from aha.types import AhaError

SMALL = (
    "rl.prompts_per_step=4", "rl.group_size=4", "rl.mini_batches=1", "rl.max_tokens=40", "rl.train_problems=64",
    "rl.test_problems=6", "rl.test_samples=2", "rl.eval_every=2", "rl.eval_problems=4", "rl.eval_samples=1",
    "rl.save_every=100", "rl.max_tokens_schedule=[]",
)  # fmt: skip
REWARDS = """
def against(problem, text):
    return -float("<answer>" in text)

def tokens(problem, rollouts):
    return [len(set(r.completion_ids.tolist())) for r in rollouts]
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, lr in (("a", "1e-4"), ("b", "2e-4")):
        words = ("--runs-dir", str(folder), "--run", name, "--steps", "3", "--plain", "--no-doctor")
        assert main(["zero", *words, f"rl.lr={lr}", *SMALL]) == 0
    return folder


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(REWARDS)
    return str(tmp_path / "own.py")


def lines(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


# --- rescore -------------------------------------------------------------------------------------------------------


def test_the_runs_own_rewards_give_what_was_paid_and_trained_on(runs, tmp_path):
    """Stored rollouts are graded as they were in the run, rewards and advantages of every one."""
    rescored = rescore(runs / "a", {"accuracy": 1.0, "format": 0.2}, output=tmp_path / "again.jsonl")
    stored = [row for step in (1, 2, 3) for row in lines(runs / f"a/rl/rollouts/step_{step:05d}.jsonl")]
    again = lines(tmp_path / "again.jsonl")
    assert [r["reward"] for r in again] == [r["reward"] for r in stored]
    assert [r["advantage"] for r in again] == [r["advantage"] for r in stored]
    assert [r["scores"] for r in again] == [r["scores"] for r in stored]
    assert (rescored.whole.flips, round(rescored.whole.agreement, 9), len(rescored.steps)) == (0.0, 1.0, 3)


@pytest.mark.parametrize("odd", [[], "x", {"a": 1}, True])
def test_an_advantage_that_is_no_number_is_one_that_is_not_known(runs, tmp_path, odd):
    shutil.copytree(runs / "a", tmp_path / "a")
    file = tmp_path / "a" / "rl" / "rollouts" / "step_00001.jsonl"
    first, *rest = lines(file)
    file.write_text("".join(json.dumps(row) + "\n" for row in [first | {"advantage": odd}, *rest]))
    rescore(tmp_path / "a", {"accuracy": 1.0}, output=tmp_path / "again.jsonl", most_steps=1)
    assert lines(tmp_path / "again.jsonl")[0]["advantage_before"] is None


def test_the_opposite_reward_flips_every_advantage(runs, own):
    """Of the groups whose rewards are told apart by format alone."""
    plain = rescore(runs / "a", {"tag_count": 1.0})
    rescored = rescore(runs / "a", {f"{own}:against": 1.0})
    assert rescored.whole.reward_after <= 0 <= plain.whole.reward_after
    assert rescored.whole.agreement < 0
    assert rescored.whole.flips > 0.5
    assert rescored.file is None


def test_rewards_that_read_token_ids_get_those_of_the_text(runs, own):
    """Token ids are not stored; zeros would have one kind of token each."""
    assert rescore(runs / "a", {f"{own}:tokens": 1.0}).whole.reward_after > 3
    assert rescore(runs / "a", {"repetition": 1.0}).whole.reward_after > -0.5


def test_a_rescoring_writes_its_own_file_and_nothing_of_the_run(runs, own, tmp_path, monkeypatch, capsys):
    before = {p: p.read_bytes() for p in runs.rglob("*") if p.is_file()}
    monkeypatch.chdir(tmp_path)
    for name in ("rescored_a.jsonl", "rescored_a-2.jsonl"):
        assert main(["rescore", str(runs / "a"), "--rewards", "accuracy", f"{own}:against"]) == 0
        assert f"Written  {name}" in capsys.readouterr().out
        assert len(lines(tmp_path / name)) == 3 * 4 * 4
    assert {p: p.read_bytes() for p in runs.rglob("*") if p.is_file()} == before
    with pytest.raises(AhaError, match="is there already"):
        rescore(runs / "a", {"accuracy": 1.0}, output=tmp_path / "rescored_a.jsonl")


def test_a_group_whose_first_line_was_lost_is_not_the_one_before_it(runs, tmp_path):
    file = runs / "a/rl/rollouts/step_00001.jsonl"
    whole = stored.groups(lines(file))
    rows = [row for i, row in enumerate(lines(file)) if i != 4]  # the second group's first member
    groups = stored.groups(rows)
    assert [g.problem.id for g in groups] == [g.problem.id for g in whole]
    assert [len(g.members) for g in groups] == [4, 3, 4, 4]


def test_an_id_that_asks_something_else_now_is_graded_by_what_was_asked(runs, tmp_path):
    run = shutil.copytree(runs / "a", tmp_path / "a")
    for file in (run / "rl/rollouts").glob("step_*.jsonl"):
        rows = [row | {"question": f"{row['question']} Once more."} for row in lines(file)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = {
        row["problem_id"] for step in (1, 2, 3) for row in lines(run / f"rl/rollouts/step_{step:05d}.jsonl")
    }
    (note,) = rescore(run, {"accuracy": 1.0}).notes
    assert note.startswith(f"{len(asked)} questions stand in the task's rows with other words now")
    assert rescore(runs / "a", {"accuracy": 1.0}).notes == ()


def test_what_cannot_be_rescored_says_why(runs, capsys):
    assert main(["rescore", str(runs / "a"), "--rewards", "nothing"]) == 1
    assert "Unknown reward 'nothing'" in capsys.readouterr().err
    assert main(["rescore", str(runs / "a"), "--rewards", "{1}"]) == 1
    assert "no JSON object" in capsys.readouterr().err
    assert main(["rescore", str(runs / "a"), "--rewards", "accuracy", "--stage", "sft"]) == 1
    assert "Stages that have: rl" in capsys.readouterr().err
    for steps in (0, -3):
        assert main(["rescore", str(runs / "a"), "--rewards", "accuracy", "--steps", str(steps)]) == 1
        assert "a number of steps from 1" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_told_before_the_work(runs, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(AhaError, match="file"):
        rescore(runs / "a", {"accuracy": 1.0}, output=tmp_path / "file" / "r.jsonl", told=pytest.fail)


# --- compare -------------------------------------------------------------------------------------------------------


def test_what_differs_is_shown_and_what_cannot_be_told_apart_is_said(runs, capsys):
    comparison = compare([runs / "a", runs / "b"])
    assert [(row.name, row.values) for row in comparison.settings] == [("rl.lr", (1e-4, 2e-4))]
    by_key = {row.key: row for row in comparison.figures}
    reward = [row["reward"] for row in lines(runs / "b/rl/metrics.jsonl")]
    assert by_key["reward"].last[1] == pytest.approx(sum(reward) / 3)
    (pair,) = comparison.pairs
    assert pair.paired.problems == 6
    assert not pair.told_apart
    assert main(["compare", str(runs / "a"), str(runs / "b")]) == 0
    shown = capsys.readouterr().out
    assert "a and b cannot be told apart on 6 problems" in shown
    assert "rl.lr" in shown


def regraded(run, right):
    """The run's stored answers after training, right where ``right`` says so of a problem's number."""
    file = run / "rl/rollouts/after.jsonl"
    rows, names = lines(file), []
    for row in rows:
        names += [row["problem_id"]] * (row["problem_id"] not in names)
        value = float(right(names.index(row["problem_id"])))
        row["text"] = "right" if value else "wrong"
        row["scores"] = {"accuracy": {"value": value, "note": ""}, "format": {"value": 1.0, "note": ""}}
    more = [dict(row, problem_id=f"{row['problem_id']}+{i}") for i in range(4) for row in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows + more))


def test_a_difference_that_is_more_than_chance_and_samples_of_each_side(runs, tmp_path):
    one, other = (shutil.copytree(runs / name, tmp_path / name) for name in ("a", "b"))
    regraded(one, lambda i: i == 0)
    regraded(other, lambda i: i > 0)
    (pair,) = compare([one, other]).pairs
    assert pair.told_apart
    assert (pair.paired.problems, round(pair.paired.difference, 6)) == (30, round(4 / 6, 6))
    assert (len(pair.first_only), len(pair.second_only)) == (3, 3)
    assert {(s.right, s.wrong) for s in (*pair.first_only, *pair.second_only)} == {("right", "wrong")}
    three = compare([one, other, runs / "b"]).pairs
    assert [p.paired.level for p in three] == [0.025, 0.025], "5% is shared among the pairs"


def test_one_id_for_two_questions_is_no_problem_in_common(runs, tmp_path):
    """Rows of two files may go by the same ids: what they ask tells them apart."""
    other = shutil.copytree(runs / "b", tmp_path / "b")
    file = other / "rl/rollouts/after.jsonl"
    rows = lines(file)
    ids = list(dict.fromkeys(row["problem_id"] for row in rows))
    for row in rows:
        if row["problem_id"] in ids[1:]:
            row["question"] = "Another question."
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{half a li\n")
    comparison = compare([runs / "a", other])
    assert comparison.pairs[0].paired.problems == 1
    assert any("after.jsonl" in note for note in comparison.notes), "what could not be read is counted"
    named = {*comparison.pairs[0].paired.first_only, *comparison.pairs[0].paired.second_only}
    assert named <= set(ids)


@pytest.mark.parametrize("command", ["diagnose", "report", "watch", "compare", "rescore", "claims"])
def test_a_run_that_is_not_there_is_told_with_the_nearest(command, tmp_path, capsys):
    (tmp_path / "zero").mkdir()
    (tmp_path / "zero/config.json").write_text("{}")
    more = ["--rewards", "accuracy"] if command == "rescore" else []
    assert main([command, "zeroo", *more, "--runs-dir", str(tmp_path)]) == 1
    assert "'zeroo' is not a folder" in (said := capsys.readouterr().err)
    assert "Did you mean 'zero'?" in said
    (tmp_path / "rows.jsonl").touch()
    assert main([command, str(tmp_path / "rows.jsonl"), *more]) == 1
    assert "is a file" in capsys.readouterr().err


def test_one_run_is_no_comparison(runs, capsys):
    assert main(["compare", str(runs / "a")]) == 1
    assert "needs two runs" in capsys.readouterr().err


# --- list ----------------------------------------------------------------------------------------------------------


def test_runs_are_told_apart(runs, capsys):
    a, b = overviews(runs)
    assert (a.name, a.model, a.task, a.algorithm, a.step, a.steps) == (
        "a",
        "tiny",
        "countdown",
        "grpo_no_kl",
        3,
        3,
    )
    evaluated = [row["pass@1"] for row in lines(runs / "b/rl/evals.jsonl")]
    assert b.best == max(evaluated)
    assert main(["list", "runs", "--runs-dir", str(runs)]) == 0
    shown = capsys.readouterr().out
    assert "a  finished, pass@1" in shown
    assert "tiny, countdown, grpo_no_kl, step 3 of 3" in shown


def test_a_run_is_running_as_long_as_its_lock_is_held(runs, tmp_path):
    run = shutil.copytree(runs / "a", tmp_path / "a")
    (run / "summary.json").unlink()
    (run / "rl/done.json").unlink()
    assert not is_running(run)
    with open(run / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_running(run)
        assert overview(run).state == "running, rl at step 3"
    assert not overview(run).running


def test_looking_whether_a_run_is_running_takes_no_lock(runs, monkeypatch):
    """A run that begins at that moment would find it taken, and refuse."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: pytest.fail("the lock was tried"))
    assert not is_running(runs / "a")


def test_a_lock_whose_device_has_another_number_cannot_be_told(tmp_path):
    file = tmp_path / "lock"
    file.touch()
    there = file.stat()
    line = "1: FLOCK  ADVISORY  WRITE 17 {}:{} 0 EOF\n"
    own = f"{os.major(there.st_dev):02x}:{os.minor(there.st_dev):02x}"
    assert locks.among(line.format(own, there.st_ino), there) is True
    assert locks.among(line.format("7f:33", there.st_ino), there) is None
    assert locks.among(line.format(own, there.st_ino + 1), there) is False


# --- watch ---------------------------------------------------------------------------------------------------------


def test_a_finished_run_is_shown_as_it_ended(runs):
    stream = io.StringIO()
    assert watch(runs / "a", stream=stream, plain=True).startswith("finished")
    shown = stream.getvalue()
    assert "step 3/3" in shown
    assert "evaluation after (test): pass@1" in shown
    assert ["before", "after", "change"] in [line.split() for line in shown.splitlines()]


def test_a_running_run_is_followed_until_it_ends(runs, tmp_path):
    """Its files grow under a lock, as another process writes them."""
    whole, run = runs / "a", shutil.copytree(runs / "a", tmp_path / "live")
    (run / "rl/done.json").unlink()
    (run / "summary.json").unlink()
    rows = (whole / "rl/metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "rl/metrics.jsonl").write_text(rows[0])
    (run / "rl/evals.jsonl").write_text("")
    stream, left = io.StringIO(), rows[1:]
    lock = open(run / ".lock", "a")  # noqa: SIM115 - closed where the training ends
    fcntl.flock(lock, fcntl.LOCK_EX)

    def train(seconds):
        """What happens while the display waits: a step each time, and then the end."""
        if left:
            with open(run / "rl/metrics.jsonl", "a") as out:
                out.write(left.pop(0))
        else:
            lock.close()

    state_at_end = watch(run, stream=stream, plain=True, wait=train)
    assert lock.closed
    shown = stream.getvalue()
    assert "step 1/3" in shown
    assert "step 3/3" in shown
    assert state_at_end.startswith("unfinished")


# --- the best model ------------------------------------------------------------------------------------------------


def test_the_best_model_by_held_out_truth_is_kept_and_a_folder_of_ones_own_stays(runs, tmp_path):
    run = shutil.copytree(runs / "a", tmp_path / "a") / "rl"
    kept = json.loads((run / "best/best.json").read_text())
    assert (kept["step"], kept["split"]) == (2, "validation")
    assert (run / "best/model.safetensors").exists()
    assert not (run / "best/state.pt").exists()
    better = {"name": "step", "step": 3, "split": "validation", "pass@1": 0.99}
    with open(run / "evals.jsonl", "a") as file:
        file.write(json.dumps(better) + "\n")
    assert state.keep_best(run, 2) is None, "step 2 is the best no more"
    assert state.keep_best(run, 3) == run / "best"
    assert json.loads((run / "best/best.json").read_text())["pass@1"] == 0.99
    shutil.rmtree(run / "best")
    (run / "best").mkdir()
    (run / "best/mine.txt").write_text("mine")
    assert state.keep_best(run, 3) is None
    assert (run / "best/mine.txt").read_text() == "mine"
