"""Rejection sampling, cold start and general data: what is kept, what is counted, and that nothing is asked twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from aha import chat
from aha.data.decontaminate import decontaminate
from aha.data.readable import ReadabilityLimits
from aha.files import read_jsonl, write_jsonl
from aha.judges import programs
from aha.judges.asking import Judge
from aha.judges.programs import Noise, correctness_judge
from aha.rewards.accuracy import accuracy
from aha.runs import pipeline
from aha.runs.pipeline import Context
from aha.stages import engines
from aha.stages.data import cold_start
from aha.stages.data.cold_start import ColdStart
from aha.stages.data.general_data import GeneralData
from aha.stages.data.mixing import by_quota
from aha.stages.data.reject import Reject, judged_accuracy
from aha.stages.data.select import clean, none_kept, select
from aha.tasks import countdown
from aha.types import AhaError, Finish, Outcome, Problem, Rollout

TASK = countdown.task()
PROBLEMS = TASK.load("train", 6, 0)


def solution(problem):
    """The puzzle's expression, from the same search that makes it."""
    numbers, target = problem.metadata["numbers"], problem.metadata["target"]
    return next(e for e in countdown.expressions(numbers, "+-*") if e.value == target)


def right(problem, think="I try it and it fits."):
    return f"<think>{think}</think> <answer>{countdown.trace(solution(problem))[0]}</answer>"


class Script:
    """An engine that says what it is told: text by (problem, sample)."""

    version = 0

    def __init__(self, say):
        self.say, self.calls = say, 0

    def generate(self, requests, params, *, seed=0, progress=None):
        for i, request in enumerate(requests):
            self.calls += 1
            yield i, tuple(rollout(self.say(request.key, s)) for s in range(request.n))


class Prompts:
    setting = "r1_zero"
    prompt = chat.choose("r1_zero")

    def render(self, problem):
        return chat.render(problem.messages, prompt=self.prompt)

    def requests(self, problems, n, first_key=0):
        from aha.sampling.engine import Request

        return [Request([1], n, PROBLEMS.index(p)) for p in problems]

    def drop_long(self, problems, limit):
        return list(problems)


def rollout(text, finish=Finish.STOP):
    return Rollout(np.array([1]), np.arange(len(text.split())), np.zeros(len(text.split())), text, finish)


@pytest.fixture
def scripted(monkeypatch):
    """Stages sample from a script instead of a model."""

    def use(say):
        engine = Script(say)
        source = engines.AnswerSource(engine, Prompts(), None, 10_000)
        monkeypatch.setattr(engines, "open_source", lambda *a, **k: source)
        return engine

    return use


def answers(key, sample):
    problem = PROBLEMS[key]
    long = "word " * 500
    return [
        right(problem),
        right(problem, "Another way that ends there too, step by step."),
        right(problem),  # a copy of the first
        "<think>no</think> <answer>1+1</answer>",
        right(problem, "我先试试看能不能得到这个数字再检查。"),
        right(problem, f"Long: {' '.join(str(i) for i in range(500))}"),
        right(problem, "See\n```python\nprint(1)\n```\nso."),
        f"no thinking <answer>{countdown.trace(solution(problem))[0]}</answer>",
        right(problem, long),
    ][sample]


def reject(folder, **changes):
    folder.mkdir(exist_ok=True)
    settings = {
        "name": "reject", "model": "tiny", "problems": 6, "samples": 9, "max_per_problem": 3, "max_tokens": 64,
        "write_every": 2,
        "decontaminate_problems": 0,
    }  # fmt: skip
    return Reject.model_validate(settings | changes), Context(folder, plain=True, threads=1)


