"""One evaluation on several engines: the same figures from ranks, from an endpoint and from an engine of one's own;
what it costs; what a training set has of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aha.benchmarks import contamination, keeping, opening, session, spending
from aha.benchmarks.catalogue import read_names
from aha.benchmarks.records import GradedAnswer, GradedProblem
from aha.benchmarks.session import Protocol
from aha.cli import main
from aha.sampling.client.metering import Usage
from aha.sampling.http import Server
from aha.sampling.http.model import ModelBackend
from aha.tasks import math_word
from aha.types import AhaError

ROOT = Path(__file__).parents[2]
GREEDY = Protocol(1, temperature=0.0, max_tokens=40, problems=12, strict=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return opening.open_model("tiny", tmp_path_factory.mktemp("m"), "auto", "cpu", "float32", 1)


@pytest.fixture(scope="module")
def local(source, tmp_path_factory):
    (asked,) = read_names("countdown")
    return session.run("tiny", source, asked, GREEDY, tmp_path_factory.mktemp("local"))


def texts(result):
    rows = [json.loads(line) for line in result.file.read_text().splitlines()]
    return {row["problem"]: row["samples"][0]["text"] for row in rows}


def _bare(text):
    """Without white space and an open thinking's end: an endpoint sends thinking apart, and it is put back in front."""
    return "".join(text.split()).replace("</think>", "")


def test_an_endpoint_gives_the_figures_of_the_model_behind_it(source, local, tmp_path):
    (asked,) = read_names("countdown")
    with Server(ModelBackend(source.engine, source.tokenizer, "tiny")) as server:
        priced = opening.EvaluationEngine(prices={"price_in": 1.0, "price_out": 2.0})
        behind = opening.open_model(f"{server.url}#tiny", tmp_path, "bare", "cpu", "float32", 1, priced)
        remote = session.run("served", behind, asked, GREEDY, tmp_path / "e")
    ours, theirs = texts(local), texts(remote)
    assert ours.keys() == theirs.keys()
    assert all(_bare(theirs[name]) == _bare(ours[name]) for name in ours)
    assert remote.figures["lenient"] == local.figures["lenient"]
    # A token that ends a completion is counted by the model alone.
    assert abs(remote.figures["mean_tokens"] - local.figures["mean_tokens"]) <= 1
    bill = remote.spent["endpoint"]
    assert bill["requests"] == 12
    assert bill["cost"] == pytest.approx((bill["prompt_tokens"] + 2 * bill["completion_tokens"]) / 1e6)


def test_an_engine_of_ones_own_gives_the_same_greedy_answers(local, tmp_path):
    (asked,) = read_names("countdown")
    plain = opening.EvaluationEngine(f"{ROOT / 'examples/own_engine.py'}:Plain")
    own = opening.open_model("tiny", tmp_path, "auto", "cpu", "float32", 1, plain)
    sampled = session.run("tiny", own, asked, GREEDY, tmp_path / "e")
    assert texts(sampled) == texts(local)
    assert sampled.figures == local.figures


