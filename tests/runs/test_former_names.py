"""Former names of settings: read everywhere with a note, never two meanings, and runs of them go on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from aha.cli import main
from aha.recipes import RECIPES, get_recipe
from aha.runs import config, pipeline
from aha.runs.pipeline import ordered
from aha.settings import HEADINGS, Settings, former, heading
from aha.stages.rl import RL

pytestmark = pytest.mark.filterwarnings("default::aha.settings.former.FormerNameWarning")


def every_model(kind=Settings):
    for model in kind.__subclasses__():
        yield model
        yield from every_model(model)


def all_fields():
    for recipe in RECIPES.values():
        ordered(recipe.build())
    ours = (
        model for model in every_model() if model.__module__.startswith("aha.")
    )  # not those of other tests
    return [(model, name) for model in ours for name in model.model_fields]


def test_no_former_name_is_a_setting_of_today_and_every_new_one_is():
    names = {name for _, name in all_fields()}
    assert not names & former.FORMER.keys()
    assert set(former.FORMER.values()) <= names
    assert len(set(former.FORMER.values())) == len(former.FORMER), "fingerprints need the way back"


def test_the_glossary_has_every_former_name_with_the_new_one():
    text = (Path(__file__).parents[2] / "docs/glossary.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|$", text, re.M))
    assert rows == former.FORMER


def test_every_setting_has_a_meaning_and_a_known_heading():
    for model, name in all_fields():
        assert name == "name" or model.model_fields[name].description, (model, name)
        assert heading(model, name) in HEADINGS, (model, name)


def test_words_files_and_python_take_former_names_with_a_note(tmp_path):
    file = tmp_path / "old.toml"
    file.write_text("[rl]\ndecode_rows = 7\n[rl.algorithm]\nimportance_cap = 3.0\n")
    stages = get_recipe("r1_zero").build()
    words = ["rl.checkpoint_layers=true", "rl.later_max_tokens=[5,300]", "rl.vllm.ranks=2", "lr_final=0.5"]
    with pytest.warns(former.FormerNameWarning, match="max_num_seqs"):
        config.apply(stages, config.read_overrides(words, [file]))
    rl = stages[0]
    assert (rl.max_num_seqs, rl.gradient_checkpointing, rl.min_lr_ratio) == (7, True, 0.5)
    assert (rl.max_tokens_schedule, rl.vllm.tensor_parallel_size) == (((5, 300),), 2)
    assert rl.algorithm.importance_sampling_cap == 3.0
    with pytest.warns(former.FormerNameWarning, match="lr_final is called min_lr_ratio"):
        assert RL.model_validate({"name": "rl", "lr_final": 0.25}).min_lr_ratio == 0.25


def test_a_heading_may_be_written_before_a_setting(tmp_path):
    file = tmp_path / "groups.toml"
    file.write_text(
        "[rl.optimizer]\nlr = 5e-5\n[rl.memory]\nmax_num_seqs = 9\n[rl.engine]\nrollout_workers = 3\n"
    )
    stages = get_recipe("r1_zero").build()
    config.apply(stages, config.read_overrides(["rl.optimizer.steps=4", "rollout.group_size=6"], [file]))
    rl = stages[0]
    assert (rl.lr, rl.max_num_seqs, rl.rollout_workers, rl.steps, rl.group_size) == (5e-5, 9, 3, 4, 6)


FIRST = {
    "r1_zero": {"rl": "93a053b3c6642a60"},
}
"""Fingerprints as they were when settings had their first names."""


@pytest.mark.parametrize("recipe", FIRST)
def test_fingerprints_do_not_know_that_a_name_changed(recipe):
    stages = ordered(get_recipe(recipe).build())
    assert {stage.name: stage.fingerprint() for stage in stages} == FIRST[recipe]


def test_a_run_of_former_names_is_read_and_finished(tmp_path, capsys):
    stage = get_recipe("tiny_base").build()[0]
    place = tmp_path / "run" / stage.name
    place.mkdir(parents=True)
    kept = former.hashed(stage.settings()) | {"precision": stage.dtype, "max_batch_tokens": 1}
    kept.pop("dtype", None)
    (place / "settings.json").write_text(json.dumps({"fingerprint": stage.fingerprint(), "settings": kept}))
    (place / "done.json").write_text(
        json.dumps({"fingerprint": stage.fingerprint(), "summary": {"steps": 1}})
    )
    assert pipeline.is_done(place, stage)
    settings = pipeline.read_settings(place)["settings"]
    assert settings.keys() == stage.settings().keys()
    assert settings["max_tokens_per_batch"] == 1


def test_a_command_notes_a_former_name_once_and_goes_on(capsys):
    assert main(["zero", "--print-config", "rl.decode_rows=5", "rl.strict=false"]) == 0
    printed = capsys.readouterr()
    assert "max_num_seqs = 5" in printed.out
    notes = [line for line in printed.err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2
    assert re.search(r"decode_rows is called max_num_seqs", printed.err)