def test_the_right_and_readable_are_kept_and_each_loss_has_its_reason(scripted, tmp_path):
    scripted(answers)
    stage, context = reject(tmp_path / "a")
    summary = stage.run(context)
    english = [p for p in PROBLEMS if p.language == "en"]
    assert len(english) == 6
    assert summary["rows"] == 12
    assert summary["dropped"] == {
        "wrong": 6, "copy": 6, "mixed language": 6, "long paragraph": 6, "code block": 6, "bad format": 6,
        "repetition": 6,
    }  # fmt: skip
    rows = read_jsonl(tmp_path / "a" / "data.jsonl")
    assert rows[0]["messages"][-1] == {"role": "assistant", "content": right(PROBLEMS[0])}
    assert rows[0]["domain"] == "countdown"
    card = (tmp_path / "a" / "data.card.md").read_text()
    assert "selection: 54 -> 12" in card
    assert "mixed language: 6" in card
    assert "avg rounds" in card
    assert summary["domains"]["countdown"]["mean_rounds"] == 1.0


def test_killed_it_samples_only_what_is_missing(scripted, tmp_path):
    engine = scripted(answers)
    stage, context = reject(tmp_path / "whole")
    whole = stage.run(context)

    def dies(key, sample):
        if key >= 3:
            raise KeyboardInterrupt
        return answers(key, sample)

    scripted(dies)
    stage, context = reject(tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        stage.run(context)
    engine = scripted(answers)
    assert stage.run(context) == whole
    assert engine.calls == 4, "the first part of two was there"
    assert (tmp_path / "cut/data.jsonl").read_bytes() == (tmp_path / "whole/data.jsonl").read_bytes()


@pytest.mark.parametrize("rates", [(0.9, 0.1), (-1.0, 1.0), (0.0, 2.0)])
def test_pass_rates_that_cannot_be_are_told_before_anything_is_sampled(tmp_path, rates):
    with pytest.raises(AhaError, match="give two shares from 0 to 1, the lower first"):
        Reject(name="reject", pass_rate_range=rates).check_inputs(Context(tmp_path))


def test_nothing_kept_is_an_error_with_the_reasons(scripted, tmp_path):
    scripted(lambda key, sample: "<think>no</think> <answer>1+1</answer>")
    stage, context = reject(tmp_path / "a")
    with pytest.raises(AhaError, match=r"No answer of 54 was kept: .*wrong"):
        stage.run(context)


def test_ungradable_and_truncated_answers_are_told_apart():
    def row(value, finish="stop", text="<think>a b</think> <answer>1</answer>"):
        return {"scores": {"accuracy": {"value": value}}, "finish": finish, "text": text, "tokens": 3}

    asked = row(1.0)
    asked["scores"]["accuracy"]["note"] = "judged correct"
    assert select([(PROBLEMS[0], [asked, row(0.0)])], ReadabilityLimits(), keep=1).judged == {
        "judged correct": 1
    }
    selected = select(
        [(PROBLEMS[0], [row(None), row(1.0, "length"), row(0.0), row(1.0)])], ReadabilityLimits(), keep=1
    )
    assert selected.dropped == {"could not be graded": 1, "truncated": 1, "wrong": 1}
    assert len(selected.rows) == 1
    assert selected.solved == 1
    cut = select(
        [(PROBLEMS[0], [row(0.0, "length"), row(0.0, "length"), row(0.0)])], ReadabilityLimits(), keep=1
    )
    assert cut.dropped == {"truncated": 2, "wrong": 1}, "what was cut had no room to be right"
    assert "Most were cut at max_tokens=24: raise it" in str(none_kept(cut, 24))


def test_no_more_than_enough_of_a_problem():
    rows = [
        {"scores": {"accuracy": {"value": 1.0}}, "finish": "stop", "tokens": 3,
         "text": f"<think>way {w}</think> <answer>1</answer>"}
        for w in ("one", "two", "three", "four")
    ]  # fmt: skip
    selected = select([(PROBLEMS[0], rows)], ReadabilityLimits(), keep=2, near=None)
    assert [r["messages"][-1]["content"] for r in selected.rows] == [rows[0]["text"], rows[1]["text"]]
    assert selected.dropped == {"more than enough": 2}


def test_a_judge_stands_in_for_the_rule_and_its_silence_is_no_verdict():
    problem = Problem("p", "math", ({"role": "user", "content": "1/2?"},), "0.5")
    rule = accuracy(lambda p, t: pytest.fail("the rule was asked"))
    texts = [rollout("<think>x</think> The answer is \\boxed{1/2}."), rollout("The answer is 3.")]
    judge = Judge(correctness_judge())
    assert [s.value for s in judged_accuracy(rule, judge, frozenset({"math"}), 0)(problem, texts)] == [
        1.0,
        0.0,
    ]
    silent = Judge(correctness_judge(Noise(broken=1.0)))
    assert [s.value for s in judged_accuracy(rule, silent, frozenset({"math"}), 0)(problem, texts)] == [
        None,
        None,
    ]
    with pytest.raises(AhaError, match="no reference answer"):
        judged_accuracy(rule, judge, frozenset({"x"}), 0)(Problem("q", "x", problem.messages), texts)


def test_quotas_stand_for_domains_and_the_rest_of_reasoning():
    rows = [{"domain": d, "i": i} for d, n in (("math", 30), ("code", 30), ("general", 10)) for i in range(n)]
    kept = by_quota(rows, "reasoning:3,general:1", None, 0).rows
    counts = {d: sum(r["domain"] == d for r in kept) for d in ("math", "code", "general")}
    assert counts["general"] == 10
    assert counts["math"] + counts["code"] == 30
    assert len(by_quota(rows, "reasoning:3,general:1", 20, 0).rows) == 20
    with pytest.raises(AhaError, match="give no share to code, math"):
        by_quota(rows, "general:1", None, 0)


def test_evaluation_questions_do_not_stay_but_their_wording_does():
    """Puzzles share their wording with every evaluation question: only the very question is contamination."""
    tests = [p.messages[-1]["content"] for p in TASK.load("test", 40, 0)]
    rows = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": "x"}]}
            for q in [tests[0], *(p.messages[-1]["content"] for p in PROBLEMS)]]  # fmt: skip
    kept, reasons = clean(rows, {"countdown/test": tests}, 10)
    assert rows[0] not in kept
    assert len(kept) >= 5
    assert reasons["in countdown/test"] == len(rows) - len(kept)
    texts = [r["messages"][0]["content"] for r in rows]
    everything, _ = decontaminate(texts, {"countdown/test": tests})
    assert len(everything) < len(kept), "without knowing of wording, the rule takes nearly all"


