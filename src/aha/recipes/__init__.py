"""The story: each recipe is a short function that returns stages, and one entry here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aha.types import AhaError

if TYPE_CHECKING:
    from aha.runs.pipeline import Stage


@dataclass(frozen=True, slots=True)
class Recipe:
    """Where a recipe's function is, what it does, and the run folder it takes if none is named."""

    module: str
    description: str
    run: str
    makes: str  # the stage whose model the recipe is for
    options: tuple[str, ...] = ()  # what --model, --task, --data ... it takes
    function: str = "build"

    def build(self, **options: Any) -> Sequence[Stage]:
        """The stages, with ``options`` that are None left at the recipe's defaults."""
        given = {k: v for k, v in options.items() if v is not None}
        unknown = set(given) - set(self.options)
        if unknown:
            raise AhaError(f"This recipe takes no --{sorted(unknown)[0].replace('_', '-')}.")
        build: Callable[..., Sequence[Stage]] = getattr(import_module(self.module), self.function)
        return build(**given)

    def paper(self) -> dict[str, Any]:
        """The paper's settings by stage, where the recipe's module has them so."""
        found = getattr(import_module(self.module), "PAPER", {})
        return found if all(isinstance(value, dict) for value in found.values()) else {"rl": found}


_RL = ("model", "task", "data", "test_data", "seed", "steps")
RECIPES: dict[str, Recipe] = {
    "r1_zero": Recipe(
        "aha.recipes.r1_zero", "R1-Zero: pure reinforcement learning from a base model", "zero", "rl", _RL
    ),
    "r1": Recipe(
        "aha.recipes.r1",
        "R1: cold start, SFT, RL, rejection sampling, SFT from the base, reward models, RL, distillation",
        "r1",
        "r1",
        ("model", "task", "data", "test_data", "student", "teacher", "seed"),
    ),
    "r1_claims": Recipe(
        "aha.recipes.claims",
        "r1 and the stages beside it that aha claims needs; in a finished run of r1 only those run",
        "r1",
        "r1",
        ("model", "task", "data", "test_data", "student", "teacher", "seed"),
    ),
    "distill": Recipe(
        "aha.recipes.distill",
        "a teacher's right answers, and a smaller model tuned on them",
        "distill",
        "distilled",
        ("teacher", "student", "task", "data", "test_data", "seed"),
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
    """The recipe of that name. Raises AhaError with the nearest name."""
    if name in RECIPES:
        return RECIPES[name]
    import difflib

    close = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.4)
    hint = f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(RECIPES)}."
    raise AhaError(f"Unknown recipe '{name}'. {hint} See them with: aha list recipes")
