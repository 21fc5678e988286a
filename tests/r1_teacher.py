"""A teacher for the whole recipe, by what it is asked."""

from __future__ import annotations

import random

from aha.judges import programs, prompts
from aha.stages.data.general_data import programmed
from aha.tasks import general
from aha.tasks.general_world import find


def in_a_role(messages, seed):
    """What it says as one who rewrites or judges; None to a question."""
    for prompt, program in (
        (prompts.TEACHER, programs.teacher()), (prompts.PAIR, programs.pair_judge()),
        (prompts.SAFETY, programs.safety_judge()), (prompts.CORRECTNESS, programs.correctness_judge()),
    ):  # fmt: skip
        if messages[0]["content"] == prompt:
            return program(messages, seed)
    return None


def general_answer(messages, seed):
    """A good answer to a question of the made world."""
    item, language = find(messages[-1]["content"])
    return programmed(general.make_problem(item, language), "good", random.Random(seed))


def teacher(messages, seed):
    """Rewrites, judges and answers."""
    said = in_a_role(messages, seed)
    return general_answer(messages, seed) if said is None else said