@pytest.mark.slow
def test_ranks_give_the_same_figures_also_when_they_were_killed(tmp_path):
    words = [
        "eval",
        "tiny",
        "--tasks",
        "countdown",
        "--problems",
        "60",
        "--k",
        "4",
        "--max-tokens",
        "48",
        "--json",
    ]
    words += ["--dtype", "float32", "--threads", "1", "--results"]
    command = [sys.executable, "-m", "aha", *words]

    def figures(folder, *more):
        out = subprocess.run(
            [*command, str(folder), *more], capture_output=True, text=True, check=True, cwd=ROOT
        )
        return json.loads(out.stdout)

    whole = figures(tmp_path / "one")
    assert figures(tmp_path / "two", "--ranks", "2") == whole
    killed = subprocess.Popen(
        [*command, str(tmp_path / "killed"), "--ranks", "2"],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    part = tmp_path / "killed" / "tiny"
    until = time.monotonic() + 120
    while time.monotonic() < until and not any(f.read_bytes() for f in part.glob("*.rank*.jsonl")):
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert list(part.glob("*.rank*.jsonl"))
    assert figures(tmp_path / "killed") == whole


def test_what_ranks_left_is_taken_over_once(tmp_path):
    rows = [{"problem": name, "kind": "", "samples": []} for name in "abc"]
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps(rows[0]) + "\n")
    (tmp_path / "x.rank0.jsonl").write_text(json.dumps(rows[0]) + "\n" + json.dumps(rows[1]) + "\n")
    (tmp_path / "x.rank1.jsonl").write_text(json.dumps(rows[2]) + "\n" + '{"problem": "d", "ki')
    assert sorted(keeping.read(file)) == ["a", "b", "c"]
    assert [json.loads(line)["problem"] for line in file.read_text().splitlines()] == ["a", "b", "c"]
    assert [f.name for f in tmp_path.iterdir()] == ["x.jsonl"]


def test_half_a_character_of_an_engine_of_ones_own_ends_nothing(tmp_path):
    graded = GradedProblem("a", "", ())
    with keeping.kept(tmp_path / "x.jsonl", {}) as keep:
        keep(graded, {"problem": "a", "kind": "", "samples": [], "text": "\ud83d"})
    assert "\ufffd" in (tmp_path / "x.jsonl").read_text(encoding="utf-8")


def test_a_last_line_that_was_cut_is_taken_away_however_long_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "TAIL", 8)
    file = tmp_path / "x.jsonl"
    for content, kept in ((b"", b""), (b"ab", b""), (b"ab\ncd\n", b"ab\ncd\n"), (b"ab\n" + b"c" * 50, b"ab\n"),
                          (b"a" * 50 + b"\nb", b"a" * 50 + b"\n")):  # fmt: skip
        file.write_bytes(content)
        keeping.trim(file)
        assert file.read_bytes() == kept


