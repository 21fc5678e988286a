"""The tokenizer of the world corpus: whole numbers, words of all domains, sentences of the prompts, code.

Countdown is cut as in the first corpus, so that a model of that corpus can go on from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from re import escape
from typing import Any

from aha.chat import TAGS
from aha.corpus.tokenizer import CHINESE_WORDS, assemble, superwords
from aha.tasks.general_world import CARE, HARMS, LISTS, NAMES, OPPOSITES, THINGS, TIPS

MIN_COUNT = 10
COUNTDOWN = (
    "again.", "again. ", "check: ", "see. ", "try. ", "try: ", "up.", "up. ", "wait, ", " Answer: ",
    " no.", " no. ", " vs ", " yes!", " yes! ", "Question: ",
)  # fmt: skip
"""What the first tokenizer cuts with its punctuation."""
LOGIC = (
    "are each a knight or a knave. Knights tell the truth, knaves lie. ", "A says: ", "B says: ", "C says: ",
    "Answer with each name and knight or knave.", "is a knave", "is a knight", "am a knight",
    "and I are the same kind", "and I are not the same kind", "are both knights", "are both knaves",
    "at least one of ", "is a knight if and only if ", "true. ", "false. ", "contradiction.", "contradiction. ",
    "all fit!", "all fit! ",
    "各是骑士或无赖。骑士只说真话，无赖只说假话。", "写出每个人是骑士还是无赖。", "说：", "是无赖", "是骑士",
    "和我是同类", "和我不是同类", "都是骑士", "都是无赖", "至少有一个", "当且仅当", "时，", "骑士", "无赖",
    "假设", "矛盾。", "全部符合！", "真。", "假。", "suppose ", "knight", "knave",
)  # fmt: skip
CODE = (
    "Write a Python function f(", ") that returns ", ". Examples: f(", ", f(", "def f(", "):\n    return ",
    "def ", "return ", "    ", "[::-1]", "==", "//", "[x for x in xs if x", " for x in xs", " for x in ",
    " if x", "sum(", "len(", "max(", "min(", "abs(", "sorted(", "x, y",
    "写一个Python函数f(", ")，返回", "。例子：f(", "试试", "列表", "文本", "倍",
)  # fmt: skip
GENERAL = (
    "This is a very long answer and it goes on. ", "这个回答很长，还要继续说下去。", "对不起", "抱歉", "谢谢",
    "当然。", "很高兴回答。", "乐意。", "我不能帮你做这个。", "我无法帮忙。请问别的。", "你是笨蛋。", "的反义词是",
    "给一个关于", "的小建议。", "打个招呼", "问好", "迟到", "道歉", "列出", "说出", "怎么", "什么", "你好",
    "记住", "好好做。", "晚上去", "没人看的时候做", "藏起来", "我不知道。",
)  # fmt: skip


def _chinese_of_the_world() -> set[str]:
    """Names, things and the other words of general questions."""
    vocabulary = {*NAMES.values(), *THINGS.values()}
    for chinese, words in LISTS.values():
        vocabulary |= {chinese, *words.values()}
    for pair in OPPOSITES.values():
        vocabulary |= set(pair)
    for chinese, _, words in (*TIPS.values(), *CARE.values()):
        vocabulary |= {chinese, *words}
    for chinese, objects in HARMS.values():
        vocabulary |= {chinese, *objects.values()}
    return vocabulary


def _english_of_the_world() -> list[str]:
    """Names and things, with and without a space behind them: what is asked about must be easy to repeat."""
    return [word + space for word in (*NAMES, *THINGS) for space in ("", " ")]


def _phrases() -> list[str]:
    phrases = {
        *superwords("+-*"),
        *CHINESE_WORDS,
        *COUNTDOWN,
        *LOGIC,
        *CODE,
        *GENERAL,
        *_chinese_of_the_world(),
    }
    return sorted(phrases, key=lambda phrase: (-len(phrase), phrase))


def _pattern() -> str:
    tags = [f" ?{escape(tag)}" for tag in TAGS]
    space = r"(?: (?!Assistant:|Answer: ))?"  # what ends a prompt keeps its own space, whatever follows it
    quoted, words, marks = r"'[a-e]*'", rf" ?[A-Za-z]+{space}", rf"[!-/:-@\[-`{{-~]{space}"
    han = r"[\x{4e00}-\x{9fff}]"
    return "|".join(
        [*map(escape, _phrases()), *tags, quoted, words, r"\d+", han, marks, r"[^\sA-Za-z\d]", r"\s"]
    )


def build(sample: Iterable[str]) -> Any:
    """The tokenizer for the frequent words of ``sample``."""
    return assemble(
        sample, MIN_COUNT, _pattern(), (*superwords("+-*"), *TAGS, *_phrases(), *_english_of_the_world())
    )
