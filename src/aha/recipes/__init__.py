"""The story: each recipe is a short function that returns stages, and one entry here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aha import plugins
from aha.hints import nearest
from aha.types import AhaError

if TYPE_CHECKING:
    from aha.runs.pipeline import Stage


@dataclass(frozen=True, slots=True)
class Recipe:
    """Where a recipe's function is, what it does, and the run folder it takes if none is named."""

    module: str
    description: str
    run: str
    makes: str  # the stage whose model the recipe is for; "": its last
    options: tuple[str, ...] = ()  # what --model, --task, --data ... it takes
    function: str = "build"

    def build(self, **options: Any) -> Sequence[Stage]:
        """The stages, with ``options`` that are None left at the recipe's defaults."""
        chosen = {k: v for k, v in options.items() if v is not None}
        unknown = set(chosen) - set(self.options)
        if unknown:
            taken = f"It takes {', '.join(map(_option, self.options))}; s" if self.options else "S"
            raise AhaError(
                f"This recipe takes no {_option(sorted(unknown)[0])}. {taken}ettings of its stages are words, such as "
                "rl.lr=1e-4 (--print-config shows them)."
            )
        return self._builder()(**chosen)

    def _builder(self) -> Callable[..., Sequence[Stage]]:
        if plugins.is_reference(self.module):
            return own_builder(self.module)
        return getattr(import_module(self.module), self.function)

    def paper(self) -> dict[str, Any]:
        """The paper's settings by stage, where the recipe's module has them so."""
        if plugins.is_reference(self.module):
            return {}
        settings = getattr(import_module(self.module), "PAPER", {})
        return settings if all(isinstance(value, dict) for value in settings.values()) else {"rl": settings}


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


_RL = ("model", "task", "data", "test_data", "seed", "steps")
_R1 = (
    "model", "task", "data", "test_data", "student", "teacher", "seed", "general", "harmful", "judge",
    "reward_model", "safety_model", "prompt",
)  # fmt: skip
RECIPES: dict[str, Recipe] = {
    "r1_zero": Recipe(
        "aha.recipes.r1_zero",
        "R1-Zero: pure reinforcement learning from a base model",
        "zero",
        "rl",
        (*_RL, "prompt"),
    ),
    "r1": Recipe(
        "aha.recipes.r1",
        "R1: cold start, SFT, RL, rejection sampling, SFT from the base, reward models, RL, distillation",
        "r1",
        "r1",
        _R1,
    ),
    "r1_claims": Recipe(
        "aha.recipes.claims",
        "r1 and the stages beside it that aha claims needs; in a finished run of r1 only those run",
        "r1",
        "r1",
        _R1,
    ),
    "distill": Recipe(
        "aha.recipes.distill",
        "a teacher's right answers, and a smaller model tuned on them",
        "distill",
        "distilled",
        ("teacher", "student", "task", "data", "test_data", "seed"),
    ),
    "iterative_dpo": Recipe(
        "aha.recipes.preferences",
        "iterative DPO: rounds of pairs from the model's own answers, right before wrong by the verifier",
        "iterative_dpo",
        "dpo",
        ("model", "task", "data", "test_data", "seed", "rounds"),
        "iterative_dpo",
    ),
    "dpo_rl": Recipe(
        "aha.recipes.preferences",
        "DPO on the model's own verified pairs, then reinforcement learning",
        "dpo_rl",
        "rl",
        (*_RL, "rounds"),
        "dpo_rl",
    ),
    "light_r1": Recipe(
        "aha.recipes.preferences",
        "Light-R1's curriculum: SFT on easier, then on harder questions, DPO, reinforcement learning",
        "light_r1",
        "rl",
        (*_RL, "teacher"),
        "light_r1",
    ),
    "redstar": Recipe(
        "aha.recipes.preferences",
        "RedStar's curriculum: SFT on hard questions alone, then DPO, PPO and REINFORCE++ side by side",
        "redstar",
        "rl",
        (*_RL, "teacher"),
        "redstar",
    ),
    "countdown_full": Recipe(
        "aha.recipes.countdown_full",
        "TinyZero's task: 3 or 4 numbers of 1..99 with + - * /",
        "countdown_full",
        "rl",
        _RL,
    ),
    "real": Recipe(
        "aha.recipes.real",
        "R1-Zero on a pretrained model of the package index, on two cores: short arithmetic",
        "real",
        "rl",
        _RL,
    ),
    "sft": Recipe(
        "aha.recipes.tune",
        "supervised fine-tuning on traces of your own: aha sft FILE",
        "sft",
        "sft",
        ("data", "model", "seed"),
        "sft",
    ),
    "dpo": Recipe(
        "aha.recipes.tune",
        "preference optimisation (DPO, IPO, ORPO, SimPO, KTO) on pairs or labels of your own: aha dpo FILE",
        "dpo",
        "dpo",
        ("data", "model", "seed"),
        "dpo",
    ),
    "reward_model": Recipe(
        "aha.recipes.tune",
        "a reward model from pairs or labels of your own: aha reward-model FILE",
        "reward_model",
        "reward_model",
        ("data", "model", "seed"),
        "reward_model",
    ),
    "tiny_base": Recipe(
        "aha.recipes.tiny_base",
        "pretrain the embedded base from scratch",
        "tiny_base",
        "pretrain",
        ("seed", "steps"),
    ),
    "countdown_base": Recipe(
        "aha.recipes.tiny_base",
        "pretrain the embedded base of countdown_full from scratch",
        "countdown_base",
        "pretrain",
        ("seed", "steps"),
        "countdown",
    ),
    "world_base": Recipe(
        "aha.recipes.tiny_base",
        "pretrain the base of all small tasks, on from the embedded base",
        "world_base",
        "pretrain",
        ("seed", "steps"),
        "world",
    ),
}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name; ``file.py:name`` and ``package.module:name`` are one's own. Raises AhaError with the
    nearest name."""
    if name in RECIPES:
        return RECIPES[name]
    own = name if plugins.is_reference(name) else plugins.entry("recipes", name)
    if own is not None:
        return own_recipe(own)
    hint = plugins.of_file(name) or nearest(name, RECIPES, cutoff=0.4)
    raise AhaError(f"Unknown recipe '{name}'. {hint} See them with: aha list recipes. One of your own is "
                   "FILE.py:NAME.")  # fmt: skip


def own_recipe(reference: str) -> Recipe:
    """A recipe of one's own: a function that returns stages, with those of --model, --task, ... among its parameters
    that it takes; or a list of stages. Raises AhaError for anything else."""
    part = plugins.resolve(reference)
    if isinstance(part, Recipe):
        return part
    if not callable(part):
        return Recipe(reference, "", plugins.label(reference), own_stages(part, reference)[-1].name)
    about = (inspect.getdoc(part) or "a recipe of your own").split("\n")[0]
    return Recipe(reference, about, plugins.label(reference), "", _options_of(part))


def _options_of(part: Callable[..., Any]) -> tuple[str, ...]:
    """The options of the command line that a recipe's function takes: its parameters, or all where it has **options."""
    parameters = inspect.signature(part).parameters.values()
    collected = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    every = tuple(dict.fromkeys(option for recipe in RECIPES.values() for option in recipe.options))
    return every if takes_all else tuple(p.name for p in parameters if p.kind not in collected)


