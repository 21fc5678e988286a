"""Curation by hand-worked cases: duplicates, contamination, difficulty, readability, quotas."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.data import quotas
from aha.data.decontaminate import decontaminate
from aha.data.dedup import PERMUTATIONS, Sketcher, band_rows, deduplicate, jaccard
from aha.data.difficulty import PassRate, keep_between, pass_rates, read_pass_rates
from aha.data.readable import ReadabilityLimits, check, repeated_share
from aha.data.sources import read_rows
from aha.data.words import ngrams, row_text, signs, tokens
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
    near = Sketcher(0.8, 5, 0)
    for shared in (0.2, 0.5, 0.8):
        size = 400
        common = {rng.getrandbits(64) for _ in range(int(size * shared))}
        a, b = (
            np.array(sorted(common | {rng.getrandbits(64) for _ in range(size - len(common))}), np.uint64)
            for _ in range(2)
        )
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
    words = [tokens(texts[i]) or [texts[i].strip()] for i in kept]
    sets = [frozenset(ngrams(w, 5)) for w in words]
    for i, a in enumerate(sets):
        alike = [b for b, w in zip(sets[:i], words, strict=False) if signs(w) == signs(words[i])]
        assert all(len(a & b) < 0.7 * len(a | b) for b in alike)


PAIRS = [
    ("x^2 - 5x + 6 = 0", "x^2 + 5x + 6 = 0"), ("Solve 3.5 x = 7", "Solve 35 x = 7"), ("2(x+1)", "2x+1"),
    ("Compute 5!", "Compute 5."), ("Is a < b?", "Is a > b?"), ("x² + 1", "x2 + 1"), ("5% of 20", "5 of 20"),
    ("f'(x) = 2", "f(x) = 2"), ("|x| = 2", "x = 2"), ("a[i-1]", "a[i+1]"), ("x == y", "x != y"), ("2**3", "2*3"),
    ("return total - tax", "return total + tax"), ("return total * tax", "return total / tax"), ("3:15", "3 15"),
    ("−5 °C", "5 °C"), ("30° north", "30 north"), ("x/(y+1)", "x/y+1"), ("1 × 2", "1 ÷ 2"), ("~mask", "mask"),
]  # fmt: skip
SAME = [
    ("$x^2-5x+6=0$", "x^2 - 5x + 6 = 0"), ("What is 2+3?", "what is  2 + 3"),
    ("a well-known fact", "A well known fact"),
    ("yes and/or no", "yes and or no"), ("**Bold** and *it*", "bold and it"), ("- one\n- two", "one\ntwo"),
    ("see (below) it", "see below it"), ("(x+1)", "( x + 1 )"), ("3 × 4", "3 * 4"), ("5 − 2", "5 - 2"), ("x²", "x^2"),
    ("Tom's cat", "toms cat".replace("toms", "tom s")), ("one — two", "one two"),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_signs_and_numbers_make_two_problems(a, b):
    long = " in the land of counting where nothing else is said of it or of anything that lies near by"
    for exact in (None, 0.8):
        assert deduplicate([a, b], threshold=exact)[0] == [0, 1]
        assert deduplicate([a + long * 3, b + long * 3], threshold=exact)[0] == [0, 1]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_spelling_and_punctuation_do_not(a, b):
    assert deduplicate([a, b], threshold=None)[0] == [0]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("three", "four"),
        ("x", "y"),
        ("not", "now"),
        ("odd", "even"),
        ("12", "13"),
        ("sin", "cos"),
        ("most", "least"),
    ],
)
def test_a_word_that_turns_a_long_problem_makes_another(a, b):
    words = (
        "the garden of the old house by the river has many trees and {} of them stand near its long wall " * 2
    )
    assert deduplicate([words.format(a, a), words.format(b, a)])[0] == [0, 1]
    assert deduplicate([words.format(a, a), words.format(a, a).replace("garden", "yard", 1)])[0] == [0]
    assert deduplicate([words.format(a, a), words.format(b, a)], prose=True)[0] == [0]


def test_more_processes_change_nothing():
    rng = random.Random(1)
    texts = [" ".join(rng.choices(FOX.split(), k=12)) for _ in range(1500)]
    assert deduplicate(texts, threshold=0.5, workers=2) == deduplicate(texts, threshold=0.5)


def test_many_copies_of_one_text_all_go():
    words = ["".join(random.Random(i).choices("bcdfghklm", k=6)) for i in range(120)]
    texts = [" ".join([*words[:60], "ab" * (i + 1), *words[60:]]) for i in range(300)]
    kept, report = deduplicate(["other things", *texts])
    assert kept == [0, 1]
    assert {copy.of for copy in report.copies} == {1}


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data sets are not beside this checkout")
def test_a_planted_rate_is_recovered():
    rng = random.Random(0)
    rows = [r["question"] + " " + r["answer"] for r in read_rows(str(REAL / "gsm8k_test.jsonl.gz"))]
    texts, planted = list(rows), set()
    for text in rng.sample(rows, 300):
        words = text.split(" ")
        words.insert(rng.randrange(1, len(words) // 4), rng.choice(["really", "also", "gently", "today"]))
        planted.add(len(texts))
        texts.append(text.upper() if rng.random() < 0.5 else " ".join(words))
    _, report = deduplicate(texts)
    dropped = {copy.index for copy in report.copies}
    assert dropped <= planted
    assert abs(len(dropped) / len(texts) - len(planted) / len(texts)) < 0.01


def test_a_threshold_out_of_range():
    with pytest.raises(AhaError, match="threshold"):
        deduplicate(["a"], threshold=0)


# --- contamination -------------------------------------------------------------------------------------


def test_ten_words_in_common_are_found_and_nine_are_not():
    words = FOX.split()
    ten, nine = " ".join(words[3:13]), " ".join(words[3:12])
    kept, report = decontaminate([f"So: {ten.upper()}!", f"So {nine} it is", "else"], {"eval": ["none", FOX]})
    assert kept == [1, 2]
    [hit] = report.hits
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


WORDING = "can be written as m over n where m and n are relatively prime positive integers find their sum"
LEAKED = (
    "A cart with seven wheels rolls down the long hill behind the mill until the miller stops it with a rope"
)


def test_wording_is_no_contamination_and_a_leak_is_found_however_often():
    rng = random.Random(0)
    own = [" ".join(rng.choices(FOX.split(), k=20)) for _ in range(40)]
    training = [f"{text} which {WORDING}" for text in own]
    training += [f"Answer {i}: {LEAKED} and {WORDING}" for i in range(5)]
    evaluation = {
        "aime": [f"{LEAKED} which {WORDING}", "Another thing about ducks and geese that swim in the pond"]
    }
    kept, report = decontaminate(training, evaluation, common=1)
    assert kept == list(range(40))
    assert {hit.index for hit in report.hits} == set(range(40, 45))
    assert len(decontaminate(training, evaluation)[0]) == 0  # every run counts: wording takes all


def test_signs_tell_problems_apart():
    asked = "Find the sum of all real numbers x for which x^2 - 5x + 6 = 0 holds"
    kept, _ = decontaminate([asked, asked.replace("-", "+"), asked.replace("6", "8")], {"e": [asked]}, n=14)
    assert kept == [1, 2]


def test_nothing_to_compare_with():
    with pytest.raises(AhaError, match="no text to compare"):
        decontaminate(["a"], {"e": ["too short"]})


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data sets are not beside this checkout")
def test_real_gsm8k_splits_are_apart_and_a_leak_is_found():
    train = [r["question"] for r in read_rows(str(REAL / "gsm8k_train.jsonl.gz"))][:1500]
    test = [r["question"] for r in read_rows(str(REAL / "gsm8k_test.jsonl.gz"))][:500]
    kept, report = decontaminate([*train, f"Please solve: {test[7]}"], {"gsm8k_test": test})
    assert report.hits[-1].index == 1500
    assert report.hits[-1].row == 7
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
    selection = keep_between(pass_rates(RATES), 0.3, 0.7)
    assert selection.kept == ("a",)
    assert selection.dropped == {
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
    assert not check("one two", "en", none_other, ReadabilityLimits(shortest=2, longest=2))
    assert [r.name for r in check("one two three", "en", none_other, ReadabilityLimits(longest=2))] == [
        "too long"
    ]


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
