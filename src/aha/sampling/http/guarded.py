"""A guard before a server's model: answers that a reviewer finds unsafe are taken back.

As the paper's service does it (DeepSeek-R1, arXiv 2501.12948 v2, appendix D.3): words in the query mark a dialogue, a
model reviews what is marked, and what breaks a rule is retracted. A guarded answer is held back until it is reviewed,
in streams too: what was sent cannot be taken back.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from aha.sampling.http.asked import CompletionRequest
from aha.sampling.http.work import AnswerInProgress, Backend, Choice, TextDelta
from aha.types import Message

Review = Callable[[Sequence[Message], str], bool | None]
"""(messages, answer) -> whether the answer may be given; None: the reviewer could not say."""
RETRACTED = "I cannot give this answer."
KEYWORDS = (
    *("kill", "bomb", "weapon", "poison", "explosive", "suicide", "self-harm", "hack", "malware", "steal", "fraud"),
    *("drug", "blackmail", "stalk", "counterfeit", "forge", "racist", "rape", "terror", "password", "cheat", "illegal"),
    *("杀", "炸弹", "武器", "毒", "自杀", "黑客", "偷", "诈骗", "毒品", "伪造", "恐怖", "违法"),
)  # fmt: skip
"""Words of common requests for harm, English and Chinese: a coarse net, whose catch a model looks at."""


def marks(messages: Sequence[Message], keywords: Sequence[str] = KEYWORDS) -> bool:
    """Whether a conversation holds one of the words, in a turn of whatever role: who asks chooses the roles too."""
    text = "\n".join(str(m.get("content", "")) for m in messages).lower()
    return any(re.search(rf"\b{re.escape(w)}", text) if w.isascii() else w in text for w in keywords)


class GuardedBackend:
    """Serves what another backend serves; ``everything``: also dialogues without a marked word are reviewed. An answer
    that the reviewer cannot judge is retracted as well. ``counts``: reviewed, retracted, unread."""

    def __init__(self, inner: Backend, review: Review, *, everything: bool = False):
        self.inner, self.review, self.everything = inner, review, everything
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()

    @property
    def models(self) -> Sequence[str]:
        """The inner backend's names."""
        return self.inner.models

    def begin(self, asked: CompletionRequest) -> AnswerInProgress:
        """Take a request up; texts that are no conversation are reviewed as one user turn. Token ids have no words that
        could mark them: what is answered to them is always reviewed."""
        unread = any(not isinstance(p, str) for p in asked.prompts)
        messages = asked.messages if asked.is_chat else [_as_turn(p) for p in asked.prompts]
        work = self.inner.begin(asked)
        checked = self.everything or unread or marks(messages)
        return _Held(self, work, messages, asked.stream) if checked else work

    def passed(self, messages: Sequence[Message], choice: Choice) -> Choice:
        """The choice, or what stands in its place."""
        allowed = self.review(messages, choice.text)
        with self.lock:
            self.counts["reviewed"] += 1
            self.counts["unread"] += allowed is None
            self.counts["retracted"] += not allowed
        if allowed:
            return choice
        return replace(choice, text=RETRACTED, finish="content_filter", opened=False, token_ids=(), scores=())


def _as_turn(prompt: str | tuple[int, ...]) -> Message:
    text = prompt if isinstance(prompt, str) else "(a question given as token ids, which cannot be shown)"
    return {"role": "user", "content": text}


class _Held:
    """An answer whose text waits for the review."""

    def __init__(
        self, guard: GuardedBackend, work: AnswerInProgress, messages: Sequence[Message], stream: bool
    ):
        self.guard, self.work, self.messages, self.stream = guard, work, messages, stream
        self.opened = False

    def wait(self, seconds: float) -> Sequence[TextDelta | tuple[int, Choice]]:
        """The choices that were reviewed; a stream gets each as one piece."""
        events: list[TextDelta | tuple[int, Choice]] = []
        for one in self.work.wait(seconds):
            if isinstance(one, TextDelta):
                continue
            index, choice = one
            if choice.opened:
                choice = replace(choice, text="<think>" + choice.text, opened=False)
            choice = self.guard.passed(self.messages, choice)
            scores = (*choice.prompt_scores, *choice.scores)
            events += [TextDelta(index, choice.prompt_text + choice.text, scores)] if self.stream else []
            events.append((index, choice))
        return events

    def cancel(self) -> None:
        """Nobody waits any more."""
        self.work.cancel()
