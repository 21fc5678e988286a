"""Runs made ill on purpose, really run: the diagnosis names what was planted, and accuses no healthy one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import ill_rows
import ill_runs
import pytest

from aha.cli import main
from aha.diagnosis import diagnose, monitor

BRIEF = {"prompts_per_step": 4, "group_size": 4, "max_tokens": 40, "test_problems": 2, "test_samples": 1}


def brief(name, folder, steps):
    """A run of the catalogue, with fewer and shorter completions."""
    run = ill_runs.ILL[name]
    words = ill_runs.IllRun(run.cause, run.task, run.model, steps, run.seed, run.settings | BRIEF).words(
        name, folder
    )
    assert main(words) == 0
    return folder / name


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    return brief("length_gaming", tmp_path_factory.mktemp("runs"), 5)


def warned(run):
    return [json.loads(line) for line in (run / "rl/warnings.jsonl").read_text().splitlines()]


def test_length_that_is_paid_for_is_named_with_figures_samples_and_the_setting(long_run, capsys):
    diagnosis = diagnose(long_run)
    illness = next(i for i in diagnosis.illnesses if i.cause == "length_gaming")
    assert illness.settings == ("rl.rewards",)
    assert "paid/length" in illness.evidence[0]
    assert 1 <= len(illness.samples) <= 2
    assert all(sample.text and sample.question and sample.step == illness.step for sample in illness.samples)
    assert main(["diagnose", str(long_run)]) == 3
    shown = capsys.readouterr().out
    for part in ("LENGTH IS PAID FOR", "rl.rewards", "Sample", "Change"):
        assert part in shown


def test_the_same_is_said_while_it_runs_within_five_steps(long_run):
    (said,) = [w for w in warned(long_run) if w["key"] == "paid/length"]
    assert said["step"] <= 5


def test_a_monitor_reads_each_row_once(tmp_path, monkeypatch):
    file, parsed, loads = tmp_path / "metrics.jsonl", [], json.loads
    watching = monitor.Monitor("rl", tmp_path, None, 10)
    assert watching.rows("metrics") == []
    file.write_text('{"step": 1}\n{"step": 2}\n')
    assert watching.rows("metrics") == [{"step": 1}, {"step": 2}]
    with file.open("a") as more:
        more.write('{"step": 3}\n')
    monkeypatch.setattr(json, "loads", lambda line: parsed.append(bytes(line)) or loads(line))
    assert [row["step"] for row in watching.rows("metrics")] == [1, 2, 3]
    assert parsed == [b'{"step": 3}'], "what was read before is not read again"


def test_a_diagnosis_is_json_for_programs(long_run, capsys):
    assert main(["diagnose", "--json", str(long_run)]) == 3
    report = json.loads(capsys.readouterr().out)
    assert report["healthy"] is False
    assert {"cause", "title", "advice", "settings", "evidence", "samples", "step"} <= report["found"][
        0
    ].keys()


def test_an_older_run_without_the_figures_is_diagnosed_from_its_rollouts(long_run, tmp_path):
    """Files as they were before figures of diagnosis were written: the same is found from the stored texts."""
    import shutil

    old = shutil.copytree(long_run, tmp_path / "old")
    new = {
        "answers/missing",
        "chains/answer_only",
        "completions/repetition",
        "paid/length",
        "paid/repetition",
    }
    rows = [json.loads(line) for line in (old / "rl/metrics.jsonl").read_text().splitlines()]
    kept = [json.dumps({k: v for k, v in row.items() if k not in new}) + "\n" for row in rows]
    (old / "rl/metrics.jsonl").write_text("".join(kept))
    assert [i.evidence for i in diagnose(old).every] == [i.evidence for i in diagnose(long_run).every]


def test_questions_that_leak_and_graders_that_fail_are_told_while_it_runs(tmp_path):
    ill_runs.ILL["both"] = ill_runs.IllRun(
        "", task="OWN:Leaking", settings=ill_runs.rewards(accuracy=1, fragile=0.1)
    )
    try:
        run = brief("both", tmp_path, 2)
    finally:
        del ill_runs.ILL["both"]
    keys = [w["key"] for w in warned(run)]
    assert keys.count("leaking_prompts") == keys.count("grader_errors") == 1, "each is said once"
    causes = [i.cause for i in diagnose(run).illnesses]
    assert causes[:2] == ["grader_errors", "leaking_prompts"]


def test_damaged_files_are_counted_and_the_rest_is_diagnosed(long_run, tmp_path):
    import shutil

    run = shutil.copytree(long_run, tmp_path / "damaged")
    with open(run / "rl/rollouts/step_00003.jsonl", "a") as file:
        file.write(
            '[1]\n{"torn": \n{"finish": "?", "scores": {"accuracy": 3}, "tokens": null, "text": null}\n'
        )
    (run / "rl/rollouts/step_00004.jsonl").write_text("")
    config = (run / "config.json").read_text()
    (run / "config.json").write_text(
        config.replace("ill_parts.py", "nowhere.py").replace("countdown", "gone.py:Task")
    )
    diagnosis = diagnose(run)
    assert "length_gaming" in [i.cause for i in diagnosis.illnesses]
    assert any("2 of 19 lines could not be read" in note for note in diagnosis.notes)
    assert any("its task could not be loaded" in note for note in diagnosis.notes)


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert main(["diagnose", str(tmp_path)]) == 1
    assert "is not a run" in capsys.readouterr().err


def test_a_model_that_is_asked_otherwise_than_it_was_trained(tmp_path):
    """A base that answers in tags, tuned and saved so, asked for a box."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ill_rows.plain(24)))
    common = ["--runs-dir", str(tmp_path), "--plain", "--no-doctor", "--threads", "1"]
    assert main(["sft", str(rows), "--run", "tuned", *common, "sft.epochs=1", "sft.batch_size=12"]) == 0
    settings = {**ill_runs.SMALL, **BRIEF, "prompt": "boxed", "rewards": json.dumps({"accuracy": 1})}
    words = [f"rl.{key}={value}" for key, value in settings.items()]
    model = str(tmp_path / "tuned/sft/final")
    assert main(["zero", "--model", model, "--run", "asked", "--steps", "5", *common, *words]) == 0
    diagnosis = diagnose(tmp_path / "asked")
    assert [i.cause for i in diagnosis.illnesses] == ["wrong_prompt"]
    assert "prompt=r1_zero and is asked with prompt=boxed" in diagnosis.illnesses[0].evidence[0]


