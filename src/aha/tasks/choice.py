"""Multiple choice, from rows: MMLU, MMLU-Pro, ARC, GPQA, C-Eval, CLUEWSC and the like."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aha import chat
from aha.data.layouts import DOMAINS, LANGUAGES, find
from aha.data.sources import Row
from aha.rewards.places import choice_text
from aha.tasks import coreference, rows
from aha.tasks.base import Task
from aha.tasks.rows import RowReader, language_of
from aha.types import AhaError, FaultyRow, Outcome, Problem, Verdict

LETTERS = "ABCDEFGHIJ"
MAX_CHARS = 4000
_QUESTIONS = ("question", "problem", "prompt", "Question", "input")
_ANSWERS = ("answer", "answerKey", "answer_key", "Answer", "label", "target", "answer_index", "gold")
_WRAPPING = re.compile(r"\\(?:text|textbf|mathrm|mathbf|boxed)(?![a-z])|[{}$*_`\\]")
_LETTER = re.compile(r"\(?\[?([A-J])\]?\)?\.?", re.IGNORECASE)
_LEADING = re.compile(
    r"(?:the )?(?:correct |final )?(?:answer|option|choice)?(?: is)?:?\s*\(?\[?([A-J])(?:[).\]:、，：]|\s*[-–—]\s)",
    re.IGNORECASE,
)
_PHRASE = re.compile(
    r"(?:answer|option|choice)(?: is|:| would be)*:?\s*\(?\[?([A-J])(?![A-Za-z])"
    r"|(?:答案|选项?)(?:是|为|：|:)*\s*[（(]?([A-J])(?![A-Za-z])",
    re.IGNORECASE,
)
_PHRASE_IS_CASELESS = re.compile(r"(?<![A-Za-z])[A-J](?![A-Za-z'])")


def read_options(row: Row) -> tuple[list[str], int] | None:
    """(options, index of the right one) of a row in one of the schemas in use; None if it has none. Raises AhaError
    where its columns contradict each other."""
    if isinstance(row.get("Correct Answer"), str):
        return _shuffled(row)
    options = _options(row)
    if options is None:
        return None
    labels, texts = options
    answers = {key: at for key in _ANSWERS if (at := _index(row.get(key), labels, texts)) is not None}
    named = {key: at for key, at in answers.items() if "answer" in key.lower()}
    if len(set(named.values())) > 1:
        said = ", ".join(f"{key}={row[key]!r}" for key in named)
        raise AhaError(f"the columns name different options as the right one: {said}")
    return (texts, next(iter(answers.values()))) if answers else None


def has_options(row: Row) -> bool:
    """Whether a row is a multiple-choice question, be its right option stated well or not."""
    try:
        return read_options(row) is not None
    except AhaError:
        return True


def _shuffled(row: Row) -> tuple[list[str], int]:
    """GPQA names the right answer first: the order is drawn from the question's text."""
    texts = [str(row["Correct Answer"]).strip()]
    texts += [
        str(row[f"Incorrect Answer {i}"]).strip() for i in range(1, 4) if row.get(f"Incorrect Answer {i}")
    ]
    right = texts[0]
    random.Random(str(row.get("Question"))).shuffle(texts)
    return texts, texts.index(right)


def _options(row: Row) -> tuple[list[str], list[str]] | None:
    """(labels, texts)."""
    choices = row.get("choices", row.get("options"))
    if isinstance(choices, Mapping) and isinstance(choices.get("text"), Sequence):
        return [str(label) for label in choices.get("label", LETTERS)], [str(t) for t in choices["text"]]
    if isinstance(choices, Mapping):
        return [str(k) for k in choices], [str(v) for v in choices.values()]
    if isinstance(choices, Sequence) and not isinstance(choices, str):
        texts = [re.sub(r"^\(?[A-J][).:]\s+", "", str(t)) for t in choices]
        return list(LETTERS[: len(texts)]), texts
    letters = [c for c in LETTERS if isinstance(row.get(c), (str, int, float))]
    if letters and "".join(letters) == LETTERS[: len(letters)]:
        return letters, [str(row[c]) for c in letters]
    return None


def _index(value: Any, labels: Sequence[str], texts: Sequence[str]) -> int | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return value if 0 <= value < len(texts) else None
    text = str(value).strip()
    for label in (text, text.strip("().").upper()):
        if label in labels:
            return labels.index(label)
    return texts.index(text) if texts.count(text) == 1 else None


def question_text(question: str, options: Sequence[str], language: str = "en") -> str:
    """The question with lettered options and what form the answer takes."""
    listed = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))
    closing = "只用选项的字母回答。" if language == "zh" else "Answer with the letter of the right option."
    return f"{question.strip()}\n{listed}\n{closing}"


def make_problem(row: Row, number: int, name: str = "choice") -> Problem:
    """The problem in a row. Raises AhaError naming the row if it lacks a question, options or the answer."""
    row = coreference.as_choice(row) or row
    _check_marked(row, number)
    question = next((row[k] for k in _QUESTIONS if isinstance(row.get(k), str) and row[k].strip()), None)
    read = read_options(row)
    if question is None or read is None:
        missing = "question" if question is None else "options with a right one among them"
        raise AhaError(
            f"Row {number} has no {missing}: its columns are {sorted(row)}. Wanted: question; choices, options "
            "or A, B, C, D; and answer (a letter, an index or the option's text)."
        )
    options, right = read
    if not 2 <= len(options) <= len(LETTERS):
        raise AhaError(f"Row {number} has {len(options)} options; 2 to {len(LETTERS)} can be lettered.")
    language = language_of(question, _said(row, LANGUAGES))
    return Problem(
        id=f"{name}-{number}",
        task=name,
        messages=({"role": "user", "content": question_text(question, options, language)},),
        answer=LETTERS[right],
        language=language,
        metadata={
            "content": question,
            "options": tuple(options),
            "domain": _said(row, (*DOMAINS, "Subdomain", "High-level domain")),
        },
    )


