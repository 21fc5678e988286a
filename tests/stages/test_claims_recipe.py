"""The recipe of the claims: r1's own stages unchanged, and new ones that differ only in what they are there for."""

from __future__ import annotations

import pytest

from aha.recipes import claims, r1
from aha.runs import config, pipeline
from aha.runs.claims import table
from aha.runs.claims.data import MAY_DIFFER
from aha.runs.pipeline import Context, ordered

NEW = ["dev2_no_language", "hacked", "ppo", "ppo_095", "compare_claims"]


def stages_of(**options):
    return {stage.name: stage for stage in ordered(claims.build(**options))}


@pytest.mark.parametrize(
    "options", [{}, {"seed": 3}, {"model": "Qwen/Qwen2.5-1.5B", "task": "gsm8k", "data": "org/rows"}]
)
def test_the_stages_of_r1_are_the_same(options):
    stages, own = stages_of(**options), ordered(r1.build(**options))
    assert list(stages)[: len(own)] == [stage.name for stage in own]
    assert all(stages[stage.name].fingerprint() == stage.fingerprint() for stage in own)
    assert list(stages)[len(own) :] == NEW


def test_the_new_stages_differ_only_in_what_they_are_there_for():
    stages = stages_of()
    for (one, other), allowed in MAY_DIFFER.items():
        a, b = stages[one].settings(), stages[other].settings()
        assert {key for key in a if a[key] != b[key]} - {"name"} <= allowed
    assert stages["dev2"].rewards.keys() - stages["dev2_no_language"].rewards.keys() == {"language"}
    assert stages["ppo"].algorithm.critic
    assert (stages["ppo"].algorithm.lam, stages["ppo_095"].algorithm.lam) == (1.0, 0.95)
    assert stages["ppo_095"].algorithm.lam_critic == 0.95
    assert stages["ppo"].algorithm.clip_high == stages["zero"].algorithm.clip_high
    assert stages["ppo"].algorithm.aggregation == stages["zero"].algorithm.aggregation
    assert not stages["zero"].algorithm.critic, "the original is untouched"
    assert stages["hacked"].model is stages["dev3"]
    assert stages["hacked"].task == "general"
    assert (stages["hacked"].preference_start_step, stages["hacked"].steps) == (1, 28)
    assert stages_of(model="tiny", task="math", data="rows.jsonl")["hacked"].data is None, (
        "general reads none"
    )
    assert stages["hacked"].preference_weight == 4 * stages["r1"].preference_weight


def test_equal_steps_have_equal_learning_rates():
    for options in ({}, {"model": "Qwen/Qwen2.5-1.5B", "task": "gsm8k"}):
        stages = stages_of(**options)
        zero, ppo = stages["zero"], stages["ppo"]
        assert ppo.steps == zero.steps // 2
        for step in range(1, ppo.steps + 1):
            assert ppo.lr_at(step) == pytest.approx(zero.lr_at(step))


@pytest.mark.slow
def test_in_a_finished_run_of_r1_only_the_new_stages_run(tmp_path):
    """At the smallest sizes; then the claims are judged on what the run left."""
    from smallest import RL_SMALL, SMALL

    general = {"steps": 2, "eval_every": 1, "eval_problems": 2, "eval_samples": 1, "max_prompt_tokens": 300}
    extra = dict.fromkeys(("dev2_no_language", "ppo", "ppo_095"), RL_SMALL)
    extra |= {"hacked": RL_SMALL | general, "compare_claims": {"problems": 2, "samples": 1, "max_tokens": 16}}

    def run(build, sizes):
        stages, said = list(build(model="tiny")), []
        config.apply(
            ordered(stages), {f"{n}.{k}": v for n, fields in sizes.items() for k, v in fields.items()}
        )
        context = Context(tmp_path, plain=True, threads=1)
        summaries = pipeline.run(stages, tmp_path, context, config={}, say=said.append)
        return [name for name in summaries if not any(s.startswith(f"{name}: finished") for s in said)]

    assert sorted(run(r1.build, SMALL)) == sorted(SMALL)
    assert run(claims.build, SMALL | extra) == NEW
    judged = {j.claim.key: j for j in table.judge([tmp_path]).claims}
    assert all(f.mean is not None for key in ("d", "e", "f", "g1", "h", "i") for f in judged[key].findings)
    (ratio,) = (f for f in judged["i"].findings if f.criterion.text == "training state, PPO / GRPO")
    assert 1.8 < (ratio.mean or 0) < 2.2, "a critic of the policy's size"
    assert judged["b"].verdict in ("cannot tell", "not measured"), "one seed"
