"""Ratings from contest tables, by cases worked by hand; and results of other programs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aha.benchmarks import contests
from aha.benchmarks.contests import HIGHEST, LOWEST, ContestTable
from aha.benchmarks.records import GradedAnswer, GradedProblem
from aha.cli import main
from aha.tasks import code_rows
from aha.types import AhaError, Problem

TABLE = ContestTable(np.array([1000.0, 1400.0, 1800.0]), np.array([1.0, 2.0, 3.0]))


def graded(name, *marks):
    return GradedProblem(name, "", tuple(GradedAnswer(m, bool(m), True, "", 1, False) for m in marks))


def asked(name, contest, points):
    meta = {"contest": contest, "points": points}
    return Problem(name, "code", ({"role": "user", "content": name},), metadata=meta)


def test_who_shares_a_place_counts_half():
    assert [TABLE.place(points) for points in (0, 1, 2, 2.5, 3, 4)] == [4, 3.5, 2.5, 2, 1.5, 1]


def test_a_rating_is_where_the_place_is_expected():
    # at 1400: 10/11 of a competitor of 1800, half of one of 1400 and 1/11 of one of 1000 are ahead
    assert contests.rating_of(2.5, TABLE.ratings) == pytest.approx(1400)
    # against one alone the odds of a place are those of Elo's formula: 3 to 1 is 400 log10(3) above
    assert contests.rating_of(1.25, np.array([1500.0])) == pytest.approx(1500 + 400 * np.log10(3))
    assert contests.rating_of(1.0, TABLE.ratings) == pytest.approx(HIGHEST)
    assert contests.rating_of(4.0, TABLE.ratings) == pytest.approx(LOWEST)


def test_every_sample_is_a_participation():
    problems = [asked("a", "7", 1.0), asked("b", "7", 1.0), asked("x", "8", 1.0)]
    records = [graded("a", True, False), graded("b", True, None), graded("x", True, True)]
    figures = contests.figures(problems, records, {"7": TABLE})
    # 2 points are 1400; none is the last place
    assert figures["rating"] == pytest.approx((1400 + LOWEST) / 2)
    assert (figures["contests"], figures["contests_without_table"]) == (1, 1)
    assert figures["percentile"] == 0.0
    assert figures["contest_answers_ungraded"] == 0.25
    assert "25.0% of the answers could not be graded" in contests.warning(figures)
    whole = contests.figures(problems[:2], [graded("a", True), graded("b", True)], {"7": TABLE})
    assert whole["percentile"] == pytest.approx(1 / 3)
    with pytest.raises(AhaError, match="none is in both"):
        contests.figures(problems[2:], records[2:], {"7": TABLE})


def test_a_contest_of_which_problems_are_missing_is_told():
    part = contests.figures([asked("a", "7", 2.0)], [graded("a", True)], {"7": TABLE})
    assert part["contests_partly_asked"] == 1
    assert "too low" in contests.warning(part)
    problems = [asked("a", "7", 2.0), asked("b", "7", 1.0)]
    whole = contests.figures(problems, [graded("a", True), graded("b", False)], {"7": TABLE})
    assert (whole["contests_partly_asked"], contests.warning(whole)) == (0, "")


def test_points_of_problems_are_those_of_their_rows():
    row = {"question": "q", "contest_id": 1843, "index": "B", "points": 750.0,
           "input_output": json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]})}  # fmt: skip
    assert {"contest": "1843", "points": 750.0}.items() <= code_rows.make_problem(row, 1).metadata.items()
    del row["index"]  # as LiveCodeBench's, which are no points of a contest
    assert "contest" not in code_rows.make_problem(row, 1).metadata


def test_tables_are_read_in_both_forms(tmp_path):
    def competitor(name, points):
        return {"party": {"members": [{"handle": name}]}, "points": points}

    own = {"contest": "7", "standings": [{"rating": 1500, "points": 2}, {"rating": 1200, "points": 0}]}
    theirs = {
        "contestId": 8,
        "rows": [competitor("a", 3.0), competitor("unrated", 9.0)],
        "ratingChanges": [{"handle": "a", "oldRating": 1700}],
    }
    file = tmp_path / "contests.jsonl"
    file.write_text(json.dumps(own) + "\n" + json.dumps(theirs) + "\n")
    tables = contests.read(str(file))
    assert tables["7"].ratings.tolist() == [1500, 1200]
    assert (tables["8"].ratings.tolist(), tables["8"].points.tolist()) == ([1700], [3])
    standings = '"standings": [{"rating": 1500, "points": 2}]'
    for rows, words in (
        ('{"contest": "9", "standings": [{"points": 2}]}', "rating"), (f"{{{standings}}}", "no contest"),
        (f'{{"contest": 9, {standings}}}\n' * 2, "stands twice"), ('{"contest": 9, "standings": 5}', "iterable"),
    ):  # fmt: skip
        file.write_text(rows + "\n")
        with pytest.raises(AhaError, match=f"is no table of contests .*{words}"):
            contests.read(str(file))


@pytest.mark.slow  # the sandbox proves the rows
def test_the_command_gives_a_rating(tmp_path, capsys):
    tests = json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]})
    rows = [{"question": "Add one.", "contest_id": 7, "index": i, "input_output": tests} for i in "AB"]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = {"contest": 7, "standings": [{"rating": 1500, "points": 1}, {"rating": 900, "points": 0}]}
    (tmp_path / "c.jsonl").write_text(json.dumps(table) + "\n")
    words = (
        f"eval tiny --tasks codeforces={tmp_path}/p.jsonl --contests {tmp_path}/c.jsonl --k 2 --max-tokens 8"
    )
    assert main([*words.split(), "--results", str(tmp_path / "r")]) == 0
    said = capsys.readouterr().out
    # without a point, half beside the one of 900 and behind the one of 1500: place 2.5
    expected = contests.rating_of(2.5, np.array([1500.0, 900.0]))
    assert f"{expected:.0f}" in said
    assert "rating" in said
    assert "R1 96.3" in said
    (tmp_path / "c.jsonl").write_text(json.dumps({**table, "contest": 8}) + "\n")
    assert main([*words.split(), "--results", str(tmp_path / "r")]) == 0
    shown = capsys.readouterr()
    assert "none is in both" in shown.err
    assert "codeforces" in shown.out.lower()


def test_standings_that_nothing_asks_for_are_refused_before_the_work(capsys):
    assert main(["eval", "tiny", "--tasks", "countdown", "--contests", "c.jsonl"]) == 1
    assert "name it among --tasks" in capsys.readouterr().err


# --- imported ------------------------------------------------------------------------------------------------


def test_a_report_of_swe_bench_is_a_result(tmp_path, capsys):
    report = {"total_instances": 5, "resolved_ids": ["django__1"], "unresolved_ids": ["django__2"],
              "submitted_ids": ["django__1", "django__2", "flask__1"], "error_ids": ["flask__1"],
              "incomplete_ids": ["flask__2"]}  # fmt: skip
    (tmp_path / "r.json").write_text(json.dumps(report))
    words = ["eval", "my-model", "--tasks", f"swe_verified={tmp_path / 'r.json'}", "--json"]
    words += ["--results", str(tmp_path / "e"), "--html", str(tmp_path / "p.html")]
    assert main(words) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert (result["pass@1"], result["problems"], result["resolved"]) == (0.2, 5, 1)
    assert result["by"]["django"]["pass@1"] == 0.5
    assert "error" in (tmp_path / "p.html").read_text()
    for wrong, said in (
        ({}, "is no report of SWE-bench"), ({"resolved_ids": [], "error_ids": 5}, "error_ids is no list"),
        ({"resolved_ids": ["a"], "total_instances": 1e12}, "no number of instances"),
    ):  # fmt: skip
        (tmp_path / "r.json").write_text(json.dumps(wrong))
        assert main(words) == 1
        assert said in capsys.readouterr().err


def test_results_of_aider_are_a_result(tmp_path, capsys):
    for name, outcomes in {"python/a": [True], "python/b": [False, True], "go/c": [False, False]}.items():
        (tmp_path / "run" / name).mkdir(parents=True)
        kept = {"tests_outcomes": outcomes, "completion_tokens": 10}
        (tmp_path / "run" / name / ".aider.results.json").write_text(json.dumps(kept))
    words = ["eval", "my-model", "--tasks", f"aider={tmp_path / 'run'}", "--results", str(tmp_path / "e")]
    assert main([*words, "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["pass@1"] == pytest.approx(2 / 3)
    assert result["first_try"] == pytest.approx(1 / 3)
    assert (result["by"]["go"]["pass@1"], result["mean_tokens"]) == (0, 10)
    assert main(["eval", "my-model", "--tasks", f"aider={tmp_path / 'e'}"]) == 1
    assert "give the folder" in capsys.readouterr().err
