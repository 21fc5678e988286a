"""Curation by hand-worked cases: duplicates, contamination, difficulty, readability, quotas."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.data import quotas
from aha.data.decontaminate import decontaminate
from aha.data.dedup import PERMUTATIONS, _Near, band_rows, deduplicate, hash_of, jaccard
from aha.data.difficulty import PassRate, keep_between, pass_rates, read_pass_rates
from aha.data.readable import Limits, check, repeated_share
from aha.data.sources import read_rows
from aha.data.words import ngrams, row_text, tokens
from aha.types import AhaError

REAL = Path(__file__).parents[3] / "shared" / "data" / "math"
FOX = "the quick brown fox jumps over the lazy dog and runs away into the deep dark forest to sleep"


def test_words():
    assert tokens("The Cat's 3 ﬁsh—NO!") == ["the", "cat", "s", "3", "fish", "no"]
    assert tokens("用数字12写abc") == ["用", "数", "字", "12", "写", "abc"]
    assert list(ngrams(["a", "b", "c"], 2)) == ["a b", "b c"]
    assert list(ngrams(["a"], 5)) == ["a"]
    assert list(ngrams([], 5)) == []
    row = {"messages": [{"role": "user", "content": "q"}], "answer": "5", "n": 3}
    assert row_text(row) == "q\n5"
    assert row_text(row, ["answer"]) == "5"


# --- duplicates ----------------------------------------------------------------------------------------


def test_equal_texts_go_whatever_their_case_and_spaces():
    kept, report = deduplicate(["A cat.", "a  CAT", "a dog", "!!", "??"], threshold=None)
    assert kept == [0, 2, 3, 4]
    assert (report.exact, report.near, report.kept) == (1, 0, 4)
    assert report.copies[0].of == 0


def test_near_copies_go_by_their_exact_similarity():
    words = FOX.split()
    one_changed = " ".join([*words[:-1], "rest"])  # 15 5-grams each, 14 shared: 14/16
    kept, report = deduplicate([FOX, one_changed, "something else entirely that shares nothing at all"])
    assert kept == [0, 2]
    assert report.copies[0].similarity == pytest.approx(14 / 16)
    assert deduplicate([FOX, one_changed], threshold=0.9)[0] == [0, 1]


def test_the_first_stays_and_the_order_holds():
    texts = [FOX + " one", "x y z", FOX, "x y z"]
    assert deduplicate(texts)[0] == [0, 1]
    assert deduplicate(texts) == deduplicate(texts)


def test_minhash_estimates_the_similarity():
    rng = random.Random(0)
    near = _Near(0.8, 5, 0)
    for shared in (0.2, 0.5, 0.8):
        size = 400
        common = {rng.getrandbits(64) for _ in range(int(size * shared))}
        a = frozenset(common | {rng.getrandbits(64) for _ in range(size - len(common))})
        b = frozenset(common | {rng.getrandbits(64) for _ in range(size - len(common))})
        estimate = float((near.signature(a) == near.signature(b)).mean())
        assert abs(estimate - jaccard(a, b)) < 4 * (0.25 / PERMUTATIONS) ** 0.5


@given(st.floats(0.3, 1.0))
def test_bands_find_pairs_at_the_threshold(threshold):
    rows = band_rows(threshold)
    assert (1 - threshold**rows) ** (PERMUTATIONS // rows) <= 1e-3


@given(
    st.lists(
        st.lists(st.sampled_from(["red", "blue", "one", "two", "cat"]), max_size=8).map(" ".join), max_size=12
    )
)
def test_what_is_kept_has_no_near_copy_left(texts):
    kept, report = deduplicate(texts, threshold=0.7)
    assert report.kept == len(kept)
    sets = [frozenset(hash_of(g) for g in ngrams(tokens(texts[i]) or [texts[i].strip()], 5)) for i in kept]
    for i, a in enumerate(sets):
        assert all(jaccard(a, b) < 0.7 for b in sets[:i])


def test_a_threshold_out_of_range():
    with pytest.raises(AhaError, match="threshold"):
        deduplicate(["a"], threshold=0)


# --- contamination -------------------------------------------------------------------------------------


def test_ten_words_in_common_are_found_and_nine_are_not():
    words = FOX.split()
    ten, nine = " ".join(words[3:13]), " ".join(words[3:12])
    kept, report = decontaminate([f"So: {ten.upper()}!", f"So {nine} it is", "else"], {"eval": ["none", FOX]})
    assert kept == [1, 2]
    [hit] = report.found
    assert (hit.index, hit.source, hit.row, hit.words) == (0, "eval", 1, ten)
    assert report.too_short == 1
    assert report.by_source() == {"eval": 1}


def test_chinese_is_compared_character_by_character():
    question = "小明有三个苹果，又买了五个，一共几个？"
    kept, _ = decontaminate(["题目：小明有三个苹果又买了五个一共几个", "小明有三个梨"], {"e": [question]})
    assert kept == [1]


def test_a_short_evaluation_text_counts_where_it_stands_whole():
    kept, _ = decontaminate(["What is 3 plus 4?", "what is 3 plus 5?"], {"e": ["What is 3 plus 4"]})
    assert kept == [1]


def test_nothing_to_compare_with():
    with pytest.raises(AhaError, match="no text to compare"):
        decontaminate(["a"], {"e": ["too short"]})


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data sets are not beside this checkout")
def test_real_gsm8k_splits_are_apart_and_a_leak_is_found():
    train = [r["question"] for r in read_rows(str(REAL / "gsm8k_train.jsonl.gz"))][:1500]
    test = [r["question"] for r in read_rows(str(REAL / "gsm8k_test.jsonl.gz"))][:500]
    kept, report = decontaminate([*train, f"Please solve: {test[7]}"], {"gsm8k_test": test})
    assert report.found[-1].index == 1500
    assert report.found[-1].row == 7
    assert len(kept) > 0.9 * len(train)


# --- difficulty ----------------------------------------------------------------------------------------


def rollouts(**values):
    return [
        {
            "problem_id": name,
            "question": f"q {name}",
            "answer": "1",
            "text": "t",
            "scores": {"accuracy": {"value": v}},
        }
        for name, vs in values.items()
        for v in vs
    ]


RATES = rollouts(a=[1, 1, 0, 0], b=[0, 0], c=[1, 1], d=[1, 0, 0, 0, None], e=[None], f=[1, 1, 1, 0])


def test_pass_rates_leave_out_what_was_not_graded(tmp_path):
    rates = pass_rates(RATES)
    assert rates["d"] == PassRate(4, 1, 1)
    assert rates["d"].rate == 0.25
    assert rates["e"].rate is None
    files = []
    for i, part in enumerate((RATES[:7], RATES[7:])):
        files.append(tmp_path / f"{i}.jsonl")
        files[-1].write_text("".join(json.dumps(r) + "\n" for r in part))
    assert read_pass_rates(files) == rates


def test_kept_between_with_reasons():
    found = keep_between(pass_rates(RATES), 0.3, 0.7)
    assert found.kept == ("a",)
    assert found.dropped == {
        "too few graded": 1, "never solved": 1, "always solved": 1, "too hard": 1, "too easy": 1,
    }  # fmt: skip
    assert keep_between(pass_rates(RATES)).kept == ("a", "d", "f")
    with pytest.raises(AhaError, match="low is at most high"):
        keep_between({}, 0.8, 0.2)
    with pytest.raises(AhaError, match="row 1 has no problem_id"):
        pass_rates([{"x": 1}])


# --- readability ---------------------------------------------------------------------------------------


def none_other(text, language):
    return 0.0


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        ("I add 3 and 4. That is 7.", None),
        ("", "too short"),
        ("wait no try again and again now " * 20, "repetition"),
        (" ".join(f"word{i}" for i in range(500)), "long paragraph"),
        ("first\n```python\nx = 1\n```\nso 1", "code block"),
        ("\n".join(f"step {i} is word{i}" for i in range(500)), None),
    ],
)
def test_each_reason(chain, reason):
    assert [r.name for r in check(chain, "en", none_other)] == ([reason] if reason else [])


def test_mixed_language_is_the_callers_to_tell():
    from aha.rewards.language import language_mix

    def others(text, language):
        shares = language_mix(text, language).shares
        return 1 - shares.get(language, 0.0) if shares else 0.0

    assert not check("I add three and four now.", "en", others)
    [reason] = check("I add three and four 然后我们再试一次看看对不对。", "en", others)
    assert reason.name == "mixed language"
    assert not check("然后我们再试一次看看对不对。", "zh", others)


def test_repetition_by_hand():
    assert repeated_share(["a", "b", "a", "b", "a", "b"], 2) == pytest.approx(3 / 5)
    assert repeated_share(["a", "b"], 2) == 0
    assert not check("one two", "en", none_other, Limits(shortest=2, longest=2))
    assert [r.name for r in check("one two three", "en", none_other, Limits(longest=2))] == ["too long"]


# --- quotas --------------------------------------------------------------------------------------------


def test_the_table_by_hand():
    rows = [("math", 10, 1), ("math", 20, 2), ("code", 30, 1)]
    lines = quotas.statistics(rows, lambda r: r[0], lambda r: r[1], lambda r: r[2])
    assert [(x.domain, x.samples, x.mean_tokens, x.mean_rounds) for x in lines] == [
        ("math", 2, 15.0, 1.5), ("code", 1, 30.0, 1.0), ("total", 3, 20.0, pytest.approx(4 / 3)),
    ]  # fmt: skip
    assert "math" in quotas.table(lines)
    assert len(quotas.table(lines).splitlines()) == 4


def test_quotas_by_hand():
    assert quotas.quotas({"a": 100, "b": 30}, {"a": 1, "b": 1}) == {"a": 30, "b": 30}
    assert quotas.quotas({"a": 100, "b": 30}, {"a": 2, "b": 1}, 10) == {"a": 7, "b": 3}
    assert quotas.quotas({"a": 100, "b": 3}, {"a": 1, "b": 1}, 50) == {"a": 25, "b": 3}
    for ratios in ({"a": 1, "c": 1}, {"a": 0}, {}):
        with pytest.raises(AhaError):
            quotas.quotas({"a": 5}, ratios)
    rows = [("a", i) for i in range(10)] + [("b", i) for i in range(10)]
    taken = quotas.take(rows, lambda r: r[0], {"a": 3, "b": 5})
    assert [r[0] for r in taken] == ["a"] * 3 + ["b"] * 5
    assert taken == sorted(taken)
    assert quotas.parse_ratios("math:5, code:3") == {"math": 5, "code": 3}
    assert quotas.parse_ratios("paper")["math"] == 395_285
    assert sum(quotas.PAPER.values()) == 804_745
    with pytest.raises(AhaError, match="is no quota"):
        quotas.parse_ratios("math")
