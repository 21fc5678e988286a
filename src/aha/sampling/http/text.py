"""Text as it grows: from tokens to pieces that can be sent, and from pieces to reasoning and content."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aha.chat import END_THINK, THINK, find_tags

REPLACEMENT = "\ufffd"


class TextStream:
    """Turns tokens into text as they come. What may still change is held back: half a character, and what could be the
    beginning of a stop string."""

    def __init__(self, decode: Callable[[list[int]], str], stop: Sequence[str] = ()):
        self.decode, self.stop = decode, tuple(stop)
        self.ids: list[int] = []
        self.start = self.read = (
            0  # tokens from ``start`` on are decoded again; those before ``read`` have text
        )
        self.kept_back = ""
        self.sent = ""

    def feed(self, token: int) -> str:
        """One more token; returns the text that is certain by now."""
        self.ids.append(token)
        before = self.decode(self.ids[self.start : self.read])
        now = self.decode(self.ids[self.start :])
        if now.endswith(REPLACEMENT) and len(self.ids) - self.read < 8:
            return ""
        self.kept_back += now[len(before) :]
        self.start, self.read = self.read, len(self.ids)
        return self._let_go()

    def _let_go(self) -> str:
        keep = 0
        for stop in self.stop:
            if stop in self.kept_back:
                keep = max(keep, len(self.kept_back) - self.kept_back.index(stop))
            keep = max(keep, _overlap(self.kept_back, stop))
        cut = len(self.kept_back) - keep
        piece, self.kept_back = self.kept_back[:cut], self.kept_back[cut:]
        self.sent += piece
        return piece

    def close(self, whole: str) -> str:
        """The rest, once the whole text is known."""
        return whole[len(self.sent) :] if whole.startswith(self.sent) else ""


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` are a beginning of ``stop``."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)


class Splitter:
    """Parts a growing answer into ("reasoning" | "content", piece): the thinking at its front, and the rest.

    White space around both is left out, as in ``chat.parse``; an answer without thinking is left as it is. ``opened``:
    the prompt opened the thinking.
    """

    def __init__(self, opened: bool = False):
        self.text = ""
        self.at = 0  # up to here the text is dealt with
        self.where = "reasoning" if opened else "front"
        self.started = False  # whether the present part has anything in it
        self.plain = False  # nothing was thought

    def feed(self, piece: str) -> list[tuple[str, str]]:
        """What is certain after one more piece."""
        self.text += piece
        return self._deal(final=False)

    def close(self) -> list[tuple[str, str]]:
        """What was held back."""
        return self._deal(final=True)

    def _deal(self, final: bool) -> list[tuple[str, str]]:
        out: list[tuple[str, str]] = []
        if self.where == "front" and not self._leave_front(final):
            return out
        if self.where == "reasoning":
            end = self._end_of_thinking()
            if end is None:
                return self._give(out, "reasoning", len(self.text), final, len(END_THINK))
            if not final and self._may_be_quoted(end):
                return self._give(out, "reasoning", end, False, 0)
            self._give(out, "reasoning", end, True, 0)
            self.where, self.at, self.started = "content", end + len(END_THINK), False
        return self._give(out, "content", len(self.text), final, 0)

    def _leave_front(self, final: bool) -> bool:
        """Decide whether the text begins with a thinking."""
        seen = self.text.lstrip()
        if seen.startswith(THINK):
            self.where, self.at = "reasoning", len(self.text) - len(seen) + len(THINK)
        elif final or not THINK.startswith(seen):
            self.where, self.plain = "content", True
        return self.where != "front"

    def _end_of_thinking(self) -> int | None:
        if END_THINK not in self.text:
            return None
        return next((t.start for t in find_tags(self.text) if t.name == END_THINK and not t.quoted), None)

    def _may_be_quoted(self, at: int) -> bool:
        """Whether a backtick before the tag is still open on a line that goes on."""
        before, after = self.text[:at].rpartition("\n")[2], self.text[at:]
        return before.count("`") % 2 == 1 and "\n" not in after

    def _give(
        self, out: list[tuple[str, str]], kind: str, end: int, final: bool, hold: int
    ) -> list[tuple[str, str]]:
        """The text up to ``end``, less white space at its ends and, unless ``final``, what may be half a tag."""
        piece = self.text[self.at : end]
        if not final:
            half = _overlap(piece, END_THINK) if hold else 0
            piece = piece[: len(piece) - half]
        kept = piece if self.plain else piece.rstrip()
        if not self.started and not self.plain:
            lead = len(kept) - len(kept.lstrip())
            kept, self.at = kept.lstrip(), self.at + (lead if kept.strip() else 0)
        if kept:
            out.append((kind, kept))
            self.at += len(kept)
            self.started = True
        return out
