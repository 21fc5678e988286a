"""What options of the command line take: numbers within bounds, texts that say something, and options that go with
others. An option that would have no effect is refused: who gave it meant something by it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aha.types import AhaError

MAY_BE_EMPTY = ("--ask", "--ending", "--step-end", "--system", "--trackers", "--vllm-args", "--wait-word")
"""Options whose text may be empty: none is said, or their command says why not."""


@dataclass(frozen=True, slots=True)
class NumberType:
    """A number within bounds: reads a text for argparse, and says later, with the option's name, what cannot be."""

    kind: type[int] | type[float]
    least: float
    most: float = math.inf
    above: bool = False

    @property
    def __name__(self) -> str:
        """What argparse calls it."""
        return self.kind.__name__

    def __call__(self, text: str) -> float:
        return self.kind(text)

    def fits(self, value: float) -> bool:
        """Whether a number lies within the bounds."""
        within = self.least < value if self.above else self.least <= value
        return math.isfinite(value) and within and value <= self.most

    def words(self) -> str:
        """What can be given."""
        name = "a whole number" if self.kind is int else "a number"
        bounds = f"{'above' if self.above else 'from'} {self.least:g}"
        return f"{name} {bounds}" + (f" to {self.most:g}" if self.most < math.inf else "")


def whole(least: int = 0) -> NumberType:
    """A whole number from ``least``, for argparse."""
    return NumberType(int, least)


def number(least: float = 0.0, most: float = math.inf, *, above: bool = False) -> NumberType:
    """A finite number from ``least`` (or above it) to ``most``, for argparse."""
    return NumberType(float, least, most, above)


def check_numbers(args: argparse.Namespace) -> None:
    """Raise AhaError for a number that is out of its option's bounds."""
    for name, option in args.options.items():
        value = getattr(args, name)
        if isinstance(option.type, NumberType) and value is not None and not option.type.fits(value):
            raise AhaError(f"{typed(option)} {value}: give {option.type.words()}.")


def typed(option: argparse.Action) -> str:
    """An option as it is typed, by its own name where it has several."""
    return next((text for text in option.option_strings if text.startswith("--")), option.option_strings[0])


def of_command(top: argparse.ArgumentParser, args: argparse.Namespace) -> dict[str, argparse.Action]:
    """The options of the command that was asked for, by the attribute that they fill."""
    parsers: list[argparse.ArgumentParser] = [top]
    options: dict[str, argparse.Action] = {}
    while parsers:
        for action in parsers.pop()._actions:
            if isinstance(action, argparse._SubParsersAction):
                chosen = action.choices.get(getattr(args, action.dest, ""))
                parsers += [chosen] if chosen is not None else []
            elif action.option_strings and hasattr(args, action.dest):
                options[action.dest] = action
    return options


def changed(args: argparse.Namespace, names: Iterable[str]) -> list[str]:
    """Those of the options that have another value than their default, as they are typed."""
    options: dict[str, argparse.Action] = getattr(args, "options", {})
    return [
        typed(options[name])
        for name in names
        if name in options and getattr(args, name) != options[name].default
    ]


def refuse(args: argparse.Namespace, names: Iterable[str], why: str) -> None:
    """Raise AhaError where one of these options was changed: it would have no effect. ``why`` goes on after its name,
    and says the way out."""
    if idle := changed(args, names):
        raise AhaError(f"{', '.join(idle)} would have no effect: {why}")


def refuse_empty(words: Sequence[str]) -> None:
    """Raise AhaError for an option whose text is empty, as of a variable that is not set in a script."""
    for option, text in zip(words, [*words[1:], None], strict=True):
        name, equals, value = option.partition("=")
        if not name.startswith("--") or " " in name or name in MAY_BE_EMPTY:
            continue
        if (text == "" and not equals) or (equals and not value):
            raise AhaError(
                f"{name} has an empty text, as of a variable that is not set: give one, or leave it away."
            )
