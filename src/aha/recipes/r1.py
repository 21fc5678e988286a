"""The whole of DeepSeek-R1 (arXiv 2501.12948), the paper's figure 2 in one function.

``PAPER`` are the paper's settings. ``SMALL_MODEL`` is what fits one GPU with a model of some billions of
parameters. ``MINIATURE`` is for embedded bases of a few million parameters on a CPU: shapes, order, rewards,
temperatures and ratios are the paper's; sizes are smaller and learning rates larger, for so small a model.
``aha r1 --dry-run`` prints every setting beside the paper's.

Steps of reinforcement learning are rollouts: one of the paper's is 16 of its updates, so 1,700 updates are
106 rollouts, of which the last 400 updates, 25 rollouts, have general questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aha import plugins
from aha.modeling import EMBEDDED, keeps_prompt
from aha.recipes import r1_zero
from aha.runs.pipeline import Stage
from aha.stages.data.cold_start import ColdStart
from aha.stages.data.general_data import GeneralData
from aha.stages.data.preference_data import Preferences
from aha.stages.data.reject import Reject
from aha.stages.evaluation.compare import Compare
from aha.stages.evaluation.safety import SafetyCheck
from aha.stages.rl import RL
from aha.stages.supervised.pretrain import Pretrain
from aha.stages.supervised.reward_model import RewardModel
from aha.stages.supervised.sft import SFT
from aha.tasks import is_mixture
from aha.types import AhaError

Settings = dict[str, dict[str, Any]]
_SFT: dict[str, Any] = {"epochs": 2, "batch_size": 128, "lr": 5e-5, "min_lr_ratio": 0.1, "max_length": 32_768}
_LARGE_CLIP: dict[str, Any] = {"clip_low": 10.0, "clip_high": 10.0}  # the paper's epsilon: hardly any clip
_RL = {key: r1_zero.PAPER[key] for key in ("prompts_per_step", "group_size", "mini_batches", "lr")}
_REWARDS = {"accuracy": 1.0, "format": 1.0, "language": 1.0}
_RM: dict[str, Any] = {"epochs": 1, "batch_size": 256, "lr": 6e-6, "max_length": 8192}

PAPER: Settings = {
    "zero": r1_zero.PAPER,
    "cold_start": {"problems": 8192, "samples": 16, "max_per_problem": 1, "temperature": 1.0, "max_tokens": 32_768},
    "dev1": _SFT,
    "dev2": _RL | {
        "algorithm": {"preset": "grpo", "reference_every": 25} | _LARGE_CLIP, "rewards": _REWARDS,
        "temperature": 1.0, "steps": 650, "max_tokens": 32_768, "max_tokens_per_batch": 65_536,
    },
    "reject": {
        "problems": 200_000, "samples": 16, "max_per_problem": 4, "temperature": 1.0, "max_tokens": 32_768,
        "domain_ratios": "reasoning:3,general:1", "max_rows": 800_000,
    },
    "general": {"problems": 200_000},
    "dev3": _SFT,
    "pairs": {"problems": 66_000, "samples": 4, "pairs_per_problem": 4, "max_tokens": 8192},
    "safety_data": {"problems": 106_000, "samples": 1, "max_tokens": 8192},
    "helpful_rm": _RM,
    "safety_rm": _RM,
    "r1": _RL | {
        "algorithm": {"preset": "grpo", "reference_every": 25}, "rewards": _REWARDS, "temperature": 0.7,
        "steps": 106, "preference_start_step": 82, "max_tokens": 32_768, "max_tokens_per_batch": 65_536,
    },
    "distilled": _SFT | {"batch_size": 64, "lr": 1e-4},
    "student_rl": _RL | {"lr": 2e-6, "steps": 625, "max_tokens": 32_768, "max_tokens_per_batch": 65_536},
    "safety": {"problems": 1120, "temperature": 0.6, "top_p": 0.95, "jailbreaks": 12, "max_tokens": 8192},
    "compare": {"temperature": 0.6, "top_p": 0.95, "samples": 16, "max_tokens": 32_768},
}  # fmt: skip
"""By stage. The paper says neither how many cold-start chains nor prompts of rejection sampling there were
("thousands", 600k kept of "several samples" each), nor how long RL-1 ran: those are ours."""

_GPU_RL: dict[str, Any] = {
    "prompts_per_step": 64, "group_size": 8, "mini_batches": 2, "lr": 1e-6, "max_tokens": 2048,
    "max_tokens_per_batch": 8192, "max_prompt_tokens": 512, "eval_every": 50, "test_samples": 4,
}  # fmt: skip
_GPU_SFT: dict[str, Any] = {"batch_size": 64, "lr": 1e-5, "max_length": 4096, "max_tokens_per_batch": 16_384}
_GPU_RM: dict[str, Any] = {"batch_size": 64, "lr": 6e-6, "max_length": 2048, "max_tokens_per_batch": 16_384}
SMALL_CHANGES: Settings = {
    "zero": r1_zero.SMALL_MODEL,
    "cold_start": {"problems": 1024, "samples": 8, "max_tokens": 2048},
    "dev1": _GPU_SFT,
    "dev2": _GPU_RL | {"steps": 200},
    "reject": {"problems": 8192, "samples": 8, "max_tokens": 2048, "max_rows": 16_000},
    "general": {"problems": 4096},
    "dev3": _GPU_SFT,
    "pairs": {"problems": 2048, "max_tokens": 1024},
    "safety_data": {"problems": 2048, "max_tokens": 1024},
    "helpful_rm": _GPU_RM,
    "safety_rm": _GPU_RM,
    "r1": _GPU_RL | {"steps": 106, "preference_start_step": 82},
    "distilled": _GPU_SFT | {"lr": 2e-5},
    "student_rl": _GPU_RL | {"steps": 200},
    "safety": {"problems": 256, "jailbreaks": 3, "max_tokens": 1024},
    "compare": {"samples": 4, "problems": 256, "max_tokens": 2048},
}

_CPU: dict[str, Any] = {"max_tokens_per_batch": 4096}
_TINY_RL: dict[str, Any] = (
    {
        key: r1_zero.MINIATURE[key]
        for key in (
            "prompts_per_step",
            "group_size",
            "mini_batches",
            "min_lr_ratio",
            "warmup_steps",
            "eval_every",
        )
    }
    | _CPU
    | {"algorithm": r1_zero.MINIATURE["algorithm"], "max_prompt_tokens": 256, "max_tokens": 320, "lr": 1e-4}
    | {"test_problems": 96, "test_samples": 8}
)
_TINY_SFT: dict[str, Any] = {
    "epochs": 3, "batch_size": 32, "lr": 5e-4, "max_length": 1024, "max_tokens_per_batch": 4096,
    "validation_share": 0.05,
}  # fmt: skip
_TINY_RM: dict[str, Any] = {
    "epochs": 4, "batch_size": 32, "lr": 3e-4, "min_lr_ratio": 0.1, "max_length": 512, "max_tokens_per_batch": 4096,
}  # fmt: skip
MINI_CHANGES: Settings = {
    "zero": r1_zero.MINIATURE | _CPU | {"max_prompt_tokens": 256, "steps": 30, "test_problems": 128},
    "cold_start": {"problems": 256, "samples": 8, "max_per_problem": 2, "max_tokens": 320},
    "dev1": _TINY_SFT,
    "dev2": _TINY_RL
    | {
        "algorithm": r1_zero.MINIATURE["algorithm"] | {"clip_low": 0.5, "clip_high": 1.0},  # larger, as the paper's
        "rewards": {"accuracy": 1.0, "format": 0.2, "language": 0.2},
        "steps": 12,
    },
    "reject": {"problems": 1024, "samples": 8, "max_per_problem": 2, "max_tokens": 320, "max_rows": None},
    "general": {"problems": 512},
    "dev3": _TINY_SFT,
    "pairs": {"problems": 384, "samples": 2, "scripted_samples": 4, "max_tokens": 160},
    "safety_data": {"problems": 384, "samples": 2, "scripted_samples": 4, "max_tokens": 160},
    "helpful_rm": _TINY_RM,
    "safety_rm": _TINY_RM,
    "r1": _TINY_RL | {
        "steps": 24, "preference_start_step": 18, "preference_weight": 1.0,
        "rewards": {"accuracy": 1.0, "format": 0.2, "language": 0.2},
    },
    "distilled": _TINY_SFT | {"lr": 1e-3},
    "student_rl": _TINY_RL | {"steps": 16, "rewards": {"accuracy": 1.0, "format": 0.2}},
    "safety": {"problems": 96, "jailbreaks": 3, "max_tokens": 320},
    "compare": {"problems": 96, "samples": 8, "max_tokens": 320},
}  # fmt: skip
"""What the miniature changes. Against the paper: 1/16 of the questions and 1/1 of the samples of a rollout, 1/5
to 1/50 of the rollouts, 1/100 of the lengths, about 1/500 of the SFT data, and learning rates 10 to 50 times
larger. Preference rewards begin after the same three quarters of the last stage as in the paper."""

STUDENT: dict[str, Any] = {
    "hidden_size": 96,
    "layers": 3,
    "heads": 4,
    "kv_heads": 2,
    "intermediate_size": 256,
    "steps": 400,
}
"""A student from scratch with about a fifth of the embedded base's parameters."""
CORPORA = {"tiny": "tiny", "countdown": "full", "world": "world"}
"""What a student from scratch reads, by the embedded base that it stands beside."""
TASKS = {
    "tiny": "countdown",
    "countdown": "countdown_full",
    "world": "countdown:0.4,logic:0.3,code:0.3",
}
"""Reasoning tasks, by embedded base: what it was pretrained for."""
GENERAL, HARMFUL = "general", "harmful"
SAFETY_SHARE = 0.7
"""Of harmful prompts in what the safety reward model learns from, where they are a file."""
HARMFUL_SHARE = 0.15
"""Of the general prompts; the paper has 66,000 for helpfulness and 12,000 for harmlessness."""