def test_texts_of_graded_rows_stay_in_the_file(tmp_path):
    import tracemalloc

    one = {"right": True, "lenient": True, "format": True, "ballot": "3", "tokens": 500, "truncated": False}
    sample = one | {"text": "x" * 4000, "why": ""}
    file = tmp_path / "x.jsonl"
    with file.open("w") as out:
        for i in range(200):
            out.write(json.dumps({"problem": str(i), "kind": "", "samples": [sample] * 16}) + "\n")
    tracemalloc.start()
    records = keeping.read(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(records) == 200
    assert peak < file.stat().st_size / 5


def test_an_estimate_is_by_what_was_measured_before(tmp_path):
    assert spending.estimate(tmp_path, 100, 400).sentence() == "at most 40.0k tokens"
    earlier = {"figures": {"mean_tokens": 50.0}, "spent": {"tokens_per_second": 25.0}}
    (tmp_path / "a.json").write_text(json.dumps(earlier))
    (tmp_path / "b.json").write_text("no json")
    (tmp_path / "c.json").write_text(json.dumps({"figures": {"mean_tokens": 4.0}, "choice": "letters"}))
    own = {"benchmark": "math", "figures": {"mean_tokens": 100.0}}
    (tmp_path / "d.json").write_text(json.dumps(own))
    assert spending.estimate(tmp_path, 100, 400, benchmark="math").likely == 10_000.0
    (tmp_path / "d.json").unlink()
    estimate = spending.estimate(tmp_path, 100, 400, price=10.0)
    assert (estimate.most, estimate.likely, estimate.speed) == (40_000, 5000.0, 25.0)
    assert estimate.sentence() == (
        "at most 40.0k tokens, 5,000 by the lengths of earlier answers, 200 s at 25 tokens a second, as measured "
        "before, 0.40 for them at most, questions not counted"
    )


def test_what_was_spent_is_what_the_bill_grew_by():
    before, after = (
        Usage(requests=2, completion_tokens=10, cost=0.5),
        Usage(requests=5, completion_tokens=40, cost=0.75),
    )
    spent = spending.spending(30, 2.0, before, after)
    assert spent["tokens_per_second"] == 15.0
    assert (spent["endpoint"]["requests"], spent["endpoint"]["cost"]) == (3, 0.25)
    assert spending.sentence([spent]).endswith("3 requests, 0 from answers that were kept, 0.2500 paid")


def test_questions_that_a_training_set_has_are_found_and_left_out():
    words = [f"w{i}" for i in range(40)]
    questions = [" ".join(words[:14]), " ".join(words[14:28]), "how many are six and seven", "too short"]
    problems = [math_word.make_problem({"question": q, "answer": "1"}, i) for i, q in enumerate(questions, 1)]
    texts = [
        "He said: " + " ".join(words[3:13]) + ".",
        "How many are six and seven? 13",
        " ".join(words[20:29]),
    ]
    seen = contamination.seen(problems, texts)
    assert set(seen) == {"math-1", "math-3"}
    assert seen["math-1"] == " ".join(words[3:13])
    marks = [True, False, True, False]
    records = [
        GradedProblem(p.id, "", (GradedAnswer(m, m, True, "", 1, False),))
        for p, m in zip(problems, marks, strict=True)
    ]
    share = contamination.figures(records, seen)
    assert (share["contaminated"], share["clean"], share["seen"]) == (0.5, 0.0, 1.0)
    said = contamination.sentence("math", "a/train.jsonl", share, seen)
    assert said.startswith(
        "math: 50.0% of its questions stand in train.jsonl; pass@1 is 0.0% on the others and 100.0%"
    )
    assert "none of its questions" in contamination.sentence("math", "train.jsonl", share, {})


def test_wording_that_many_questions_share_is_no_contamination():
    frame = "the answer is a whole number between zero and nine hundred"
    problems = [math_word.make_problem({"question": f"{i} {frame}", "answer": "1"}, i) for i in range(1, 6)]
    assert contamination.seen(problems, [f"x {frame}"]) == {}


def test_the_command_says_what_a_training_set_has(tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    question = "A farmer has seven cows and buys four more cows on Monday. How many?"
    rows.write_text(json.dumps({"question": question, "answer": "11"}) + "\n")
    other = tmp_path / "other.jsonl"  # its question has the same id, math-1
    other.write_text(
        json.dumps({"question": "Name the sum of all odd numbers below ten.", "answer": "25"}) + "\n"
    )
    words = [
        "eval",
        "tiny",
        "--tasks",
        f"math={rows},math500={other}",
        "--k",
        "1",
        "--max-tokens",
        "4",
        "--results",
        str(tmp_path / "e"),
    ]
    assert main([*words, "--threads", "1", "--contamination", str(rows)]) == 0
    said = capsys.readouterr().out
    assert "tiny: math: 100.0% of its questions stand in rows.jsonl" in said
    assert "tiny: math500: none of its questions stands in rows.jsonl" in said
    assert "tokens sampled in" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tasks", "countdown", "--price", "1"], "give two numbers"),
        (["--tasks", "countdown", "--max-cost", "1"], "needs --price"),
        (["--tasks", "countdown", "--engine", "vlm"], "vllm"),
        (["--engine", "vllm"], "--engine is for --tasks"),
        (["--tasks", "countdown", "--contamination", "nowhere.jsonl"], "No data file 'nowhere.jsonl'"),
    ],
)
def test_what_cannot_be_is_refused(words, said, capsys):
    assert main(["eval", "tiny", *words]) == 1
    told = capsys.readouterr()
    assert said in told.err
    assert "evaluating" not in told.out, "before anything is asked"


def test_an_engine_that_is_not_installed_says_so(tmp_path):
    absent = opening.EvaluationEngine("vllm")
    with pytest.raises(AhaError, match=r"vllm|vLLM"):
        opening.open_model("tiny", tmp_path, "auto", "cpu", "float32", 1, absent)
