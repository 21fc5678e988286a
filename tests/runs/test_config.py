"""Settings: dotted overrides, TOML, unknown keys with the nearest name."""

from __future__ import annotations

import tomllib

import pytest

from aha.recipes import get_recipe
from aha.runs import config, strength
from aha.runs.config_toml import written
from aha.runs.pipeline import ordered
from aha.settings import former
from aha.training.presets import PRESETS
from aha.types import AhaError


def stages(*words, files=()):
    built = get_recipe("r1_zero").build()
    config.apply(built, config.read_overrides(words, files))
    return built[0]


def test_overrides_reach_their_fields():
    rl = stages(
        "rl.lr=1e-4", "rl.steps=7", "group_size=4", "rl.prompt=bare", "rl.max_tokens_schedule=[[3,99]]"
    )
    assert (rl.lr, rl.steps, rl.group_size, rl.prompt, rl.max_tokens_schedule) == (
        1e-4,
        7,
        4,
        "bare",
        ((3, 99),),
    )


def test_parts_of_nested_settings():
    rl = stages("rl.algorithm.clip_high=0.3", "rl.rewards.language=0.5")
    assert rl.algorithm.clip_high == 0.3
    assert rl.algorithm.aggregation == "token_mean"
    assert rl.rewards == {"accuracy": 1.0, "format": 0.2, "language": 0.5}
    assert stages("rl.algorithm=gspo").algorithm.ratio == "sequence"


def test_a_length_that_is_given_replaces_the_recipes_schedule():
    assert stages().max_tokens_schedule == ((20, 440),)
    for word in ("rl.max_tokens=200", "max_tokens=200"):
        rl = stages(word)
        assert (rl.max_tokens, rl.max_tokens_schedule, rl.longest_completion) == (200, (), 200)
    rl = stages("rl.max_tokens=200", "rl.max_tokens_schedule=[[5,300]]")
    assert (rl.max_tokens_schedule, rl.longest_completion) == (((5, 300),), 300)


def test_toml_then_words(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text("[rl]\nlr = 5e-5\nsteps = 3\n[rl.algorithm]\nkl = 'k3'\nkl_coef = 0.01\n")
    rl = stages("rl.steps=4", files=[path])
    assert (rl.lr, rl.steps, rl.algorithm.kl_coef) == (5e-5, 4, 0.01)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("rl.groupsize=4", "Did you mean 'group_size'?"),
        ("rll.lr=1", "Did you mean 'rl'?"),
        ("rl.algorithm.clip_hi=1", "Did you mean 'clip_high'?"),
        ("rl.steps=many", "cannot be 'many'"),
        ("rl.steps=many", "It means: rollouts to take"),
        ("rl.max_tokens_schedule=()", "and the tokens from there on; by default [[20, 440]]."),
        ("rl.algorithm.kl_coef=x", "; by default 0.0"),
        ("rl.lr=-1", "greater than 0"),
        ("rl.name=x", "Unknown setting"),
        ("rl.lr.deep=1", "has no parts"),
        ("nonsense", "is not a setting"),
    ],
)
def test_mistakes_are_refused(word, message):
    with pytest.raises(AhaError) as error:
        stages(word)
    assert message in str(error.value)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(AhaError, match="No settings file"):
        stages(files=[tmp_path / "none.toml"])
    broken = tmp_path / "broken.toml"
    broken.write_text("[rl\n")
    with pytest.raises(AhaError, match="not valid TOML"):
        stages(files=[broken])


def test_a_fingerprint_knows_every_setting():
    assert stages().fingerprint() == stages().fingerprint()
    assert stages("rl.lr=1e-4").fingerprint() != stages().fingerprint()
    assert stages("rl.algorithm.clip_low=0.1").fingerprint() != stages().fingerprint()


def test_settings_of_the_machine_are_no_part_of_a_fingerprint():
    words = (
        "rl.engine=ray",
        "rl.rollout_workers=4",
        "rl.max_tokens_per_batch=999",
        "rl.max_num_seqs=3",
        "rl.save_every=1",
    )
    assert stages(*words).fingerprint() == stages().fingerprint()


# --- several sources -------------------------------------------------------------------------------------------------

LISTED = """
[rl]
model = "tiny"
seed = 0
steps = 34
lr = 1e-3
max_tokens = 320
max_tokens_schedule = [[20, 440]]
[rl.rewards]
accuracy = 1.0
format = 0.2
[rl.algorithm]
preset = "grpo_no_kl"
aggregation = "token_mean"
clip_low = 0.1
"""


def several(words=(), texts=(), **options):
    built, notes = get_recipe("r1_zero").build(**options), []
    files = [dict(config._flatten(tomllib.loads(text))) for text in texts]
    with former.plain_notes():
        config.apply(
            built, strength.merged(built, files, config.read_overrides(words), options, notes.append)
        )
    return built[0], notes


