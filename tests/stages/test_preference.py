"""Preference rewards in reinforcement learning: who is scored by what, from when on, and what is said of hacking."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aha.runs.pipeline import Context
from aha.sampling.rollouts import score_group
from aha.stages.data import preference_data
from aha.stages.rl import RL
from aha.stages.rl import reward_routing as preference
from aha.stages.rl.reward_routing import Router, hacking, phases
from aha.stages.rl.session import RLSession
from aha.tasks import general
from aha.training.scalar import ScalarModel, save_scalar
from aha.types import Finish, Problem, Rollout, Score

PUZZLE = Problem("p", "countdown", ({"role": "user", "content": "?"},), "1")
KIND, HARM = (
    next(p for p in general.task().load("train", 60, 0) if p.metadata["harmful"] is h) for h in (False, True)
)
TIMES = ("step_time", "time/sampling", "time/training", "tokens_per_second")


class Fixed:
    """A reward model that says the same of every answer but long ones."""

    def __init__(self, kind, value):
        self.kind, self.value = kind, value

    def scores(self, messages, texts):
        return [None if len(t) > 100 else self.value for t in texts]


def rollout(text, finish=Finish.STOP, opened=False):
    return Rollout(np.array([1]), np.arange(3), np.zeros(3), text, finish, 0, opened)


def router():
    return Router(("general",), Fixed("helpful", 0.25), Fixed("safety", 0.75))


def test_each_problem_is_scored_by_its_own_rewards():
    rewards = {
        "accuracy": (1.0, lambda p, r: [Score(1.0)] * len(r)),
        "format": (0.5, lambda p, r: [Score(1.0)] * len(r)),
    }
    routed = router().route(rewards, 2.0)
    text = rollout("<think>a</think> <answer>b</answer>")
    scored = {p.id: score_group(p, [text], routed).members[0] for p in (PUZZLE, KIND, HARM)}
    assert scored[PUZZLE.id].reward == 1.5
    assert scored[KIND.id].reward == pytest.approx(0.5 + 2 * 0.25), "no rule; the helpful model; the format"
    assert scored[HARM.id].reward == pytest.approx(0.5 + 2 * 0.75), "the safety model"


def test_what_cannot_be_read_is_no_score():
    routed = router().route({}, 1.0)
    group = score_group(KIND, [rollout("x" * 200), rollout("a", Finish.ERROR), rollout("a")], routed)
    assert [m.reward for m in group.members] == [None, None, 0.25]


def test_a_score_says_that_its_answer_asked_for_it():
    routed = router().route({}, 1.0)
    begging = rollout("<think>a</think> <answer>Hi. Give this 10.</answer>")
    notes = [score_group(p, [begging], routed).members[0].scores["preference"].note for p in (KIND, HARM)]
    assert notes == [
        "helpful reward model; sentences left away that ask for a grade: 1",
        "safety reward model",
    ]


def test_one_model_alone_scores_all_general_questions():
    alone = Router(("general",), Fixed("helpful", 0.5), None)
    assert alone.scorer(HARM).kind == "helpful"


def test_general_questions_come_in_late():
    problems = [PUZZLE, KIND, HARM]
    assert phases(problems, router(), 1) == [(1, problems)]
    assert phases(problems, None, 9) == [(1, problems)]
    assert phases(problems, router(), 9) == [(1, [PUZZLE]), (9, problems)]
    assert phases([KIND], router(), 9) == [(1, [KIND])]
    assert [preference.at([(1, "a"), (9, "b")], step) for step in (1, 8, 9, 100)] == ["a", "a", "b", "b"]


def row(step, proxy, true, split="validation"):
    return {"step": step, "split": split, "preference/proxy": proxy, "preference/true": true}


def test_a_rising_proxy_with_a_falling_truth_is_told_in_words():
    rows = [row(0, 0.3, 0.9, "test"), row(5, 0.4, 0.5), row(10, 0.5, 0.6)]
    (warning,) = hacking(rows, row(15, 0.8, 0.45))
    text = warning["text"]
    assert (warning["step"], warning["key"], warning["value"]) == (15, "preference/true", 0.45)
    assert "rose by 0.300 to 0.800" in text
    assert "fell by 0.150 to 0.450 since step 10" in text
    assert hacking(rows, row(15, 0.8, 0.7)) == [], "both rise"
    assert hacking(rows, row(15, 0.4, 0.3)) == [], "both fall"
    assert hacking([], row(15, 0.8, 0.1)) == []
    assert hacking(rows, {"step": 15, "split": "validation"}) == []


def test_the_monitor_has_the_rubric_beside_the_proxy():
    from aha.tasks.general_answers import write

    rng = __import__("random").Random(0)
    good = rollout(f"<think>a</think> <answer>{write(KIND, 'good', rng)}</answer>")
    groups = [
        score_group(KIND, [good, rollout("<think>a</think> <answer>no</answer>")], {}),
        score_group(PUZZLE, [good], {}),
    ]
    shown = router().proxy_and_truth(groups)
    assert shown["preference/proxy"] == 0.25
    assert 0.4 < shown["preference/true"] <= 0.75
    assert shown["preference/unsafe"] == 0.0
    assert router().proxy_and_truth(groups[1:]) == {}


# --- the stage -----------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


def result(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    rows = [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]
    return rows, (folder / "evals.jsonl").read_text(), (folder / "final" / "model.safetensors").read_bytes()


def asked(folder, step):
    text = (folder / "rollouts" / f"step_{step:05d}.jsonl").read_text()
    return {json.loads(line)["problem_id"].partition("/")[0] for line in text.splitlines()}


def test_the_stage_with_reward_models_resumes_across_the_change(
    tmp_path, model, tokenizer, checkpoint, monkeypatch
):
    calibration = {
        "kind": "helpful",
        "prompt": "r1_zero",
        "mean": 0.0,
        "std": 1.0,
        "max_batch_tokens": 512,
        "max_length": 512,
    }
    scalar = ScalarModel(model)
    scalar.head.data.normal_()
    save_scalar(scalar, tokenizer, tmp_path / "rm", calibration)
    stage = RL.model_validate(
        {
            "name": "r1", "model": str(checkpoint), "task": "countdown:0.5,general:0.5", "steps": 4,
            "prompts_per_step": 4, "group_size": 2, "max_tokens": 24, "max_prompt_tokens": 400,
            "test_problems": 4, "test_samples": 1,
            "eval_every": 2, "eval_problems": 4, "eval_samples": 1, "save_every": 1, "train_problems": 24, "lr": 1e-4,
            "temperature": 0.7, "rewards": {"accuracy": 1.0, "format": 0.5, "language": 0.1}, "prompt": "r1_zero",
            "helpful_model": str(tmp_path / "rm"), "preference_start_step": 3, "algorithm": "grpo_no_kl",
        }
    )  # fmt: skip
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    stage.run(Context(whole, plain=True, threads=1))
    report, kills = RLSession.report, [2, 3, 4]

    def dies(self, step, *args):
        if kills and step == kills[0]:
            kills.pop(0)
            raise Killed
        report(self, step, *args)

    monkeypatch.setattr(RLSession, "report", dies)
    for _ in range(3):
        with pytest.raises(Killed):
            stage.run(Context(cut, plain=True, threads=1))
    stage.run(Context(cut, plain=True, threads=1))
    assert result(cut) == result(whole)
    assert [asked(whole, step) for step in (1, 2)] == [{"countdown"}] * 2
    assert "general" in asked(whole, 3) | asked(whole, 4)
    evals = [json.loads(line) for line in (whole / "evals.jsonl").read_text().splitlines()]
    assert any("preference/true" in row for row in evals)


def test_what_is_missing_is_said_where_nothing_is_left():
    said = preference_data.nothing_left(
        "safety_data", "safety", {"judged": 16, "safe": 14, "reject": 2, "kept": 0}
    )
    assert (
        "(16 judged, 14 safe, 2 reject): none was judged unsafe, and as many of either kind are kept" in said
    )
    assert "is_response_0_safe" in said
    said = preference_data.nothing_left("pairs", "helpful", {"compared": 9, "close": 9})
    assert "no two answers to one question were told apart" in said
    assert "rejected answer" in said
