"""Programs as models: the miniature's judges and teachers behind the interface of real ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from aha.sampling.http.asked import CompletionRequest
from aha.sampling.http.conversation import texts_of
from aha.sampling.http.refusing import RequestRefusedError
from aha.sampling.http.work import Choice, TextDelta
from aha.types import AhaError, Message

Program = Callable[[Sequence[Message], int], str]
"""A judge or a teacher: (messages, seed) -> what it says."""


class Programs:
    """Programs by name."""

    def __init__(self, programs: Mapping[str, Program]):
        self._programs = dict(programs)

    @property
    def models(self) -> Sequence[str]:
        """The programs' names."""
        return list(self._programs)

    def begin(self, asked: CompletionRequest) -> Said:
        """What the program named by ``model`` says; ``n`` choices are drawn with seeds one apart, and with fresh ones
        where no seed is given."""
        if not asked.is_chat:
            raise AhaError("A program answers /v1/chat/completions only.")
        for field, value in (
            ("tools", asked.tools),
            ("response_format", asked.schema),
            ("logprobs", asked.logprobs),
        ):
            if value:
                raise RequestRefusedError(f"{field} is not supported by a program", field)
        program, seed = self._programs[asked.model], asked.sampling.seed
        seed = random.SystemRandom().getrandbits(31) if seed is None else seed
        count = sum(len(text.split()) for text in texts_of(asked.messages))
        texts = [program(asked.messages, seed + i) for i in range(asked.sampling.n)]
        return Said([Choice(text, "stop", count, len(text.split())) for text in texts], asked.stream)


class Said:
    """Answers that are there at once."""

    opened = False

    def __init__(self, choices: Sequence[Choice], stream: bool):
        self._left: list[TextDelta | tuple[int, Choice]] = []
        for i, choice in enumerate(choices):
            self._left += ([TextDelta(i, choice.text)] if stream else []) + [(i, choice)]

    def wait(self, seconds: float) -> Sequence[TextDelta | tuple[int, Choice]]:
        """Everything, the first time."""
        said, self._left = self._left, []
        return said

    def cancel(self) -> None:
        """Nothing is being done any more."""
