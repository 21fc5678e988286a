"""A second engine is a folder and an entry of the table: settings, plan, server and words come from there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from aha.sampling import engines
from aha.sampling.engine import Engine

OTHER = """
from aha.sampling.colocated import ColocatedSettings
from aha.sampling.engine import Engine
from aha.settings import setting


class OtherSettings(ColocatedSettings):
    group, title = "other", "Other"
    backend: str = setting("best", "of attention")


class OtherEngine(Engine):
    for_all = True

    @classmethod
    def colocated(cls, stage):
        return stage.other.planned()
"""

JOB = """
from dataclasses import replace

from aha.sampling.engines import ENGINES, EngineEntry

parts = {"settings": "other:OtherSettings", "server": "other:OtherServer"}
ENGINES["other"] = EngineEntry("other:OtherEngine", "Other", "Other beside it", group="other", **parts)

from aha.cli import main
from aha.planning import colocated, machines, published
from aha.planning.shapes import from_config
from aha.planning.workload import from_stage, sample_workload
from aha.settings import heading
from aha.stages.rl import RL

stage = RL.model_validate({"name": "rl", "engine": "other", "other": {"tensor_parallel_size": 4, "backend": "own"}})
assert heading(RL, "other") == "engine" and "other" in stage.machine
assert "Other beside it" in RL.model_fields["engine"].description
assert stage.algorithm.importance_sampling == "truncated"

work = from_stage(stage)
assert (work.colocated.ranks, work.colocated.title) == (4, "Other")
shape = from_config(published.PUBLISHED["Qwen/Qwen2.5-7B"], "Qwen/Qwen2.5-7B")
eight, three = machines.machine("h100", 8), replace(work.colocated, ranks=3)
(lacking,) = colocated.lacks(shape, replace(work, colocated=three), eight)
assert "rl.other.tensor_parallel_size=3" in lacking, lacking
words = [words for words, _ in colocated.choices(shape, sample_workload("rl", name="rl"), eight)]
assert any(w.startswith("rl.engine=other rl.other.") for w in words), words
assert any(w.startswith("rl.engine=vllm rl.vllm.") for w in words), words

assert main(["serve", "tiny", "--other-args", "x"]) == 1
assert main(["serve", "tiny", "--engine", "other", "--other-args", "'x"]) == 1
"""


@pytest.mark.parametrize("name", engines.ENGINES)
def test_every_part_is_where_the_table_says(name):
    entry = engines.ENGINES[name]
    assert issubclass(engines.engine_class(name), Engine)
    assert bool(entry.group) == bool(entry.settings)
    if entry.group:
        assert entry.settings_class.model_validate({}) == getattr(engines.unset(), entry.group)
    if entry.server:
        assert callable(engines.server_class(name).serve)


def test_a_second_engine_is_a_folder_and_an_entry(tmp_path):
    (tmp_path / "other.py").write_text(OTHER)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, "-c", JOB], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert ran.returncode == 0, ran.stderr
    assert "--other-args are for --engine other" in ran.stderr
    assert '--other-args "\'x" are no words' in ran.stderr
