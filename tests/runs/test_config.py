"""Settings: dotted overrides, TOML, unknown keys with the nearest name."""

from __future__ import annotations

import pytest

from aha.recipes import get_recipe
from aha.runs import config
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
