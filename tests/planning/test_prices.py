"""Money and energy of a plan, by a table that can be edited."""

from __future__ import annotations

import json

import pytest

from aha.cli import main
from aha.planning import machines, prices
from aha.types import AhaError

WORDS = ["plan", "--base", "Qwen/Qwen2.5-7B", "--gpus", "8", "--gpu", "h100"]


def test_by_hand():
    """10 hours of 8 H100 at 2.50 and 700 W, and a room that draws 1.3 times as much."""
    cost = prices.DEFAULT.of(machines.machine("h100", 8), 10)
    assert (cost["gpu_hours"], cost["money"]) == (80, 200)
    assert cost["kwh"] == pytest.approx(80 * 0.7 * 1.3)
    assert prices.DEFAULT.of(machines.machine(None, 1, 48), 10) is None, (
        "of a GPU without a name nothing is known"
    )


def test_every_gpu_has_a_price():
    assert prices.TABLE.keys() == machines.GPUS.keys()


def test_the_table_is_written_edited_and_read(tmp_path, capsys):
    file = tmp_path / "prices.toml"
    assert main(["plan", "--write-prices", str(file)]) == 0
    assert prices.read(file).gpus == prices.TABLE
    text = file.read_text().replace('currency = "USD"', 'currency = "EUR"')
    file.write_text(text.replace('[gpus."h100"]\nhour = 2.5', '[gpus."h100"]\nhour = 5.0'))
    capsys.readouterr()
    assert main([*WORDS, "--json"]) == 0
    (usual,) = json.loads(capsys.readouterr().out)
    assert main([*WORDS, "--json", "--prices", str(file)]) == 0
    (edited,) = json.loads(capsys.readouterr().out)
    assert edited["cost"]["money"] == pytest.approx(2 * usual["cost"]["money"])
    assert edited["cost"]["gpu_hours"] == pytest.approx(8 * edited["hours"])
    assert main([*WORDS, "--prices", str(file)]) == 0
    assert "EUR" in capsys.readouterr().out
    assert main(["plan", "--write-prices", str(file)]) == 1, "an edited table is not written over"
    assert "EUR" in file.read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[gpus."h10"]\nhour = 1', "unknown GPU 'h10'"),
        ('[gpus."h100"]\nhour = "much"', "gpus.h100.hour is 'much'"),
        ("overhead = 0.5", "overhead is 0.5"),
        ("= 1", "cannot be read as TOML"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path, text, said):
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(AhaError, match=said.replace("'", ".")):
        prices.read(file)
