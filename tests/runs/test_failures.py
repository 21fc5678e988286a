"""What a stage died of is kept until it goes on, and told in words whatever stands in the file."""

from __future__ import annotations

import json
import os

import pytest

from aha.diagnosis import undone
from aha.runs import failures


def test_an_error_is_kept_until_the_stage_ends_well(tmp_path):
    place = tmp_path / "sft"
    with pytest.raises(ZeroDivisionError), failures.kept(place):
        _ = 1 / 0
    (illness,) = undone.died(tmp_path, {"sft": {}})
    assert "before its first step" in illness.evidence[0]
    assert "ZeroDivisionError: division by zero" in illness.evidence[0]
    with pytest.raises(KeyboardInterrupt), failures.kept(place):
        raise KeyboardInterrupt
    assert failures.read(place)["error"] == "ZeroDivisionError", "an interrupt is no error"
    with failures.kept(place):
        pass
    assert failures.read(place) == {}


def test_an_error_of_before_is_none_of_a_stage_that_took_steps_since(tmp_path):
    """It was refused, started again and interrupted later: nobody died of what it was refused for."""
    place = tmp_path / "rl"
    steps = place / "metrics.jsonl"
    place.mkdir()
    steps.write_text('{"step": 1}\n')
    with pytest.raises(ZeroDivisionError), failures.kept(place):
        _ = 1 / 0
    assert undone.died(tmp_path, {"rl": {}})
    later = failures.read(place)["time"] + 60
    os.utime(steps, (later, later))
    assert not undone.died(tmp_path, {"rl": {}})


@pytest.mark.parametrize("odd", [{"where": 5}, {"time": "x"}, {"time": 1e300}, {"where": [1, 2, 3]}])
def test_an_odd_file_is_told_as_far_as_it_can_be(tmp_path, odd):
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / failures.FILE).write_text(json.dumps({"error": "OSError", "text": "gone", **odd}))
    (illness,) = undone.died(tmp_path, {"sft": {}})
    assert "OSError: gone" in illness.evidence[0]
