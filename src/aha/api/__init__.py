"""What a notebook uses: a run, an evaluation or a model in one call each, with results as objects and tables."""

from aha.api.models import Evaluated, Model, evaluate, load
from aha.api.results import Result
from aha.api.running import dpo, r1, reward_model, run, sft, zero
from aha.api.tables import table
from aha.rewards.places import stated as answer_of

__all__ = [
    "Evaluated", "Model", "Result", "answer_of", "dpo", "evaluate", "load", "r1", "reward_model", "run", "sft", "table",
    "zero",
]  # fmt: skip
