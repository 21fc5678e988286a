"""The embedded base's tokenizer: whole numbers, frequent words and tags are tokens; bytes spell the rest.

A stock byte-level BPE without merges: what the pre-tokenizer cuts out is a token if the vocabulary has it,
and is spelled in bytes if not. Whole-number tokens were decisive for a model this small. The sentences of
the prompt template are tokens too, so that a prompt costs some twenty tokens and not a hundred.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from aha.chat import R1_ZERO_TEMPLATE, TAGS
from aha.corpus.tiny import EOS
from aha.tasks import countdown

PAD = "<|pad|>"
CHINESE_WORDS = (
    "可以用基本运算", "每个数字只能用一次", "用数字", "写一个等于", "的算式", "我来试试", "可能是", "再试",
    "等等", "不对", "检查", "所以", "我猜", "就是", "看看", "不会", "只能", "比", "对",
)  # fmt: skip


def superwords(operators: str) -> list[str]:
    """Sentences that every prompt repeats: the template's, and the question's around its numbers."""
    before, after = R1_ZERO_TEMPLATE.split("{prompt}")
    sentences = [s + ". " for s in before.split(". ")[:-1]] + [before.split(". ")[-1], after]
    text = countdown.question((1,), 2, operators)
    start, rest = text.split("1", 1)
    middle, end = rest.split("2", 1)
    return [*sentences, start, middle, end]


def _pattern(operators: str) -> str:
    from re import escape

    phrases = sorted([*superwords(operators), *CHINESE_WORDS], key=len, reverse=True)
    tags = [f" ?{escape(tag)}" for tag in TAGS]
    words = r" ?[A-Za-z]+[,.!?:;]? ?"
    ascii_marks = r"[!-/:-@\[-`{-~] ?"
    han = r"[\x{4e00}-\x{9fff}]"
    return "|".join([*map(escape, phrases), *tags, words, r"\d+", han, ascii_marks, r"[^\sA-Za-z\d]", r"\s"])


def build(sample: Iterable[str], min_count: int = 20, operators: str = "+-*") -> Any:
    """A ``PreTrainedTokenizerFast`` whose words are those seen ``min_count`` times in ``sample``."""
    return assemble(sample, min_count, _pattern(operators), (*superwords(operators), *TAGS))


def assemble(sample: Iterable[str], min_count: int, pattern: str, fixed: Iterable[str]) -> Any:
    """A tokenizer of bytes, whole numbers, the first pieces of ``fixed`` texts, and pieces that ``pattern``
    cuts out of ``sample`` at least ``min_count`` times; never those with a quotation mark."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pre = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    vocabulary = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = set(vocabulary)
    counts = Counter(piece for text in sample for piece, _ in pre.pre_tokenize_str(text))
    frequent = sorted(p for p, n in counts.items() if n >= min_count and not p.isdigit() and "'" not in p)
    numbers = [str(n) for n in range(256)]
    for piece in (*numbers, *(pre.pre_tokenize_str(text)[0][0] for text in fixed), *frequent):
        if piece not in known:
            known.add(piece)
            vocabulary.append(piece)
    ids = {piece: i for i, piece in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(EOS, special=True), AddedToken(PAD, special=True)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )


def describe(tokenizer: Any) -> dict[str, int]:
    """Counts for the model card."""
    vocabulary = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["vocab"]
    return {"vocabulary": len(tokenizer), "numbers": sum(piece.isdigit() for piece in vocabulary)}
