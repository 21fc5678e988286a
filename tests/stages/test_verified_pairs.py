"""Pairs from a checkpoint's own answers, by the verifier; and the recipes that learn from them, at smallest sizes."""

from __future__ import annotations

import json
import shutil

import pytest
from smallest import RL_SMALL, SFT_SMALL

from aha.files import read_jsonl
from aha.recipes import get_recipe
from aha.runs import config, pipeline
from aha.runs.pipeline import Context, ordered
from aha.stages.data.select import pass_rate, select
from aha.stages.data.verified_pairs import VerifiedPairs, verified_pairs
from aha.types import AhaError, Problem

PAIRS_SMALL = {"problems": 24, "samples": 10, "max_tokens": 56}
DPO_SMALL = {"batch_size": 8, "save_every": 1, "max_length": 256, "lr": 1e-4}
COMPARE_SMALL = {"problems": 2, "samples": 1, "max_tokens": 16}


def problem(name):
    return Problem(name, "countdown", ({"role": "user", "content": f"What is {name}?"},), "1")


def answer(text, value, finish="stop", tokens=7):
    return {"text": text, "finish": finish, "tokens": tokens, "scores": {"accuracy": {"value": value}}}


def why(row, problem):
    value = row["scores"]["accuracy"]["value"]
    if value is None:
        return "could not be graded"
    return "wrong" if value <= 0.5 else "bad format" if "tag" in row["text"] else ""


def test_right_before_wrong_of_the_same_question():
    sampled = [
        (problem("a"), [answer("r1", 1.0), answer("w1", 0.0), answer("w2", 0.0), answer("w2", 0.0)]),
        (problem("b"), [answer("r", 1.0), answer("no tag", 1.0), answer("?", None)]),
        (problem("c"), [answer("w", 0.0), answer("endless", 0.0, "length")]),
    ]
    built = verified_pairs(sampled, why, 4, seed=0)
    assert [(p.problem.id, p.chosen) for p in built.pairs] == [("a", "r1"), ("a", "r1")]
    assert {p.rejected for p in built.pairs} == {"w1", "w2"}
    assert built.questions == {"both": 1, "no wrong": 1, "no right": 1}
    assert built.counts == {
        "right": 2, "wrong": 4, "bad format": 1, "could not be graded": 1, "truncated": 1,
    }  # fmt: skip
    assert (built.sampled, built.tokens) == (9, 63)
    assert len(verified_pairs(sampled, why, 1, seed=0).pairs) == 1


def test_answers_are_used_evenly():
    rows = [answer(f"r{i}", 1.0) for i in range(2)] + [answer(f"w{i}", 0.0) for i in range(5)]
    pairs = verified_pairs([(problem("a"), rows)], why, 9, seed=0).pairs
    assert len(pairs) == 5
    assert {p.rejected for p in pairs} == {f"w{i}" for i in range(5)}
    assert sorted(sum(p.chosen == f"r{i}" for p in pairs) for i in range(2)) == [2, 3]
    assert verified_pairs([(problem("a"), rows)], why, 9, seed=1).pairs != pairs


