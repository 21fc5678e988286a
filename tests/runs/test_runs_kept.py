"""A finished run is kept: a command that cannot be run changes nothing, other settings make another run."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest

from aha import files
from aha.cli import main
from aha.runs import pipeline
from aha.tasks import get_task

SMALL = [
    "rl.steps=1", "rl.prompts_per_step=2", "rl.group_size=2", "rl.max_tokens=16", "rl.max_tokens_schedule=[]",
    "rl.mini_batches=1", "rl.test_problems=2", "rl.test_samples=1", "rl.eval_every=0", "rl.train_problems=8",
    "--plain", "--threads", "1", "--no-doctor",
]  # fmt: skip


def aha(folder, *words):
    return main(["zero", "--runs-dir", str(folder), *SMALL, *map(str, words)])


def hashes(folder):
    """Every file of a folder, and every folder in it, with a hash of the content and the time of writing."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept") / "runs"
    assert aha(folder) == 0
    return folder


@pytest.fixture(scope="module")
def wrong(tmp_path_factory, checkpoint):
    """A folder with all kinds of things that are not what they should be."""
    place = tmp_path_factory.mktemp("wrong")
    (place / "empty.jsonl").write_text("")
    (place / "cut.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n{"question": "1+2?", "ans')
    (place / "no_answer.jsonl").write_text('{"question": "1+1?"}\n')
    (place / "few.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n')
    (place / "broken.toml").write_text("[rl\n")
    (place / "unknown.toml").write_text("[rl]\nlearning_rat = 1\n")
    (place / "folder").mkdir()
    shutil.copytree(checkpoint, place / "cut")
    weights = place / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    shutil.copytree(checkpoint, place / "no_tokenizer")
    for file in (place / "no_tokenizer").glob("token*"):
        file.unlink()
    return place


MISTYPED = {
    "no such folder": ["--model", "./nope"],
    "a folder that is no model": ["--model", "@folder"],
    "weights cut off": ["--model", "@cut"],
    "no tokenizer": ["--model", "@no_tokenizer"],
    "unknown model": ["--model", "tyni"],
    "unknown task": ["--task", "countdwn"],
    "rows missing": ["--task", "gsm8k", "--data", "typo.jsonl"],
    "rows not given": ["--task", "math"],
    "rows for a task that reads none": ["--data", "@few.jsonl"],
    "no rows": ["--task", "math", "--data", "@empty.jsonl"],
    "a row cut off": ["--task", "math", "--data", "@cut.jsonl"],
    "rows without answers": ["--task", "math", "--data", "@no_answer.jsonl"],
    "too few rows for a test split": ["--task", "math", "--data", "@few.jsonl"],
    "no number": ["rl.lr=fast"],
    "a number out of range": ["rl.lr=-1"],
    "unknown setting": ["rl.learning_rat=1"],
    "unknown stage": ["rll.lr=1"],
    "unknown reward": ["rl.rewards.acuracy=1"],
    "unknown option of a reward": ['rl.rewards={"accuracy:wrog=1": 1}'],
    "unknown algorithm": ["rl.algorithm=grpoo"],
    "unknown part of an algorithm": ["rl.algorithm.clip_hi=1"],
    "unknown prompt": ["rl.prompt=boxd"],
    "no room for a prompt": ["rl.max_tokens=100000"],
    "all prompts too long": ["rl.max_prompt_tokens=1"],
    "no such device": ["--device", "tpu"],
    "a device that is not here": ["--device", "mps"],
    "no such type": ["--dtype", "float23"],
    "unknown precision": ["rl.dtype=float16"],
    "ahead without workers": ["rl.max_staleness=2"],
    "no settings file": ["--config", "none.toml"],
    "settings file that is no TOML": ["--config", "@broken.toml"],
    "unknown setting in a file": ["--config", "@unknown.toml"],
    "an option of other recipes": ["--teacher", "tiny"],
    "ranks": ["--ranks", "few"],
    "afresh with a wrong model": ["--fresh", "--model", "./nope"],
    "afresh with unknown rows": ["--fresh", "--task", "gsm8k", "--data", "typo.jsonl"],
    "afresh with an unknown reward": ["--fresh", "rl.rewards.acuracy=1"],
    "afresh with weights cut off": ["--fresh", "--model", "@cut"],
}


@pytest.mark.parametrize("words", MISTYPED.values(), ids=MISTYPED)
def test_a_mistyped_command_leaves_a_finished_run_bit_for_bit(finished, wrong, words, capsys):
    before = hashes(finished)
    words_now = [str(wrong / word[1:]) if word.startswith("@") else word for word in words]
    assert aha(finished, *words_now) == 1
    error = capsys.readouterr().err
    assert error.startswith("aha: ")
    assert "Traceback" not in error
    assert hashes(finished) == before, "and no folder is made"


@pytest.mark.parametrize("words", [["--modle", "tiny"], ["--steps", "many"], ["--seed"], ["rl.lr"]])
def test_neither_does_one_that_is_no_command(finished, words):
    before = hashes(finished)
    with pytest.raises(SystemExit):
        aha(finished, *words)
    assert hashes(finished) == before


def test_the_same_command_again_writes_nothing(finished, capsys):
    before = hashes(finished)
    assert aha(finished) == 0
    assert "finished before, not run again" in capsys.readouterr().out
    assert hashes(finished) == before


def test_three_learning_rates_are_three_results(finished, tmp_path, capsys):
    runs = tmp_path / "runs"
    shutil.copytree(finished, runs)
    before = hashes(runs / "zero")
    for lr in ("2e-4", "3e-4"):
        assert aha(runs, f"rl.lr={lr}") == 0
        assert "runs/zero holds another run (rl.lr 0.00012, now 0.000" in capsys.readouterr().out
    assert hashes(runs / "zero") == before
    assert sorted(place.name for place in runs.iterdir()) == ["zero", "zero-2", "zero-3"]
    settings = [json.loads((place / "rl/settings.json").read_text()) for place in sorted(runs.iterdir())]
    assert [s["settings"]["lr"] for s in settings] == [1.2e-4, 2e-4, 3e-4]
    assert main(["list", "runs", "--runs-dir", str(runs)]) == 0
    assert capsys.readouterr().out.count("finished, pass@1") == 3
    assert aha(runs, "rl.lr=2e-4") == 0, "each is found again"
    out = capsys.readouterr().out
    assert "finished before, not run again" in out
    assert f"aha chat {runs}/zero-2/rl/final" in out
    named = aha(runs, "--run", "zero", "rl.lr=2e-4")
    assert (named, len(list(runs.iterdir()))) == (0, 3)


def test_rows_without_a_validation_split_are_told_at_the_start(finished, tmp_path, capsys):
    rows = [{"question": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(90)]
    file = tmp_path / "rows.jsonl"

    def of(split):
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return {p.messages[0]["content"] for p in get_task("math", str(file)).load(split, 99, 0)}

    questions, others = of("test"), of("train")
    twelve = [r for r in rows if r["question"] in questions][:2] + [
        r for r in rows if r["question"] in others
    ][:10]
    file.write_text("".join(json.dumps(row) + "\n" for row in twelve))
    before = hashes(finished)
    assert aha(finished, "--task", "math", "--data", file, "rl.eval_every=2", "rl.steps=4") == 1
    error = capsys.readouterr().err
    assert "validation" in error
    assert "rl.eval_every=0" in error
    assert hashes(finished) == before


def test_a_disk_without_room_for_the_checkpoints_is_told_at_the_start(finished, monkeypatch, capsys):
    before, usage = hashes(finished), shutil.disk_usage(finished)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert aha(finished, "--fresh") == 1
    assert "Not enough room" in capsys.readouterr().err
    assert hashes(finished) == before


def test_fresh_sets_a_run_aside_under_a_name_of_its_own(finished, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(finished, runs)
    before = hashes(runs / "zero")
    assert aha(runs, "--fresh", "rl.steps=0") == 0
    assert hashes(runs / "zero.old1") == before
    assert pipeline.read_settings(runs / "zero" / "rl")["settings"]["steps"] == 0
