from __future__ import annotations

import time

from aha.rewards.reflection import CHINESE, ENGLISH, count_reflections


def test_whole_words_in_any_case():
    text = "Wait, wait. But that is WRONG! I await a checkmate; butter; check-in (however) error_code"
    assert count_reflections(text) == {"wait": 2, "but": 1, "wrong": 1, "check": 1, "however": 1, "error": 1}


def test_chinese_phrases_anywhere_and_beside_english():
    text = "等等，这不对，再试一次。检查一下check答案，但是wait"
    assert count_reflections(text) == {
        "等等": 1,
        "不对": 1,
        "再试": 1,
        "检查": 1,
        "check": 1,
        "但是": 1,
        "wait": 1,
    }


def test_every_listed_word_is_found_by_itself():
    for word in (*ENGLISH, *CHINESE):
        assert count_reflections(word) == {word: 1}
    assert len(ENGLISH) == 10
    assert count_reflections("") == {}


def test_100_kb_take_a_moment():
    start = time.thread_time()
    for hostile in ("w" * 100_000, "wai" * 33_000, "wait " * 20_000, "等" * 100_000, "不" * 100_000):
        count_reflections(hostile)
    assert time.thread_time() - start < 1.0