def merged(changes: Mapping[str, Mapping[str, Any]]) -> Settings:
    """The paper's settings with changes on top."""
    return {name: {**settings, **changes.get(name, {})} for name, settings in PAPER.items()}


SMALL_MODEL, MINIATURE = merged(SMALL_CHANGES), merged(MINI_CHANGES)


def build(
    model: str | None = None,
    task: str | None = None,
    student: str | None = None,
    teacher: str | None = None,
    seed: int = 0,
    data: str | None = None,
    test_data: str | None = None,
    general: str | None = None,
    harmful: str | None = None,
    judge: str | None = None,
    reward_model: str | None = None,
    safety_model: str | None = None,
    prompt: str | None = None,
) -> Sequence[Stage]:
    """Every stage, from the base to the comparison of all checkpoints.

    ``model``: the base. ``task``: the reasoning tasks, a mixture in shares. ``student``: who is distilled into;
    for embedded bases one is pretrained, for others none is unless named. ``teacher``: an endpoint#MODEL that
    rewrites, answers and judges; none: programs, which know the made tasks only. ``data``, ``test_data``: rows
    of the reasoning task, if it reads any. ``general``, ``harmful``: prompts from files in place of the
    made world's. ``judge``: who judges pairs, safety and, beside the rule, right answers; none: the teacher.
    ``reward_model``, ``safety_model``: checkpoints in place of those that would be trained here; where prompts come
    from a file and no harmful ones are named, no safety model is trained, for nothing unsafe would be said.
    ``prompt``: what R1-Zero is asked and rows are learned with; none: what the base says that it was trained with, else
    the paper's template, and tags.
    """
    model = model or "world"
    task = task or TASKS.get(model, "countdown")
    settings = MINIATURE if model in EMBEDDED else SMALL_MODEL
    # Learned with: tags for thinking and answer, as R1-Zero's, by a system message where there is a chat template.
    # All that samples or reads a checkpoint, and RL on one, takes what that was trained with ("auto").
    tags = {"prompt": prompt or ("r1_zero" if model in EMBEDDED else "think")}
    form = {"answer_format": "boxed"} if prompt == "boxed" else {}

    def make(stage: type[Stage], name: str, /, **fields: Any) -> Any:
        values = {"name": name, "seed": seed, **settings.get(name, {}), **fields}
        return stage.model_validate({k: v for k, v in values.items() if k in stage.model_fields})

    asked: dict[str, Any] = {"task": task, "data": data, "test_data": test_data}
    zero = make(RL, "zero", model=model, **asked, **first_prompt(model, prompt))
    cold = make(ColdStart, "cold_start", model=zero, teacher=teacher, **asked, **form)
    dev1 = make(SFT, "dev1", model=model, data=(cold,), **tags)
    dev2 = make(RL, "dev2", model=dev1, **asked)
    judge, prompts = judge or teacher, prompts_of(general, harmful)
    made_world = {} if general is None else {"scripted_samples": 0}  # the program knows no other prompts
    others = make(GeneralData, "general", task=prompts, teacher=teacher, judge=judge if harmful else None)
    reject = make(
        Reject,
        "reject",
        model=dev2,
        mix_with=(others,),
        decontaminate_tasks=(task, *kinds_of(prompts)),
        **asked,
        **judging(task, judge),
    )
    dev3 = make(SFT, "dev3", model=model, data=(reject,), **tags)  # from the BASE again
    judged = {"models": (dev3,), "judge": judge, "task": prompts, **made_world}
    pairs = make(Preferences, "pairs", kind="helpful", **judged)
    judged |= {"task": prompts_of(general, harmful, SAFETY_SHARE)}
    safety = make(Preferences, "safety_data", kind="safety", **judged)
    helpful_rm = reward_model or make(RewardModel, "helpful_rm", kind="helpful", model=dev3, data=(pairs,))
    trained = make(RewardModel, "safety_rm", kind="safety", model=dev3, data=(safety,))
    safety_rm = safety_model or (trained if general is None or harmful else None)
    mixed = asked | {"task": f"{mixture(task, 0.5)},{mixture(prompts, 0.5)}"}
    r1 = make(RL, "r1", model=dev3, helpful_model=helpful_rm, safety_model=safety_rm, **mixed)
    checkpoints: list[Any] = [model, zero, dev1, dev2, dev3, r1]
    if student is not None or model in EMBEDDED:
        base = student or Pretrain.model_validate(
            {"name": "student", "corpus": CORPORA.get(model, "tiny"), "seed": seed, **STUDENT}
        )
        distilled = make(SFT, "distilled", model=base, data=(reject,), **tags)
        checkpoints += [base, distilled, make(RL, "student_rl", model=base, **asked, **tags)]
    names = tuple(m if isinstance(m, str) else m.name for m in checkpoints)
    tasks = asked | {"tasks": (*parts(task), *kinds_of(prompts))}
    compare = make(Compare, "compare", models=tuple(checkpoints), names=names, **tasks)
    if harmful is None:
        return [compare]
    before_and_after = {"models": (model, dev3, r1), "names": (names[0], "dev3", "r1"), "judge": judge}
    held_out = f"{HARMFUL}={harmful}:0.5,{(general and f'{GENERAL}={general}') or GENERAL}:0.5"
    return [compare, make(SafetyCheck, "safety", task=held_out, teacher=teacher, **before_and_after)]


