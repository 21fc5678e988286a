"""Stage graphs: finished stages are not run again, a changed setting re-runs what depends on it."""

from __future__ import annotations

import errno
import json
from typing import Any, ClassVar

import pytest

from aha import files
from aha.files import append_jsonl, new_folder, read_jsonl, write_json
from aha.runs import folders, pipeline
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


class Reviewed(Note):
    edits: ClassVar[tuple[str, ...]] = ("people.txt",)

    def run(self, context: Context) -> dict[str, Any]:
        append_jsonl(context.folder / "runs.jsonl", [{"value": self.value}])
        return super().run(context)


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


def test_another_setting_is_another_run_that_takes_over_what_is_the_same(tmp_path):
    first = tmp_path / "r1"
    run(first, chain())
    before = {p: p.read_bytes() for p in first.rglob("*") if p.is_file()}
    for second, name, ran in ((1, "r1-2", ["b", "c"]), (2, "r1-3", ["b", "c"]), (1, "r1-2", [])):
        stages = chain(second=second)
        place, why = folders.choose(first, stages)
        assert (place.name, "b.value 0, now" in why) == (name, True)
        folders.take_over(place, folders.shared(first, place, stages), lambda text: None)
        assert run(place, stages) == ran
    assert {p: p.read_bytes() for p in first.rglob("*") if p.is_file()} == before


def beside(first, stages):
    """The run that the stages get beside ``first``: its folder, the stages that were run, and what was said."""
    place, _ = folders.choose(first, stages)
    said: list[str] = []
    folders.take_over(place, folders.shared(first, place, stages), said.append)
    return place, run(place, stages), said


def longer(first=0, second=0, third=0):
    (c,) = chain(first, second)
    return [Note(name="d", value=third, after=c)]


def test_a_third_run_takes_over_what_it_shares_with_the_second(tmp_path):
    """The second one's change is kept and a later stage is changed: only that one is run."""
    first = tmp_path / "r1"
    run(first, longer())
    assert beside(first, longer(second=1))[:2] == (tmp_path / "r1-2", ["b", "c", "d"])
    place, ran, said = beside(first, longer(second=1, third=1))
    assert (place, ran) == (tmp_path / "r1-3", ["d"])
    assert said == [f"Taken over from {tmp_path / 'r1-2'}, where they are the same: a, b, c."]
    assert beside(first, longer(third=1))[1:] == (
        ["d"], [f"Taken over from {first}, where they are the same: a, b, c."]
    )  # fmt: skip
    assert beside(first, longer(second=1, third=1))[1:] == ([], []), "given again, it is found again"


def two_ends(left, right):
    base = Note(name="base")
    return [Note(name="left", value=left, after=base), Note(name="right", value=right, after=base)]


def test_stages_may_come_from_several_runs(tmp_path):
    first = tmp_path / "r1"
    run(first, two_ends(0, 0))
    assert beside(first, two_ends(1, 0))[1] == ["left"]
    assert beside(first, two_ends(0, 1))[1] == ["right"]
    place, ran, said = beside(first, two_ends(1, 1))
    assert (place.name, ran) == ("r1-4", [])
    assert len(said) == 2


def test_a_stage_made_from_edited_rows_is_not_mixed_with_others(tmp_path):
    """The second run's rows were reviewed by people: what was made from them goes with them alone."""

    def stages(value, last):
        rows = Reviewed(name="rows")
        return [Note(name="last", value=last, after=Note(name="made", value=value, after=rows))]

    first = tmp_path / "r1"
    run(first, stages(0, 0))
    second, _, _ = beside(first, stages(0, 1))
    (second / "rows" / "people.txt").write_text("better")
    assert run(second, stages(0, 1)) == ["rows", "made", "last"]
    place, ran, said = beside(first, stages(0, 2))
    assert ran == ["last"]
    assert said == [f"Taken over from {second}, where they are the same: rows, made."]
    assert (place / "rows/people.txt").read_text() == "better"


def test_an_unfinished_stage_with_other_settings_stays_as_well(tmp_path):
    first = tmp_path / "r1"
    run(first, chain())
    (first / "c" / "done.json").unlink()
    (first / "b" / "done.json").unlink()
    place, why = folders.choose(first, chain(second=1))
    assert place.name == "r1-2"
    assert why.startswith(f"{first} holds another run (b.value 0, now 1")


class Rows(Note):
    file: str = ""

    def data_files(self):
        return [self.file]


def test_rows_that_changed_and_another_recipe_are_other_runs(tmp_path):
    (tmp_path / "rows.jsonl").write_text("1")
    stages = [Rows(name="a", file=str(tmp_path / "rows.jsonl"))]
    run(tmp_path / "r", stages)
    assert folders.choose(tmp_path / "r", stages) == (tmp_path / "r", "")
    (tmp_path / "rows.jsonl").write_text("two")
    assert "rows.jsonl has other rows" in folders.choose(tmp_path / "r", stages)[1]
    pipeline.run(chain(), tmp_path / "s", Context(tmp_path), config={"stages": {"a": {}}}, say=str)
    assert "of another recipe" in folders.choose(tmp_path / "s", [Note(name="other")])[1]


def reviewed(value=0):
    return [Note(name="c", after=Reviewed(name="b", value=value, after=Note(name="a")))]


def test_what_people_lay_beside_a_result_is_noticed_and_what_was_made_is_kept(tmp_path):
    assert run(tmp_path, reviewed()) == ["a", "b", "c"]
    people = tmp_path / "b" / "people.txt"
    for text in ("accept", "reject"):
        people.write_text(text)
        assert run(tmp_path, reviewed()) == ["b", "c"]
        assert run(tmp_path, reviewed()) == []
    people.unlink()
    assert run(tmp_path, reviewed()) == ["b", "c"]
    assert len(read_jsonl(tmp_path / "b" / "runs.jsonl")) == 4, "its folder stayed"
    assert not (tmp_path / "b.old").exists()
    assert (tmp_path / "c.old").exists()


def test_what_people_laid_there_before_the_stage_ended_counts_once(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "people.txt").write_text("accept")
    assert run(tmp_path, reviewed()) == ["a", "b", "c"]
    assert run(tmp_path, reviewed()) == []


def test_work_of_people_is_never_thrown_away(tmp_path):
    for value in range(3):
        run(tmp_path, reviewed(value))
        (tmp_path / "b" / "people.txt").write_text(f"of {value}")
    run(tmp_path, reviewed(3))
    run(tmp_path, reviewed(4))
    kept = sorted(p.read_text() for p in tmp_path.glob("b*.old/people.txt"))
    assert kept == ["of 0", "of 1", "of 2"]


def test_inputs_come_first_and_names_are_unique():
    assert [s.name for s in ordered(chain())] == ["a", "b", "c"]
    with pytest.raises(AhaError, match="Two stages are called 'a'"):
        ordered([Note(name="a"), Note(name="a", value=1)])


def test_two_processes_do_not_share_a_folder(tmp_path):
    with pipeline.locked(tmp_path), pytest.raises(AhaError, match="Another process"):
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
