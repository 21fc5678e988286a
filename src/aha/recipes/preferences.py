"""Preferences from a verifier: iterative DPO from the model's own answers, DPO before RL, Light-R1's and RedStar's
curricula.

Each round of iterative DPO samples several answers to new questions, prefers right ones to wrong ones, and tunes the
model on the pairs; what it was before the round is the reference (Pang et al., arXiv 2404.19733; DPO-VP; DPO-R1).
Light-R1 (arXiv 2503.10460): SFT on easier, then harder questions, DPO with the second SFT's wrong answers, then GRPO.
RedStar (arXiv 2501.11284): SFT on long chains to few and hard questions, then DPO, PPO and REINFORCE++ side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aha.modeling import EMBEDDED
from aha.recipes import r1, r1_zero
from aha.runs.pipeline import Stage
from aha.stages.data.reject import Reject
from aha.stages.data.verified_pairs import VerifiedPairs
from aha.stages.evaluation.compare import Compare
from aha.stages.rl import RL
from aha.stages.supervised.dpo import DPO
from aha.stages.supervised.sft import SFT

Settings = dict[str, dict[str, Any]]
ROUNDS = 4
EASY = 0.125
"""The share of right answers above which Light-R1's curriculum takes a question for an easier one."""
HARD = 0.5
"""The share of right answers up to which RedStar's curriculum takes a question for a hard one."""
LONG_CHAINS = 4000
"""Chains that RedStar's SFT learns at most: its abstract finds a few thousand enough."""
SMALL_MODEL: Settings = {
    "pairs": {"problems": 2048, "samples": 8, "max_tokens": 2048},
    "dpo": {
        "lr": 5e-7, "batch_size": 64, "warmup_steps": 5, "nll_coef": 0.2, "max_length": 4096,
        "max_tokens_per_batch": 16_384,
    },
    "chains": {"problems": 4096, "samples": 8, "max_tokens": 2048},
    "sft": r1.SMALL_MODEL["dev1"],
    "rl": r1_zero.SMALL_MODEL,
    "compare": r1.SMALL_MODEL["compare"],
}  # fmt: skip
"""What fits one GPU with a model of 0.5 to 3 billion parameters."""
MINIATURE: Settings = {
    "pairs": {"problems": 96, "samples": 16, "max_tokens": 320, "pairs_per_problem": 8},
    "dpo": {
        "lr": 3e-4, "batch_size": 32, "nll_coef": 1.0, "epochs": 2, "max_length": 512, "max_tokens_per_batch": 4096,
        "save_every": 50,
    },
    "chains": {"problems": 512, "samples": 8, "max_tokens": 320, "max_per_problem": 2},
    "sft": r1.MINIATURE["dev1"],
    "rl": r1_zero.MINIATURE,
    "compare": {"problems": 128, "samples": 8, "max_tokens": 320},
}  # fmt: skip
"""For embedded bases: four rounds sample 6,144 answers, as many as 12 steps of R1-Zero in miniature."""


def settings_for(model: str) -> Settings:
    """Settings by the model's size, with the prompt that rows are learned with: tags, as the recipe r1 has it."""
    embedded = model in EMBEDDED
    prompt = {"prompt": "r1_zero" if embedded else "think"}
    chosen = MINIATURE if embedded else SMALL_MODEL
    return {name: prompt | {k: v for k, v in own.items() if k != "prompt"} for name, own in chosen.items()}


def rounds_of(
    model: str | Stage, settings: Settings, asked: dict[str, Any], seed: int, rounds: int
) -> list[DPO]:
    """Rounds of sampling, pairing and DPO, each from where the one before it ended; questions are new in each. Those of
    the last round are called ``pairs`` and ``dpo``, those before it by their numbers."""
    stages: list[DPO] = []
    for number in range(1, rounds + 1):
        now, mark = (stages[-1] if stages else model), "" if number == rounds else f"_{number}"
        fields = {"name": f"pairs{mark}", "model": now, "seed": seed + 1000 * number}
        pairs = VerifiedPairs.model_validate(fields | asked | settings["pairs"])
        fields = {"name": f"dpo{mark}", "model": now, "data": (pairs,), "seed": seed}
        stages.append(DPO.model_validate(fields | settings["dpo"]))
    return stages


def compared(models: Sequence[str | Stage], settings: Settings, asked: dict[str, Any], seed: int) -> Compare:
    """The table of checkpoints at the end."""
    names = tuple(m if isinstance(m, str) else m.name for m in models)
    rows = {key: asked[key] for key in ("data", "test_data")}
    fields = {
        "name": "compare",
        "models": tuple(models),
        "names": names,
        "tasks": (asked["task"],),
        "seed": seed,
    }
    own = {k: v for k, v in settings["compare"].items() if k != "prompt"}
    return Compare.model_validate(fields | rows | own)


