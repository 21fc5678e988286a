"""What commands say at the edges: files that cannot be written, no network, which model was made."""

from __future__ import annotations

import errno
import io
import json
import shutil
import sys

import pytest

from aha import cli, files, ranks
from aha.cli import main
from aha.runs import pipeline, state
from aha.runs.export import export
from aha.types import AhaError

EVAL = ["eval", "tiny", "--problems", "2", "--samples", "1", "--max-tokens", "4", "--threads", "1", "--json"]


def error_of(capsys):
    said = capsys.readouterr().err
    assert said.startswith("aha: ")
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--samples", "0"], "--samples 0: give 1 or more"),
        (["--samples", "-1"], "give 1 or more"),
        (["--max-tokens", "0"], "--max-tokens 0: give 1 or more"),
        (["--problems", "0"], "--problems 0: give 1 or more"),
        (["--temperature", "-1"], "give 0 (greedy) or more"),
        (["--temperature", "nan"], "give 0 (greedy) or more"),
        (["--top-p", "0"], "above 0, up to 1"),
        (["--top-p", "1.5"], "above 0, up to 1"),
    ],
)
def test_numbers_that_cannot_be_are_told(words, said, capsys):
    assert main([*EVAL, *words]) == 1
    assert said in error_of(capsys)


IDLE = "would have no effect"
OUT_OF_BOUNDS = [
    ("zero --threads -2", "--threads -2: give a whole number from 0"),
    ("zero --set-aside 5", "--set-aside 5.0: give a number from 0 to 1"),
    ("zero --set-aside nan", "--set-aside nan: give a number from 0 to 1"),
    ("zero --steps -1", "--steps -1: give a whole number from 0"),
    ("run iterative_dpo --rounds 0", "--rounds 0: give a whole number from 1"),
    ("chat tiny --temperature nan", "--temperature nan: give a number from 0 to 10"),
    ("chat tiny --top-p 0", "--top-p 0.0: give a number above 0 to 1"),
    ("serve tiny --threads -1", "--threads -1: give a whole number from 0"),
    ("plan --base tiny --gpu-memory 1e400", "--gpu-memory inf: give a number above 0"),
    ("plan --base tiny --gpu-memory nan", "--gpu-memory nan: give a number above 0"),
    ("sandbox x.py --wall -1", "--wall -1.0: give a number above 0"),
    ("sandbox x.py --wall 1e400", "--wall inf: give a number above 0"),
    ("sandbox x.py --memory-mb 0", "--memory-mb 0: give a whole number from 1"),
    ("data dedup x.jsonl --output o --threshold nan", "--threshold nan: give a number above 0 to 1"),
    ("data dedup x.jsonl --output o --workers -1", "--workers -1: give a whole number from 0"),
    ("data decontaminate x.jsonl --against y.jsonl --output o --n 0", "--n 0: give a whole number from 2"),
    ("data decontaminate x.jsonl --against y.jsonl --output o --wording -1", "--wording -1: give"),
    ("data convert x.jsonl --to messages --output o --quotas a:1 --total 0", "--total 0: give"),
    ("data difficulty x.jsonl --output o --low nan", "--low nan: give a number from 0 to 1"),
    ("bench rollout --rows 0", "--rows 0: give a whole number from 1"),
    ("bench rollout --tokens -4", "--tokens -4: give a whole number from 1"),
    ("bench rollout --prompts -1", "--prompts -1: give a whole number from 0"),
    ("bench train --runs 0", "--runs 0: give a whole number from 1"),
    ("bench train --length-mean 0", "--length-mean 0: give a whole number from 1"),
    ("bench step --group 1", "--group 1: give a whole number from 2"),
    ("bench step --peer-micro-batch -1", "--peer-micro-batch -1: give"),
    ("bench load --runs 0", "--runs 0: give a whole number from 1"),
    ("bench grade --rounds 0", "--rounds 0: give a whole number from 1"),
    ("bench grade --limit -1", "--limit -1: give a whole number from 0"),
    ("bench sandbox --workers -1", "--workers -1: give a whole number from 0"),
    ("bench gpu --seconds 0", "--seconds 0: give a whole number from 1"),
    ("bench learn --lr nan", "--lr nan: give a number from 0"),
    ("bench learn --target 5", "--target 5.0: give a number from 0 to 1"),
    ("bench learn --eval-every 0", "--eval-every 0: give a whole number from 1"),
]
WITHOUT_EFFECT = [
    ("export r o --public", f"--public {IDLE}"),
    ("list tasks rl", f"'rl' {IDLE}: write aha list settings rl"),
    ("list tasks --runs-dir elsewhere", f"--runs-dir {IDLE}"),
    ("list runs --runs-dir elsewhere", "there is no such folder"),
    ("sandbox --stdin in.txt", f"--stdin {IDLE}: no program is named"),
    ("sandbox --wall 2 --memory-mb 64", f"--wall, --memory-mb {IDLE}: no program is named"),
    ("plan --table --base tiny", f"--base {IDLE}: --table is of well-known models"),
    ("plan --table --check", f"--check {IDLE}: --table is of well-known models"),
    ("plan --table --json", f"--json {IDLE}"),
    ("plan --check --gpus 8", f"--gpus {IDLE}: --check measures"),
    ("plan --check rl.lr=1", f"rl.lr=1 {IDLE}: --check measures"),
    ("plan --write-prices p.toml --recipe r1", f"--recipe {IDLE}: --write-prices"),
    ("plan --base tiny --device cpu", f"--device {IDLE}: it is for --check"),
    ("plan --base tiny --recipe sft --group-size 8", f"--group-size {IDLE}: no stage of the recipe 'sft'"),
    ("chat tiny --think-budget 480", f"--think-budget 480 {IDLE}"),
    ("zero --print-config --dry-run", "both stop before the run"),
    ("zero --ranks many --dry-run", "--ranks many: give a number from 1, or auto"),
    ("zero --ranks 0 --print-config", "--ranks 0: give a number from 1, or auto"),
    ("init r1_zero --dry-run", "both stop before the run"),
    ("dpo tiny --data x.jsonl --loss kto dpo.loss=ipo", "--loss kto and dpo.loss=ipo both say which loss"),
    ("dpo tiny --data x.jsonl --loss kto loss=ipo", "--loss kto and loss=ipo both say which loss"),
    ("data stats x.jsonl --split test", f"--split {IDLE}: rows of files are all read"),
    ("data stats openai/gsm8k:main#test --split test", f"--split {IDLE}"),
    (
        "data decontaminate x.jsonl --against y.jsonl --against-split dev --output o",
        f"--against-split {IDLE}",
    ),
    ("data dedup x.jsonl --exact --threshold 0.5 --output o", f"--threshold {IDLE}: --exact drops"),
    ("data dedup x.jsonl --exact --prose --output o", f"--prose {IDLE}: --exact drops"),
    ("data dedup x.jsonl --columns , --output o", "--columns ',' names no column"),
    (
        "data convert x.jsonl --to messages --seed 3 --output o",
        f"--seed {IDLE}: it is of the rows that --quotas",
    ),
    (
        "data convert x.jsonl --to messages --total 3 --output o",
        f"--total {IDLE}: it is of the rows that --quotas",
    ),
    ("data convert x.jsonl --to nothing --output o", "No schema 'nothing'"),
    ("data convert x.jsonl --to messages --quotas math --output o", "'math' is no quota"),
    ("data difficulty x.jsonl --low 0.9 --high 0.1 --output o", "--low 0.9 is above --high 0.1"),
    ("data dedup x.jsonl --output .", ". is a folder"),
    ("grade x.jsonl --output .", ". is a folder"),
    ("bench rollout --peer-eager", f"--peer-eager {IDLE}"),
    ("bench rollout --peer-eager --against transformers", f"--peer-eager {IDLE}: it is of vllm"),
    ("bench step --peer-precision bf16", f"--peer-precision {IDLE}: it is of a peer"),
    ("bench train --peer-order arrival", f"--peer-order {IDLE}: it is of a peer"),
    ("bench learn --peer-micro-batch 4", f"--peer-micro-batch {IDLE}: it is of a peer"),
    ("bench learn --seeds 0,x", "--seeds 0,x: give different whole numbers"),
    ("bench learn --seeds 1,1", "--seeds 1,1: give different whole numbers"),
    ("bench learn --plot .", ". is a folder"),
    ("bench step --profile .", ". is a folder"),
    ("bench grade --corrections c.jsonl", f"--corrections {IDLE}: it is of answers that have labels"),
    ("bench peers list nobody", "There is no peer 'nobody'"),
]
EMPTY = [
    ("zero --data", "--data has an empty text"),
    ("zero --run", "--run has an empty text"),
    ("sft x.jsonl --model=", "--model has an empty text"),
    ("eval tiny --output", "--output has an empty text"),
    ("think tiny --value", "--value has an empty text"),
    ("doctor --config", "--config has an empty text"),
]


