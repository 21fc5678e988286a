"""Text as it grows: whatever the pieces, they add up to the whole, and nothing is sent that is later taken back."""

from __future__ import annotations

import random

import pytest

from aha.chat import parse
from aha.sampling.http.text import Splitter, TextStream


def by_bytes(ids: list[int]) -> str:
    return bytes(ids).decode("utf-8", "replace")


@pytest.mark.parametrize("text", ["plain", "naïve 你好 🎉 end", "🎉", ""])
def test_half_characters_are_held_back(text):
    stream = TextStream(by_bytes)
    pieces = [stream.feed(b) for b in text.encode()]
    assert "".join(pieces) + stream.close(text) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_bytes_that_never_make_a_character_come_out_at_last():
    stream, broken = TextStream(by_bytes), [0xFF] * 12
    assert "\ufffd" in "".join(stream.feed(b) for b in broken)


def test_what_may_be_a_stop_string_is_held_back():
    stream = TextStream(by_bytes, ("END", "\n\n"))
    sent = "".join(stream.feed(b) for b in b"one EN two E")
    assert sent == "one EN two "
    sent += "".join(stream.feed(b) for b in b"ND and more")
    assert sent + stream.close("one EN two ") == "one EN two "


TEXTS = [
    ("<think>a b\n c</think>\n\nhello  world", False),
    ("a b</think> x", True),
    ("plain < text <th", False),
    ("  as it is \n", False),
    ("<think>never closes", False),
    (" <think> x `</think>` y </think> z", False),
    ("", False),
    ("<think></think>", False),
    ("never closes", True),
    ("<think>a</think>b</think>", False),
]


@pytest.mark.parametrize(("text", "opened"), TEXTS)
def test_reasoning_and_content_whatever_the_pieces(text, opened):
    wholes = set()
    for seed in range(20):
        rng, splitter, texts, at = random.Random(seed), Splitter(opened), {"reasoning": "", "content": ""}, 0
        while at < len(text):
            size = rng.randint(1, 5)
            for kind, piece in splitter.feed(text[at : at + size]):
                texts[kind] += piece
            at += size
        for kind, piece in splitter.close():
            texts[kind] += piece
        wholes.add((texts["reasoning"], texts["content"]))
    (only,) = wholes
    parsed = parse(("<think>" if opened else "") + text, require_answer=False)
    if text.count("</think>") < 2 and parsed.think is not None:
        assert only == (parsed.think, parsed.body)
    elif parsed.think is None:
        assert only == ("", text)