def iterative_dpo(
    model: str = "tiny",
    task: str | None = None,
    data: str | None = None,
    test_data: str | None = None,
    seed: int = 0,
    rounds: int = ROUNDS,
) -> Sequence[Stage]:
    """Rounds of DPO on the model's own verified pairs, and the base beside every round."""
    settings, asked = settings_for(model), _asked(model, task, data, test_data)
    stages = rounds_of(model, settings, asked, seed, rounds)
    return [compared([model, *stages], settings, asked, seed)]


def dpo_rl(
    model: str = "tiny",
    task: str | None = None,
    data: str | None = None,
    test_data: str | None = None,
    seed: int = 0,
    rounds: int = 1,
    steps: int | None = None,
) -> Sequence[Stage]:
    """DPO on the model's own verified pairs, then reinforcement learning from where it ended."""
    settings, asked = settings_for(model), _asked(model, task, data, test_data)
    stages = rounds_of(model, settings, asked, seed, rounds)
    rl = _rl(stages[-1], settings, asked, seed, steps)
    return [compared([model, *stages, rl], settings, asked, seed)]


def light_r1(
    model: str = "tiny",
    task: str | None = None,
    data: str | None = None,
    test_data: str | None = None,
    teacher: str | None = None,
    seed: int = 0,
    steps: int | None = None,
) -> Sequence[Stage]:
    """SFT on a teacher's right answers to easier questions, then to harder ones; DPO; RL. Without ``teacher`` the model
    teaches itself: how hard a question is, its own share of right answers says."""
    settings, asked = settings_for(model), _asked(model, task, data, test_data)
    easy = _chains("easier", teacher or model, (EASY, 1.0), settings, asked, seed + 1)
    hard = _chains("harder", teacher or model, (0.0, EASY), settings, asked, seed + 2)
    first = _tuned("sft_easier", model, easy, settings, seed)
    second = _tuned("sft_harder", first, hard, settings, seed)
    (dpo,) = rounds_of(second, settings, asked, seed, 1)
    rl = _rl(dpo, settings, asked, seed, steps)
    return [compared([model, first, second, dpo, rl], settings, asked, seed)]


def redstar(
    model: str = "tiny",
    task: str | None = None,
    data: str | None = None,
    test_data: str | None = None,
    teacher: str | None = None,
    seed: int = 0,
    steps: int | None = None,
) -> Sequence[Stage]:
    """SFT on a teacher's right answers to hard questions, then from there DPO on pairs that the
    rule labels, PPO, and REINFORCE++ (``rl``), each by itself. Without ``teacher`` the model teaches itself."""
    settings, asked = settings_for(model), _asked(model, task, data, test_data)
    hard = _chains("hard", teacher or model, (0.0, HARD), settings, asked, seed + 1)
    hard.max_rows = LONG_CHAINS
    tuned = _tuned("sft", model, hard, settings, seed)
    (dpo,) = rounds_of(tuned, settings, asked, seed, 1)
    ppo, rl = (
        _rl(tuned, _by(settings, preset), asked, seed, steps, name)
        for name, preset in (("ppo", "ppo"), ("rl", "reinforce_pp"))
    )
    return [compared([model, tuned, dpo, ppo, rl], settings, asked, seed)]


def _by(settings: Settings, preset: str) -> Settings:
    """The settings with another algorithm, as its own paper has it."""
    return settings | {"rl": settings["rl"] | {"algorithm": {"preset": preset}}}


def _asked(model: str, task: str | None, data: str | None, test_data: str | None) -> dict[str, Any]:
    return {"task": task or r1.TASKS.get(model, "countdown"), "data": data, "test_data": test_data}


def _chains(
    name: str, model: str, rates: tuple[float, float], settings: Settings, asked: dict[str, Any], seed: int
) -> Reject:
    fields = {"name": name, "model": model, "pass_rate_range": rates, "seed": seed}
    return Reject.model_validate(fields | asked | settings["chains"])


def _tuned(name: str, model: str | Stage, rows: Stage, settings: Settings, seed: int) -> SFT:
    return SFT.model_validate({"name": name, "model": model, "data": (rows,), "seed": seed} | settings["sft"])


def _rl(
    model: Stage, settings: Settings, asked: dict[str, Any], seed: int, steps: int | None, name: str = "rl"
) -> RL:
    """Reinforcement learning as R1-Zero's recipe has it, asked as the model was tuned."""
    own = {} if steps is None else {"steps": steps}
    return RL.model_validate({"name": name, "model": model, "seed": seed} | asked | settings["rl"] | own)
