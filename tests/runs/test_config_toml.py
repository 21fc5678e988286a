"""What --print-config writes: every setting, explained, and read back as it was."""

from __future__ import annotations

import tomllib

import pytest
from pydantic import BaseModel

from aha.cli import main
from aha.recipes import RECIPES, get_recipe
from aha.runs import config
from aha.runs.config_toml import written
from aha.runs.pipeline import Stage, ordered
from aha.types import AhaError


def build(name, *words, files=(), **options):
    stages = ordered(get_recipe(name).build(**options))
    config.apply(stages, config.read_overrides(words, files))
    return stages


def settings(stages):
    return {stage.name: stage.settings() for stage in stages}


CHANGED = {
    "r1_zero": [
        "rl.max_tokens_schedule=[]", 'rl.rewards={"accuracy:wrong=-0.5": 1, "soft_overlong:max_length=99": 0.5}',
        "rl.algorithm=ppo", "rl.algorithm.clip_high=0.4", "rl.lr=1e-9", 'rl.data=my "own".jsonl',
        "rl.cluster.spread=true",
    ],
    "r1": ["zero.algorithm.kl=k2", "zero.algorithm.kl_coef=0.5", "cold_start.teacher=http://h:1/v1#M", "dev1.epochs=9"],
    "distill": ['distilled.proportions=[0.5]', "reject.dedup_threshold=null", 'compare.names=["a","b\\tc","ä"]'],
}  # fmt: skip


def test_a_prompt_is_an_option_of_zero_and_what_a_recipe_does_not_take_names_what_it_does(capsys):
    assert main(["zero", "--print-config", "--prompt", "boxed"]) == 0
    assert 'prompt = "boxed"' in capsys.readouterr().out
    assert main(["zero", "--print-config", "--teacher", "qwen"]) == 1
    said = capsys.readouterr().err
    assert "takes no --teacher. It takes --model, --task, --data, --test-data" in said
    assert "settings of its stages are words" in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--task", "cuntdown"], "Did you mean 'countdown'?"),
        (["rl.rewards=acuracy"], "Did you mean 'accuracy'?"),
        (["--task", "math", "--data", "no.jsonl"], "there is no file 'no.jsonl'"),
    ],
)
def test_a_dry_run_refuses_what_is_not_there(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["zero", "--dry-run", *words]) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_printed_is_read_back(name, tmp_path):
    for words in ([], CHANGED.get(name, [])):
        stages = build(name, *words)
        file = tmp_path / "all.toml"
        file.write_text(written(stages, name), encoding="utf-8")
        assert settings(build(name, files=[file])) == settings(stages)
        fingerprints = [stage.fingerprint() for stage in build(name, files=[file])]
        assert fingerprints == [stage.fingerprint() for stage in stages]


def test_a_file_of_one_model_sets_all_for_another(tmp_path):
    """The settings of a large model, read back where the recipe would choose those of a small one."""
    file = tmp_path / "all.toml"
    large = build("r1_zero", model="some/model", task="gsm8k")
    file.write_text(written(large, "aha zero"), encoding="utf-8")
    assert settings(build("r1_zero", files=[file])) == settings(large)


def every_setting(model, path=""):
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if name == "name":
            continue
        if isinstance(value, BaseModel) and not isinstance(value, Stage):
            yield from every_setting(value, f"{path}{name}.")
        else:
            yield path + name, field


def test_every_setting_stands_there_with_its_meaning_kind_and_default():
    (rl,) = build("r1_zero")
    text = written([rl], "aha zero")
    names = list(every_setting(rl))
    assert len(names) > 100
    joined = " ".join(line.removeprefix("# ") for line in text.split("\n"))
    for path, field in names:
        name = path.rpartition(".")[2]
        assert field.description, path
        assert " ".join(field.description.split()) in joined, path
        assert f"\n{name} = " in text or f"\n# {name} =" in text or f".{name}]\n" in text, path
    assert text.count("default ") >= len(names)
    assert "# (a whole number of tokens, at least 1; default 1024)\nmax_tokens = 320" in text
    assert '# (one of "auto", "float32", "bfloat16"; default "auto")\ndtype = "auto"' in text
    assert "# (a number of seconds, above 0; default 300.0)\nhang_timeout = 300.0" in text
    assert tomllib.loads(text)["rl"]["rewards"] == {"accuracy": 1.0, "format": 0.2}