def test_other_sources_and_ratios(scripted, tmp_path):
    scripted(answers)
    say = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "<think>a</think> <answer>Hello</answer>"},
    ]
    others = [{"messages": [{**say[0], "content": f"Hi {i}"}, say[1]], "domain": "general"} for i in range(9)]
    write_jsonl(tmp_path / "others.jsonl", [*others, others[0]])
    stage, context = reject(
        tmp_path / "a",
        mix_with=(str(tmp_path / "others.jsonl"),),
        domain_ratios="reasoning:3,general:1",
    )
    summary = stage.run(context)
    assert {k: v["samples"] for k, v in summary["domains"].items()} == {
        "countdown": 12,
        "general": 4,
        "total": 16,
    }
    assert summary["taken_away"]["equal rows"] == 1


# --- cold start ------------------------------------------------------------------------------------------


def cold(folder, **changes):
    folder.mkdir(exist_ok=True)
    settings = {
        "name": "cold",
        "problems": 6,
        "samples": 9,
        "max_per_problem": 2,
        "max_tokens": 64,
        "write_every": 2,
    }
    return ColdStart.model_validate(settings | changes), Context(folder, plain=True, threads=1)


def test_chains_are_rewritten_checked_again_and_queued(scripted, tmp_path):
    scripted(answers)
    stage, context = cold(tmp_path / "a")
    summary = stage.run(context)
    assert summary["rows"] == 12
    assert summary["review"] == {"waiting": 12}
    queue = read_jsonl(tmp_path / "a" / "review.jsonl")
    assert {item["status"] for item in queue} == {"pending"}
    for row in read_jsonl(tmp_path / "a" / "data.jsonl"):
        problem = next(p for p in PROBLEMS if p.id == row["problem_id"])
        assert TASK.verify(problem, row["messages"][-1]["content"]).outcome is Outcome.CORRECT


