"""Monte Carlo tree search over the steps of a thinking, guided by a value function, as the R1 paper tried it
(arXiv 2501.12948, section 4.2): a leaf is grown by some next steps, each is valued, and what is found is told upwards.

A search goes where the mean value below a step is high, and where few have looked (UCT, Kocsis and Szepesvari 2006).
Values may have any scale: they are put between the lowest and the highest one that the tree has seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from aha.thinking.methods import ThinkingRow
from aha.thinking.steps import SearchAnswer, StepSearch, graded_rows, is_over
from aha.thinking.values import LOWEST
from aha.thinking.writing import Draft, ThinkingWriter
from aha.types import AhaError, Problem

TREE = "tree search over steps"


@dataclass(slots=True, eq=False)
class TreeNode:
    """A text up to the end of a step: its own value, how many values at and below it were told with what sum, and
    whether nothing is left to grow there: it ended, or all below it did."""

    draft: Draft
    parent: TreeNode | None = None
    value: float = 0.0
    visits: int = 0
    total: float = 0.0
    closed: bool = False
    children: list[TreeNode] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """Of the values at and below it."""
        return self.total / self.visits if self.visits else 0.0

    def tell(self, value: float) -> None:
        """Count a value here and in everything above."""
        node: TreeNode | None = self
        while node is not None:
            node.visits, node.total = node.visits + 1, node.total + value
            node = node.parent


@dataclass(slots=True)
class ThinkingTree:
    """One problem's tree: its root, all values seen, and the tokens sampled for it."""

    problem: Problem
    root: TreeNode
    explore: float
    nodes: list[TreeNode] = field(default_factory=list)
    tokens: int = 0

    def leaf(self) -> TreeNode:
        """Where the search goes next: from the root always to the child of the highest bound that is not closed."""
        node = self.root
        while node.children:
            node = max((c for c in node.children if not c.closed), key=self.bound)  # of equal ones the first
        return node

    def bound(self, node: TreeNode) -> float:
        """The mean value between 0 and 1, and what few visits add to it."""
        above = node.parent.visits if node.parent is not None else node.visits
        unsure = math.sqrt(math.log(max(above, 1)) / max(node.visits, 1))
        return self._between(node.mean) + self.explore * unsure

    def _between(self, value: float) -> float:
        """What cannot be read, or is infinite, is worth nothing or all, and does not press the others together."""
        if value <= LOWEST:
            return 0.0
        values = [n.value for n in self.nodes if LOWEST < n.value < math.inf]
        low, high = min(values, default=0.0), max(values, default=0.0)
        return min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.5

    def grow(
        self, leaf: TreeNode, drafts: Sequence[Draft], values: Sequence[float], ended: Sequence[bool]
    ) -> None:
        """Hang drafts under a leaf, tell their values, and close what has nothing left to grow."""
        for draft, value, end in zip(drafts, values, ended, strict=True):
            child = TreeNode(draft, leaf, value, closed=end)
            leaf.children.append(child)
            self.nodes.append(child)
            child.tell(value)
        node: TreeNode | None = leaf
        while node is not None and all(c.closed for c in node.children):
            node.closed, node = True, node.parent


@dataclass(frozen=True, slots=True)
class TreeSearch(StepSearch):
    """``simulations``: how often a leaf is grown (its answer is told after each of these numbers); ``explore`` weighs
    what few have looked at."""

    simulations: tuple[int, ...] = (8, 32)
    explore: float = 0.7
    name: ClassVar[str] = "mcts"

    def __post_init__(self) -> None:
        if not self.simulations or min(self.simulations) < 1 or self.branch < 1 or not self.step_end:
            raise AhaError(
                f"--simulations {list(self.simulations)}, --branch {self.branch}: give numbers from 1; and --step-end "
                "must be a text."
            )
        if not 0 <= self.explore < math.inf:
            raise AhaError(f"--explore {self.explore}: give 0 (only the value counts) or more.")

    def think(self, writer: ThinkingWriter, problems: Sequence[Problem]) -> list[ThinkingRow]:
        """One search for each problem, with its answer after each number of simulations."""
        trees = [ThinkingTree(p, TreeNode(writer.begin(p)), self.explore) for p in problems]
        return graded_rows(writer, TREE, problems, self._search(writer, trees))

    def _search(self, writer: ThinkingWriter, trees: Sequence[ThinkingTree]) -> Iterator[SearchAnswer]:
        for number in range(1, max(self.simulations) + 1):
            self._simulate(writer, trees, number)
            if number in self.simulations:
                for tree, draft, more in self._answers(writer, trees, number):
                    yield tree.problem, number, draft, tree.tokens + more

    def _simulate(self, writer: ThinkingWriter, trees: Sequence[ThinkingTree], number: int) -> None:
        """Grow one leaf of each tree that has any left, all in one call."""
        growing = [(tree, tree.leaf()) for tree in trees if not tree.root.closed]
        leaves = [(tree.problem, leaf.draft) for tree, leaf in growing]
        grown = self.grow(writer, leaves, f"tree {number}", self.branch)
        for (tree, leaf), drafts in zip(growing, grown, strict=True):
            tree.tokens += sum(len(d.ids) - len(leaf.draft.ids) for d in drafts)
            unique = list(dict.fromkeys(drafts))
            ended = [is_over(writer, draft) for draft in unique]
            tree.grow(leaf, unique, self.values(writer, tree.problem, unique), ended)

    def _answers(
        self, writer: ThinkingWriter, trees: Sequence[ThinkingTree], number: int
    ) -> Iterator[tuple[ThinkingTree, Draft, int]]:
        """Each tree's text of the highest value among those that the model ended, with the tokens that it cost beside
        the search; where there is none, the best beginning is written to its end."""
        best = {id(tree): _best(writer, tree) for tree in trees}
        open_ones = [tree for tree in trees if not is_over(writer, best[id(tree)])]
        asked = [(tree.problem, best[id(tree)]) for tree in open_ones]
        written = writer.go_on(asked, f"tree {number} end", within=writer.params.max_tokens)
        ends = {id(tree): draft for tree, (draft,) in zip(open_ones, written, strict=True)}
        for tree in trees:
            prefix = best[id(tree)]
            draft = ends.get(id(tree), prefix)
            yield tree, draft, len(draft.ids) - len(prefix.ids)


def _best(writer: ThinkingWriter, tree: ThinkingTree) -> Draft:
    whole = [n for n in tree.nodes if writer.ended(n.draft)]
    going = [n for n in tree.nodes if not n.children and not n.closed]
    return max(whole or going or tree.nodes, key=lambda n: n.value).draft  # of equal ones the first
