"""Lists, dictionaries and sets that both sides have: what one does to them, the other sees.

A list that a test read from an object (``a.items.append(2)``), or that a function still has, is more than its value.
The candidate's side sends it with a number; before each request what the test did to it is told, and after each what
the program did.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from . import wire

MUTABLE = (list, dict, set)
_LONGEST = (
    20_000  # characters of all that are kept up to date, the latest first; longer ones travel by value alone
)
_MOST = 8  # containers that are
_MOST_KEPT = 5_000  # objects that the program's side keeps for the tests


class Shown:
    """On the candidate's side: the containers that were sent, as they were told last."""

    def __init__(self, side: wire.WireSide) -> None:
        self._side = side
        self._texts: dict[int, str] = {}
        self._count, self._encode = sys.getrefcount, wire.encode
        fresh: list[Any] = []
        self._only_ours = self._references_through(
            fresh
        )  # to a value that nothing of the program's refers to

    def text(self, value: Any, passed: list[Any]) -> str | None:
        """How a container is told that the program still has, or was passed; None for other values."""
        if type(value) not in MUTABLE or not self._side.whole:
            return None
        for at, each in enumerate(passed):
            if value is each:
                return f'{{"same":{at}}}'
        if self._references(value) <= self._only_ours:
            return None
        text = self._encode(value, self._side)
        if len(text) > _LONGEST or text.startswith('{"graph"') or len(self._side.kept) > _MOST_KEPT:
            return None
        number = self._side.keep(value)
        self._texts.pop(number, None)
        self._texts[number] = text
        _drop_oldest(self._texts)
        return f'{{"alias":[{text},{number}]}}'

    def _references_through(self, value: Any) -> int:
        """As many calls deep as ``text`` asks."""
        return self._references(value)

    def _references(self, value: Any) -> int:
        return self._count(value)

    def changed(self) -> list[tuple[int, Any]]:
        """What the program made of containers since they were told."""
        pairs = []
        for number, before in list(self._texts.items()):
            value = self._side.kept[number]
            try:
                text = self._encode(value, self._side)
            except ValueError:  # it became too deep to travel
                del self._texts[number]
                continue
            if text != before:
                self._texts[number] = text
                pairs.append((number, value))
        return pairs

    def become(self, pairs: list[tuple[int, Any]]) -> None:
        """Take over what the test did to containers."""
        for number, value in pairs:
            become(self._side.kept[number], value)
            if number in self._texts:
                self._texts[number] = self._encode(self._side.kept[number], self._side)


class Aliases:
    """On the tests' side: the containers of the candidate that are known here."""

    def __init__(self, encode: Callable[[Any], str]) -> None:
        self._encode = encode
        self._values: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}
        self._texts: dict[int, str] = {}

    def local(self, value: Any, number: int) -> Any:
        """The container of a number: the one that is known already, with what it holds now."""
        known = self._values.setdefault(number, value)
        self._numbers[id(known)] = number
        if known is not value:
            become(known, value)
        self._texts.pop(number, None)
        self._texts[number] = self._encode(known)
        for old in _drop_oldest(self._texts):
            del self._numbers[id(self._values.pop(old))]
        return known

    def number(self, value: Any) -> int | None:
        return self._numbers.get(id(value)) if type(value) in MUTABLE else None

    def refresh(self, pairs: list[tuple[int, Any]]) -> None:
        """Take over what the program did to containers."""
        for number, value in pairs:
            if number in self._values:
                self.local(value, number)

    def changed(self) -> list[tuple[int, Any]]:
        """What the test made of containers since they were told."""
        pairs = []
        for number, value in list(self._values.items()):
            with suppress(wire.CannotTravel, ValueError):
                if (text := self._encode(value)) != self._texts[number]:
                    self._texts[number] = text
                    pairs.append((number, value))
        return pairs


def _drop_oldest(texts: dict[int, str]) -> list[int]:
    """Forget the oldest beyond what is kept up to date, and say which."""
    dropped = []
    while len(texts) > _MOST or sum(map(len, texts.values())) > _LONGEST:
        dropped.append(next(iter(texts)))
        del texts[dropped[-1]]
    return dropped


def become(ours: Any, theirs: Any) -> None:
    """Make a container hold what another one holds, in place; inner ones stay what they are where they can."""
    if type(ours) is not type(theirs):
        return
    if type(ours) is list:
        for at, (one, other) in enumerate(zip(ours, theirs, strict=False)):
            theirs[at] = _inner(one, other)
        ours[:] = theirs
    elif type(ours) is dict:
        theirs = {key: _inner(ours[key], each) if key in ours else each for key, each in theirs.items()}
        ours.clear()
        ours.update(theirs)
    elif type(ours) is set:
        ours.clear()
        ours.update(theirs)


def _inner(one: Any, other: Any) -> Any:
    if type(one) is type(other) and type(one) in MUTABLE and one is not other:
        become(one, other)
        return one
    return other