def test_the_command_prints_it_and_nothing_else(tmp_path, capsys):
    assert main(["zero", "--print-config", "rl.lr=5e-5", "--runs-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert tomllib.loads(printed)["rl"]["lr"] == 5e-5
    file = tmp_path / "mine.toml"
    file.write_text(printed)
    assert main(["zero", "--print-config", "--config", str(file)]) == 0
    assert capsys.readouterr().out == printed
    assert main(["init", "r1_zero", "rl.lr=5e-5"]) == 0
    assert capsys.readouterr().out == printed
    assert main(["zero", "--print-config", "--ray-ranks", "2", "ranks.cpus=3"]) == 0
    ranks = capsys.readouterr().out
    assert tomllib.loads(ranks)["ranks"]["cpus"] == 3
    file.write_text(ranks)
    assert main(["zero", "--print-config", "--ray-ranks", "2", "--config", str(file)]) == 0
    assert capsys.readouterr().out == ranks


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[rl]\nlearning_rate = 1\n", "Unknown setting 'rl.learning_rate'"),
        ("[rl]\ngroupsize = 1\n", "Did you mean 'group_size'?"),
        ("[rll]\nlr = 1\n", "Unknown setting 'rll.lr'. Did you mean 'rl'?"),
        ("[rl.algoritm]\nkl = 'k3'\n", "Unknown setting 'rl.algoritm'. Did you mean 'algorithm'?"),
        (
            "[rl.algorithm]\nclip_hi = 1\n",
            "Unknown setting 'rl.algorithm.clip_hi'. Did you mean 'clip_high'?",
        ),
        ("[rl.algorithm]\nclip_high = -1\n", "'rl.algorithm.clip_high' cannot be -1"),
        ("[rl]\nunset = ['lr']\n", "Setting 'rl.lr' cannot be None"),
        ("[rl]\nunset = ['lrr']\n", "Unknown setting 'rl.lrr'. Did you mean 'lr'?"),
        ("[rl.lr]\ndeep = 1\n", "Setting 'rl.lr"),
        ("steps = 'many'\n", "'steps' cannot be 'many'"),
    ],
)
def test_mistakes_in_files_are_refused_with_the_nearest_name(text, said, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(AhaError) as error:
        build("r1_zero", files=[file])
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff\xfe[\x00", "not UTF-8"), (b"[rl\n", "not valid TOML"), (b"a = " + b"[" * 9999, "not valid TOML"),
     (b"a = " + b"9" * 5000, "not valid TOML")],
)  # fmt: skip
def test_files_that_are_no_toml_are_told(content, said, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_bytes(content)
    with pytest.raises(AhaError, match=said):
        config.read_overrides([], [file])
    with pytest.raises(AhaError, match="Cannot read"):
        config.read_overrides([], [tmp_path])


@pytest.mark.parametrize(
    ("word", "said"),
    [("smollm2", "--model smollm2"), ("my.toml", "--config my.toml"), ("rows.jsonl", "--data rows.jsonl"),
     ("m.gguf", "--model m.gguf"), (".", "--model .")],
)  # fmt: skip
@pytest.mark.parametrize("command", ["doctor", "zero"])
def test_a_word_that_is_no_setting_is_told_which_option_it_may_be_of(command, word, said, capsys):
    assert main([command, word]) != 0
    assert said in capsys.readouterr().err


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_bytes(b"\xef\xbb\xbf[rl]\nlr = 0.5\n")
    assert config.read_overrides([], [file]) == {"rl.lr": 0.5}
    assert config.read_overrides(["rl.prompt=" + "9" * 5000])["rl.prompt"] == "9" * 5000


def test_a_table_gives_the_rewards_whole_and_a_word_adds_one(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[rl.rewards]\naccuracy = 1\n")
    assert build("r1_zero", files=[file])[0].rewards == {"accuracy": 1}
    added = build("r1_zero", "rl.rewards.language=0.5", files=[file])[0].rewards
    assert added == {"accuracy": 1, "language": 0.5}


def test_settings_that_go_with_each_other_are_set_together():
    (rl,) = build("r1_zero", "rl.algorithm.kl_place=reward", "rl.algorithm.kl_coef=0.1", "rl.algorithm.kl=k1")
    assert (rl.algorithm.kl, rl.algorithm.kl_place) == ("k1", "reward")
    (rl,) = build("r1_zero", "rl.algorithm.preset=ppo", "rl.algorithm.lam=0.9")
    assert (rl.algorithm.critic, rl.algorithm.lam) == (True, 0.9)
    with pytest.raises(AhaError, match=r"set algorithm\.kl=k1"):
        build("r1_zero", "rl.algorithm.kl_place=reward", "rl.algorithm.kl_coef=0.1", "rl.algorithm.kl=k3")