def test_a_teacher_that_changes_the_answer_is_caught(scripted, tmp_path, monkeypatch):
    scripted(answers)
    monkeypatch.setattr(cold_start, "teacher", lambda: programs.teacher(Noise(0.5)))
    stage, context = cold(tmp_path / "a")
    summary = stage.run(context)
    assert summary["rewriting"]["wrong after rewriting"] == 12 - summary["rows"] > 0


def test_people_reject_edit_and_are_checked(scripted, tmp_path):
    scripted(answers)
    stage, context = cold(tmp_path / "a", review="required")
    with pytest.raises(AhaError, match="12 chains wait for a review"):
        stage.run(context)
    queue = read_jsonl(tmp_path / "a" / "review.jsonl")
    for item in queue:
        item["status"] = "accept"
    queue[0]["status"] = "reject"
    queue[1]["text"] = queue[1]["text"].replace("<think>", "<think>Let me see. ")
    queue[2]["text"] = "<think>so</think> <answer>1+1</answer>"
    write_jsonl(tmp_path / "a" / "review_edited.jsonl", queue[:-1])
    engine = scripted(lambda *a: pytest.fail("sampled again"))
    summary = stage.run(context)
    assert engine.calls == 0
    assert summary["review"] == {"accept": 10, "edited": 2, "pending": 1, "reject": 1}
    assert summary["rewriting"] == {"edited, wrong after rewriting": 1}
    assert summary["rows"] == 9, "what nobody accepted is left out where a review is required"
    texts = [row["messages"][-1]["content"] for row in read_jsonl(tmp_path / "a" / "data.jsonl")]
    assert sum("Let me see." in text for text in texts) == 1
    write_jsonl(tmp_path / "a" / "review_edited.jsonl", [{"id": "nobody", "status": "accept"}])
    with pytest.raises(AhaError, match="not in the queue: nobody"):
        stage.run(context)


class Reader(pipeline.Stage):
    """Reads what a stage made."""

    source: pipeline.Stage

    def run(self, context):
        return {
            "texts": [r["messages"][-1]["content"] for r in read_jsonl(Path(context.data_path(self.source)))]
        }


def test_a_review_that_comes_after_the_end_is_noticed_and_nothing_is_sampled_again(scripted, tmp_path):
    stages = [Reader(name="reader", source=cold(tmp_path / "cold")[0])]
    said = []

    def run():
        said.clear()
        engine = scripted(answers)
        context = Context(tmp_path, plain=True, threads=1)
        summaries = pipeline.run(stages, tmp_path, context, config={}, say=said.append)
        return summaries["reader"]["texts"], engine.calls

    first, calls = run()
    assert calls == 6
    queue = read_jsonl(tmp_path / "cold" / "review.jsonl")
    queue[0]["status"] = "reject"
    queue[1]["text"] = queue[1]["text"].replace("<think>", "<think>Let me see. ")
    edited = tmp_path / "cold" / "review_edited.jsonl"
    write_jsonl(edited, queue)
    second, calls = run()
    assert calls == 0
    assert "review_edited.jsonl changed since it finished" in said[0]
    assert second == [queue[1]["text"], *first[2:]]
    assert run()[0] == second
    assert [line.partition(":")[2] for line in said] == [" finished before, not run again."] * 2
    edited.write_text(edited.read_text() + '{"id": "torn')
    with pytest.raises(AhaError, match=r"review_edited.jsonl', line 13: not valid JSON"):
        run()
    edited.unlink()
    assert run()[0] == first


