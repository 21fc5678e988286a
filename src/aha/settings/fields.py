"""Fields of settings, and the base of all models that hold them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from aha.settings import former

S = TypeVar("S", bound="Settings")

HEADINGS: dict[str, str] = {
    "": "what it is about",
    "data": "rows and questions",
    "prompt": "what a model is asked",
    "rollout": "sampling",
    "reward": "what answers are worth",
    "filter": "what is kept",
    "algorithm": "from rewards to a loss",
    "optimizer": "learning rates, batches, steps",
    "architecture": "the model's shape",
    "memory": "sizes of passes, precision",
    "parallel": "one pass over several processes",
    "engine": "what samples, and where",
    "evaluation": "what is measured beside",
    "logging": "checkpoints and notes",
}
"""Headings in the order in which they are printed."""


def setting(
    default: Any,
    description: str,
    *,
    unit: str = "",
    under: str = "",
    machine: bool = False,
    measure: bool = False,
    **bounds: Any,
) -> Any:
    """A field: its default (a function of nothing where it is made anew each time), its meaning, what it counts.

    ``under``: the heading that it stands under, where its class has another. ``machine``: how the work is done on
    this machine, which leaves its result but for rounding. ``measure``: what is measured beside the work.
    ``bounds``: ``ge``, ``gt``, ``le``, ``lt``, ``pattern``.
    """
    marks: dict[str, Any] = {"unit": unit, "under": under, "machine": machine, "measure": measure}
    start = {"default_factory": default} if isinstance(default, Callable) else {"default": default}
    return Field(**start, description=description, json_schema_extra=marks, **bounds)


def _mark(field: FieldInfo, name: str) -> Any:
    extra = field.json_schema_extra
    return extra.get(name) if isinstance(extra, dict) else None


def unit(field: FieldInfo) -> str:
    """What a number counts: tokens, steps, seconds ...; "" where its meaning says it."""
    return str(_mark(field, "unit") or "")


def is_machine(field: FieldInfo) -> bool:
    """Whether a setting says how the work is done on this machine."""
    return bool(_mark(field, "machine"))


def is_measure(field: FieldInfo) -> bool:
    """Whether a setting says what is measured beside the work."""
    return bool(_mark(field, "measure"))


class Settings(BaseModel):
    """Settings that are examined as they are set; unknown names are refused, former ones taken with a note.

    A subclass may give its own defaults for inherited fields as class keywords:
    ``class SFT(Optimizer, Stage, lr=5e-5)``.
    """

    model_config = ConfigDict(
        extra="forbid", validate_assignment=True, protected_namespaces=(), allow_inf_nan=False
    )
    heading: ClassVar[str] = ""
    """What the fields that a class declares stand under."""

    def __init_subclass__(cls, **defaults: Any):
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(cls, **defaults: Any) -> None:
        super().__pydantic_init_subclass__()
        for name, value in defaults.items():
            cls.model_fields[name].default = value
        if defaults:
            cls.model_rebuild(force=True)

    def without_effect(self) -> dict[str, str]:
        """Settings that change nothing beside the others as they are, and what would give each an effect."""
        return {}

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """``true`` is a number for Python, and no setting's."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in (int, float):
            raise PydanticCustomError("no_number", "Input should be a number, not true or false")
        return value

    @model_validator(mode="before")
    @classmethod
    def _former_names(cls, values: Any) -> Any:
        return former.renamed(values, cls.model_fields) if isinstance(values, dict) else values


def with_groups(
    members: Mapping[str, tuple[type[Settings], str]], *, machine: bool = False
) -> Callable[[type[S]], type[S]]:
    """A class of settings with groups of settings beside its own: name -> class and meaning. They stand under its
    heading; ``machine`` as of ``setting``."""

    def grown(model: type[S]) -> type[S]:
        fields: dict[str, Any] = {
            name: (kind, setting(kind, meaning, under=model.heading, machine=machine))
            for name, (kind, meaning) in members.items()
        }
        return create_model(
            model.__name__, __base__=model, __module__=model.__module__, __doc__=model.__doc__, **fields
        )

    return grown


def heading(model: type[BaseModel], name: str) -> str:
    """The heading that a field stands under: its own, or that of the class that declared it first; "" without."""
    if own := _mark(model.model_fields[name], "under"):
        return str(own)
    declaring = [base for base in model.__mro__ if name in inspect.get_annotations(base)]
    headings = [base.__dict__.get("heading", "") for base in declaring]
    return next((text for text in reversed(headings) if text), "")
