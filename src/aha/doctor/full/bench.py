"""A tiny stage of reinforcement learning on the examined model, for the checks that drive one."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aha.doctor.subject import DoctorContext
from aha.runs.pipeline import Context
from aha.settings import setting
from aha.stages import rl
from aha.stages.rl import setup
from aha.stages.rl.session import RLSession

SETTINGS: dict[str, Any] = {
    # The entropy term moves the policy where no completion earns anything, as with a random model.
    "algorithm": {"preset": "grpo", "kl_coef": 0.05, "entropy_coef": 0.02, "reference_every": 2},
    "rewards": {"format": 1.0, "tag_count": 1.0},
    "steps": 4,
    "prompts_per_step": 2,
    "group_size": 4,
    "mini_batches": 2,
    "lr": 1e-3,
    "min_lr_ratio": 0.2,
    "warmup_steps": 1,
    "max_tokens": 12,
    "max_tokens_schedule": (),
    "save_every": 2,
    "eval_every": 0,
    "test_problems": 1,
    "test_samples": 1,
    "train_problems": 8,
}


CUT_LR = 1e-4
"""Learning rate where the model is cut out of a larger one: at ten times that Gemma 3's leaves the KL term's range."""


class Stopped(Exception):
    """The stage was stopped on purpose."""


class StoppedRL(rl.RL):
    """A stage that dies in the middle of a step, as a killed process would."""

    stop_after: int = setting(10**9, "the step after which it dies", unit="steps", under="logging")

    def tokens_at(self, step: int) -> int:
        """Asked once at the start of a step, before anything is sampled."""
        if step > self.stop_after:
            raise Stopped
        return super().tokens_at(step)


@contextlib.contextmanager
def saved(subject: DoctorContext) -> Iterator[Path]:
    """A scratch folder with the examined model in ``base``."""
    subject.require_savable()
    subject.require_room(8)
    with subject.scratch() as place:
        base = Path(place) / "base"
        subject.model.save_pretrained(base)
        subject.tokenizer.save_pretrained(base)
        yield Path(place)


def stage(subject: DoctorContext, place: Path, kind: type[rl.RL] = rl.RL, **changes: Any) -> rl.RL:
    """The stage's settings: the examined model and task, everything else small."""
    # Countdown makes its own problems: rows of a file are not read again to examine the loop.
    settings = {"name": "rl", "model": str(place / "base"), "task": "countdown", **SETTINGS} | changes
    settings["prompt"] = subject.prompter.prompt.name
    if subject.source.startswith("a miniature"):  # a few layers out of many are very sure of themselves
        settings["lr"] = changes.get("lr", CUT_LR)
    return kind.model_validate(settings)


def context(subject: DoctorContext, folder: Path, *, precise: bool = False) -> Context:
    """Where and with what the stage runs: on the examined model's device, in its compute type or, if
    ``precise``, in float32."""
    name = {"torch.bfloat16": "bfloat16", "torch.float64": "float64"}.get(str(subject.dtype), "float32")
    name = "float32" if precise else name
    return Context(folder, str(subject.device), name, _threads(), plain=True)


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def quiet() -> contextlib.redirect_stdout[io.StringIO]:
    """The stage's display is not the doctor's."""
    return contextlib.redirect_stdout(io.StringIO())


def prepared(config: rl.RL, where: Context) -> RLSession:
    """The stage's live parts."""
    with quiet():
        return setup.prepare(config, where)
