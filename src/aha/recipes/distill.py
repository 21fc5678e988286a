"""Distillation: a teacher's right answers teach a smaller model, by supervised fine-tuning alone.

The paper (DeepSeek-R1, arXiv 2501.12948, section on distillation): 800k rows, 2 to 3 epochs, a cosine to a tenth
of the peak, batch 64; ``LEARNING_RATES`` are its six students'. Reinforcement learning on the student itself,
the paper's comparison, is ``aha run r1_zero --model STUDENT``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aha.modeling import EMBEDDED
from aha.recipes.r1 import CORPORA, MINIATURE, SMALL_MODEL, STUDENT, TASKS, parts
from aha.runs.pipeline import Stage
from aha.stages.data.reject import Reject
from aha.stages.evaluation.compare import Compare
from aha.stages.supervised.pretrain import Pretrain
from aha.stages.supervised.sft import SFT

LEARNING_RATES: dict[str, float] = {
    "Qwen2.5-Math-1.5B": 1e-4,
    "Qwen2.5-Math-7B": 8e-5,
    "Qwen2.5-14B": 7e-5,
    "Qwen2.5-32B": 6e-5,
    "Llama-3.1-8B": 5e-5,
    "Llama-3.3-70B-Instruct": 2e-5,
}
"""The paper's learning rates by student, at batch 64."""


def build(
    teacher: str = "tiny",
    student: str | None = None,
    task: str | None = None,
    data: str | None = None,
    seed: int = 0,
    test_data: str | None = None,
) -> Sequence[Stage]:
    """Sample and select the teacher's answers, tune the student on them, compare all three.

    ``teacher``: a checkpoint, or an endpoint#MODEL. ``student``: a checkpoint; none: a small one from scratch,
    where the teacher is an embedded base.
    """
    task = task or TASKS.get(teacher, "countdown")
    settings = MINIATURE if student in (None, *EMBEDDED) else SMALL_MODEL
    small: Any = student
    if student is None:
        chosen = {"name": "student", "corpus": CORPORA.get(teacher, "tiny"), "seed": seed, **STUDENT}
        small = Pretrain.model_validate(chosen)
    sampled = {**settings["reject"], "domain_ratios": "", "max_rows": None}
    rows = {"data": data, "test_data": test_data}
    reject = Reject.model_validate(
        {"name": "reject", "model": teacher, "task": task, "seed": seed}
        | rows | sampled
    )  # fmt: skip
    tuned: dict[str, Any] = {**settings["distilled"]}
    if student is not None:
        tuned["lr"] = LEARNING_RATES.get(student.rsplit("/", 1)[-1], tuned["lr"])
    distilled = SFT.model_validate(
        {"name": "distilled", "model": small, "data": (reject,), "seed": seed} | tuned
    )
    compare = Compare.model_validate(
        {"name": "compare", "models": (teacher, small, distilled), "tasks": parts(task), "seed": seed}
        | {"names": ("teacher", "student", "distilled")} | rows | settings["compare"]
    )  # fmt: skip
    return [compare]
