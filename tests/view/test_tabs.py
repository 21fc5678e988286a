"""Tabs of findings: what other commands say of runs, as words, tables and links."""

from __future__ import annotations

import json

import pytest
from served import change, client, make_run

from aha.analysis import compare
from aha.diagnosis import diagnose
from aha.view import aside, tabs
from aha.view.index.keeper import IndexKeeper
from aha.view.index.searching import IndexReader
from aha.view.index.tables import index_path


@pytest.fixture
def runs(tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        make_run(tmp_path / name, steps=12, seed=seed)
    return tmp_path


def as_sent(value):
    return json.loads(json.dumps(value, default=str))


def test_a_diagnosis_is_all_there_with_links_to_its_rollouts(runs):
    said = as_sent(diagnose(runs / "a").as_json())
    said["found"] += [
        {"cause": "truncated", "stage": "rl", "step": 3, "evidence": ["half is cut"], "lasting": True,
         "explained_by": [],
         "title": "Completions are cut", "advice": "Raise it.", "settings": ["rl.max_tokens"],
         "samples": [{"step": 3, "problem_id": "p7", "member": 2, "text": "x " * 300, "reward": 0.0}]},
        {"cause": "x", "stage": "rl", "step": 5, "evidence": [], "lasting": False, "explained_by": ["truncated"],
         "title": "Passing", "advice": "Wait.", "settings": [], "samples": []},
    ]  # fmt: skip
    blocks = aside.diagnosed(said)
    grave = next(block for block in blocks if block.heading == "Completions are cut")
    assert grave.tone == "bad"
    assert {"half is cut", "Raise it.", "To change: rl.max_tokens"} <= set(grave.texts)
    label, filters = grave.links[0]
    assert len(label) < 200
    assert filters == {"stage": "rl", "part": "steps", "step_from": "3", "step_to": "3", "problem": "p7"}
    passing = next(block for block in blocks if block.heading == "Passing")
    assert blocks.index(grave) < blocks.index(passing)
    assert "It has passed." in passing.texts


def test_a_run_without_steps_is_not_called_healthy():
    said = {"found": [], "healthy": True, "notes": [], "nothing": "none of its stages was begun"}
    (block,) = aside.diagnosed(said)
    assert block.heading == "There is nothing to look at"
    assert block.texts == ["none of its stages was begun."]


def test_a_comparison_is_all_there(runs):
    change(runs / "b" / "config.json", recipe="another")
    comparison = compare([runs / "a", runs / "b"])
    blocks = {block.heading: block for block in aside.compared(as_sent(comparison.as_json()))}
    assert blocks["a and b"].texts == [comparison.pairs[0].sentence()]
    assert blocks["Settings that differ"].head == ["setting", "a", "b"]
    assert ["recipe", "zero", "another"] in blocks["Settings that differ"].rows
    figures = {row[0]: row[1:] for row in blocks["Figures: the last, and the best in brackets"].rows}
    assert figures["rl pass@1 (held out)"] == ["94.7% (94.7%)", "94.7% (94.7%)"]


def test_a_run_with_code_of_ones_own_is_not_diagnosed_here(runs):
    config = json.loads((runs / "a" / "config.json").read_text())
    config["stages"]["rl"]["rewards"] = {"mine.py:reward": 1.0}
    (runs / "a" / "config.json").write_text(json.dumps(config))
    answer = client(runs).get("/api/tab", params={"run": "a", "name": "diagnosis"})
    assert answer.status_code == 400
    assert "mine.py:reward" in answer.json()["error"]


def test_a_command_is_asked_in_its_own_process_and_its_error_told(runs):
    blocks = client(runs).get("/api/tab", params={"run": "a", "name": "diagnosis"}).json()
    assert [b["heading"] for b in blocks] == [
        b.heading for b in aside.diagnosed(diagnose(runs / "a").as_json())
    ]
    with pytest.raises(aside.AhaError, match="is not a folder"):
        aside.asked("diagnose", runs / "nowhere")


def test_files_of_the_folder_one_stands_in_are_not_run(runs, monkeypatch):
    """A run that somebody sent may hold a json.py; ``python -m`` would take it for Python's own."""
    for name in ("json", "sqlite3", "aha"):
        (runs / f"{name}.py").write_text(f"open({str(runs / 'ran')!r}, 'w').close()\nraise SystemExit(9)\n")
    monkeypatch.chdir(runs)
    assert "found" in aside.asked("diagnose", runs / "a")
    keeper = IndexKeeper()
    keeper._begin(runs / "a")
    worker = keeper._workers[runs / "a"]
    assert worker.wait(300) == 0
    keeper.close()
    assert not (runs / "ran").exists()
    with IndexReader(index_path(runs / "a")) as index:
        assert index.overview()["sources"]


def test_a_tab_looks_at_as_many_runs_as_it_says(runs):
    for name, names in (("comparison", ["a"]), ("diagnosis", ["a", "b"]), ("nothing", ["a"])):
        assert client(runs).get("/api/tab", params={"run": names, "name": name}).status_code == 400
    assert {tab["name"] for tab in tabs.titles()} == {"health", "diagnosis", "comparison"}
