"""Stage graphs: finished stages are not run again, a changed setting re-runs what depends on it."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest

from aha import files
from aha.files import append_jsonl, new_folder, read_jsonl, write_json
from aha.runs import pipeline
from aha.runs.pipeline import Context, Stage, ordered
from aha.types import AhaError

RAN: list[str] = []


class Note(Stage):
    value: int = 0
    after: Stage | None = None

    def run(self, context: Context) -> dict[str, Any]:
        RAN.append(self.name)
        with new_folder(context.folder / "final") as place:
            (place / "x").write_text(str(self.value))
        return {"value": self.value}


def chain(first=0, second=0):
    a = Note(name="a", value=first)
    b = Note(name="b", value=second, after=a)
    return [Note(name="c", after=b)]


def run(folder, stages):
    RAN.clear()
    pipeline.run(stages, folder, Context(folder), config={}, say=lambda text: None)
    return list(RAN)


def test_only_what_changed_runs_again(tmp_path):
    assert run(tmp_path, chain()) == ["a", "b", "c"]
    assert run(tmp_path, chain()) == []
    assert run(tmp_path, chain(second=1)) == ["b", "c"]
    assert run(tmp_path, chain(first=1, second=1)) == ["a", "b", "c"]
    assert (tmp_path / "a.old" / "final" / "x").read_text() == "0", "what was there is kept"


def test_inputs_come_first_and_names_are_unique():
    assert [s.name for s in ordered(chain())] == ["a", "b", "c"]
    with pytest.raises(AhaError, match="Two stages are called 'a'"):
        ordered([Note(name="a"), Note(name="a", value=1)])


def test_two_processes_do_not_share_a_folder(tmp_path):
    with pipeline._lock(tmp_path), pytest.raises(AhaError, match="Another process"):
        run(tmp_path, chain())


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "final"
    with new_folder(target) as place:
        (place / "x").write_text("old")

    def interrupted():
        with new_folder(target) as place:
            (place / "x").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (target / "x").read_text() == "old"


def test_a_torn_last_line_is_dropped(tmp_path):
    path = tmp_path / "m.jsonl"
    append_jsonl(path, [{"step": 1}, {"step": 2}])
    path.write_text(path.read_text() + '{"step": 3, "rew')
    assert read_jsonl(path) == [{"step": 1}, {"step": 2}]


def test_a_full_disk_says_so_and_keeps_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "s.json"
    write_json(path, {"a": 1})

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(AhaError, match=r"disk is full.*same command again"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
