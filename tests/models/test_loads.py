"""What is sound loads: a checkpoint of every family, with every tensor as it was saved, and none reported amiss."""

from __future__ import annotations

import pytest
import torch
from conftest import make_model
from families import FAMILIES, make

from aha.checkpoints.names import resolve
from aha.files import write_json
from aha.modeling import load_model
from aha.training.scalar import HEAD_FILE
from aha.types import AhaError


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sound_checkpoint_of_every_family_loads(family, tokenizer, tmp_path):
    model = make(family, tokenizer)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    state = load_model(str(tmp_path)).state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_a_run_or_its_stage_means_the_model_that_it_made_last(tokenizer, tmp_path):
    run = tmp_path / "zero"
    for stage in ("first", "second", "scores", "table"):
        (run / stage).mkdir(parents=True)
        write_json(run / stage / "settings.json", {})
    write_json(
        run / "config.json",
        {"recipe": "r", "stages": {s: {} for s in ("first", "second", "scores", "table")}},
    )
    with pytest.raises(AhaError, match="no stage has made a model yet"):
        resolve(str(run))
    (run / "first/checkpoints/step-000002").mkdir(parents=True)
    write_json(run / "first/checkpoints/step-000002/config.json", {})
    with pytest.raises(AhaError, match=r"newest checkpoint is '.*step-000002'"):
        resolve(str(run))
    for seed, stage in enumerate(("first", "second")):
        make_model(tokenizer, seed=seed).save_pretrained(run / stage / "final")
    (run / "scores/final").mkdir()
    write_json(run / "scores/final/config.json", {})
    (run / "scores/final" / HEAD_FILE).touch()  # a reward model
    assert resolve(str(run)) == str(run / "second/final")
    assert resolve(str(run / "first")) == str(run / "first/final")
