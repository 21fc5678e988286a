"""Rows given with --data: which task they are for, that they count by content, and that every stage gets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from smallest import SMALL, flat

from aha.data.layouts import map_row
from aha.data.sources import read_rows
from aha.files import read_jsonl, write_jsonl
from aha.recipes import distill, r1
from aha.runs.pipeline import Context, ordered
from aha.sampling.http import Programs, Server
from aha.stages.data.cold_start import ColdStart
from aha.stages.data.general_data import GeneralData
from aha.stages.data.preference_data import Preferences
from aha.stages.data.reject import Reject
from aha.stages.evaluation.compare import Compare
from aha.stages.rl import RL
from aha.stages.supervised.sft import SFT
from aha.tasks import deal_rows, get_task, row_sources
from aha.types import AhaError

REAL = Path(__file__).parents[3] / "shared" / "data" / "math"


@pytest.fixture
def rows(tmp_path):
    places = {}
    for name, first in (("train", 0), ("test", 1000)):
        path = tmp_path / f"{name}.jsonl"
        records = [
            {"question": f"What is {i} plus 1?", "answer": f"#### {i + 1}"} for i in range(first, first + 120)
        ]
        write_jsonl(path, records)
        places[name] = str(path)
    return places


def gsm8k(n, split):
    path = REAL / f"gsm8k_{split}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return read_rows(str(path))[:n]


# --- which task they are for --------------------------------------------------------------------------------


def test_rows_are_for_the_one_task_that_reads_rows():
    none, both = (None, None), ("a", "b")
    assert deal_rows(("gsm8k", "general"), "a", "b") == {"gsm8k": both, "general": none}
    assert deal_rows(("code", "math"), "a", "b") == {"code": none, "math": both}, "code can do without"
    assert deal_rows(("code", "logic"), "a", "b") == {"code": both, "logic": none}
    assert deal_rows(("countdown", "general"), None, None) == {"countdown": none, "general": none}
    mixed = "gsm8k:0.5,logic:0.5"
    assert deal_rows((mixed, "general"), "a", None)[mixed] == ("a", None)
    with pytest.raises(AhaError, match="for gsm8k or math"):
        deal_rows(("gsm8k", "math"), "a", None)
    with pytest.raises(AhaError, match="for none of logic, general"):
        deal_rows(("logic", "general"), "a", None)
    with pytest.raises(AhaError, match="for no task"):
        get_task("gsm8k=x.jsonl:1", "a")


def test_a_mixture_hands_them_on(rows):
    task = get_task("gsm8k:0.5,logic:0.5", rows["train"], rows["test"])
    for split, least in (("train", 0), ("test", 1000)):
        asked = [p for p in task.load(split, 20, 0) if p.task == "gsm8k"]
        assert len(asked) == 10
        assert all(least < int(str(p.answer)) <= least + 120 for p in asked)
    assert row_sources("gsm8k=a.jsonl:1,logic:1", "b", None) == ["b", "a.jsonl"]


# --- they count by content ----------------------------------------------------------------------------------

READERS = {
    "rl": (RL, {"task": "gsm8k"}, "data"),
    "rl test": (RL, {"task": "gsm8k"}, "test_data"),
    "cold start": (ColdStart, {"task": "gsm8k"}, "data"),
    "reject": (Reject, {"task": "gsm8k"}, "data"),
    "reject test": (Reject, {"task": "gsm8k"}, "test_data"),
    "general": (GeneralData, {"task": "math"}, "data"),
    "preferences": (Preferences, {"task": "math"}, "data"),
    "compare": (Compare, {"tasks": ("gsm8k", "general")}, "data"),
    "compare test": (Compare, {"tasks": ("gsm8k",)}, "test_data"),
}


@pytest.mark.parametrize("name", READERS)
def test_changed_rows_change_the_fingerprint(name, rows, tmp_path):
    kind, settings, field = READERS[name]
    _changes(lambda: kind.model_validate({"name": "x", field: rows["train"], **settings}), rows["train"])


@pytest.mark.parametrize("kind", [RL, ColdStart, Reject])
def test_rows_that_a_mixture_names_count_too(kind, rows):
    task = f"logic:0.5,gsm8k={rows['train']}:0.5"
    _changes(lambda: kind.model_validate({"name": "x", "task": task}), rows["train"])


def _changes(make, path):
    before, text = make().fingerprint(), Path(path).read_text()
    assert make().fingerprint() == before
    Path(path).write_text(text.replace("plus 1", "plus  1"))
    assert make().fingerprint() != before
    Path(path).write_text(text)
    assert make().fingerprint() == before, "equal content is the same file"


# --- the recipes --------------------------------------------------------------------------------------------


def test_the_recipes_give_them_to_every_stage_that_asks(rows):
    sources = {"data": rows["train"], "test_data": rows["test"]}
    stages = {s.name: s for s in ordered(r1.build(model="tiny", task="gsm8k", **sources))}
    asking = ("zero", "cold_start", "dev2", "reject", "r1", "student_rl", "compare")
    for name in asking:
        assert (stages[name].data, stages[name].test_data) == (rows["train"], rows["test"]), name
    for name in ("general", "pairs", "safety_data"):
        assert stages[name].data is None, name
    for name in asking[:-1]:
        task = get_task(stages[name].task, stages[name].data, stages[name].test_data)
        by_task = {p.task: p for p in task.load("test", 8, 0)}
        assert int(by_task["gsm8k"].answer) > 1000, name
    assert stages["compare"].tasks == ("gsm8k", "general")
    distilled = {s.name: s for s in ordered(distill.build(task="gsm8k", **sources))}
    assert distilled["reject"].data == distilled["compare"].data == rows["train"]
    named = f"gsm8k={rows['train']}:1,countdown:3"
    stages = {s.name: s for s in ordered(r1.build(model="tiny", task=named))}
    for task in stages["compare"].tasks:
        assert get_task(task).load("test", 2, 0)


def test_the_command_takes_them(rows, tmp_path, capsys, monkeypatch):
    from aha.cli import main

    monkeypatch.chdir(tmp_path)
    words = ["--tasks", "gsm8k", "--data", rows["train"], "--test-data", rows["test"], "--dry-run"]
    assert main(["r1", "--base", "tiny", *words]) == 0
    assert f'test_data = "{rows["test"]}"' in capsys.readouterr().out.split("compare (Compare)")[1]
    assert main(["distill", *words]) == 0


# --- real rows ----------------------------------------------------------------------------------------------


def test_real_rows_are_selected_against_their_own_test_questions(tmp_path):
    """A program answers GSM8K by its rows; a training question that is a test question too must go."""
    train, test = gsm8k(60, "train"), gsm8k(20, "test")
    write_jsonl(tmp_path / "test.jsonl", test)
    write_jsonl(tmp_path / "train.jsonl", [*train, *test[:3]])
    known = {mapped.question: mapped.answer for mapped in (map_row(r, 0) for r in [*train, *test])}

    def say(messages, seed):
        asked = messages[-1]["content"]  # with what the prompt adds on how to answer
        answer = next(answer for question, answer in known.items() if asked.startswith(question))
        return f"<think>I count it out, step by step, and get there.</think> It is \\boxed{{{answer}}}."

    with Server(Programs({"m": say})) as server:
        stage = Reject.model_validate(
            {
                "name": "reject", "model": f"{server.url}#m", "task": "gsm8k", "data": str(tmp_path / "train.jsonl"),
                "test_data": str(tmp_path / "test.jsonl"), "decontaminate_tasks": ("gsm8k", "general"), "problems": 63,
                "samples": 1, "max_per_problem": 1,
            }
        )  # fmt: skip
        (tmp_path / "a").mkdir()
        summary = stage.run(Context(tmp_path / "a", plain=True, threads=1))
        compare = Compare.model_validate(
            {
                "name": "compare", "models": (f"{server.url}#m",), "names": ("program",), "tasks": ("gsm8k",),
                "data": stage.data, "test_data": stage.test_data, "problems": 20, "samples": 1,
            }
        )  # fmt: skip
        (tmp_path / "b").mkdir()
        figures = compare.run(Context(tmp_path / "b", plain=True, threads=1))["figures"]["gsm8k"]["program"]
    validation = {p.id for p in get_task("gsm8k", stage.data, stage.test_data).load("validation", 99, 0)}
    kept = {row["problem_id"] for row in read_jsonl(tmp_path / "a" / "data.jsonl")}
    assert len(kept) == summary["rows"] >= 60 - len(validation) - 3
    assert not kept & {f"gsm8k-{n}" for n in (61, 62, 63)}, "those are test questions"
    assert not kept & validation
    assert (figures["pass@1"], figures["n_problems"]) == (1.0, 20)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # a busy machine
def test_the_whole_recipe_on_real_rows(tmp_path):
    """``aha r1 --tasks gsm8k --data --test-data`` on a base that was taught one answer, and rows with that one."""
    files = {}
    for split, n in (("train", 7473), ("test", 1319)):
        chosen = [row for row in gsm8k(n, split) if map_row(row, 0).answer == "18"]
        assert len(chosen) >= 10
        files[split] = tmp_path / f"{split}.jsonl"
        write_jsonl(files[split], chosen)
    said = "<think>I count it out and get there.</think> <answer>18</answer>"
    taught = [
        {"messages": [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": said}]}
        for row in read_jsonl(files["train"]) * 8
    ]
    write_jsonl(tmp_path / "taught.jsonl", taught)
    base = SFT.model_validate(
        {
            "name": "base", "model": "tiny", "data": (str(tmp_path / "taught.jsonl"),), "epochs": 2, "batch_size": 8,
            "lr": 1e-3, "template": "r1_zero", "max_length": 1024,
        }
    )  # fmt: skip
    (tmp_path / "base").mkdir()
    base.run(Context(tmp_path / "base", plain=True, threads=1))
    room = {"max_prompt_tokens": 480}
    changes = flat(tuple(name for name in SMALL if name not in ("student", "distilled", "student_rl")))
    changes |= {f"{name}.{k}": v for name in ("zero", "dev2", "r1") for k, v in room.items()}
    settings = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    templates = [f"{name}.prompt=r1_zero" for name in SMALL if f"{name}.steps" in changes]
    templates += [f"{name}.prompt=r1_zero" for name in ("cold_start", "dev1", "reject", "dev3", "compare")]
    command = [
        sys.executable, "-m", "aha", "r1", "--base", str(tmp_path / "base" / "final"), "--tasks", "gsm8k",
        "--data", str(files["train"]), "--test-data", str(files["test"]), "--run", "run", "--plain", "--threads", "1",
        *settings, *templates,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    compared = json.loads((tmp_path / "runs" / "run" / "compare" / "compare.json").read_text())
    assert set(compared) == {"gsm8k", "general"}
    assert set(compared["gsm8k"]) == {str(tmp_path / "base" / "final"), "zero", "dev1", "dev2", "dev3", "r1"}
