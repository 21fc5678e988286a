"""``aha grade`` and ``aha bench grade``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from aha.bench import grade as bench
from aha.commands import grade
from aha.types import AhaError

OUTPUTS = Path(__file__).parents[3] / "shared" / "data" / "outputs"


def call(module, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return module.run(parser.parse_args(list(arguments)))


def test_writes_outcomes_and_prints_totals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    answers = ["\\boxed{5}", "\\boxed{6}", "none"]
    source.write_text(
        "\n".join(json.dumps({"gold": "5", "prediction": a, "id": i}) for i, a in enumerate(answers))
    )
    assert call(grade, str(source), "--output", str(output), "--json") == 0
    written = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["outcome"] for row in written] == ["correct", "wrong", "no_answer"]
    assert [row["id"] for row in written] == [0, 1, 2]
    assert written[1]["note"]
    totals = json.loads(capsys.readouterr().out)
    assert (totals["correct"], totals["wrong"], totals["no_answer"], totals["unknown"]) == (1, 1, 1, 0)
    assert totals["grades_per_second"] > 0


@pytest.mark.parametrize(
    "line", ["{", "[1]", '{"gold": "1"}', '{"gold": 1, "prediction": "2"}', '{"gold": "", "prediction": "2"}']
)
def test_a_malformed_row_is_named_by_its_line(line: str, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"gold": "1", "prediction": "\\u2028"}\n\n' + line + "\n")
    with pytest.raises(AhaError, match="line 3"):
        call(grade, str(source))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AhaError, match="No data file"):
        call(grade, str(tmp_path / "absent.jsonl"))


def test_benchmark_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "pairs.jsonl"
    source.write_text(json.dumps({"gold": "5", "prediction": "\\boxed{6}", "expected": True}) + "\n")
    assert call(bench, str(source), "--rounds", "1", "--json") == 0
    result = json.loads(capsys.readouterr().out)[0]
    assert result["graders"]["aha"]["agreement"] == 0
    assert call(bench, "--limit", "50", "--rounds", "1") == 0
    assert "grades/s" in capsys.readouterr().out


def test_agreement_is_also_shown_with_corrected_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, fixed = tmp_path / "pairs.jsonl", tmp_path / "fixed.jsonl"
    rows = [{"gold": "5", "prediction": "\\boxed{5}", "expected": right} for right in (False, True)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    row = {"data": "pairs.jsonl", "pair": 1, "label": True, "why": "equal\u2028"}
    fixed.write_text(json.dumps(row, ensure_ascii=False) + "\n\n")
    assert call(bench, str(source), "--rounds", "1", "--json", "--corrections", str(fixed)) == 0
    entry = json.loads(capsys.readouterr().out)[0]["graders"]["aha"]
    assert (entry["agreement"], entry["corrected_agreement"], entry["corrected"]) == (0.5, 1, 1)
    assert call(bench, str(source), "--rounds", "1", "--corrections", str(fixed)) == 0
    assert "1.0000 with 1 labels corrected" in capsys.readouterr().out
    for wrong in ({}, row | {"label": "false"}):
        fixed.write_text(json.dumps(wrong) + "\n")
        with pytest.raises(AhaError, match="holds no corrections"):
            call(bench, str(source), "--corrections", str(fixed))


@pytest.mark.skipif(not OUTPUTS.is_dir(), reason="the real outputs are not beside this checkout")
def test_real_outputs_are_graded_as_their_corrected_labels_say(capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(map(str, OUTPUTS.glob("prime_*.jsonl.gz")))
    fixed = Path(__file__).parents[2] / "examples" / "label_corrections.jsonl"
    assert call(bench, *files, "--rounds", "1", "--json", "--corrections", str(fixed)) == 0
    rows = json.loads(capsys.readouterr().out)[:2]
    assert [r["graders"]["aha"]["corrected_agreement"] for r in rows] == [1, 1]
    assert [r["graders"]["aha"]["corrected"] for r in rows] == [5, 23]
