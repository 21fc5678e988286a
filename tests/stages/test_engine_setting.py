"""The setting ``engine`` and what hangs on it, without vLLM."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_model

from aha.runs import config
from aha.sampling.engine import EngineSetup
from aha.sampling.local.engine import LocalEngine
from aha.stages import engines
from aha.stages.rl import RL
from aha.training import credit
from aha.training.policy import OptimizerConfig, Policy
from aha.types import AhaError, Example


def stage(*words):
    built = RL.model_validate({"name": "rl", "algorithm": "grpo"})
    config.apply([built], config.read_overrides(words))
    return built


@pytest.mark.parametrize(
    ("words", "correction"),
    [
        ([], "none"),
        (["rl.engine=vllm"], "truncated"),
        (["rl.engine=vllm", "rl.algorithm.importance_sampling=none"], "none"),
        (["rl.algorithm.importance_sampling=none", "rl.engine=vllm"], "none"),
        (["rl.algorithm.importance_sampling=masked", "rl.engine=vllm"], "masked"),
        (["rl.engine=vllm", "rl.algorithm=dapo"], "truncated"),
        (["rl.algorithm.kl_coef=0.1", "rl.engine=vllm"], "truncated"),
    ],
)
def test_another_engine_is_corrected_for_unless_told_otherwise(words, correction):
    assert stage(*words).algorithm.importance_sampling == correction


def test_settings_of_vllm_are_settings_of_the_stage():
    assert stage("rl.vllm.kv_cache_gib=7").vllm.kv_cache_gib == 7
    assert stage("rl.engine=vllm").fingerprint() != stage().fingerprint()
    with pytest.raises(AhaError, match="Did you mean 'kv_cache_gib'"):
        stage("rl.vllm.cache_gb=7")
    with pytest.raises(AhaError):
        stage("rl.engine=warp")


def test_the_local_engine_shares_the_modules_and_is_told_the_version(tokenizer):
    policy = Policy(make_model(tokenizer), OptimizerConfig())
    engine = engines.for_policy("local", policy, tokenizer, EngineSetup(rows=8, longest=64, threads=1))
    assert isinstance(engine, LocalEngine)
    assert engine.model is policy.model
    policy.version = 4
    assert engines.sync(engine, policy) == 0.0
    assert engine.version == 4


def test_what_the_correction_does_is_told():
    policy = np.log(np.array([1, 1, 0.5, 0.5, 0.6]))
    sampler = np.log(np.array([1, 1, 0.1, 0.5, 0.1]))
    e = Example(np.arange(5), np.array([False, True, True, True, True]), np.zeros(5), sampler,
                policy_logprobs=policy)  # fmt: skip
    shown = credit.importance_figures([e], 2.0, "token")
    assert shown == {"importance/mean": 1.5, "importance/above_cap": 0.5, "importance/below_inverse": 0.0}
    shown = credit.importance_figures([e], 2.0, "sequence")  # 5 x 6 = 30 for each token
    assert shown == {"importance/mean": 2.0, "importance/above_cap": 1.0, "importance/below_inverse": 0.0}
