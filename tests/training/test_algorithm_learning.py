"""Every preset learns, through the stage's own loop, in a world where expected rewards are exact."""

from __future__ import annotations

import pytest
from test_algorithm_world import Bandit

from aha.training.preset_table import PRESETS

QUICK = {"vc_ppo": {"value_pretrain_steps": 5}, "vapo": {"value_pretrain_steps": 5}}


@pytest.mark.parametrize("name", PRESETS)
def test_expected_reward_rises(name):
    import time

    t = time.process_time()
    world = Bandit({"preset": name} | QUICK.get(name, {}), steps=25)
    start, history = world.expected(), world.train()
    print(name, round(start, 3), [round(h, 2) for h in history[4::5]], round(time.process_time() - t, 2))
    assert history[-1] > start + 0.3