def first_prompt(model: str, prompt: str | None) -> dict[str, str]:
    """What R1-Zero is asked where not the paper's template: ``prompt``, or what the base says it was trained with."""
    kept = "auto" if keeps_prompt(model) else None
    return {"prompt": asked} if (asked := prompt or kept) else {}


def prompts_of(general: str | None, harmful: str | None, share: float = HARMFUL_SHARE) -> str:
    """The task of general prompts: the made world, or a mixture of the files that are named, ``share`` of it the
    harmful ones. Raises AhaError for a file
    whose name cannot stand in a mixture."""
    if bad := next((file for file in (general, harmful) if file and "," in file), None):
        raise AhaError(
            f"'{bad}' has a comma in its name, which parts the tasks of a mixture: rename the file."
        )
    if general is None and harmful is None:
        return GENERAL
    first = f"{GENERAL}={general}" if general else GENERAL
    return f"{first}:{1 - share:g},{HARMFUL}={harmful}:{share:g}" if harmful else f"{first}:1"


def kinds_of(prompts: str) -> list[str]:
    """The tasks of general prompts one by one, each with its rows."""
    return [prompts] if prompts == GENERAL else parts(prompts)


def judging(task: str, judge: str | None) -> dict[str, Any]:
    """How rejection uses a judge: what a rule does not find right is judged by the reference answer, on tasks whose
    references are texts."""
    names = [part.rpartition(":")[0] if ":" in part else part for part in parts(task)] if judge else []
    names = [name.partition("=")[0] for name in names]
    chosen = tuple(name for name in names if name in JUDGED)
    return {"judge": judge, "judged_tasks": chosen, "judge_on": "not_right"} if chosen else {}


JUDGED = ("math", "gsm8k")
"""Tasks with reference answers in words and formulas, which a rule may fail to recognise."""


def parts(task: str) -> list[str]:
    """The tasks of a mixture in words, one by one; a single task alone. One that names its rows stays a mixture,
    of itself."""
    names = [p.rpartition(":")[0] for p in task.split(",")] if is_mixture(task) else [task]
    return [f"{n}:1" if "=" in n and not plugins.is_reference(n) else n for n in names]


def mixture(task: str, share: float) -> str:
    """A mixture in words whose shares sum to ``share``; a single task gets it all."""
    if not is_mixture(task):
        return f"{task}:{share:g}"
    shares = [p.rpartition(":") for p in task.split(",")]
    whole = sum(float(number) for _, _, number in shares)
    return ",".join(f"{name}:{float(number) * share / whole:g}" for name, _, number in shares)
