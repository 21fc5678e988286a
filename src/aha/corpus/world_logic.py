"""Knights and knaves in the corpus: supposing, one statement after another, contradiction, the next supposition.

Each step is local: a person's role in the supposition, the statement, the roles of those it is about, whether
it is then true. A knight's true and a knave's false statement fit, anything else is a contradiction. What a
chain claims is always so; answers are bad because the search stops early or never begins.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import Any

from aha.corpus.world_frame import Asked, Manners, Patience, language_of
from aha.tasks import logic
from aha.tasks.logic import Statement, random_statement, say, write_answer


@dataclass(frozen=True, slots=True)
class Words:
    """One language's words for the moves of a supposition."""

    suppose: str
    stop: str
    colon: str
    comma: str
    true: str
    false: str
    wrong: str
    fits: str
    wait: str
    openings: tuple[str, ...]
    guesses: tuple[str, ...]
    give_up: str


WORDS = {
    "en": Words(
        suppose="suppose ", stop=". ", colon=": ", comma=", ", true="true. ", false="false. ",
        wrong="contradiction. ", fits="all fit! ", wait="wait, try again. ",
        openings=("", "", "let me see. ", "let me try. "), guesses=("I guess ", "maybe ", "it is ", ""),
        give_up="I give up. ",
    ),
    "zh": Words(
        suppose="假设", stop="。", colon="：", comma="，", true="真。", false="假。",
        wrong="矛盾。", fits="全部符合！", wait="等等，再试。",
        openings=("", "", "看看。", "我来试试。"), guesses=("我猜", "可能是", "就是", ""),
        give_up="不会。",
    ),
}  # fmt: skip

MANNERS = Manners(
    tagged={"guess": 46, "few": 24, "long": 12, "systematic": 18},
    untagged={"guess": 70, "few": 30},
    elsewhere={"guess": 22, "few": 24, "long": 20, "systematic": 34},
)


def concerned(statement: Statement, speaker: int) -> list[int]:
    """Whose roles decide whether the statement is true, in the order in which it names them."""
    own = speaker in statement.about or statement.kind in ("same", "different")
    return [i for i in statement.about if i != speaker] + [speaker] * own


class LogicWriter:
    """Puzzles of the training split, and suppositions about no puzzle in particular."""

    manners = MANNERS

    def __init__(self, seed: int | str, rng: random.Random):
        self.rng = rng
        self.seed, self.round = f"{seed}:logic", 0
        self.problems = self._fresh()

    def _fresh(self) -> Any:
        self.round += 1
        stream = random.Random(f"{self.seed}:{self.round}")
        return logic.generate(logic.TINY, "train", stream)

    def ask(self) -> Asked:
        """A puzzle. The generator never repeats itself and ends; then a new one begins."""
        problem = next(self.problems, None)
        while problem is None:
            self.problems = self._fresh()
            problem = next(self.problems, None)
        return Asked(problem.messages[0]["content"], problem.language, problem)

    def facts(self) -> str:
        """Suppositions and what random statements are worth under them."""
        language = "en" if self.rng.random() < 0.75 else "zh"
        return "".join(self._fact(language) for _ in range(self.rng.randint(2, 4))).rstrip()

    def _fact(self, language: str) -> str:
        n = self.rng.choice((2, 3))
        names = logic.LETTERS[:n]
        statements = [random_statement(self.rng, i, n, logic.TINY.kinds) for i in range(n)]
        knights = tuple(self.rng.random() < 0.5 for _ in names)
        return self.suppose(statements, names, knights, language)[0]

    def chain(self, asked: Asked, manner: str, language: str) -> tuple[str, str]:
        """The thinking, and who it says is what (perhaps wrong, perhaps not everybody)."""
        rng, problem = self.rng, asked.problem
        names = problem.metadata["people"]
        statements = [Statement(kind, tuple(about)) for kind, about in problem.metadata["statements"]]
        orders = list(itertools.product((True, False), repeat=len(names)))
        if manner == "guess":
            return self._guess(names, language)
        if manner != "systematic":
            rng.shuffle(orders)
        if manner == "few":
            orders = orders[: rng.randint(1, 3)]
        return self._search(statements, names, orders, language, persistent=manner != "few")

    def _guess(self, names: Any, language: str) -> tuple[str, str]:
        rng, tongue = self.rng, language_of(language, self.rng)
        some = list(names) if rng.random() < 0.6 else list(names)[: rng.randint(1, len(names))]
        answer = write_answer([rng.random() < 0.5 for _ in some], some, tongue)
        words = WORDS[tongue]
        return f"{rng.choice(words.guesses)}{answer}{words.stop}", answer

    def _search(
        self, statements: list[Statement], names: Any, orders: list, language: str, persistent: bool
    ) -> tuple[str, str]:
        rng = self.rng
        tongue = language_of(language, rng)
        text, answer = rng.choice(WORDS[tongue].openings), ""
        patience = Patience(rng, persistent)
        for knights in orders:
            tongue = language_of(language, rng)
            tried, fits = self.suppose(statements, names, knights, tongue)
            text += tried
            answer = write_answer(knights, names, tongue)
            if fits:
                return text, answer
            again, stop = patience.after_failure()
            text += WORDS[tongue].wait if again and knights is not orders[-1] else ""
            if stop:
                break
        return text + (WORDS[tongue].give_up if rng.random() < 0.5 else ""), answer

    def suppose(self, statements: Any, names: Any, knights: Any, language: str) -> tuple[str, bool]:
        """One supposition followed to its first contradiction, or to its end; whether all fits."""
        words = WORDS[language]
        text = words.suppose + write_answer(knights, names, language) + words.stop
        for i, statement in enumerate(statements):
            true = statement.holds(i, knights)
            who = concerned(statement, i)
            roles = write_answer([knights[j] for j in who], [names[j] for j in who], language)
            own = write_answer([knights[i]], [names[i]], language)
            said = say(statement, i, names, language)
            text += f"{own}{words.colon}{said}{words.comma}{roles}{words.comma}"
            text += words.true if true else words.false
            if true != knights[i]:
                return text + words.wrong, False
        return text + words.fits, True
