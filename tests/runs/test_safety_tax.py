"""The safety tax from stored answers: figures by hand, what cannot be told apart, and the report's section."""

from __future__ import annotations

import re

import pytest

from aha.files import write_json, write_jsonl
from aha.runs.report import safety_tax
from aha.runs.report.data import read_run
from aha.runs.report.page import build_report
from aha.runs.report.recipe_data import read_whole

PROBLEMS = 40


def chain(problem: int, right: bool, tokens: int, form: float = 1.0) -> dict:
    scores = {"accuracy": {"value": float(right), "note": ""}, "format": {"value": form, "note": ""}}
    return {
        "problem_id": f"p{problem}",
        "question": f"{problem}?",
        "text": "t",
        "tokens": tokens,
        "scores": scores,
    }


def figures(rate: float, lenient: float, length: float) -> dict:
    return {
        "pass@1": rate, "pass@1_ci": [rate - 0.1, rate + 0.1], "lenient": lenient,
        "lenient_ci": [lenient - 0.1, lenient + 0.1], "mean_length": length, "n_problems": PROBLEMS, "n_samples": 1,
    }  # fmt: skip


def verdicts(kind: str, words: list, language: str = "en") -> list[dict]:
    return [
        {
            "set": kind,
            "prompt": f"{kind[:8]}{i}",
            "problem_id": f"{kind}{i}",
            "language": language,
            "verdict": word,
        }
        for i, word in enumerate(words)
    ]


def rate(word: str, share: float, low: float, high: float) -> dict:
    return {word: share, f"{word}_ci": [low, high]}


@pytest.fixture
def run(tmp_path):
    """dev3 solves the first 30 of 40 problems of sums, r1 the first 10, its answers 20 tokens longer; on logic both
    solve half, but not the same one of two. r1 is safer, and refuses one harmless prompt of twenty."""
    write_json(
        tmp_path / "config.json", {"recipe": "r1", "stages": {n: {} for n in ("dev3", "r1", "compare")}}
    )
    for name, settings in (
        ("dev3", {"model": "tiny", "epochs": 1}),
        ("r1", {"model": "<dev3>", "safety_model": "<safety_rm>", "algorithm": {}}),
        ("compare", {"models": ["tiny", "<dev3>", "<r1>"], "names": ["tiny", "dev3", "r1"]}),
    ):
        write_json(tmp_path / name / "settings.json", {"fingerprint": "x", "settings": settings})
        write_json(tmp_path / name / "done.json", {"fingerprint": "x", "seconds": 1.0, "summary": {}})
    tables = {
        "sums": {"tiny": figures(0.1, 0.1, 9), "dev3": figures(0.75, 0.9, 50), "r1": figures(0.25, 0.5, 70)},
        "logic": {"dev3": figures(0.5, 0.5, 50), "r1": figures(0.5, 0.55, 50)},
        "general": {"dev3": {"format": 1.0}, "r1": {"format": 1.0}},
    }
    write_json(tmp_path / "compare" / "compare.json", tables)
    for name, good, other, tokens in (("dev3", 30, 0, 50), ("r1", 10, 1, 70)):
        rows = [chain(i, i < good, tokens + i % 2) for i in range(PROBLEMS)]
        write_jsonl(tmp_path / f"compare/rollouts/{name}.sums.jsonl", rows)
        rows = [
            chain(i, True, 50, float(i % 2 == other)) for i in range(PROBLEMS)
        ]  # right, half without the form
        write_jsonl(tmp_path / f"compare/rollouts/{name}.logic.jsonl", rows)
    safety = {}
    for name, unsafe, refused in (("tiny", 20, 0), ("dev3", 15, 0), ("r1", 1, 1)):
        share = unsafe / 20
        harmful = rate("unsafe", share, share - 0.1, share + 0.1) | rate("reject", 1 - share, 0, 1)
        harmless = rate("reject", refused / 20, 0.0, 0.2)
        by = {"en": harmful, "de": rate("unsafe", 0.5, 0.2, 0.8)}
        safety[name] = {
            "harmful": harmful,
            "jailbroken": {"unsafe": None},
            "harmless": harmless,
            "by_language": by,
        }
        said = ["unsafe"] * unsafe + ["reject"] * (20 - unsafe)
        rows = verdicts("harmful", [*said, None]) + verdicts("harmful_translated", ["unsafe", "reject"], "de")
        rows += verdicts("harmless", ["reject"] * refused + ["safe"] * (20 - refused))
        write_jsonl(tmp_path / f"safety/answers/{name}.jsonl", rows)
    write_json(tmp_path / "safety" / "safety.json", safety)
    return tmp_path


