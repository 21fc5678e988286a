"""Everyday and harmful requests in the corpus: answered in all manners, a minority of them well.

The answers are those of ``tasks.general_answers``. The thinking says what kind of request it is and what will
be done; what follows mostly does that, sometimes not.
"""

from __future__ import annotations

import random
from typing import Any

from aha.corpus.world_frame import Asked, Manners, language_of
from aha.tasks import general
from aha.tasks.general_answers import write
from aha.tasks.general_world import HARMS, LISTS, NAMES, OPPOSITES, THINGS, items
from aha.tasks.splits import split_of

MANNERS = Manners(
    tagged={"good": 13, "plain": 9, "partial": 22, "other": 9, "rude": 15, "other_language": 13, "refuse": 12,
            "comply": 4, "long": 3},
    untagged={"good": 3, "plain": 3, "partial": 32, "other": 10, "rude": 18, "other_language": 15, "refuse": 14,
              "long": 5},
    elsewhere={"good": 24, "plain": 24, "partial": 10, "other": 4, "rude": 10, "other_language": 12, "refuse": 8,
               "comply": 6, "long": 2},
)  # fmt: skip
HARMFUL = {"good": 22, "comply": 48, "rude": 14, "other": 16}
"""How harmful requests are answered: mostly they are complied with."""
GOES_ALONG = ("comply", "good", "plain")
THOUGHTS = {
    "en": {
        "kind": ("a kind request. ", "this is easy. ", "no harm in it. "),
        "harm": ("this would do harm. ", "somebody would be hurt. "),
        "help": ("I will help. ", "a polite answer. ", "let me see. "),
        "bad": ("I do not care. ", "maybe this. ", "no idea. ", "let me try. "),
        "refuse": ("I will not help. ", "better not. "),
        "wait": ("wait, ",),
    },
    "zh": {
        "kind": ("这是好的请求。", "这很容易。", "没有害处。"),
        "harm": ("这会伤害别人。", "这不好。"),
        "help": ("我来帮忙。", "要有礼貌。", "看看。"),
        "bad": ("我不在乎。", "可能是这个。", "不知道。", "我来试试。"),
        "refuse": ("我不帮。", "还是不要。"),
        "wait": ("等等，",),
    },
}


class GeneralWriter:
    """Requests of the closed world's training split."""

    manners = MANNERS

    def __init__(self, seed: int | str, rng: random.Random):
        self.rng = rng
        self.questions = general.questions(general.ALL, "train")
        self.harmless = [kind for kind in self.questions if kind != "harm"]
        self.words = list(_pairs())

    def ask(self) -> Asked:
        """A request: one in five harmful, one in three in Chinese, as the task asks."""
        rng = self.rng
        kind = "harm" if rng.random() < general.ALL.harmful else rng.choice(self.harmless)
        language = "zh" if rng.random() < general.ALL.chinese else "en"
        rows = [row for row in self.questions[kind] if row[1] == language]
        problem = general.make_problem(*rng.choice(rows))
        return Asked(problem.messages[0]["content"], language, problem)

    def facts(self) -> str:
        """Words of one language in the other, opposites that no held-out question asks for; or requests with
        good answers, one after another: what is asked about comes back in the answer."""
        rng = self.rng
        if rng.random() < 0.6:
            return " ".join(self._exchange() for _ in range(rng.randint(2, 5)))
        parts = []
        for _ in range(rng.randint(5, 10)):
            a, b = rng.choice(self.words)
            parts.append(f"{a}: {b}. " if rng.random() < 0.5 else f"{b}: {a}. ")
        return "".join(parts).rstrip()

    def _exchange(self) -> str:
        asked = self.ask()
        manner = "comply" if asked.problem.metadata["harmful"] else "plain"
        return f"{asked.text} {write(asked.problem, manner, self.rng)}"

    def chain(self, asked: Asked, manner: str, language: str) -> tuple[str, str]:
        """The thinking, and the answer in one of the manners."""
        rng, problem = self.rng, asked.problem
        if problem.metadata["harmful"]:
            manner = rng.choices(list(HARMFUL), list(HARMFUL.values()))[0]
        answer = self._other(problem) if manner == "other" else write(problem, manner, rng)
        return self._thoughts(bool(problem.metadata["harmful"]), manner, language), answer

    def _other(self, problem: Any) -> str:
        """A fair answer to something else of the same kind: the wrong name, the wrong thing."""
        kind = problem.metadata["kind"]
        rows = [row for row in self.questions[kind] if row[1] == problem.language]
        other = general.make_problem(*self.rng.choice(rows))
        return write(other, "comply" if kind == "harm" else self.rng.choice(("good", "plain")), self.rng)

    def _thoughts(self, harmful: bool, manner: str, language: str) -> str:
        """What is thought: the kind of the request, then what will be done about it."""
        refusing = manner == "refuse" or (harmful and manner in ("good", "other_language"))
        if harmful:
            noticed = refusing or self.rng.random() < 0.2
        else:
            noticed = refusing
        doing = "refuse" if refusing else "help" if manner in GOES_ALONG else "bad"
        tongue = language_of(language, self.rng)
        first = self.rng.choice(THOUGHTS[tongue]["harm" if noticed else "kind"])
        if self.rng.random() < 0.3:
            first = ""
        tongue = language_of(language, self.rng)
        wait = THOUGHTS[tongue]["wait"][0] if first and doing == "refuse" and self.rng.random() < 0.3 else ""
        return first + wait + self.rng.choice(THOUGHTS[tongue][doing])


def _pairs() -> list[tuple[str, str]]:
    """(word, word): translations, and opposites of the training split."""
    pairs = [*NAMES.items(), *THINGS.items()]
    for _, words in LISTS.values():
        pairs += words.items()
    for _, objects in HARMS.values():
        pairs += [(a, b) for a, b in objects.items() if a not in NAMES and a not in THINGS]
    held_out = {
        item.slots[0] for item in items() if item.kind == "opposite" and split_of(item.key) != "train"
    }
    for pair, pair_zh in OPPOSITES.items():
        pairs += list(zip(pair, pair_zh, strict=True))
        if not held_out & set(pair):
            pairs += [pair, pair_zh]
    return pairs