@pytest.mark.parametrize(
    ("words", "texts", "options", "expected"),
    [
        ([], [LISTED], {"seed": 1}, {"seed": 1, "lr": 1e-3}),
        ([], [LISTED], {"seed": 0, "steps": 3}, {"seed": 0, "steps": 3}),
        ([], [LISTED.replace("seed = 0", "seed = 7")], {"seed": 0}, {"seed": 0}),
        ([], [LISTED], {"model": "world"}, {"model": "world"}),
        ([], [LISTED, "[rl]\nseed = 5"], {"seed": 1}, {"seed": 1}),
        (["rl.seed=3"], [LISTED], {}, {"seed": 3}),
        (["rl.lr=0.5"], [LISTED, "lr = 0.25"], {}, {"lr": 0.5}),
        (["rl.optimizer.lr=0.5"], ["lr = 0.25"], {}, {"lr": 0.5}),
        (["rl.lr_final=0.5"], ["min_lr_ratio = 0.25"], {}, {"min_lr_ratio": 0.5}),
        ([], ["rl.lr = 0.5", "[rl.optimizer]\nlr = 0.25"], {}, {"lr": 0.25}),
        (['rl.rewards={"accuracy": 2}'], [LISTED], {}, {"rewards": {"accuracy": 2.0}}),
        (["rl.rewards.format=2"], [LISTED], {}, {"rewards": {"accuracy": 1.0, "format": 2.0}}),
        ([], [LISTED, "[rl.rewards]\naccuracy = 3"], {}, {"rewards": {"accuracy": 3.0}}),
        (["rl.max_tokens=200"], [LISTED], {}, {"max_tokens": 200, "max_tokens_schedule": ()}),
        (["rl.seed=1"], [], {"seed": 1}, {"seed": 1}),
    ],
)
def test_the_stronger_of_several_sources_counts(words, texts, options, expected):
    rl, notes = several(words, texts, **options)
    assert {name: getattr(rl, name) for name in expected} == expected
    assert not notes


def test_a_preset_is_more_than_a_name_over_a_file_that_lists_another():
    rl, notes = several(["rl.algorithm.preset=gspo"], [LISTED])
    assert (rl.algorithm.ratio, rl.algorithm.clip_low, rl.algorithm.aggregation) == (
        "sequence",
        3e-4,
        "sequence_mean",
    )
    assert "what a settings file has of rl.algorithm for 'grpo_no_kl' is left out" in notes[0]
    rl, notes = several(["rl.algorithm=gspo"], [LISTED])
    assert (rl.algorithm.ratio, rl.algorithm.clip_low) == ("sequence", 3e-4)
    rl, notes = several(["rl.algorithm.preset=gspo"], ["[rl.algorithm]\nclip_low = 0.1"])
    assert (rl.algorithm.ratio, rl.algorithm.clip_low, notes) == ("sequence", 0.1, [])


@pytest.mark.parametrize(
    ("words", "texts", "options", "said"),
    [
        (["rl.seed=2"], [], {"seed": 1}, "--seed 1 and rl.seed=2 say two things of one setting"),
        (["steps=2"], [LISTED], {"steps": 1}, "--steps 1 and steps=2 say two things"),
        (["rl.model=world"], [], {"model": "tiny"}, "--model tiny and rl.model=world say two things"),
        (["rl.lr_final=0.1", "rl.min_lr_ratio=0.2"], [], {}, "are one setting, rl.min_lr_ratio: give one"),
        ([], ["[rl]\nlr_final = 0.1\nmin_lr_ratio = 0.2"], {}, "are one setting, rl.min_lr_ratio: give one"),
        (["rl.lr=0.1", "lr=0.2"], [], {}, "rl.lr=0.1 and lr=0.2 are one setting"),
    ],
)
def test_sources_that_contradict_each_other_are_refused(words, texts, options, said):
    with pytest.raises(AhaError) as error:
        several(words, texts, **options)
    assert said in str(error.value)


def test_a_word_for_one_stage_of_several_is_no_contradiction():
    options = {"seed": 1}
    built = ordered(get_recipe("distill").build(**options))
    config.apply(built, strength.merged(built, [], {"distilled.seed": 2}, options, print))
    assert {stage.seed for stage in built if stage.name != "distilled"} == {1}
    assert next(stage for stage in built if stage.name == "distilled").seed == 2


# --- settings without an effect --------------------------------------------------------------------------------------

