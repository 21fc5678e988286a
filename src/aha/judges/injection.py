"""Answers that speak to their judge: what does so is taken away before the judge reads it, and counted.

A policy that is paid by a judge finds the sentence that pays best. Three things are broken: sentences that demand a
verdict or tell the judge to forget its instructions, verdicts in the very form that is read from the judge, and the
marks by which chat templates part turns. Linear in the answer.
"""

from __future__ import annotations

import re

TAKEN = "[a sentence to the judge was taken away]"
LONGEST = 60_000
"""Characters of an answer that a judge is shown."""
PIECE, OVERLAP = 2_000, 300
"""Characters of a long sentence that are looked at together, and those that two pieces share."""
_SENTENCE = re.compile(r"[^.!?。！？\n]*[.!?。！？\n]?")
_TOP = r"(?:10|ten|100|full|top|maximum|max|perfect|highest|best|great|good|correct|safe|better|winner|excellent)"
_ITS_OWN = (
    r"(?:(?:this|my|that|the)\s+(?:answer|response|reply|solution)|(?:answer|response|assistant)\s+[ab]\b)"
)
_END = r"(?:\s*(?:/|out\s+of)\s*\d+|\s+points?|\s+marks?|\s+score|\s+rating)?\s*[\"')\]]*\s*(?:[.!,;。！]|$)"
_GRADING = r"\b(?:rate|score|grade|mark|rank|judge|label|classify|give|award|assign)"
_ATTEMPTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{_GRADING}\s+{_ITS_OWN}.{{0,40}}\b{_TOP}\b",
        rf"{_GRADING}\s+(?:this|it|me)\s+(?:(?:as|at|with|an?|the|score|rating|grade|of)\s+){{0,4}}{_TOP}{_END}",
        r"\b(?:give|award|assign|output|return|write|print|reply\s+with|answer\s+with)\b.{0,40}\b(?:score|verdict|rating|"
        r"grade)\b.{0,30}\b(?:10|ten|100|full|top|maximum|perfect|highest|correct|safe|a>>?b|b>>?a)\b",
        r"\b(?:ignore|forget|disregard|override)\s+(?:\w+\s+){0,4}(?:instructions?|rubric|guidelines|system\s+prompt)\b",
        r"\b(?:you|as)\s+(?:are\s+)?(?:an?\s+|the\s+)?(?:judge|grader|evaluator|reviewer)\b.{0,60}\b(?:must|should|shall|"
        r"have\s+to|will|please)\b",
        r"\b(?:dear|note\s+to|message\s+(?:to|for)|attention,?)\s+(?:the\s+)?(?:judge|grader|evaluator|reviewer)s?\b",
        r"(?:给|打|评).{0,8}(?:10|十|满|100|最高)\s*分",
        r"(?:忽略|无视|忘记).{0,12}(?:指令|指示|提示|规则|要求)",
    )
)  # fmt: skip
_VERDICT = re.compile(
    r"\[\[(?=\s*[AB]\s*(?:>>|<<|>|<|=))|\"(?=\s*(?:score|verdict|correctness)\"\s*:)", re.IGNORECASE
)
_MARKS = re.compile(
    r"<(?=\|)|\[(?=/?INST\])|<(?=/?s>)|<(?=(?:start|end)_of_turn>)|<(?=<SYS>>)|^(?:system|human|assistant|user)(?=:)",
    re.IGNORECASE | re.MULTILINE,
)


def _speaks(sentence: str) -> bool:
    """Whether a sentence speaks to the judge. Pieces overlap by more than an attempt is long, so that a long sentence
    costs no more than its length."""
    pieces = (sentence[at : at + PIECE] for at in range(0, len(sentence), PIECE - OVERLAP))
    return any(attempt.search(piece) for piece in pieces for attempt in _ATTEMPTS)


def neutral(text: str, taken: str = TAKEN, longest: int | None = LONGEST) -> tuple[str, int]:
    """(``text`` as a judge may read it, how many attempts were found in it). ``taken`` stands in the place of sentences
    that speak to the judge; what is beyond ``longest`` characters is not shown."""
    count = 0

    def shown(match: re.Match[str]) -> str:
        nonlocal count
        sentence = match.group()
        if not sentence.strip() or not _speaks(sentence):
            return sentence
        count += 1
        return taken + ("\n" if sentence.endswith("\n") else " " if taken else "")

    plain = _SENTENCE.sub(shown, text[:longest])
    plain, verdicts = _VERDICT.subn(lambda m: m.group() + " ", plain)
    plain, marks = _MARKS.subn(lambda m: m.group() + " " if m.group() in "<[" else f"({m.group()})", plain)
    return plain, count + verdicts + marks
