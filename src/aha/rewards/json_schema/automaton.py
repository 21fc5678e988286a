"""Patterns as automata: whether one is found in a text, in time linear in the text.

All states that may be reached are followed at once (Thompson, 1968), so no text makes it try again. What must follow
or precede is found beforehand at every place by a pass of its own, backwards or forwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from aha.rewards.json_schema.patterns import (
    Alternatives,
    CharacterSet,
    Edge,
    Holds,
    Look,
    Node,
    Repeat,
    Sequence,
    is_word,
    parse,
)
from aha.types import AhaError

MOST_STATES = 20_000
"""Of one pattern, its repetitions counted out."""
MOST_STEPS = 5_000_000
"""States that are followed through one text."""


class TooMuchError(AhaError):
    """A pattern and a text that are too large together: nothing is said of them."""


@dataclass(slots=True)
class _State:
    """``holds``: the character that leads to ``to[0]``. ``edge``: what must be true here. Neither: leads to all of
    ``to`` at once."""

    to: list[int] = field(default_factory=list)
    holds: Holds | None = None
    edge: Edge | Look | None = None


class _Automaton:
    """The states of a pattern read forwards, or backwards; the last one is reached where it was found."""

    def __init__(self, node: Node, backwards: bool = False):
        self.backwards = backwards
        self.states: list[_State] = []
        start, end = self._add(_State()), self._add(_State())
        self.start, self.end = start, end
        self._link(start, end, node)

    def _add(self, state: _State) -> int:
        if len(self.states) >= MOST_STATES:
            raise AhaError(f"its repetitions make more than {MOST_STATES:,} states")
        self.states.append(state)
        return len(self.states) - 1

    def _link(self, start: int, end: int, node: Node) -> None:
        """Make ``end`` reachable from ``start`` by what the node matches."""
        if isinstance(node, CharacterSet):
            self.states[start].to.append(self._add(_State([end], holds=node.holds)))
        elif isinstance(node, (Edge, Look)):
            self.states[start].to.append(self._add(_State([end], edge=node)))
        elif isinstance(node, Alternatives):
            for option in node.options:
                self._link(start, end, option)
        elif isinstance(node, Sequence):
            self._chain(start, end, node.parts[::-1] if self.backwards else node.parts)
        else:
            self._repeat(start, end, node)

    def _chain(self, start: int, end: int, parts: Iterable[Node]) -> None:
        at = start
        for part in parts:
            behind = self._add(_State())
            self._link(at, behind, part)
            at = behind
        self.states[at].to.append(end)

    def _repeat(self, start: int, end: int, node: Repeat) -> None:
        at = start
        for number in range(node.low if node.high is None else node.high):
            if number >= node.low:
                self.states[at].to.append(end)
            behind = self._add(_State())
            self._link(at, behind, node.part)
            at = behind
        if node.high is None:
            loop = self._add(_State())
            self.states[at].to.append(loop)
            again = self._add(_State([loop]))
            self._link(loop, again, node.part)
            at = loop
        self.states[at].to.append(end)


@dataclass(slots=True)
class _Text:
    """A text with what is known of its places, 0 to its length, and the steps that are left."""

    text: str
    steps: int = MOST_STEPS
    known: dict[Edge | Look, list[bool]] = field(default_factory=dict)

    def at(self, edge: Edge | Look) -> list[bool]:
        """At which places it is true."""
        if edge not in self.known:
            self.known[edge] = self._looked(edge) if isinstance(edge, Look) else self._edges(edge)
        return self.known[edge]

    def _edges(self, edge: Edge) -> list[bool]:
        n = len(self.text)
        if edge.kind in ("start", "end"):
            return [place == (0 if edge.kind == "start" else n) for place in range(n + 1)]
        words = [False, *map(is_word, self.text), False]
        return [(a != b) is (edge.kind == "word") for a, b in pairwise(words)]

    def _looked(self, look: Look) -> list[bool]:
        ends = self.ends(_automaton(look.part, not look.behind))
        return [one is not look.negative for one in ends]

    def ends(self, automaton: _Automaton) -> list[bool]:
        """At which places the pattern ends that may begin anywhere; of one that is read backwards, begins."""
        n, back = len(self.text), automaton.backwards
        ends, reached = [False] * (n + 1), set[int]()
        for place in range(n, -1, -1) if back else range(n + 1):
            reached.add(automaton.start)
            leads = self._spread(automaton, reached, place)
            ends[place] = automaton.end in reached
            if place == (0 if back else n):
                break
            character = self.text[place - 1 if back else place]
            reached = {state.to[0] for state in leads if state.holds is not None and state.holds(character)}
        return ends

    def _spread(self, automaton: _Automaton, reached: set[int], place: int) -> list[_State]:
        """Add what is reached without a character; returns the states that take one."""
        waiting, takes = list(reached), list[_State]()
        while waiting:
            state = automaton.states[waiting.pop()]
            self.steps -= 1
            if state.holds is not None:
                takes.append(state)
            elif state.edge is None or self.at(state.edge)[place]:
                fresh = [to for to in state.to if to not in reached]
                reached.update(fresh)
                waiting += fresh
        if self.steps < 0:
            raise TooMuchError("a pattern and a text are too large together to be held against each other")
        return takes


@lru_cache(maxsize=1024)
def _automaton(node: Node, backwards: bool = False) -> _Automaton:
    return _Automaton(node, backwards)


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> _Automaton:
    """A pattern's automaton. Raises AhaError for one that cannot be read."""
    try:
        return _Automaton(parse(pattern))
    except RecursionError:
        raise AhaError(f"the pattern {pattern[:60]!r} lies too deep") from None


def found(pattern: str, text: str) -> bool:
    """Whether a pattern is found anywhere in a text. Raises AhaError for one that cannot be read, TooMuchError for more
    work than is ever done."""
    return any(_Text(text).ends(compiled(pattern)))