IDLE = [
    ("r1_zero", "rl.algorithm.kl_coef=0.1", "set algorithm.kl=k3 too"),
    ("r1_zero", "rl.algorithm.kl=k3", "set algorithm.kl_coef"),
    ("r1_zero", "rl.algorithm.kl_place=reward", "set algorithm.kl and algorithm.kl_coef too"),
    ("r1_zero", "rl.algorithm.kl_unbiased=true", "set algorithm.kl and algorithm.kl_coef too"),
    ("r1_zero", "rl.algorithm.reference_every=7", "there is no reference"),
    ("r1_zero", "rl.algorithm.gamma=0.9", "it is of the critic"),
    ("r1_zero", "rl.algorithm.value_pretrain_steps=9", "it is of the critic"),
    ("r1_zero", "rl.algorithm.constant_length=99", "set algorithm.aggregation=constant_length too"),
    ("r1_zero", "rl.algorithm.mirror_coef=1", "set algorithm.objective=mirror too"),
    ("r1_zero", "rl.algorithm.preset=rloo rl.algorithm.clip_high=0.4", "the objective logprob clips nothing"),
    ("r1_zero", 'rl.algorithm={"preset":"rloo","clip_high":0.4}', "the objective logprob clips nothing"),
    ("r1_zero", "rl.algorithm.preset=cispo rl.algorithm.clip_dual=3", "set algorithm.objective=clipped too"),
    ("r1_zero", "rl.algorithm.entropy_coef_step=1", "set algorithm.entropy_target too"),
    ("r1_zero", "rl.algorithm.pass_rate_range=[0.2,0.8]", "set algorithm.curriculum=pass_rate too"),
    ("r1_zero", "rl.algorithm.dynamic_sampling_rounds=9", "set algorithm.dynamic_sampling too"),
    ("r1_zero", "rl.algorithm.replay_max_age=9", "set algorithm.replay_ratio too"),
    ("r1_zero", "rl.algorithm.importance_sampling_cap=9", "set algorithm.importance_sampling=truncated too"),
    ("r1_zero", "rl.judge_weight=2", "set rl.judge too"),
    ("r1_zero", "rl.judge_reply_tokens=99", "set rl.judge too"),
    ("r1_zero", "rl.preference_weight=2", "set rl.helpful_model or safety_model too"),
    ("r1_zero", "rl.rollout_workers=7", "set rl.engine=ray too"),
    ("r1_zero", "rl.vllm.gpu_memory_utilization=0.3", "set rl.engine=vllm too"),
    ("r1_zero", "rl.mini_batches=64", "a step has 32 questions"),
    ("dpo", "dpo.gamma=2", "set dpo.loss=simpo too"),
    ("dpo", "dpo.desirable_weight=2", "set dpo.loss=kto too"),
    ("distill", "reject.judge=x.py:f", "set reject.judged_tasks too"),
    (
        "distill",
        "reject.decontaminate_problems=0 reject.decontaminate_ngram=5",
        "decontaminate_problems is 0",
    ),
]
ACTIVE = [
    ("r1_zero", "rl.algorithm.kl=k3 rl.algorithm.kl_coef=0.1 rl.algorithm.reference_every=7"),
    ("r1_zero", "rl.algorithm.preset=ppo rl.algorithm.gamma=0.9"),
    ("r1_zero", "rl.algorithm.preset=grpo rl.algorithm.kl_coef=0"),
    ("r1_zero", "rl.algorithm.kl_coef=0 rl.mini_batches=32 rl.judge_weight=1.0"),
    ("r1_zero", "rl.prompts_per_step=2"),
    (
        "r1_zero",
        "rl.engine=ray rl.rollout_workers=7 rl.max_staleness=2 rl.algorithm.importance_sampling_cap=3",
    ),
    ("r1_zero", "rl.engine=vllm rl.vllm.gpu_memory_utilization=0.3"),
    ("dpo", "dpo.loss=kto dpo.desirable_weight=2"),
]


def checked(recipe, words):
    built = ordered(get_recipe(recipe).build())
    before = [stage.model_copy() for stage in built]
    settings = strength.merged(built, [], config.read_overrides(words.split()), {}, print)
    config.apply(built, settings)
    strength.check_effect(built, before, settings)
    return built


@pytest.mark.parametrize(("recipe", "words", "said"), IDLE)
def test_a_setting_without_an_effect_is_refused(recipe, words, said):
    with pytest.raises(AhaError, match="would have no effect") as error:
        checked(recipe, words)
    assert said in str(error.value)
    assert words.split()[-1].partition("=")[0] in str(error.value)


@pytest.mark.parametrize(("recipe", "words"), ACTIVE)
def test_a_setting_with_an_effect_is_taken(recipe, words):
    assert checked(recipe, words)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_file_that_lists_every_setting_of_a_preset_is_taken_back(preset):
    built = checked("r1_zero", f"rl.algorithm.preset={preset}")
    listed = dict(config._flatten(tomllib.loads(written(built, "test"))))
    again = ordered(get_recipe("r1_zero").build())
    before = [stage.model_copy() for stage in again]
    settings = strength.merged(again, [listed], {}, {}, print)
    config.apply(again, settings)
    strength.check_effect(again, before, settings)
    assert again[0].algorithm == built[0].algorithm


@pytest.mark.parametrize(
    "word",
    [
        "rl.algorithm.pass_rate_range=[0.9,0.1]",
        "rl.algorithm.pass_rate_range=[0,2]",
        "rl.max_tokens_schedule=[[-4,5]]",
        "rl.max_tokens_schedule=[[4,0]]",
    ],
)
def test_numbers_that_cannot_be_are_refused(word):
    with pytest.raises(AhaError, match=r"from 0 to 1|both from 1"):
        stages(word)