def test_a_teacher_behind_an_endpoint_is_asked_once(scripted, tmp_path):
    from aha.judges.programs import teacher
    from aha.sampling.http import Programs, Server

    scripted(answers)
    with Server(Programs({"rewriter": teacher()})) as server:
        stage, context = cold(tmp_path / "a", teacher=f"{server.url}#rewriter")
        summary = stage.run(context)
    assert summary["teacher"] == {"asked": 12, "unread": 0}
    again = stage.run(context)  # the server is gone: everything was remembered
    assert (again["rows"], again["teacher"]) == (12, summary["teacher"])


def test_general_data_are_checked_by_the_rubric(tmp_path):
    (tmp_path / "a").mkdir()
    stage = GeneralData.model_validate({"name": "general", "problems": 40})
    summary = stage.run(Context(tmp_path / "a"))
    rows = read_jsonl(tmp_path / "a" / "data.jsonl")
    assert summary["rows"] == len(rows) > 30
    assert {row["domain"] for row in rows} == {"general"}
    first = (tmp_path / "a" / "data.jsonl").read_bytes()
    asked = tmp_path / "a" / "asked.jsonl"
    asked.write_text("\n".join(asked.read_text().splitlines()[:7]) + '\n{"problem_id": "to')
    stage.run(Context(tmp_path / "a"))
    assert (tmp_path / "a" / "data.jsonl").read_bytes() == first
    with pytest.raises(AhaError, match="names no model"):
        GeneralData.model_validate({"name": "g", "teacher": "http://localhost:1/v1"}).run(
            Context(tmp_path / "a")
        )
    assert json.loads(asked.read_text().splitlines()[-1])


def test_a_teachers_reasoning_is_put_back_in_front(tmp_path):
    """Servers split the thinking off into a field of its own."""
    from aha.sampling.http import Programs, Server

    said = "<think>I answer.</think> <answer>Sure. Hello!</answer>"
    stage = {"name": "general", "problems": 3, "verified_only": False}
    with Server(Programs({"m": lambda messages, seed: said})) as server:
        summary = GeneralData.model_validate({**stage, "teacher": f"{server.url}#m"}).run(Context(tmp_path))
    assert summary["rows"] == 3
    row = read_jsonl(tmp_path / "data.jsonl")[0]
    assert row["messages"][-1]["content"].startswith("<think>I answer.</think>")


def test_the_best_of_n_by_a_reward_model_are_kept():
    from aha.data.readable import ReadabilityLimits
    from aha.stages.data.select import select

    asked = Problem("g", "general", ({"role": "user", "content": "?"},), metadata={"given_pairs": ()})
    ruled = Problem("r", "math", ({"role": "user", "content": "?"},), "1")
    say = "<think>I think about number {} here.</think> <answer>{}</answer>".format

    def row(number, value):
        return {
            "text": say(number, number),
            "scores": {"accuracy": {"value": value}},
            "finish": "stop",
            "tokens": 3,
        }

    def score(messages, texts):
        return [None if "number 4" in t else float(t.partition("number ")[2][0]) for t in texts]

    answers = [row(i, None) for i in range(5)]
    sampled = [(asked, answers), (ruled, [row(1, 1.0), row(3, 1.0), row(2, 0.0)])]
    selected = select(sampled, ReadabilityLimits(), keep=2, near=None, score=score)
    kept = [r["messages"][-1]["content"] for r in selected.rows]
    assert kept == [say(3, 3), say(2, 2), say(3, 3), say(1, 1)], (
        "best first; what a rule finds wrong stays away"
    )
    assert selected.dropped == {"too long for the reward model": 1, "more than enough": 2, "wrong": 1}
    plain = select(sampled, ReadabilityLimits(), keep=2, near=None)
    assert plain.dropped["could not be graded"] == 5, "without one nothing grades them"
