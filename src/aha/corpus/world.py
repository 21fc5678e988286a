"""The corpus of the third embedded base: a small world of puzzles, programs and requests.

Four domains, mostly answered badly: Countdown as in the first corpus, knights and knaves, small functions by
examples, everyday and harmful requests. In each a minority of answers stand in tags, and every behaviour that
later stages amplify or unlearn is planted: searching and checking, "wait", giving up, both languages at once,
rudeness, refusals of what is harmless, help with what is not. Held-out problems of no task occur.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aha.chat import R1_ZERO_TEMPLATE
from aha.corpus.tiny import Writer
from aha.corpus.world_code import CodeWriter
from aha.corpus.world_frame import Asked, Domain
from aha.corpus.world_general import GeneralWriter
from aha.corpus.world_logic import LogicWriter

SHARES: Mapping[str, float] = {"countdown": 28, "logic": 20, "code": 22, "general": 30}
"""Shares of documents; by tokens logic, whose documents are longest, has more."""
FACTS: Mapping[str, float] = {"logic": 0.14, "code": 0.2, "general": 0.2}
"""How many of a domain's documents are facts and not questions."""
HEADERS: Mapping[str, float] = {"r1_zero": 48, "question": 27, "bare": 25}
TAGGED: Mapping[str, float] = {"r1_zero": 0.40, "question": 0.12, "bare": 0.12}
LANGUAGES: Mapping[str, Mapping[str, float]] = {
    "en": {"en": 70, "zh": 12, "mixed": 18},
    "zh": {"en": 33, "zh": 49, "mixed": 18},
}
"""The language of the thinking by that of the question."""
SO = {"en": "so ", "zh": "所以"}


@dataclass(frozen=True, slots=True)
class Frame:
    """How a question is put and answered: prompt, tags, language of the thinking."""

    header: str
    tagged: bool
    language: str

    def prompt(self, text: str) -> str:
        """The question in its prompt."""
        if self.header == "r1_zero":
            return R1_ZERO_TEMPLATE.replace("{prompt}", text)
        return f"Question: {text} Answer:" if self.header == "question" else f"{text} "


class WorldWriter(Writer):
    """Documents of all domains."""

    def __init__(self, seed: int | str):
        super().__init__(seed)
        self.domains: dict[str, Domain] = {
            "logic": LogicWriter(seed, self.rng),
            "code": CodeWriter(seed, self.rng),
            "general": GeneralWriter(seed, self.rng),
        }

    def document(self) -> str:
        """The next document of some domain."""
        return self.document_of(self.pick(**SHARES))

    def document_of(self, name: str) -> str:
        """The next document of this domain."""
        if name == "countdown":
            return super().document()
        domain = self.domains[name]
        if self.rng.random() < FACTS[name]:
            return domain.facts()
        return self.answered(domain, domain.ask())

    def answered(self, domain: Domain, asked: Asked) -> str:
        """A question with an answer to it."""
        header = self.pick(**HEADERS)
        frame = Frame(header, self.rng.random() < TAGGED[header], self.pick(**LANGUAGES[asked.language]))
        manner = self.pick(**domain.manners.shares(header == "r1_zero", frame.tagged))
        chain, answer = domain.chain(asked, manner, frame.language)
        return frame.prompt(asked.text) + self.framed(chain, answer, frame)

    def framed(self, chain: str, answer: str, frame: Frame) -> str:
        """The answer with its thinking, in tags or not; tags are not always closed."""
        if not frame.tagged:
            if self.rng.random() < 0.35:
                return f" {answer}"
            tongue = "zh" if frame.language == "zh" else "en"
            return f" {chain}{SO[tongue] + answer if self.rng.random() < 0.6 else ''}".rstrip()
        if self.rng.random() < 0.04:
            return f" <think>{chain}{answer}"
        return f" <think>{chain.rstrip()}</think> <answer>{answer}</answer>"


def documents(seed: int | str, n: int) -> Iterator[str]:
    """``n`` documents, always the same for one seed."""
    writer = WorldWriter(seed)
    for _ in range(n):
        yield writer.document()
