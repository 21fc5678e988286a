"""Kinds of stages by the names under which they are listed."""

from __future__ import annotations

from aha.runs.pipeline import Stage
from aha.stages.data.cold_start import ColdStart
from aha.stages.data.general_data import GeneralData
from aha.stages.data.preference_data import Preferences
from aha.stages.data.reject import Reject
from aha.stages.data.verified_pairs import VerifiedPairs
from aha.stages.evaluation.compare import Compare
from aha.stages.evaluation.safety import SafetyCheck
from aha.stages.rl import RL
from aha.stages.supervised.dpo import DPO
from aha.stages.supervised.pretrain import Pretrain
from aha.stages.supervised.reward_model import RewardModel
from aha.stages.supervised.sft import SFT
from aha.types import AhaError

KINDS: dict[str, type[Stage]] = {
    "rl": RL,
    "sft": SFT,
    "dpo": DPO,
    "reward_model": RewardModel,
    "pretrain": Pretrain,
    "cold_start": ColdStart,
    "reject": Reject,
    "general_data": GeneralData,
    "preferences": Preferences,
    "verified_pairs": VerifiedPairs,
    "compare": Compare,
    "safety": SafetyCheck,
}


def stage_kinds(name: str | None) -> dict[str, type[Stage]]:
    """The kind of that name, or all. Raises AhaError for one that is not there."""
    if name is None:
        return KINDS
    if name not in KINDS:
        raise AhaError(f"There is no kind of stage '{name}'. Known: {', '.join(KINDS)}.")
    return {name: KINDS[name]}
