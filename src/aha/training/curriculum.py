"""Which problems come next: in random order, easy to hard, by failure, or without what is mastered.

State is small and plain, so that a resumed run draws the very problems an uninterrupted one would.
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from aha.types import AhaError

Rule = Literal["shuffle", "easy_to_hard", "failure", "history", "pass_rate"]

START_SHARE = 0.2  # of the problems, the easiest, that easy_to_hard begins with
FLOOR = 0.02  # the least weight of a mastered problem under `failure`, so that forgetting shows


class Curriculum:
    """A stream of indices into ``n`` problems.

    - ``shuffle``: a new random order every epoch.
    - ``easy_to_hard``: drawn from a set of the easiest that grows to all of them over the run (Kimi k1.5,
      arXiv 2501.12599, curriculum sampling). Needs ``difficulty`` [n], larger = harder.
    - ``failure``: drawn in proportion to 1 - success rate (the same paper, prioritised sampling).
    - ``history``: epochs without the problems whose last visit was all right (SRPO, arXiv 2504.14286;
      Skywork-OR1); with ``easy_share`` a part of the visits goes to those left out (MiMo, arXiv 2505.07608).
    - ``pass_rate``: epochs without the problems whose last pass rate was outside ``keep``.
    """

    def __init__(
        self,
        n: int,
        rule: Rule = "shuffle",
        *,
        seed: int = 0,
        difficulty: Sequence[float] | None = None,
        easy_share: float = 0.0,
        keep: tuple[float, float] = (0.0, 1.0),
    ):
        if n < 1:
            raise AhaError("There are no problems to draw from.")
        if rule == "easy_to_hard" and difficulty is None:
            raise AhaError(
                "sampling=easy_to_hard needs problems with a difficulty: a number under 'difficulty' or 'level' "
                "in each row. Add it, or choose curriculum=failure, which finds difficulty out by itself."
            )
        self.n, self.rule, self.seed = n, rule, seed
        self.easy_share, self.keep = easy_share, keep
        self.by_ease = sorted(range(n), key=lambda i: (difficulty[i], i)) if difficulty is not None else []
        self.drawn, self.epoch, self.at = 0, 0, 0
        self.last: dict[int, float] = {}  # pass rate at the last visit
        self.tally: dict[int, tuple[int, int]] = {}  # (successes, trials) over all visits
        self.order = self._epoch_order()

    def take(self, count: int, progress: float = 0.0) -> list[int]:
        """The next ``count`` problems; ``progress`` is the share of the run that is done."""
        return [self._next(progress) for _ in range(count)]

    def note(self, index: int, successes: int, trials: int) -> None:
        """What came of a visit."""
        if trials:
            self.last[index] = successes / trials
            s, t = self.tally.get(index, (0, 0))
            self.tally[index] = (s + successes, t + trials)

    def success(self, index: int) -> float:
        """Success rate over all visits; 0 before the first, so that new problems come soon."""
        s, t = self.tally.get(index, (0, 0))
        return s / t if t else 0.0

    # --- drawing -----------------------------------------------------------------------------------------

    def _next(self, progress: float) -> int:
        rng = random.Random(f"{self.seed}:{self.drawn}:draw")
        self.drawn += 1
        if self.rule == "easy_to_hard":
            share = START_SHARE + (1 - START_SHARE) * min(1.0, max(0.0, progress))
            return self.by_ease[rng.randrange(max(1, round(share * self.n)))]
        if self.rule == "failure":
            weights = itertools.accumulate(max(FLOOR, 1 - self.success(i)) for i in range(self.n))
            totals = list(weights)
            return min(self.n - 1, bisect.bisect_right(totals, rng.random() * totals[-1]))
        if self.easy_share and rng.random() < self.easy_share:
            easy = [i for i in range(self.n) if not self._stays(i)]
            if easy:
                return rng.choice(easy)
        if self.at >= len(self.order):
            self.epoch, self.at = self.epoch + 1, 0
            self.order = self._epoch_order()
        self.at += 1
        return self.order[self.at - 1]

    def _epoch_order(self) -> list[int]:
        """The problems of this epoch; all of them if none would stay."""
        order = list(range(self.n))
        random.Random(f"{self.seed}:{self.epoch}:order").shuffle(order)
        return [i for i in order if self._stays(i)] or order

    def _stays(self, index: int) -> bool:
        rate = self.last.get(index)
        if rate is None or self.rule == "shuffle":
            return True
        return rate < 1 if self.rule == "history" else self.keep[0] <= rate <= self.keep[1]

    # --- state -------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Plain values from which ``load_state`` continues."""
        return {
            "drawn": self.drawn,
            "epoch": self.epoch,
            "at": self.at,
            "order": self.order if self.rule != "shuffle" else None,  # else a function of seed and epoch
            "last": [[i, r] for i, r in self.last.items()],
            "tally": [[i, *t] for i, t in self.tally.items()],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state()``."""
        self.drawn, self.epoch, self.at = state["drawn"], state["epoch"], state["at"]
        self.last = dict(state["last"])
        self.tally = {i: (s, t) for i, s, t in state["tally"]}
        self.order = state["order"] if state["order"] is not None else self._epoch_order()