def test_questions_are_chosen_by_their_pass_rate():
    from aha.data.readable import ReadabilityLimits

    said = "<think>1+2 is {}.</think> <answer>{}</answer>"
    rows = {n: [answer(said.format(i, i), float(i < n)) for i in range(4)] for n in range(5)}
    assert [pass_rate(rows[n]) for n in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert pass_rate([answer("?", None)]) is None
    sampled = [(problem(str(n)), rows[n]) for n in range(5)]
    limits = ReadabilityLimits(1.0, 1.0)

    def kept(rates):
        selected = select(sampled, limits, keep=9, near=None, rates=rates)
        return {row["problem_id"] for row in selected.rows}

    assert kept((0.0, 1.0)) == {"1", "2", "3", "4"}
    assert kept((0.0, 0.5)) == {"1", "2"}
    assert kept((0.5, 1.0)) == {"3", "4"}
    dropped = select(sampled, limits, keep=9, near=None, rates=(0.0, 0.5)).dropped
    assert dropped["question too easy"] == 8


def test_the_stage_on_the_embedded_base(tmp_path):
    stage = VerifiedPairs.model_validate(
        {"name": "pairs", "model": "tiny", "prompt": "r1_zero"} | PAIRS_SMALL
    )
    summary = stage.run(Context(tmp_path, plain=True, threads=1))
    rows = read_jsonl(tmp_path / "data.jsonl")
    assert summary["rows"] == len(rows) > 0
    assert summary["sampled"] == 240 == sum(summary["answers"].values())
    assert sum(summary["questions"].values()) == 24
    assert {tuple(sorted(row)) for row in rows} == {
        ("chosen", "language", "margin", "problem_id", "prompt", "rejected")
    }
    from aha.tasks import get_task
    from aha.types import Outcome

    task = get_task("countdown")
    asked = {p.id: p for p in task.load("train", 24, 0)}
    for row in rows:
        outcomes = [
            task.verify(asked[row["problem_id"]], row[s][0]["content"]).outcome
            for s in ("chosen", "rejected")
        ]
        assert outcomes[0] is Outcome.CORRECT
        assert outcomes[1] in (Outcome.WRONG, Outcome.NO_ANSWER)
    (tmp_path / "none").mkdir()
    cut = stage.model_copy(update={"max_tokens": 2, "problems": 2})
    with pytest.raises(AhaError, match="No question has both a right and a wrong answer"):
        cut.run(Context(tmp_path / "none", plain=True, threads=1))


def small(stages):
    """Smallest settings by the kinds of stages."""
    reject = PAIRS_SMALL | {"decontaminate_problems": 0, "pass_rate_range": (0, 1)}
    kinds = {"VerifiedPairs": PAIRS_SMALL, "DPO": DPO_SMALL, "Compare": COMPARE_SMALL, "RL": RL_SMALL | {"steps": 1},
             "SFT": SFT_SMALL, "Reject": reject}  # fmt: skip
    return {f"{s.name}.{k}": v for s in stages for k, v in kinds[type(s).__name__].items()}


def live(name, folder, **options):
    """A recipe, run at the smallest sizes; returns its stages' summaries."""
    stages = list(get_recipe(name).build(model="tiny", **options))
    config.apply(ordered(stages), small(ordered(stages)))
    context = Context(folder, plain=True, threads=1)
    return pipeline.run(stages, folder, context, config={}, say=lambda text: None)


def test_rounds_sample_new_questions_from_the_round_before(tmp_path):
    done = live("iterative_dpo", tmp_path / "a", rounds=2)
    assert list(done) == ["pairs_1", "dpo_1", "pairs", "dpo", "compare"]
    rows = [read_jsonl(tmp_path / "a" / name / "data.jsonl") for name in ("pairs_1", "pairs")]
    assert not {r["problem_id"] for r in rows[0]} & {r["problem_id"] for r in rows[1]}
    assert (done["dpo"]["model"], done["dpo"]["sources"]) == ("dpo_1", {"pairs": len(rows[1])})
    before = (tmp_path / "a" / "dpo" / "final" / "model.safetensors").read_bytes()
    for name in ("pairs", "dpo", "compare"):  # the second round once more, from the first one's model
        shutil.rmtree(tmp_path / "a" / name)
    (tmp_path / "a").rename(tmp_path / "b")
    again = live("iterative_dpo", tmp_path / "b", rounds=2)
    assert before == (tmp_path / "b" / "dpo" / "final" / "model.safetensors").read_bytes()
    assert json.dumps(again["pairs"]) == json.dumps(done["pairs"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dpo_rl", "light_r1", "redstar"])
def test_preferences_before_reinforcement_learning(tmp_path, name):
    done = live(name, tmp_path / "a")
    assert list(done)[-2:] == ["rl", "compare"]
    assert (tmp_path / "a" / "rl" / "final" / "config.json").exists()
    if name == "light_r1":
        assert list(done)[:4] == ["easier", "sft_easier", "harder", "sft_harder"]
    if name == "redstar":
        assert list(done)[:6] == ["hard", "sft", "pairs", "dpo", "ppo", "rl"]
        assert list(done["compare"]["figures"]["countdown"]) == ["tiny", "sft", "dpo", "ppo", "rl"]


def test_redstar_learns_hard_questions_and_tries_three_ways_from_there():
    stages = {stage.name: stage for stage in ordered(get_recipe("redstar").build(model="tiny", teacher="t"))}
    hard, sft = stages["hard"], stages["sft"]
    assert (hard.model, hard.pass_rate_range, hard.max_rows) == ("t", (0.0, 0.5), 4000)
    assert sft.data == (hard,)
    assert stages["dpo"].data == (stages["pairs"],)
    assert all(stages[name].model is sft for name in ("pairs", "dpo", "ppo", "rl"))
    assert (stages["ppo"].algorithm.critic, stages["rl"].algorithm.critic) == (True, False)
    assert (stages["rl"].algorithm.whiten, stages["rl"].algorithm.kl_place) == (True, "reward")
    assert stages["ppo"].steps == stages["rl"].steps
