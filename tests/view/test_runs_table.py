"""The table of runs, their curves and stages, notes, and the stream of changes."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sys

import pytest
from served import HOSTILE, change, client, make_run, say, write_lines

from aha.runs import growing
from aha.view import curves, shelf
from aha.view.index.tables import index_path
from aha.view.watch import RunWatch


@pytest.fixture
def runs(tmp_path):
    """Two seeds of one run, the first finished, and a third run with another setting."""
    for name, seed in (("a", 1), ("b", 2), ("c", 1)):
        make_run(tmp_path / name, steps=20, seed=seed)
    settings = json.loads((tmp_path / "c" / "config.json").read_text())
    settings["stages"]["rl"]["lr"] = 1.0
    (tmp_path / "c" / "config.json").write_text(json.dumps(settings))
    (tmp_path / "a" / "rl" / "done.json").write_text('{"fingerprint": "f", "seconds": 77.5, "summary": {}}')
    return tmp_path


def lines(file):
    return file.read_text().splitlines()


def table(browser):
    return {row["id"]: row for row in browser.get("/api/runs").json()["rows"]}


def test_a_line_says_what_a_run_is_and_how_far_it_came(runs):
    rows = table(client(runs))
    assert rows.keys() == {"a", "b", "c"}
    a = rows["a"]
    assert (a["recipe"], a["model"], a["seed"], a["step"], a["steps"]) == ("zero", "tiny", 1, 20, 20)
    assert (a["state"], a["seconds"]) == ("finished", 77.5)
    # by hand: evaluations run from 0.107 to 0.947, the last one (step 20, test) is the best
    assert a["best"] == pytest.approx(0.947)
    assert a["best_name"] == "pass@1 (step 20, test)"
    steps = [json.loads(line)["step_time"] for line in lines(runs / "b" / "rl" / "metrics.jsonl")]
    assert rows["b"]["seconds"] == pytest.approx(sum(steps))


def test_runs_that_differ_in_their_seed_alone_are_kin(runs):
    rows = table(client(runs))
    assert rows["a"]["kin"] == rows["b"]["kin"] != rows["c"]["kin"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="locks are seen in /proc/locks")
def test_a_run_whose_lock_is_held_is_running_and_its_lock_is_not_touched(runs):
    old = 1_600_000_000
    for file in (runs / "b").rglob("*"):
        os.utime(file, (old, old))
    with open(runs / "b" / ".lock", "a") as lock:
        assert table(client(runs))["b"]["state"] == "stopped"
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert table(client(runs))["b"]["state"] == "running"
        assert shelf.held(runs / "a" / ".lock") is None  # it has no lock file
    assert table(client(runs))["b"]["state"] == "stopped"


def test_a_damaged_run_is_a_line_too(runs):
    (runs / "b" / "config.json").write_text('{"stages": {')
    row = table(client(runs))["b"]
    assert row["state"] == "damaged"
    assert "not valid JSON" in row["words"]


def test_half_a_character_in_a_run_does_not_take_the_table_away(runs):
    config = json.loads((runs / "b" / "config.json").read_text())
    config["stages"]["rl"]["task"] = "count\ud800down"
    (runs / "b" / "config.json").write_text(json.dumps(config))
    rows = table(client(runs))
    assert set(rows) == {"a", "b", "c"}
    assert "count\ufffddown" in json.dumps(rows["b"], ensure_ascii=False)


def test_runs_are_found_in_several_folders_one_deeper_and_alone(runs, tmp_path):
    make_run(tmp_path / "group" / "deep")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    assert table(client(runs)).keys() == {"a", "b", "c", "group/deep"}
    assert table(client(runs / "a")).keys() == {"a"}
    assert table(client([runs / "a", runs / "group"])).keys() == {"a", "deep"}


def test_curves_are_the_files_figures(runs):
    answer = client(runs).get("/api/curves", params={"run": ["a", "b"]}).json()
    stage = answer["a"]["stages"][0]
    rows = [json.loads(line) for line in lines(runs / "a" / "rl" / "metrics.jsonl")]
    charts = {chart["title"]: chart for chart in stage["charts"]}
    reward = charts["Reward"]["series"][0]["points"]
    assert [x for x, _ in reward] == list(range(1, 21))
    assert [y for _, y in reward] == pytest.approx([row["reward"] for row in rows], rel=1e-6)
    axes = stage["axes"]
    assert axes["step"] == list(range(21))
    assert axes["tokens"] == [68_000 * step for step in range(21)]
    assert axes["seconds"][-1] == pytest.approx(sum(row["step_time"] for row in rows), rel=1e-6)
    assert "flop" not in axes  # no checkpoint says how many parameters there are
    assert answer["b"]["stages"][0]["charts"] != stage["charts"]


def test_flop_come_from_the_checkpoints_own_header(runs):
    header = {
        "__metadata__": {"format": "pt"},
        "w": {"dtype": "BF16", "shape": [10, 20], "data_offsets": [0, 400]},
        "b": {"dtype": "BF16", "shape": [7], "data_offsets": [400, 414]},
    }
    text = json.dumps(header).encode()
    (runs / "a" / "rl" / "final").mkdir()
    file = runs / "a" / "rl" / "final" / "model.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(414))
    assert curves.parameters(runs / "a" / "rl") == 207
    axes = client(runs).get("/api/curves", params={"run": "a"}).json()["a"]["stages"][0]["axes"]
    assert axes["flop"][-1] == pytest.approx(8 * 207 * 68_000 * 20)


def test_a_growing_file_is_read_on_and_torn_and_broken_lines_are_no_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"step": 1}\nbroken\n[1]\n\n{"step": 2')
    rows = growing.GrowingRows(path)
    assert rows.refresh()
    assert ([row["step"] for row in rows.rows], rows.broken) == ([1], 2)
    assert not rows.refresh()
    with open(path, "ab") as file:
        file.write(b'}\n{"step": 3}\n')
    assert rows.refresh()
    assert [row["step"] for row in rows.rows] == [1, 2, 3]
    write_lines(tmp_path / "other", [{"step": n} for n in range(50)])
    os.replace(tmp_path / "other", path)  # as a resume takes rows back: another file of that name
    assert rows.refresh()
    assert [row["step"] for row in rows.rows] == list(range(50))
    assert rows.broken == 0
    path.unlink()
    assert rows.refresh()
    assert rows.rows == []


@pytest.mark.parametrize("block", [1, 2, 7, 64])
def test_whole_lines_are_the_same_whatever_is_read_at_a_time(tmp_path, monkeypatch, block):
    path = tmp_path / "lines"
    path.write_bytes("\n".join(["a", "", "zwölf", "x" * 40, "等等", "rest"]).encode())
    monkeypatch.setattr(growing, "BLOCK", block)
    lines = list(growing.whole_lines(path, 0))
    assert [line.decode() for _, _, line in lines] == ["a", "", "zwölf", "x" * 40, "等等"]
    data = path.read_bytes()
    assert all(data[at : end - 1] == line for at, end, line in lines)
    assert list(growing.whole_lines(path, lines[2][0])) == lines[2:]


def test_a_line_without_end_is_skipped_and_not_kept_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(growing, "BLOCK", 10)
    monkeypatch.setattr(growing, "LONGEST", 30)
    path = tmp_path / "lines"
    path.write_bytes(b"first\nlast\n" + b"x" * 1000 + b"\n")
    assert list(growing.whole_lines(path, 0)) == [(0, 6, b"first"), (6, 11, b"last"), (11, 1012, None)]
    rows = growing.GrowingRows(path)
    rows.refresh()
    assert (rows.broken, rows.at) == (3, path.stat().st_size)


def test_notes_lie_beside_the_runs_and_change_nothing_in_them(runs):
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    browser = client(runs)
    assert say(
        browser, "notes", {"run": "a", "tags": ["good", " good ", ""], "note": f" {HOSTILE} "}
    ).json() == {
        "tags": ["good"],
        "note": HOSTILE.strip(),
    }
    assert client(runs).get("/api/runs").json()["notes"]["a"]["tags"] == ["good"]
    after = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    assert after.keys() - before.keys() == {runs / ".aha-view" / "notes.json"}
    assert {path: after[path] for path in before} == before
    for wrong in ({"tags": "x"}, {"tags": [1]}, {"note": "x" * 5000}, {"tags": ["t"] * 21}):
        assert say(browser, "notes", {"run": "a", "tags": [], "note": ""} | wrong).status_code == 400
    say(browser, "notes", {"run": "a", "tags": [], "note": ""})
    assert browser.get("/api/runs").json()["notes"] == {}


def test_notes_on_a_run_that_was_given_alone_lie_beside_it_too(runs):
    before = sorted((runs / "a").rglob("*"))
    say(client(runs / "a"), "notes", {"run": "a", "tags": ["x"], "note": ""})
    assert sorted((runs / "a").rglob("*")) == before
    assert client(runs).get("/api/runs").json()["notes"] == {"a": {"tags": ["x"], "note": ""}}


def test_stages_stand_in_the_order_of_the_recipe_with_those_that_wait(tmp_path):
    run = make_run(tmp_path / "r1")
    rl = {"name": "rl", "algorithm": {"preset": "grpo"}, "steps": 40, "model": "<sft>"}
    sft = {"name": "sft", "epochs": 1, "model": "tiny", "data": ["<reject>"]}
    stages = {"reject": {"name": "reject", "domain_ratios": "", "model": "tiny"}, "sft": sft, "rl": rl}
    change(run / "config.json", stages={**stages, "last": {"name": "last", "model": "<rl>"}})
    for name in ("reject", "sft", "rl"):
        write_lines(run / name / "settings.json", [{"fingerprint": f"f-{name}", "settings": stages[name]}])
    (run / "reject" / "done.json").write_text('{"seconds": 60, "summary": {"kept": 7}}')
    (run / "sft" / "done.json").write_text('{"seconds": 40, "summary": {}}')
    (run / ".lock").touch()
    answer = client(tmp_path).get("/api/graph", params={"run": "r1"}).json()
    states = [(s["name"], s["state"], s["inputs"], s["depth"]) for s in answer["stages"]]
    assert states == [
        ("reject", "done", [], 0), ("sft", "done", ["reject"], 1), ("rl", "stopped", ["sft"], 2),
        ("last", "waiting", ["rl"], 3),
    ]  # fmt: skip
    assert answer["stages"][0]["summary"] == {"kept": 7}
    with open(run / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        now = client(tmp_path).get("/api/graph", params={"run": "r1"}).json()
    if sys.platform.startswith("linux"):
        assert [s["state"] for s in now["stages"]] == ["done", "done", "running", "waiting"]
    spent = sum(json.loads(line)["step_time"] for line in lines(run / "rl" / "metrics.jsonl"))
    assert answer["seconds"] == pytest.approx(100 + spent)


def test_the_tab_of_health_says_what_the_report_says(runs):
    from aha.runs.report.data import read_run, warnings

    write_lines(runs / "a" / "rl" / "warnings.jsonl", [{"step": 3, "key": "entropy", "text": HOSTILE}])
    blocks = client(runs).get("/api/tab", params={"run": "a", "name": "health"}).json()
    assert blocks[0]["heading"] == "rl"
    assert blocks[0]["texts"] == warnings(read_run(runs / "a").stages[0]) != []
    assert client(runs).get("/api/tab", params={"run": ["a", "b"], "name": "health"}).status_code == 400


def test_who_listens_is_told_of_what_changed_and_nobody_looks_when_nobody_listens(runs):
    async def scene():
        watch = RunWatch(shelf.RunShelf([runs]), every=0.02)
        stream, events = watch.stream(), []
        async for part in stream:
            if part.startswith(b"event"):
                events.append(json.loads(part.split(b"data: ")[1]))
            if len(events) == 1:
                with open(runs / "b" / "rl" / "metrics.jsonl", "a") as file:
                    file.write('{"step": 21, "reward": 5.0}\n')
            if len(events) == 2:
                break
        await stream.aclose()
        await asyncio.wait_for(watch._task, 60)
        return events, watch

    events, watch = asyncio.run(scene())
    assert {row["id"] for row in events[0]["rows"]} == {"a", "b", "c"}
    assert [(row["id"], row["step"]) for row in events[1]["rows"]] == [("b", 21)]
    assert not watch.listeners
    assert watch._task.done()


def test_a_server_that_stops_does_not_wait_for_open_pages(runs):
    async def scene():
        watch = RunWatch(shelf.RunShelf([runs]), every=0.02)
        parts = [part async for part in ended(watch)]
        return parts, watch

    async def ended(watch):
        async for part in watch.stream():
            yield part
            watch.end()

    parts, watch = asyncio.run(scene())
    assert len(parts) <= 2
    assert not watch.listeners


def test_an_index_that_was_damaged_meanwhile_is_said(tmp_path):
    make_run(tmp_path / "zero")
    browser = client(tmp_path)
    assert browser.get("/api/overview", params={"run": "zero"}).status_code == 200
    for file in index_path(tmp_path / "zero").parent.glob("rollouts.sqlite*"):
        file.write_bytes(b"no index " * 9000)
    answer = browser.get("/api/overview", params={"run": "zero"})
    assert answer.status_code == 500
    assert "made anew where that folder is removed" in answer.json()["error"]


def test_a_run_that_lies_in_two_of_the_folders_is_one_run(tmp_path):
    make_run(tmp_path / "zero")
    rows = client([tmp_path, tmp_path, tmp_path / "zero"]).get("/api/runs").json()["rows"]
    assert [row["id"] for row in rows] == ["zero"]


def test_a_file_that_is_taken_away_while_one_looks_is_passed_over(runs):
    stage = runs / "a" / "rl"
    (stage / "step-000010").symlink_to(
        stage / "gone"
    )  # a checkpoint between being listed and being looked at
    (stage / "settings.json").write_text("{}")
    (stage / "done.json").unlink()
    with open(runs / "a" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = client(runs).get("/api/graph", params={"run": "a"})
    assert answer.status_code == 200
    assert answer.json()["stages"][0]["state"] == "running"