def test_a_stage_that_died_before_its_first_step_says_of_what(tmp_path, monkeypatch, capsys):
    from aha.stages.supervised.sft import SFTSession

    def fails(self, step):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ill_rows.plain(24)))
    words = [
        "sft",
        str(rows),
        "--runs-dir",
        str(tmp_path),
        "--run",
        "r",
        "--plain",
        "--no-doctor",
        "--threads",
        "1",
    ]
    words += ["sft.epochs=1", "sft.batch_size=12"]
    with monkeypatch.context() as broken:
        broken.setattr(SFTSession, "take", fails)
        with pytest.raises(RuntimeError):
            main(words)
    assert main(["diagnose", str(tmp_path / "r")]) == 3
    shown = capsys.readouterr().out
    assert "before its first step" in shown
    assert "can't allocate memory" in " ".join(shown.split())
    assert main(words) == 0, "the same command goes on"
    diagnosis = diagnose(tmp_path / "r")
    assert (diagnosis.illnesses, diagnosis.nothing) == ((), "")


def test_a_run_without_steps_says_that_there_is_nothing_to_look_at(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"stages": {"rl": {}}}')
    assert main(["diagnose", str(tmp_path)]) == 0
    assert "there is nothing to look at: none of its stages was begun" in capsys.readouterr().out
    (tmp_path / "rl").mkdir()
    assert main(["diagnose", str(tmp_path)]) == 3
    assert "left no error" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "rl/done.json").write_text("{}")
    assert main(["diagnose", str(tmp_path)]) == 0
    assert "none of its stages is trained (rl)" in capsys.readouterr().out


def test_what_rows_show_is_named(tmp_path):
    run = ill_rows.make("sft_empty", tmp_path)
    assert [i.cause for i in diagnose(run).illnesses] == ["empty_answers"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ill_rows.ILL)
def test_every_illness_of_rows_is_named(name, tmp_path):
    run = ill_rows.make(name, tmp_path)
    assert ill_rows.ILL[name].cause in [i.cause for i in diagnose(run).illnesses]


@pytest.mark.slow
@pytest.mark.parametrize("name", ill_rows.HEALTHY)
def test_no_healthy_stage_of_rows_is_accused(name, tmp_path):
    run = ill_rows.make(name, tmp_path)
    assert [i.cause for i in diagnose(run).illnesses] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ill_runs.ILL)
def test_every_illness_is_named(name, tmp_path):
    run = ill_runs.make(name, tmp_path)
    assert ill_runs.ILL[name].cause in [i.cause for i in diagnose(run).illnesses]


@pytest.mark.slow
@pytest.mark.parametrize("name", ill_runs.HEALTHY)
def test_no_healthy_run_is_accused(name, tmp_path):
    run = ill_runs.make(name, tmp_path)
    assert [i.cause for i in diagnose(run).illnesses] == []
    assert main(["diagnose", str(run)]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ill_runs.RUINED, *ill_runs.JUDGED])
def test_a_reward_or_judge_that_loves_length_is_noticed_within_a_tenth_of_the_steps_that_ruin_the_truth(
    name, tmp_path
):
    """Ruined: held-out pass@1 is below half of its best. The model of the best evaluation is kept."""
    run = ill_runs.make(name, tmp_path)
    evals = [json.loads(line) for line in (run / "rl/evals.jsonl").read_text().splitlines()]
    top = max((e for e in evals if e["split"] == "validation"), key=lambda e: e["pass@1"])
    ruined = next(e["step"] for e in evals if e["step"] > top["step"] and e["pass@1"] < top["pass@1"] / 2)
    noticed = min(w["step"] for w in warned(run) if w["key"] == "paid/length")
    assert 10 * noticed <= ruined, (noticed, ruined)
    assert json.loads((run / "rl/best/best.json").read_text())["step"] == top["step"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ill_runs.FAIR)
def test_a_fair_judge_is_not_accused(name, tmp_path):
    run = ill_runs.make(name, tmp_path)
    assert "paid/length" not in {warning["key"] for warning in warned(run)}
    assert [i.cause for i in diagnose(run).illnesses] == []


if __name__ == "__main__":  # of runs that were made before: python test_diagnose_runs.py FOLDER
    for place in sorted(Path(sys.argv[1]).iterdir()):
        planted = {**ill_runs.ILL, **ill_runs.HEALTHY}[place.name].cause
        named = [i.cause for i in diagnose(place).illnesses]
        print(
            "ok  " if planted in named or (planted == "" and not named) else "MISS",
            place.name,
            planted,
            named,
        )