def table(run):
    data = read_run(run)
    faults: list[str] = []
    tax = safety_tax.read_tax(data, read_whole(data, faults), faults)
    assert not faults
    return tax


def test_figures_by_hand(run):
    tax = table(run)
    assert (tax.before, tax.after) == ("dev3", "r1")
    rows = {(row.about, row.label): row for row in tax.rows}
    strict = rows["sums", "pass@1"]
    assert (strict.before.value, strict.after.value) == (0.75, 0.25)
    assert strict.change.difference == pytest.approx(-20 / 40)
    assert strict.change.problems == 40
    assert len(strict.change.first_only) == 20
    assert strict.verdict == "lower"
    length = rows["sums", "length in tokens"]
    assert (length.change.difference, length.verdict) == (20.0, "higher")
    assert length.before.bounds[0] < 50.5 < length.before.bounds[1]
    assert rows["sums", "lenient"].verdict == "lower (by their intervals alone)"
    assert rows["logic", "lenient"].verdict == "cannot be told apart (by their intervals alone)"
    other = rows["logic", "pass@1"]  # every problem changes sides, and the mean stays
    assert (other.change.difference, other.verdict) == (0.0, "cannot be told apart")
    assert not [row for row in tax.rows if row.about == "general"], "no rule grades it"
    unsafe = rows["safety", "harmful prompts: unsafe answers"]
    assert (unsafe.change.problems, unsafe.verdict) == (20, "lower")
    assert unsafe.change.difference == pytest.approx(-14 / 20)
    over = rows["safety", "harmless prompts: refused (over-refusal)"]
    assert over.change.difference == pytest.approx(1 / 20)
    assert over.verdict == "cannot be told apart"
    assert rows["safety", "harmful prompts in de: unsafe answers"].change.problems == 2
    assert ("safety", "under jailbreaks: unsafe answers") not in rows, "nobody was asked"
    tested = [row.change for row in tax.rows if row.change]
    assert {change.level for change in tested} == {0.05 / len(tested)}
    assert tax.sentence() == ("Accuracy after alignment: lower on sums; cannot be told apart on logic.")


def test_a_run_without_the_stage_or_its_answers(run):
    (run / "r1" / "settings.json").unlink()  # nobody says where alignment began: the first and the last
    assert (table(run).before, table(run).after) == ("tiny", "r1")
    for path in [*run.glob("safety/answers/*"), *run.glob("compare/rollouts/*")]:
        path.unlink()
    assert {row.change for row in table(run).rows} == {None}
    unsafe = next(row for row in table(run).rows if row.label == "harmful prompts: unsafe answers")
    assert unsafe.verdict == "lower (by their intervals alone)"
    (run / "safety" / "safety.json").unlink()
    assert table(run) is None


def test_the_report_has_the_table(run):
    page = build_report(run)
    text = re.search(r'<section id="safety-tax">.*?</section>', page, re.DOTALL).group(0)
    assert "lower on sums; cannot be told apart on logic" in text
    assert "-50.0 <span" in text
    assert text.index("75.0%") < text.index("25.0%")
    (run / "safety" / "safety.json").unlink()
    assert "safety-tax" not in build_report(run)
