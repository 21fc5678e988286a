"""Benchmarks that a judge grades: asked over loopback, in both orders, counted as their papers count."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from aha.benchmarks import opening, session
from aha.benchmarks.catalogue import read_names
from aha.benchmarks.judging import figures, tasks
from aha.benchmarks.judging.length_controlled import fit, length_controlled
from aha.benchmarks.records import GradedAnswer, GradedProblem
from aha.benchmarks.session import Protocol
from aha.cli import main
from aha.judges import prompts
from aha.judges.asking import Judge
from aha.sampling.http import Programs, Server
from aha.sampling.http.model import ModelBackend
from aha.types import AhaError, Outcome

FACTS = [
    {"problem": "Who wrote Emma?", "answer": "Jane Austen", "metadata": {"topic": "Art"}},
    {"problem": "When did Apollo 11 land?", "answer": "1969", "metadata": {"topic": "Science"}},
    {"problem": "What is the capital of Peru?", "answer": "Lima", "metadata": {"topic": "Geography"}},
]


def by_words(messages, seed=0):
    """A judge that compares words: of a reference, or of two answers the one with more words, the first of equals."""
    parts = prompts.unquote(messages)
    if "reference" in parts:
        said = parts["response"].lower()
        verdict = "not_attempted" if "know" in said else "incorrect"
        verdict = "correct" if parts["reference"].lower() in said else verdict
        return json.dumps({"analysis": "words", "verdict": verdict, "correctness": verdict})
    a, b = (len(parts[name].split()) for name in ("answer_a", "answer_b"))
    return f"[[{'A>>B' if a > 2 * b else 'A>B' if a >= b else 'B>>A' if b > 2 * a else 'B>A'}]]"


@pytest.fixture
def facts(tmp_path):
    file = tmp_path / "facts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in FACTS))
    return file


def test_three_grades_of_a_fact(facts):
    task = tasks.task("reference", Judge(by_words), str(facts), "simpleqa")
    problem = next(p for p in task.load("all", 9, 0) if p.answer == "Lima")
    assert task.verify(problem, "<think>Cusco?</think> It is Lima.").outcome is Outcome.CORRECT
    assert task.verify(problem, "It is Cusco.").outcome is Outcome.WRONG
    assert task.verify(problem, "I do not know.").outcome is Outcome.NO_ANSWER
    assert task.verify(problem, "<think>Lima</think>").outcome is Outcome.NO_ANSWER
    assert task.vote(problem, "I do not know.") is None
    assert task.facet(problem) == "Geography"


def test_an_answer_is_asked_once_and_a_mute_judge_counts_nothing(facts):
    asked = []
    task = tasks.task("reference", Judge(lambda m, s: asked.append(s) or "hm"), str(facts), "simpleqa")
    problem = task.load("all", 1, 0)[0]
    for _ in range(3):
        assert task.verify(problem, "Lima").outcome is Outcome.UNKNOWN
    assert len(asked) == 1


def sample(right, ballot="x", margins=(), chars=10):
    return GradedAnswer(right, bool(right), True, ballot, 5, False, None, None, chars, margins)


def test_simpleqas_figures_worked_by_hand():
    records = [
        GradedProblem(str(i), "", (sample(*args),))
        for i, args in enumerate([(True,), (True,), (False,), (False, ""), (None,)])
    ]
    attempts = figures.attempts(records)
    assert attempts["correct"] == 0.5
    assert (attempts["incorrect"], attempts["not_attempted"]) == (0.25, 0.25)
    assert attempts["correct_given_attempted"] == pytest.approx(2 / 3)
    assert attempts["f_score"] == pytest.approx(2 * 0.5 * (2 / 3) / (0.5 + 2 / 3))


def test_pairs_are_compared_in_both_orders(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(
        json.dumps({"instruction": "Name colours.", "output": "red and blue", "dataset": "x"}) + "\n"
    )
    seen = []

    def judge(messages, seed):
        parts = prompts.unquote(messages)
        seen.append((parts["answer_a"], seed))
        return by_words(messages)

    task = tasks.task("pair", Judge(judge), str(file), "alpaca_eval")
    (problem,) = task.load("all", 1, 0)
    assert task.margins(problem, "one two three four") == (1.0, 1.0)
    assert seen == [("one two three four", 0), ("red and blue", 1)]
    assert task.margins(problem, "a b c") == (1.0, -1.0)  # equal: this judge favours the first
    assert task.verify(problem, "a b c").value == 0.5
    assert task.margins(problem, "one") == (-3.0, -3.0)
    assert task.margins(problem, "<think>x</think>") == (-3.0, -3.0)


def test_win_rates_worked_by_hand():
    margins = [(1.0, 1.0), (3.0, 1.0), (-3.0, 1.0), (0.0, 0.0), (-1.0, -3.0), ()]
    records = [GradedProblem(str(i), "", (sample(True, "", m, 10 + i),), 12) for i, m in enumerate(margins)]
    rates = figures.against_baseline(records)
    assert rates["win_rate"] == pytest.approx((1 + 1 + 0.5 + 0.5 + 0) / 5)
    assert rates["weighted_win_rate"] == pytest.approx((2 + 4 + 1 + 1 + 0) / (2 + 4 + 4 + 2 + 4))
    assert rates["first_place"] == pytest.approx((-1) / 5 / 2)  # one in five was better second
    assert rates["unread"] == pytest.approx(1 / 6)
    assert 0 < rates["lc_win_rate"] < 1


# Of alpaca_eval 0.6.6's own fit (fit_LogisticRegressionCV, scikit-learn 1.9.1) on the answers that `drawn` makes:
# (seed, instructions, with difficulty, win rate, its standard error, coefficient of the length).
PACKAGE = [
    (0, 40, True, 0.5, 0.0, 0.0),
    (1, 60, True, 0.4275505527149012, 0.016201533653261945, 0.6844190209462858),
    (2, 40, False, 0.3627503020883529, 0.0, 1.218586959912644),
    (3, 120, True, 0.49721595230988214, 0.01135689368458256, 0.6153394095971267),
]


def drawn(seed, n):
    """Preferences that hang on length and difficulty."""
    rng = np.random.default_rng(seed)
    own, base = rng.integers(100, 3000, n), rng.integers(100, 2500, n)
    difficulty = np.round(rng.normal(0, 1.5, n), 3)
    p = 1 / (1 + np.exp(-(-0.4 + 1.2 * np.tanh((own - base) / 900) + 0.3 * difficulty)))
    preferences = [float(rng.choice([0, 0.5, 1.0], p=[(1 - x) * 0.8, 0.2, x * 0.8])) for x in p]
    return preferences, own.tolist(), base.tolist(), difficulty.tolist()


@pytest.mark.parametrize(("seed", "n", "hard", "rate", "error", "length"), PACKAGE)
def test_length_controlled_win_rates_are_the_published_programs(seed, n, hard, rate, error, length):
    preferences, own, base, difficulty = drawn(seed, n)
    rate_by_length = length_controlled(preferences, own, base, difficulty if hard else None)
    assert rate_by_length.win_rate == pytest.approx(rate, abs=2e-5)
    assert rate_by_length.error == pytest.approx(error, abs=2e-5)
    assert rate_by_length.length == pytest.approx(length, abs=5e-4)


def test_the_regression_stands_where_its_conditions_hold():
    """At the minimum the slope of the losses is the sign of each coefficient, and within 1 where it is zero."""
    rng = np.random.default_rng(5)
    columns = rng.normal(size=(80, 3))
    probabilities = 1 / (1 + np.exp(-columns @ np.array([1.0, 0.0, -0.5])))
    for strength in (0.05, 1.0, 30.0):
        weights = fit(columns, probabilities, strength)
        slope = -strength * columns.T @ (1 / (1 + np.exp(-columns @ weights)) - probabilities)
        for w, s in zip(weights, slope, strict=True):
            assert (s == pytest.approx(math.copysign(1, w), abs=1e-4)) if w else abs(s) <= 1 + 1e-6


def test_too_little_to_fit_gives_no_figure():
    assert length_controlled([1.0] * 4, [1, 2, 3, 4], [1] * 4) is None
    assert length_controlled([1.0] * 6, [5] * 6, [1] * 6) is None


def test_a_benchmark_is_judged_over_loopback_and_its_answers_are_kept(facts, tmp_path, capsys):
    with Server(Programs({"judge": by_words})) as server:
        words = [
            "eval",
            "tiny",
            "--tasks",
            f"simpleqa={facts}",
            "--k",
            "2",
            "--max-tokens",
            "8",
            "--any-format",
        ]
        words += ["--judge", f"{server.url}#judge", "--results", str(tmp_path / "e"), "--threads", "1"]
        assert main([*words, "--dtype", "float32"]) == 0
    first = capsys.readouterr().out
    assert "not_attempted" in first
    assert "f_score" in first
    assert main([*words, "--dtype", "float32"]) == 0  # the judge is gone: nothing is asked again
    assert capsys.readouterr().out.splitlines()[-4:-2] == first.splitlines()[-4:-2]


def test_a_real_model_as_judge_that_gives_no_verdict_leaves_answers_ungraded(facts, tmp_path):
    """The embedded base behind the server knows no verdicts: nothing counts as wrong."""
    source = opening.open_model("tiny", tmp_path, "auto", "cpu", "float32", 1)
    (asked,) = read_names(f"simpleqa={facts}")
    served = ModelBackend(source.engine, source.tokenizer, "tiny")
    with Server(served) as server:
        judge = opening.open_judge(f"{server.url}#tiny", tmp_path / "judge", max_tokens=16)
        result = session.run("tiny", source, asked, Protocol(1, max_tokens=8), tmp_path / "e", judge=judge)
    counts = judge.judge.counts
    assert counts["attempt/asked"] == counts["attempt/unread"] > 0
    assert result.figures["ungradable"] == pytest.approx(counts["attempt/asked"] / 3)
    assert result.figures["correct"] is None


def test_without_a_judge_it_says_which_is_wanted(facts, capsys):
    assert main(["eval", "tiny", "--tasks", f"simpleqa={facts}"]) == 1
    assert "--judge http://" in capsys.readouterr().err
    with pytest.raises(AhaError, match="no answer to hold it against"):
        tasks.rows.make_problem({"question": "x"}, 1, "simpleqa")
