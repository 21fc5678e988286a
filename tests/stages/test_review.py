"""The review of cold-start chains: what is decided is on the disk, goes on later, and is what the stage reads."""

from __future__ import annotations

import io
import sys

import pytest

from aha.cli import main
from aha.files import read_jsonl, write_jsonl
from aha.runs.pipeline import Context
from aha.stages.data.cold_start import ColdStart
from aha.stages.data.review import ChainReview, fault


def chain(n):
    text = f"<think>I count {n}.</think> <answer>{n}</answer>"
    return {"id": f"p{n}#0", "status": "pending", "problem_id": f"p{n}", "question": f"{n}?", "draft": f"draft {n}",
            "rewritten": text, "text": text, "note": ""}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    write_jsonl(tmp_path / "run" / "cold_start" / "review.jsonl", [chain(n) for n in range(5)])
    return tmp_path / "run" / "cold_start"


def typed(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def statuses(folder):
    return [row["status"] for row in read_jsonl(folder / "review_edited.jsonl")]


def test_a_review_is_left_and_goes_on(folder, monkeypatch, capsys):
    typed(monkeypatch, "a\nx\nr\nq\n")
    assert main(["review", str(folder.parent)]) == 0
    assert statuses(folder) == ["accept", "reject", "pending", "pending", "pending"]
    assert "a accept   r reject" in capsys.readouterr().out
    typed(monkeypatch, "s\nb\nn\nlooks odd\na\n")  # and the end of the input leaves it, too
    assert main(["review", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "3 of 5 chains to look at" in out
    assert "note: looks odd" in out
    rows = read_jsonl(folder / "review_edited.jsonl")
    assert (rows[2]["status"], rows[2]["note"]) == ("accept", "looks odd")
    assert "2 pending, 2 accept, 1 reject, 0 edited" in out


def test_an_edit_is_kept_if_its_form_is_whole(folder, monkeypatch, tmp_path, capsys):
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import sys; p = sys.argv[1]; t = open(p).read(); open(p, 'w').write(t.replace('count', 'add up'))\n"
    )
    monkeypatch.setenv("VISUAL", f"{sys.executable} {editor}")
    typed(monkeypatch, "e\nq\n")
    main(["review", str(folder)])
    row = read_jsonl(folder / "review_edited.jsonl")[0]
    assert (row["status"], row["text"]) == ("accept", "<think>I add up 0.</think> <answer>0</answer>")
    assert "1 edited" in capsys.readouterr().out
    editor.write_text("import sys; open(sys.argv[1], 'w').write('<think>open')\n")
    typed(monkeypatch, "e\nq\n")
    main(["review", str(folder)])
    assert "its form is broken" in capsys.readouterr().out
    assert statuses(folder)[1] == "pending"
    monkeypatch.setenv("VISUAL", "/no/such/editor")
    typed(monkeypatch, "e\n")
    assert main(["review", str(folder)]) == 1
    assert "cannot be started" in capsys.readouterr().err


def test_the_stage_reads_what_was_decided(folder):
    review = ChainReview(folder)
    review.decide(0, "accept")
    review.decide(1, "reject")
    review.decide(2, "accept", "<think>Mine.</think> <answer>2</answer>")
    stage, queue = ColdStart(name="cold_start", review="required"), [chain(n) for n in range(5)]
    kept, counts = stage._reviewed(folder, queue)
    assert [(r["id"], r["text"]) for r in kept] == [
        ("p0#0", chain(0)["text"]),
        ("p2#0", "<think>Mine.</think> <answer>2</answer>"),
    ]
    assert counts == {"accept": 2, "reject": 1, "pending": 2, "edited": 1}
    assert Context(folder).folder == folder


def test_what_is_no_review_is_said(tmp_path, folder, capsys):
    assert main(["review", str(tmp_path / "nothing")]) == 1
    assert "has no review.jsonl" in capsys.readouterr().err
    write_jsonl(folder / "review_edited.jsonl", [chain(9)])
    assert main(["review", str(folder)]) == 1
    assert "p9#0, which is not in review.jsonl" in capsys.readouterr().err
    write_jsonl(folder / "review_edited.jsonl", [chain(1) | {"status": "maybe"}])
    assert main(["review", str(folder)]) == 1
    assert "status 'maybe'" in capsys.readouterr().err
    assert not fault(chain(1)["text"])
