"""Settings files as people write them by hand: what is meant is taken, and all else is refused in a sentence with the
setting, what it means and its default."""

from __future__ import annotations

from pathlib import Path

import pytest

from aha.cli import main
from aha.recipes import get_recipe
from aha.runs import config
from aha.runs.pipeline import Context
from aha.types import AhaError


@pytest.fixture
def rl(tmp_path):
    """The stage of ``aha zero`` after a settings file of this text."""

    def read(text):
        file = tmp_path / "my.toml"
        file.write_bytes(text.encode())
        stages = get_recipe("r1_zero").build()
        config.apply(stages, config.read_overrides([], [file]))
        return stages[0]

    return read


@pytest.mark.parametrize(
    ("text", "lr"),
    [
        ("[rl]\r\nlr = 1e-5\r\n[rl.algorithm]\r\nclip_low = 0.1\r\n", 1e-5), ("\ufeff[rl]\nlr = 1e-5\n", 1e-5),
        ("rl.lr = 1e-5\n", 1e-5), ("[rl.optimizer]\nlr = 1e-5\n", 1e-5), ("lr = 1e-5\n", 1e-5),
        ("[rl]\n\tlr='1e-5'", 1e-5),
        ("# nothing\n", 0.00012), ("", 0.00012), ("[rl]\ntask = 'cöuntdown'\nlr = 1e-5\n", 1e-5),
    ],
)  # fmt: skip
def test_what_is_meant_is_taken(rl, text, lr):
    assert rl(text).lr == lr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[rl]\nlr = 'fast'", "Setting 'rl.lr' cannot be 'fast'.*It means: peak learning rate; by default 0.00012"),
        ("[rl]\nlr = inf", "'rl.lr' cannot be inf: Input should be a finite number.*peak learning rate"),
        ("[rl]\nlr = nan", "'rl.lr' cannot be nan: .*finite number"),
        ("[rl]\nlr = [1e-4]", "'rl.lr' cannot be .*by default 0.00012"),
        ("[rl]\nsteps = 5.5", "'rl.steps' cannot be 5.5.*fractional part.*by default 34"),
        ("[rl]\nsteps = true", "'rl.steps' cannot be True: Input should be a number, not true or false.*by default 34"),
        ("[rl]\nsteps = 2026-01-01", "'rl.steps' cannot be .*It means: rollouts to take"),
        ("[rl]\ngroup_size = 1", "'rl.group_size' cannot be 1.*2. It means: G, completions.*by default 16"),
        ("[rl]\nprompts_per_step = -1", "'rl.prompts_per_step' cannot be -1.*by default 32"),
        ("[rl]\nmax_tokens = 0", "'rl.max_tokens' cannot be 0.*by default 320"),
        ("[rl]\ntask = ['a', 'b']", "'rl.task' cannot be .*valid string.*by default countdown"),
        ("[rl]\nalgorithm = 5", "'rl.algorithm' cannot be 5.*preset or its parts"),
        ("[rl.algorithm]\nclip_high = -0.1", "'rl.algorithm.clip_high' cannot be -0.1.*by default 0.28"),
        ("[rl.vllm]\ngpu_memory_utilization = 1.5", "'rl.vllm.gpu_memory_utilization' cannot be 1.5"),
        ("[rl.rewards]\naccuracy = 'one'", "'rl.rewards.accuracy' cannot be .*weight of each reward; by default"),
        ("[rl.rewards.accuracy]\nweight = 1", "'rl.rewards.accuracy' takes one value, and a table stands there"),
        ("[rl.lr]\nvalue = 1", "'rl.lr' takes one value, and a table stands there.*by default 0.00012"),
        ("rl = 5", r"'rl' is a stage and has no value: write its settings as rl.NAME=VALUE, in a file below \[rl\]"),
        ("[[rl]]\nlr = 1e-4", "'rl' is a stage and has no value"),
        ("[rll]\nlr = 1e-4", "Unknown setting 'rll.lr'. Did you mean 'rl'"),
        ("[dev2]\nlr = 1e-4", "Unknown setting 'dev2.lr'. The stages are: rl."),
        ("[RL]\nlr = 1e-4", "Did you mean 'rl'"),
        ("[rl]\nLR = 1e-4", "Did you mean 'lr'"),
        ("[rl]\nmax-tokens = 5", "Did you mean 'max_tokens'"),
        ("[rl]\nlerñ = 1", "valid TOML"),
        ("[rl]\n'lerñ' = 1", "Unknown setting 'rl.lerñ'. Did you mean 'lr'"),
        ("[rl.optimiser]\nlr = 1e-4", "Unknown setting 'rl.optimiser'. Did you mean 'optimizer'"),
        ("[rl.optimizer]\nstepz = 1", "Unknown setting 'rl.optimizer.stepz'. Did you mean 'steps'"),
        ("[rl.algorithm]\nclip_lo = 0.1", "Unknown setting 'rl.algorithm.clip_lo'. Did you mean 'clip_low'"),
        ("[rl]\nqqq = 1", "Unknown setting 'rl.qqq'. aha list settings shows all there are"),
        ("[rl]\nlr = 1e-4\nlr = 2e-4\n", "not valid TOML: Cannot overwrite a value .at line 3"),
        ("[rl]\nlr = 1e-4\n[rl]\nsteps = 1", "not valid TOML: .*twice .at line 3"),
        ('{"rl": {"lr": 1}}', "not valid TOML: .*line 1"),
        ("rl:\n  lr: 1e-4", "not valid TOML: .*line 1"),
    ],
)  # fmt: skip
def test_all_else_is_refused_with_what_it_means(rl, text, said):
    with pytest.raises(AhaError, match=said) as error:
        rl(text)
    assert "object at 0x" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("weights", ["{}", "{accuracy = 0, format = 0.0}"])
def test_a_run_that_pays_for_nothing_is_refused(rl, weights):
    with pytest.raises(AhaError, match=r"every weight of rl\.rewards is 0"):
        rl(f"[rl]\nrewards = {weights}").check_inputs(Context(Path("nowhere")))


def test_nothing_is_loaded_and_no_folder_is_made_before(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.toml").write_text("[rl]\nmodel = 'no/such-model'\ngroup_size = 1\n")
    assert main(["zero", "--config", "my.toml"]) == 1
    assert "'rl.group_size' cannot be 1" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
