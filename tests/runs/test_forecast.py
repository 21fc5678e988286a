"""What was foreseen of a run stands beside what came of it."""

from __future__ import annotations

import json
import mmap
import re
from pathlib import Path

from report_run import make_run

from aha import hardware
from aha.planning.dry_run import foreseen
from aha.recipes import get_recipe
from aha.runs.report.data import read_run
from aha.runs.report.forecast import plan_and_fact


def done(run: Path, **plan: object) -> str:
    """The table of a run that took 100 seconds and held 3 GiB, as text."""
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"plan": {"rl": plan}}))
    facts = {"fingerprint": "f", "seconds": 100.0, "peak_bytes": {"process": 3 << 30}, "summary": {}}
    (run / "rl" / "done.json").write_text(json.dumps(facts))
    return re.sub(r"<[^>]+>", " ", plan_and_fact(read_run(run)))


def test_plan_and_fact_stand_side_by_side(tmp_path: Path) -> None:
    said = done(make_run(tmp_path / "zero"), seconds=[80.0, 240.0], memory_bytes=512 << 20)
    assert "about 80 s planned, 100 s taken" in said
    for words in ("80 s, at most 240 s", "512 MiB", "3.00 GiB"):
        assert words in said


def test_what_was_not_foreseen_or_is_damaged_is_a_dash(tmp_path: Path) -> None:
    run = make_run(tmp_path / "zero")
    assert plan_and_fact(read_run(run)) == ""
    for plan in (
        {"seconds": None, "memory_bytes": None},
        {"seconds": "soon"},
        {"seconds": [1]},
        {"seconds": ["a", {}]},
    ):
        assert re.search(r"rl\s+-\s+100 s\s+-\s+3.00 GiB", done(run, **plan))


def test_a_run_beside_others_is_foreseen_by_their_speed_and_the_first_one_by_nothing(tmp_path: Path) -> None:
    stages = get_recipe("r1_zero").build(model="tiny")
    assert foreseen(stages, tmp_path / "b")["rl"]["seconds"] is None
    make_run(tmp_path / "a", steps=4)
    about, most = foreseen(stages, tmp_path / "b")["rl"]["seconds"]
    assert 0 < about < most
    (tmp_path / "a" / "rl" / "metrics.jsonl").write_text("{broken\n")
    forecast = foreseen(stages, tmp_path / "b")["rl"]
    assert forecast["seconds"] is None
    assert forecast["memory_bytes"] > 20 * 1.5e6


def test_the_most_that_was_held_is_measured_anew() -> None:
    hardware.forget_peak()
    with mmap.mmap(-1, 96 << 20) as block:  # goes back to the system whatever an allocator keeps
        block.write(b"x" * len(block))
        high = hardware.peak_bytes()["process"]
        assert high > len(block)
    hardware.forget_peak()
    assert hardware.peak_bytes()["process"] < high