def _check_marked(row: Row, number: int) -> None:
    """Raise FaultyRow for a question in which MMLU-Redux's annotators found an error."""
    error = row.get("error_type")
    if isinstance(error, str) and error not in ("", "ok"):
        raise FaultyRow(f"Row {number}: its annotators say {error}")


def _said(row: Row, paths: Sequence[str]) -> str:
    """The text that a row has under the first of these names; "" without one."""
    texts = (find(row, path) for path in paths)
    return next((text for text in texts if isinstance(text, str) and text), "")


# --- grading -------------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """A text as it is compared: without mark-up, case, spaces and a full stop."""
    return " ".join(_WRAPPING.sub(" ", text).split()).casefold().rstrip(".。 ")


def read_choice(text: str, options: Sequence[str]) -> str | None:
    """The letter that a short answer gives: alone, in brackets, before its option's text, or as that text
    (where one option alone has it). None if it gives no letter, or one that no option has."""
    plain = " ".join(_WRAPPING.sub(" ", text[:MAX_CHARS]).split())
    letters = LETTERS[: len(options)]
    alone = _LETTER.fullmatch(plain.rstrip("。 "))
    by_text = [letter for letter, o in zip(letters, options, strict=True) if _plain(o) == _plain(plain)]
    if len(by_text) == 1 and not (alone and alone[1].upper() in letters):
        return by_text[0]
    match = alone or _LEADING.match(plain + " ")
    if match is None:
        phrase = list(_PHRASE.finditer(plain)) if len(plain) < 200 else []
        letter = next((g for g in phrase[-1].groups() if g), "") if phrase else ""
    else:
        letter = match[1]
    return letter.upper() if letter and letter.upper() in letters else None


def _grade(problem: Problem, letter: str | None, words: str) -> Verdict:
    if letter is None:
        return Verdict(Outcome.WRONG, f"names no option: {words[:60]!r}")
    if letter == problem.answer:
        return Verdict(Outcome.CORRECT)
    return Verdict(Outcome.WRONG, f"{letter}, not {problem.answer}")


def verify(problem: Problem, text: str) -> Verdict:
    """Grade the letter (or the option's text) where the prompt asked for it: in the answer tags, in the last line that
    says "Answer:", or in the last box."""
    stated = choice_text(problem, text)
    if stated is None or not stated.strip():
        return Verdict(Outcome.NO_ANSWER, "no answer where the prompt asks for it, after the thinking")
    return _grade(problem, read_choice(stated, problem.metadata["options"]), stated)


def verify_lenient(problem: Problem, text: str) -> Verdict:
    """The same; without tags and box, what "the answer is" says last, else the last capital letter alone."""
    stated = choice_text(problem, text)
    if stated is not None and stated.strip():
        return _grade(problem, read_choice(stated, problem.metadata["options"]), stated)
    tail = (chat.parse(text).body or text)[-MAX_CHARS:]
    letters = LETTERS[: len(problem.metadata["options"])]
    said = [g for match in _PHRASE.finditer(tail) for g in match.groups() if g]
    said = said or _PHRASE_IS_CASELESS.findall(tail)
    said = [letter.upper() for letter in said if letter.upper() in letters]
    if not said:
        return Verdict(Outcome.NO_ANSWER, "names no option")
    return _grade(problem, said[-1], said[-1])


def vote(problem: Problem, text: str) -> str | None:
    """The letter as a ballot; an answer that names no option votes for itself."""
    stated = choice_text(problem, text)
    if stated is None or not stated.strip():
        return None
    return read_choice(stated, problem.metadata["options"]) or "unread:" + _plain(stated)[:80]


# --- loading -------------------------------------------------------------------------------------------


def prove(problem: Problem, row: Row) -> str:
    """Why the row's own answer is not judged right, as letter or in words, or another one is; "" where all is
    well."""
    options = problem.metadata["options"]
    if verify(problem, f"\\boxed{{{problem.answer}}}").outcome is not Outcome.CORRECT:
        return f"its own answer {problem.answer} is not judged right"
    texts = [_plain(option) for option in options]
    if texts.count(texts[LETTERS.index(str(problem.answer))]) > 1:
        return "two of its options are the right one"
    others = (letter for letter in LETTERS[: len(options)] if letter != problem.answer)
    if any(verify(problem, f"\\boxed{{{letter}}}").outcome is Outcome.CORRECT for letter in others):
        return "more than one of its options is judged right"
    return ""


READER = RowReader(make_problem, prove)


def task(source: str | None, name: str = "choice", test_source: str | None = None) -> Task:
    """Multiple choice over the rows of ``source``: a file, or ``hub/name`` or ``hub/name:config``."""

    def load_split(split: str, n: int, seed: int) -> list[Problem]:
        return rows.load(READER, name, split, n, seed, source, test_source)

    return Task(name, load_split, verify, verify_lenient, vote, lambda p: str(p.metadata["domain"] or name))