def own_builder(reference: str) -> Callable[..., Sequence[Stage]]:
    """The function of a recipe of one's own."""
    part = plugins.resolve(reference)
    fixed = plugins.options(reference, plugins.reference(reference).options)
    return lambda **options: own_stages(_built(part, fixed | options, reference), reference)


def _built(part: Any, options: dict[str, Any], reference: str) -> Any:
    """What a recipe's function returns. Raises AhaError, with its line, where it fails or lacks an option."""
    if not callable(part):
        return part
    parameters = inspect.signature(part).parameters.values()
    lacking = [
        p.name for p in parameters if p.default is p.empty and p.kind in _BY_NAME and p.name not in options
    ]
    if lacking:
        raise AhaError(
            f"The recipe '{reference}' needs '{lacking[0]}': give {_option(lacking[0])}, or write it as an option, "
            f"{reference}:{lacking[0]}=VALUE."
        )
    try:
        result = part(**options)
        return list(result) if isinstance(result, Iterator) else result
    except Exception as error:
        code = getattr(inspect.unwrap(part), "__code__", None)
        said = plugins.location(error, getattr(code, "co_filename", ""))
        if wrong := _wrong_setting(error):
            said = f"{said.partition('ValidationError: ')[0]}{wrong}"
        raise AhaError(f"The recipe '{reference}' cannot be built: {said.rstrip('.')}.") from error


def _wrong_setting(error: Exception) -> str:
    """What is wrong with a setting that a stage was made with, in words; "" for any other error."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return ""
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"{error.title} has no setting '{name}' (aha list settings shows those that it has)"
    if first["type"] == "missing":
        return f"{error.title} needs {name}=..."
    return f"{error.title}'s {name} cannot be {first.get('input')!r}: {first['msg']}"


def own_stages(result: Any, reference: str) -> list[Stage]:
    """What a recipe of one's own gives, as a list of stages. Raises AhaError for anything else."""
    from aha.runs.pipeline import Stage

    if inspect.iscoroutine(result):
        result.close()
    stages: list[Any] = list(result) if isinstance(result, (list, tuple)) else [result]
    if not stages or not all(isinstance(stage, Stage) for stage in stages):
        raise AhaError(f"The recipe '{reference}' gives {type(result).__name__}: it must return stages.")
    return stages
