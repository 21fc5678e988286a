"""Twenty-four runs made ill on purpose, each with the cause that a diagnosis must name, and five healthy ones.

python tests/diagnosis/ill_runs.py FOLDER [NAME ...]     makes them, of seconds each
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

PARTS = Path(__file__).with_name("ill_parts.py")
SMALL = {
    "prompts_per_step": 6, "group_size": 8, "mini_batches": 2, "max_tokens": 64, "max_prompt_tokens": 128,
    "train_problems": 512, "save_every": 1000, "eval_every": 0, "test_problems": 16, "test_samples": 2,
    "max_tokens_schedule": [],
}  # fmt: skip

TRUTH = {"eval_every": 6, "eval_problems": 64, "eval_samples": 4, "test_problems": 64, "test_samples": 4}


@dataclass(frozen=True)
class IllRun:
    """A run of the recipe r1_zero: its settings beside ``SMALL``, and the cause that is planted in it."""

    cause: str
    task: str = "countdown"
    model: str = "tiny"
    steps: int = 12
    seed: int = 0
    settings: dict = field(default_factory=dict)

    def words(self, name: str, folder: Path) -> list[str]:
        """The command that makes it."""
        settings = SMALL | self.settings
        shown = [
            f"rl.{key}={json.dumps(v) if isinstance(v, dict | list) else v}" for key, v in settings.items()
        ]
        return [
            "zero", "--model", self.model, "--task", self.task.replace("OWN", str(PARTS)), "--runs-dir", str(folder),
            "--run", name, "--steps", str(self.steps), "--seed", str(self.seed), "--plain", "--no-doctor",
            *(word.replace("OWN", str(PARTS)) for word in shown),
        ]  # fmt: skip


def rewards(**weights: float) -> dict:
    """Weights of rewards, own ones by their names in ``ill_parts``."""
    known = ("accuracy", "format", "lenient")
    return {"rewards": {name if name in known else f"OWN:{name}": w for name, w in weights.items()}}


ILL: dict[str, IllRun] = {
    "no_answer": IllRun("no_answer", settings={"prompt": "boxed"} | rewards(accuracy=1)),
    "format_never": IllRun("format_never", settings={"prompt": "boxed"} | rewards(lenient=1, format=0.2)),
    "all_right": IllRun("all_right", task="OWN:Easy", settings=rewards(accuracy=1)),
    "all_wrong": IllRun("all_wrong", task="OWN:Impossible", settings=rewards(accuracy=1)),
    "no_signal": IllRun("no_signal", task="OWN:EasyOrImpossible", settings=rewards(accuracy=1)),
    "truncated": IllRun("truncated", settings={"max_tokens": 10}),
    "length_gaming": IllRun("length_gaming", steps=16, settings=rewards(accuracy=1, long=1)),
    "repetition_gaming": IllRun("repetition_gaming", steps=24, settings=rewards(accuracy=1, repeats=2)),
    "entropy_collapse": IllRun(
        "entropy_collapse", steps=24, settings={"lr": 4e-4, "algorithm": {"preset": "grpo_no_kl", "entropy_coef": -0.6}}
    ),
    "kl_growing": IllRun(
        "kl_growing", steps=20, settings={"lr": 4e-4, "algorithm": {"preset": "grpo", "kl_coef": 1e-6}}
        | rewards(chinese=1),
    ),
    "mismatch": IllRun("mismatch", steps=16, settings={"engine": "OWN:Outdated", "lr": 3e-4}),
    "lr_high": IllRun("lr_high", settings={"lr": 5e-3}),
    "lr_low": IllRun("lr_low", steps=16, settings={"lr": 1e-9}),
    "odd_golds": IllRun("ungradable_golds", task="OWN:OddGolds"),
    "grader_errors": IllRun("grader_errors", settings=rewards(accuracy=1, fragile=0.1)),
    "leaking": IllRun("leaking_prompts", task="OWN:Leaking"),
    "language_drift": IllRun("language_drift", steps=20, settings={"lr": 3e-4} | rewards(accuracy=1, chinese=1)),
    "empty_chains": IllRun("empty_chains", steps=24, settings={"lr": 3e-4} | rewards(tags_alone=1)),
    "duplicates": IllRun("duplicate_prompts", task="OWN:Copies"),
    "hacked": IllRun("reward_hacking", steps=24, settings={"lr": 3e-4} | TRUTH | rewards(echo=1)),
    "never_ends": IllRun("never_ends", settings={"engine": "OWN:Endless", "max_tokens": 160}),
    "no_diversity": IllRun("no_diversity", settings={"temperature": 0.01}),
    "same_splits": IllRun("held_out_trained", task="OWN:SameSplits"),
    "wordy_judge": IllRun("length_gaming", steps=16, settings=rewards(accuracy=1, wordy_judge=1)),
}  # fmt: skip

HEALTHY: dict[str, IllRun] = {
    "plain": IllRun("", steps=24, settings={"eval_every": 8, "eval_problems": 32, "eval_samples": 2}),
    "with_kl": IllRun("", steps=16, seed=1, settings={"algorithm": {"preset": "grpo"}}),
    "dapo": IllRun("", steps=12, seed=2, settings={"algorithm": {"preset": "dapo"}}),
    "logic": IllRun("", task="logic", model="world", steps=12, settings={"max_tokens": 128}),
    "mixture": IllRun(
        "", task="countdown:0.5,logic:0.5", model="world", steps=12, seed=3, settings={"max_tokens": 128}
    ),
}  # fmt: skip

RUINED = {
    f"ruined_{seed}": IllRun(
        "length_gaming", steps=50, seed=seed, settings=TRUTH | {"eval_every": 5, "max_tokens": 96, "lr": 2e-4}
        | rewards(accuracy=1, long=3),
    )
    for seed in (0, 1, 2)
}  # fmt: skip
"""A length-loving reward that ruins what the policy can do, with three seeds."""


def judged(judge: str, weight: float) -> dict:
    """A judge as a reward beside accuracy, asked by a rubric as a model behind an address is."""
    return rewards(accuracy=1) | {
        "judge": f"OWN:{judge}", "judge_weight": weight, "judge_tasks": ["countdown"], "judge_mode": "rubric",
    }  # fmt: skip


JUDGED = {
    f"judged_{seed}": IllRun(
        "length_gaming", steps=140, seed=seed, settings=TRUTH | {"eval_every": 10, "max_tokens": 96, "lr": 1.5e-5}
        | judged("long_judge", 2),
    )
    for seed in (0, 1, 2)
}  # fmt: skip
"""A judge that loves length ruins it slowly, at a rate that is no danger by itself."""

FAIR = {
    f"fair_{seed}": IllRun("", steps=24, seed=seed, settings={"max_tokens": 96} | judged("fair_judge", 1))
    for seed in range(5)
}
"""A judge that looks for the right result."""


def make(name: str, folder: Path) -> Path:
    """Run one of them; returns its folder."""
    from aha.cli import main

    run = {**ILL, **HEALTHY, **RUINED, **JUDGED, **FAIR}[name]
    if "AHA_SEED" in os.environ:
        run = replace(run, seed=run.seed + int(os.environ["AHA_SEED"]))
    code = main(run.words(name, folder))
    assert code == 0, f"{name} ended with {code}"
    return folder / name


if __name__ == "__main__":
    place = Path(sys.argv[1])
    for chosen in sys.argv[2:] or [*ILL, *HEALTHY]:
        if not (place / chosen / "summary.json").exists():
            make(chosen, place)