@pytest.mark.parametrize(("words", "said"), [*OUT_OF_BOUNDS, *WITHOUT_EFFECT])
def test_an_option_is_honoured_or_refused_before_anything_is_done(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 1
    assert said in error_of(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("words", "said"), EMPTY)
def test_an_empty_text_is_not_taken_for_the_default(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*words.split(), *([] if words.endswith("=") else [""])]) == 1
    assert said in error_of(capsys)
    assert not list(tmp_path.iterdir())


def test_the_check_of_the_sandbox_prints_json_where_it_is_asked_for(capsys):
    assert main(["sandbox", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["isolation"]


def test_peers_that_are_named_are_listed_alone(capsys):
    assert main(["bench", "peers", "list", "trl"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["trl"]


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["zero", "--modle", "tiny"], "Did you mean '--model'?"),
        (["zero", "--dry-runn", "rl.steps=2"], "Did you mean '--dry-run'?"),
        (["eval", "tiny", "--probelms=3"], "Did you mean '--problems'?"),
        (["chat", "tiny", "--xyz"], "does not know: --xyz. See: aha chat --help"),
        (["--verson"], "Did you mean '--version'? See: aha --help"),
    ],
)
def test_an_option_that_is_not_known_names_the_nearest(words, nearest, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert nearest in (said := error_of(capsys))
    assert len(said.splitlines()) == 1


@pytest.fixture
def never(monkeypatch):
    """Nothing is sampled."""

    def sampled(*args, **options):
        raise AssertionError("it was sampled")

    monkeypatch.setattr("aha.stages.evaluation.evaluate.evaluate", sampled)


def test_a_file_that_cannot_be_written_is_told_before_anything_is_sampled(tmp_path, never, capsys):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path, tmp_path / "file" / "out.jsonl", tmp_path / ("x" * 300)):
        assert main([*EVAL, "--output", str(path)]) == 1
        assert str(path) in error_of(capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_so_is_a_folder_that_is_forbidden(tmp_path, never, capsys, monkeypatch):
    def forbidden(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files.Path, "mkdir", forbidden)
    assert main([*EVAL, "--output", str(tmp_path / "no" / "out.jsonl")]) == 1
    assert "No permission to write" in error_of(capsys)


def test_trying_a_path_leaves_nothing(tmp_path):
    files.check_writable(tmp_path / "a" / "b" / "out.jsonl")
    assert not list(tmp_path.iterdir())
    kept = tmp_path / "kept.jsonl"
    kept.write_text("old")
    files.check_writable(kept)
    assert kept.read_text() == "old"


def test_figures_are_printed_whatever_happens_to_the_file(tmp_path, capsys, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    assert main([*EVAL, "--output", str(tmp_path / "out.jsonl")]) == 1
    out, err = capsys.readouterr()
    assert "pass@1" in json.loads(out)
    assert "disk is full" in err


# --- a finished run, made by hand -------------------------------------------------------------------------


def stage(run, name, **settings):
    place = run / name
    (place / "final").mkdir(parents=True)
    (place / "final" / "config.json").write_text("{}")
    (place / "final" / "model.safetensors").write_bytes(bytes(1000))
    (place / "settings.json").write_text(json.dumps({"fingerprint": "x", "settings": settings}))
    (place / "done.json").write_text(json.dumps({"fingerprint": "x", "seconds": 1, "summary": {}}))


@pytest.fixture
def run(tmp_path):
    """A run of r1 whose last stage by name and by time is not the model that it is for."""
    folder = tmp_path / "runs" / "r1"
    for name in ("r1", "zero", "student_rl"):
        stage(folder, name)
    config = {"recipe": "r1", "makes": "r1", "stages": {"zero": {}, "r1": {}, "student_rl": {}}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "summary.json").write_text('{"after": {"pass@1": 0.5}}')
    return folder


def test_next_names_the_model_that_the_run_is_for(run, capsys):
    assert state.result(run) == run / "r1" / "final"
    assert main(["report", str(run)]) == 0
    assert f"aha chat {run}/r1/final" in capsys.readouterr().out
    shutil.rmtree(run / "r1" / "final")
    stage(run, "zz.old")
    assert state.result(run) == run / "student_rl" / "final", "the last made; none that was set aside"


def test_the_model_that_the_run_is_for_is_exported(run, tmp_path):
    assert export(run, tmp_path / "out").name == "r1"
    assert export(run, tmp_path / "zero", "zero").name == "zero"


@pytest.mark.parametrize("target", [".", "occupied", "file"])
def test_an_export_to_where_something_is_is_refused(run, tmp_path, monkeypatch, capsys, target):
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    (place / "file").write_text("mine")
    (place / "occupied").mkdir()
    (place / "occupied" / "file").write_text("mine")
    before = sorted(place.rglob("*"))
    assert main(["export", str(run), target]) == 1
    assert target in error_of(capsys)
    assert sorted(place.rglob("*")) == before


def test_an_export_to_an_empty_folder_one_stands_in_is_refused(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert main(["export", str(run), "."]) == 1
    assert "the folder you are in" in error_of(capsys)
    assert (tmp_path / "empty").is_dir()


def test_an_export_onto_a_full_disk_is_told(run, tmp_path, monkeypatch, capsys):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage._replace(free=500))
    assert main(["export", str(run), str(tmp_path / "out")]) == 1
    assert "Not enough room" in error_of(capsys)
    monkeypatch.undo()

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("aha.runs.export.shutil.copyfile", full)
    assert main(["export", str(run), str(tmp_path / "out")]) == 1
    assert "disk is full" in error_of(capsys)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["runs"]


def test_a_push_without_a_network_is_told_before_anything_is_copied(run, tmp_path, capsys):
    assert main(["export", str(run), str(tmp_path / "out"), "--push", "me/model"]) == 1
    assert "Cannot push to 'me/model'" in error_of(capsys)
    assert not (tmp_path / "out").exists()


# --- the state of a run -----------------------------------------------------------------------------------


def test_the_list_tells_the_truth(run, capsys):
    def listed():
        assert main(["list", "runs", "--runs-dir", str(run.parent)]) == 0
        return capsys.readouterr().out

    assert "r1  finished, pass@1 50.0%" in listed()
    (run / "r1" / "done.json").unlink()
    (run / "r1" / "checkpoints" / "step-000030").mkdir(parents=True)
    (run / "r1" / "checkpoints" / "step-000030" / "progress.json").write_text("{}")
    assert "r1  unfinished (2 of 3 stages, r1 saved at step 30); the command" in listed()
    (run / "config.json").write_text("{")
    assert "r1  damaged: " in listed()


class Noted(pipeline.Stage):
    value: int = 0

    def run(self, context):
        (context.folder / "made").write_text("x")
        return {"value": self.value}


def begin(folder, value=0):
    context = pipeline.Context(folder)
    return pipeline.run([Noted(name="a", value=value)], folder, context, config={}, say=lambda text: None)


@pytest.mark.parametrize("name", ["done.json", "settings.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]", b"{", b'{"a": ' + b"[" * 99999])
def test_a_damaged_file_of_a_run_is_named(tmp_path, name, content):
    begin(tmp_path)
    (tmp_path / "a" / name).write_bytes(content)
    with pytest.raises(AhaError, match=f"{name} is damaged"):
        begin(tmp_path, 1)


def test_a_run_that_may_not_be_written_is_told_and_a_finished_one_is_read(tmp_path, monkeypatch):
    begin(tmp_path)

    def forbidden(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("builtins.open", forbidden)
    monkeypatch.setattr(files.os, "replace", forbidden)
    assert begin(tmp_path) == {"a": {"value": 0}}
    with pytest.raises(AhaError, match="No permission to write"):
        begin(tmp_path, 1)


def test_what_is_set_aside_is_never_written_over(tmp_path):
    for value in range(4):
        begin(tmp_path, value)
    kept = [pipeline.read_settings(p)["settings"]["value"] for p in sorted(tmp_path.glob("a*.old"))]
    assert sorted(kept) == [0, 1, 2]


@pytest.mark.parametrize(
    "words", [["chat"], ["eval"], ["diagnose"], ["rescore", "--rewards", "accuracy"], ["sft", "--data"]]
)
def test_a_name_longer_than_any_is_told(words, capsys):
    assert (
        main(
            [words[0], *words[1:], "x" * 300] if words[-1] == "--data" else [words[0], "x" * 300, *words[1:]]
        )
        == 1
    )
    said = capsys.readouterr().err
    assert "none is as long as that" in said
    assert len(said) < 200


def test_characters_that_a_terminal_does_not_have_end_no_command(monkeypatch):
    """Half a pair of surrogates, an arrow where the terminal knows ASCII, typed bytes that are no text."""
    typed, shown, codes = io.BytesIO(b"\xff one\n"), io.BytesIO(), []
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(typed, encoding="utf-8"))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii", write_through=True))
    monkeypatch.setattr(cli, "main", lambda: print(input(), "\u2192", "\ud800"))
    monkeypatch.setattr(ranks, "end", codes.append)
    cli.command()
    assert codes == [None]
    assert shown.getvalue() == b"? one ? ?\n"
