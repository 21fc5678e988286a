"""Learning beside a peer: what is counted, and that both sides are given the same."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest

from aha.bench import learn, peers
from aha.bench.learn import Curve
from aha.cli import main, parse, parser

SMALL = [
    "bench", "learn", "--steps", "1", "--seeds", "0", "--prompts", "4", "--group", "2", "--max-tokens", "24",
    "--eval-every", "1", "--eval-problems", "4", "--eval-samples", "1", "--threads", "1", "--dtype", "float32",
]  # fmt: skip


@pytest.fixture(scope="module")
def job():
    return learn.LearnJob(parse(parser("bench"), SMALL))


def curve(side, seed, accuracy, each=10.0):
    one = Curve(side, seed)
    for step, value in enumerate(accuracy):
        one.add(step, each * step, value)
    one.tokens = 1000.0
    return one


@pytest.mark.parametrize(
    ("accuracy", "seconds"),
    [
        ([0.1, 0.5, 0.9], 17.5),
        ([0.1, 0.2, 0.3], None),
        ([0.9, 0.9], 0.0),
        ([0.0, 0.8], 10.0),
        ([0.1, 0.9, 0.7], 8.75),
    ],
)
def test_the_time_to_a_target_lies_on_the_line_between_two_measurements(accuracy, seconds):
    assert curve("aha", 0, accuracy).seconds_to(0.8) == seconds


def test_what_is_said_of_both_sides(job):
    fast = [curve("aha", s, [0.1, 0.5, 0.9]) for s in (0, 1, 2)]
    slow = [curve("trl", s, [0.1, 0.5, 0.9 + s / 100], each=40.0) for s in (0, 1, 2)]
    result = learn.result(job, fast + slow, "trl 1")
    assert (result["ratio"], result["ratio_to_target"]) == (
        4.0,
        3.96,
    )  # 40 + 40 * 0.3 / 0.41 seconds, and 17.5
    assert result["sides"]["trl"]["accuracy_from_to"] == [0.9, 0.92]
    assert json.loads(json.dumps(result)) == result
    assert "4.0 times as fast" in "\n".join(learn.lines(result))
    never = learn.result(
        job, [*fast, curve("trl", 0, [0.1, 0.2, 0.9]), curve("trl", 1, [0.1, 0.2, 0.3])], "trl 1"
    )
    assert never["sides"]["trl"]["seconds_to_target"] is None, "one of its seeds did not get there"
    assert never["ratio_to_target"] is None
    assert any("not reached" in line for line in learn.lines(never))
    page = learn.page(fast + slow, 0.8, result)
    assert page.count('<figure class="chart"') == 2
    assert "trl, seed 2" in page
    assert "Accuracy over seconds" in page


def test_completions_of_a_peer_are_graded_as_ours_are(job):
    from aha.sampling.rollouts import sample_groups
    from aha.sampling.sampler import SamplingParams

    problems = job.questions(0)
    assert problems == job.questions(0)
    assert problems != job.questions(1)
    groups = sample_groups(
        job.engine(job.load()), job.prompter, problems, 4, SamplingParams(max_tokens=120), job.rewards, seed=3
    )
    members = [(g.problem, m) for g in groups for m in g.members]
    rewards = job.grade([p for p, _ in members], [m.rollout.completion_ids.tolist() for _, m in members])
    assert rewards == pytest.approx([m.reward for _, m in members])
    assert len({round(x, 3) for x in rewards}) > 1


def test_one_side_alone(capsys, tmp_path):
    assert main([*SMALL, "--json", "--plot", str(tmp_path / "page.html")]) == 0
    result = json.loads(capsys.readouterr().out)
    (only,) = result["curves"]
    assert only["steps"] == [0, 1]
    assert only["seconds"][0] == 0 < only["seconds"][1]
    assert 0 < only["tokens"] <= 4 * 2 * 24
    assert "<svg" in (tmp_path / "page.html").read_text()


def test_prompts_must_make_whole_mini_batches(capsys):
    words = [*SMALL]
    words[words.index("--prompts") + 1] = "5"
    assert main(words) == 1
    assert "multiple of the 4 mini-batches" in capsys.readouterr().err


def test_trl_is_given_the_same_settings(job, monkeypatch):
    asked = {}

    class Peer:
        @classmethod
        def start(cls, name, threads, driver):
            assert (name, driver) == ("trl", "trl_learn")
            return cls()

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def ask(self, question):
            asked.update(question)
            return {"version": "trl 1"}

    monkeypatch.setattr(peers, "Peer", Peer)
    with learn.trl_side(job, 0) as (_, version):
        assert version == "trl 1"
    stage, ours = job.stage, learn.AhaLearner(job, 0)
    assert asked["prompts"] == [job.prompter.render(p).text for p in ours.problems]
    assert (asked["lr"], asked["group"], asked["mini_batches"]) == (stage.lr, 2, 4)
    assert (asked["questions"], asked["max_tokens"], asked["steps"]) == (4, 24, 1)
    assert asked["clip_high"] == stage.algorithm.clip_high == 0.28
    assert asked["betas"] == list(ours.policy.config.betas)
    assert stage.algorithm.aggregation == "token_mean", "which is what TRL calls dapo"


@pytest.mark.peers
def test_trl_learns_beside_us(capsys):
    if not (peers.folder("trl") / "bin" / "python").exists():
        pytest.skip("trl is not installed: aha bench peers install trl")
    assert main([*SMALL, "--against", "trl", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    ours, theirs = result["curves"]
    assert (ours["side"], theirs["side"]) == ("aha", "trl")
    assert ours["steps"] == theirs["steps"] == [0, 1]
    assert ours["accuracy"][0] == theirs["accuracy"][0], "the same base, measured alike"
    assert theirs["tokens"] > 0
    assert np.isfinite(theirs["seconds"]).all()


def test_arguments_are_what_the_page_says():
    arguments = parse(parser("bench"), ["bench", "learn", "--against", "trl"])
    assert isinstance(arguments, argparse.Namespace)
    assert (arguments.model, arguments.task, arguments.seeds, arguments.target) == (
        "tiny",
        "countdown",
        "0,1,2",
        0.8,
    )
