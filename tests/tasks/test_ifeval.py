"""Instructions that rules can check: for each kind an answer that follows it and one that does not."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from aha.rewards.chinese_instructions import CHINESE, numeral
from aha.rewards.instructions import CHECKS, broken, broken_loosely
from aha.tasks import get_task, rows
from aha.tasks.ifeval import READER
from aha.types import Outcome

REAL = Path(__file__).parents[3] / "shared" / "data" / "general"
CASES = [
    ("keywords:existence", {"keywords": ["goat", "hill"]}, "A Goat on a hill.", "A goat."),
    ("keywords:frequency", {"keyword": "ha", "frequency": 3, "relation": "at least"}, "ha Ha ha", "ha ha"),
    ("keywords:frequency", {"keyword": "ha", "frequency": 3, "relation": "less than"}, "ha ha", "ha ha ha"),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, "A category.", "A Cat."),
    ("keywords:letter_frequency", {"letter": "q", "let_frequency": 2, "let_relation": "at least"}, "qQ", "q"),
    ("language:response_language", {"language": "zh"}, "我们今天去公园散步，天气很好。", "We walk in the park today."),
    ("language:response_language", {"language": "de"},
     "Wir gehen heute in den Park und das Wetter ist schön. Es ist nicht kalt und die Sonne scheint auf den See.",
     "We are going to the park today and the weather is nice."),
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "at least"}, "A b. C d? E f!",
     "A b. C d."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\ntwo", "one two"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "a b c", "a b"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, "a b", "a b c"),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "so"},
     "Well.\n\nSo, it is.", "Well.\n\nIt is so."),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] at [place]", "[name]"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Hi.\nP.P.S Bye", "Hi.\nP.S. Bye"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b", "* a\n* b\n* c"),
    ("detectable_format:constrained_response", {}, "My answer is no.", "No."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a b* and **c**", "*a b* and c"),
    ("detectable_format:multiple_sections", {"section_spliter": "Part", "num_sections": 2}, "Part 1 a Part 2 b",
     "Part 1"),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "a: 1"),
    ("detectable_format:title", {}, "<<A song>>\nLa", "A song\nLa"),
    ("combination:two_responses", {}, "one\n******\ntwo", "one\n******\none"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, "Say it. It.", "It. Say it."),
    ("startend:end_checker", {"end_phrase": "The end."}, "So. The end.", "The end. So"),
    ("startend:quotation", {}, '"All of it"', 'All "of" it'),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, "A BIG CAT",
     "A big cat"),
    ("change_case:english_capital", {}, "LOUD!", "Loud!"),
    ("change_case:english_lowercase", {}, "quiet.", "Quiet."),
    ("punctuation:no_comma", {}, "one and two", "one, two"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "kwargs", "follows", "does_not"), CASES)
def test_each_kind(tmp_path, kind, kwargs, follows, does_not):
    row = {"key": 1, "prompt": "Do it.", "instruction_id_list": [kind], "kwargs": [kwargs | {"other": None}]}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    task = get_task("ifeval", str(path))
    [problem] = task.load("all", 9, 0)
    assert task.verify(problem, f"<think>I, I think.</think>{follows}").outcome is Outcome.CORRECT
    verdict = task.verify(problem, f"<think>I, I think.</think>{does_not}")
    assert verdict.outcome is Outcome.WRONG
    assert kind in verdict.note
    assert task.verify(problem, "<think>hm</think> ").outcome is not Outcome.CORRECT


ZH = "请写一段关于春天的话。"
CHINESE_CASES = [
    ("keywords:frequency", {"keyword": "花", "frequency": 2, "relation": "至少"}, "花开了，花落了。", "花开了。"),
    ("keywords:forbidden_words", {"forbidden_words": ["雨"]}, "今天晴。", "昨天下雨了。"),
    ("keywords:letter_frequency", {"letter": "春", "let_frequency": 2, "let_relation": "少于"}, "春天", "春天春天"),
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "at least"}, "天晴。花开！人走？",
     "天晴。花开！"),
    ("length_constraints:number_words", {"num_words": 6, "relation": "less than"}, "我爱 Python。", "我爱春天的花。"),
    ("length_constraints:number_words", {"num_words": 6, "relation": "至少"}, "我爱春天的花。", "我爱 Python。"),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "所以"},
     "天晴。\n\n所以花开了。", "天晴。\n\n花所以开了。"),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "【姓名】住在[地址]", "【姓名】"),
    ("detectable_content:postscript", {"postscript_marker": "附言："}, "你好。\n附言: 再见。", "你好。"),
    ("detectable_format:constrained_response", {}, "我的答案是不是。", "不是。"),
    ("detectable_format:multiple_sections", {"section_spliter": "部分", "num_sections": 2}, "第一部分 甲 第2部分 乙",
     "第一部分 甲 第1部分 乙"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "• 甲\n- 乙", "• 甲"),
    ("detectable_format:title", {}, "《春》\n花", "春\n花"),
    ("startend:end_checker", {"end_phrase": "谢谢。"}, "花开了。谢谢。”", "谢谢。花开了。"),
    ("startend:quotation", {}, "「花开了。」", "“花”开了"),
    ("detectable_format:multiple_sections", {"section_spliter": "部分", "num_sections": 2},
     "第" + "9" * 5000 + "部分 第2部分", "第" + "9" * 5000 + "部分"),
    ("punctuation:no_comma", {}, "花开了。", "花，开了。"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "kwargs", "follows", "does_not"), CHINESE_CASES)
def test_each_kind_in_chinese(tmp_path, kind, kwargs, follows, does_not):
    path = tmp_path / "rows.jsonl"
    row = {"prompt": ZH, "instruction_id_list": [kind], "kwargs": [kwargs]}
    path.write_text(json.dumps(row) + "\n")
    task = get_task("ifeval", str(path))
    [problem] = task.load("all", 9, 0)
    assert problem.language == "zh"
    assert task.verify(problem, f"<think>想，想。</think>{follows}").outcome is Outcome.CORRECT
    assert task.verify(problem, f"<think>想，想。</think>{does_not}").outcome is Outcome.WRONG
    # named as Chinese, the kind is meant so whatever the prompt's language
    assert broken(follows, [(f"zh:{kind}", kwargs)]) == []
    assert broken(does_not, [(f"zh:{kind}", kwargs)]) == [f"zh:{kind}"]


def test_every_chinese_kind_has_a_case_and_is_one_of_ifeval():
    assert {case[0] for case in CHINESE_CASES} == set(CHINESE)
    assert set(CHINESE) < set(CHECKS)
    assert [numeral(n) for n in (1, 10, 12, 20, 47, 99)] == ["一", "十", "十二", "二十", "四十七", "九十九"]


def test_the_loose_rule_takes_away_what_models_put_around(tmp_path):
    path = tmp_path / "rows.jsonl"
    row = {"prompt": "Do it.", "instruction_id_list": ["change_case:english_capital"], "kwargs": [{}]}
    path.write_text(json.dumps(row) + "\n")
    task = get_task("ifeval", str(path))
    [problem] = task.load("all", 9, 0)
    said = "Here you are:\nLOUD AND CLEAR"
    assert task.verify(problem, said).outcome is Outcome.WRONG
    assert task.verify_lenient(problem, said).outcome is Outcome.CORRECT
    assert task.verify_lenient(problem, "LOUD\nand so\nCLEAR").outcome is Outcome.WRONG
    ends = [("startend:end_checker", {"end_phrase": "The end."})]
    assert broken("So. **The end.**", ends)
    assert not broken_loosely("So. **The end.**", ends)


def test_every_kind_has_a_case():
    assert {case[0] for case in CASES} == set(CHECKS)


def test_all_instructions_must_be_followed():
    both = [("punctuation:no_comma", {}), ("change_case:english_lowercase", {})]
    assert broken("quiet and calm", both) == []
    assert broken("quiet, and calm", both) == ["punctuation:no_comma"]
    assert broken("", both) == ["punctuation:no_comma", "change_case:english_lowercase"]


@pytest.mark.parametrize(
    "text", ["*" * 50_000, "[" * 50_000, "<" * 50_000, "***" * 20_000, '"' * 50_000, ". " * 30_000]
)
def test_no_answer_takes_long(text):
    told = {case[0]: case[1] for case in CASES}
    start = time.thread_time()  # what others do meanwhile does not count
    strict, loose = broken(text, told), broken_loosely(text, told, "zh")
    assert time.thread_time() - start < 10
    assert strict
    assert loose


def test_what_cannot_be_checked_is_set_aside(tmp_path):
    rows_given = [
        {"prompt": "q", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
        {"prompt": "q", "instruction_id_list": ["count:numbers"], "kwargs": [{}]},
        {"prompt": "q", "instruction_id_list": ["startend:end_checker"], "kwargs": [{}]},
        {
            "prompt": "q",
            "instruction_id_list": ["language:response_language"],
            "kwargs": [{"language": "xx"}],
        },
        {"prompt": "q"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows_given))
    problems = rows.read(str(path), READER, "ifeval")
    assert len(problems.problems) == 1
    words = ("is not known", "lacks end_phrase", "unknown language", "has no prompt")
    assert all(word in row.reason for word, row in zip(words, problems.aside, strict=True))


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data sets are not beside this checkout")
def test_real_ifeval_reads():
    problems = rows.read(str(REAL / "ifeval.jsonl"), READER, "ifeval")
    assert problems.rows == 541
    assert len(problems.problems) >= 520
    assert all("language" in row.reason for row in problems.aside)
