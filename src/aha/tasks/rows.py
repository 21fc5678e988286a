"""Problems from rows: each is proven by its own grader as it is read, and those that fail are set aside.

What every task over rows shares: reading, proving, splits and languages. A task gives ``make`` (a row as a
problem) and ``prove`` (what is wrong with it, by the grader that will judge answers).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from aha import aside, plugins
from aha.aside import Aside
from aha.data.layouts import DOMAINS, LEVELS, SOLVED, find
from aha.data.sources import Row, is_file_name, numbered_rows
from aha.rewards.language import language_mix, normalise_language
from aha.tasks import turns
from aha.tasks.base import SPLITS
from aha.tasks.splits import PARTS, part_of
from aha.types import AhaError, FaultyRow, Problem, TestCase

WHOLE = "all"
"""The split that is every row of the source."""
_ROW = re.compile(r"^Row \d+:? ?")
"""How an error names its row, where the line is named already."""
Make = Callable[[Row, int, str], Problem]
"""(row, its number from 1, the task's name) -> its problem. Raises AhaError where it has none."""
Prove = Callable[[Problem, Row], str]
"""(problem, row) -> why its own reference is not judged as it must be; "" for a proven one."""


@dataclass(frozen=True, slots=True)
class RowReader:
    """How a task reads rows. ``own_turns``: ``make`` reads rows of several turns itself."""

    make: Make
    prove: Prove | None = None  # None: a row has no reference that could be proven
    own_turns: bool = False


@dataclass(slots=True)
class MatchedRow:
    """A source's rows: the problems, and those set aside."""

    source: str
    rows: int = 0
    problems: list[Problem] = field(default_factory=list)
    aside: list[Aside] = field(default_factory=list)
    columns: dict[str, int] = field(default_factory=dict)  # how many rows have each
    used: set[str] = field(default_factory=set)

    @property
    def unused(self) -> list[str]:
        """Columns that nothing was read from."""
        return [column for column in self.columns if column not in self.used]


class Watched(dict[str, Any]):
    """A row that notes which of its columns are looked at."""

    def __init__(self, row: Row):
        super().__init__(row)
        self.seen: set[str] = set()
        self.of_turns: set[str] = set()  # those that its turns were read from

    def __getitem__(self, column: str) -> Any:
        self.seen.add(column)
        return super().__getitem__(column)

    def get(self, column: str, default: Any = None) -> Any:
        self.seen.add(column)
        return super().get(column, default)

    def used_by(self, problem: Problem) -> set[str]:
        """The columns that went into a problem: those it names itself, else all that were looked at."""
        named = problem.metadata.get("columns")
        own = {path.split(" ")[0].split(".")[0] for path in named} if named else self.seen & self.keys()
        return own | (self.of_turns & self.keys())


def read(source: str, reader: RowReader, name: str, hub_split: str = "train") -> MatchedRow:
    """Every row of a source, proven. Raises AhaError for a source that cannot be read."""
    path = Path(source).expanduser()
    if not path.is_file():
        return _read(source, reader, name, hub_split)
    stat = path.stat()
    return _read_file(source, reader, name, stat.st_size, stat.st_mtime_ns, plugins.wanted())


@lru_cache(maxsize=8)
def _read_file(
    source: str, reader: RowReader, name: str, size: int, changed: int, columns: frozenset[str]
) -> MatchedRow:
    """A file is read once in a process, as long as it does not change, nor the columns that are kept of its rows."""
    return _read(source, reader, name, "train")


def _read(source: str, reader: RowReader, name: str, hub_split: str) -> MatchedRow:
    matched = MatchedRow(source)

    def drop(where: str, why: str) -> None:
        matched.aside.append(Aside(where, why))

    for number, (where, row) in enumerate(numbered_rows(source, hub_split, drop), 1):
        for column in row:
            matched.columns[column] = matched.columns.get(column, 0) + 1
        watched = Watched(row)
        try:
            problem, wrong = _made(watched, reader, number, name)
            matched.used |= watched.used_by(problem)
            problem = _with_columns(_with_level(problem, watched, matched.used), watched, matched.used)
        except FaultyRow as error:
            matched.aside.append(Aside(where, _ROW.sub("", str(error)), published=True))
            continue
        except AhaError as error:
            drop(where, _ROW.sub("", str(error)))
            continue
        if wrong:
            drop(where, wrong)
        else:
            matched.problems.append(problem)
    matched.rows = len(matched.problems) + len(matched.aside)
    return matched


def _made(row: Watched, reader: RowReader, number: int, name: str) -> tuple[Problem, str]:
    """(a row's problem, what is wrong with it); of a row of several turns, with those behind the first."""
    looked = Watched(row)  # looking for turns is no use of a column, unless there are some
    several = [] if reader.own_turns else turns.rows_of(looked)
    row.of_turns = looked.seen if several else set()
    problems, wrong = [], ""
    for one in several or [row]:
        if turns.is_ungraded(one):
            problems.append(turns.unruled(one, number, name))
            continue
        problems.append(reader.make(one, number, name))
        wrong = wrong or (reader.prove(problems[-1], one) if reader.prove is not None else "")
    return turns.joined(problems), wrong


def _with_level(problem: Problem, row: Row, used: set[str]) -> Problem:
    """The problem with the row's level and domain, where its task did not read them."""
    told: dict[str, Any] = {}
    for key, paths in (("level", LEVELS), ("domain", DOMAINS), ("level", SOLVED)):
        if key in told or problem.metadata.get(key) not in (None, ""):
            continue
        path = next((p for p in paths if _is_plain(find(row, p))), None)
        if path is not None:
            told[key] = difficulty_of(None, find(row, path)) if paths is SOLVED else find(row, path)
            used.add(path.split(".")[0])
    return replace(problem, metadata={**problem.metadata, **told}) if told else problem


def _with_columns(problem: Problem, row: Row, used: set[str]) -> Problem:
    """The problem with those of its row's columns that an own reward looks at."""
    kept = {column: row[column] for column in plugins.wanted() & row.keys()}
    used |= kept.keys()
    return replace(problem, metadata={**problem.metadata, "row": kept}) if kept else problem


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != ""


def read_problems(source: str, reader: RowReader, name: str, hub_split: str = "train") -> list[Problem]:
    """The proven problems of a source. Raises AhaError where too many of its rows fail (``aside``)."""
    matched = read(source, reader, name, hub_split)
    aside.report(source, matched.rows, matched.aside)
    if matched.unused:
        aside.note(
            f"{source}: columns not used: {', '.join(matched.unused)} (aha data check says what could be)."
        )
    if not matched.problems:
        raise AhaError(f"'{source}' has no rows.")
    return matched.problems


def load(
    reader: RowReader, name: str, split: str, n: int, seed: int, source: str | None, test_source: str | None
) -> list[Problem]:
    """At most ``n`` problems of a split, always the same for one seed.

    Without a test file 5% + 5% of the questions are held out by their text, so that equal questions never stand
    on both sides; with one, its rows are the test split. ``WHOLE`` is every row of the source.
    """
    if split not in (*SPLITS, WHOLE):
        raise AhaError(f"Task {name} has no split '{split}'. Use one of {', '.join((*SPLITS, WHOLE))}.")
    if split == "test" and test_source:
        problems = [
            replace(
                p, id=f"{name}-test-{p.id.rpartition('-')[2]}"
            )  # numbers that the other file's rows have, too
            for p in read_problems(test_source, reader, name, "test")
        ]
    elif not source:
        raise AhaError(f"Task {name} has no rows for the {split} split: give --data FILE.")
    elif split == WHOLE:
        problems = read_problems(source, reader, name, "train" if is_file_name(source) else "test")
    else:
        parts = PARTS[split] if not test_source or split == "validation" else (0, *PARTS["train"])
        problems = [p for p in read_problems(source, reader, name) if part_of(_content(p)) in parts]
    if not problems:
        raise AhaError(
            f"{source} has no rows for the {split} split: 5% of the questions are held out for it by their text, and "
            "none of these fell there. Give more rows"
            + (", or leave validation away with eval_every=0." if split == "validation" else ".")
        )
    problems = list(problems)
    random.Random(f"{name}:{split}:{seed}").shuffle(problems)
    return problems[:n]


def _content(problem: Problem) -> str:
    """What is asked, without what the task puts around it: rows of equal content are in one split."""
    return str(problem.metadata.get("content", problem.messages[-1]["content"])).strip()


# --- what a row says of itself -----------------------------------------------------------------------------


def language_of(text: str, said: str = "") -> str:
    """A row's language as ISO 639-1: by its own word where that is known, else by the script of most words.

    Languages of one script are not told apart: a Latin text without a word of its own is English.
    """
    if said:
        try:
            return normalise_language(said)
        except AhaError:
            pass
    if text.isascii():
        return "en"
    shares = language_mix(text[:2000], "en").shares
    most = max(shares, key=lambda code: shares[code], default="en")
    if shares.get("ja", 0.0) > 0.1:  # kana beside Chinese characters
        return "ja"
    return most if most in _TOLD and shares[most] > 0.5 else "en"


_TOLD = frozenset(
    [
        "zh",
        "ja",
        "ko",
        "ru",
        "ar",
        "hi",
        "el",
        "he",
        "bn",
        "ta",
        "te",
        "ka",
        "hy",
        "th",
        "pa",
        "gu",
        "or",
        "kn",
        "ml",
    ]
    + ["si", "am", "lo", "km", "my"]
)


def difficulty_of(level: Any, solved: float | None = None) -> Any:
    """What curricula order problems by: the row's level, or how often it was not solved."""
    return level if level is not None else (None if solved is None else round(1 - solved, 6))


def facet(problem: Problem) -> str:
    """The kind of a problem: its level where rows say one in a few words, else its domain."""
    level = problem.metadata.get("level")
    if isinstance(level, (str, int)):
        return f"level {level}" if isinstance(level, int) else level
    return str(problem.metadata.get("domain") or problem.task)


LARGEST = 1 << 16
"""Characters of JSON that a problem's tests may take in a rollout file; larger ones stay in their own rows."""


def as_row(problem: Problem) -> dict[str, Any]:
    """A problem as a row from which its task reads it again: question, answers, tests, options, level, language.

    Without its tests where they are larger than ``LARGEST``.
    """
    meta = problem.metadata
    if turns.later(problem):
        first = replace(problem, metadata={**meta, turns.TURNS: ()})
        return {"task": problem.task, turns.TURNS: [as_row(one) for one in (first, *turns.later(problem))]}
    row: dict[str, Any] = {"task": problem.task, "language": problem.language}
    if turns.without_rules(problem):
        return row | {"prompt": problem.messages[-1]["content"], turns.UNGRADED: True}
    row |= {key: meta[key] for key in ("level", "domain", "instruction_id_list", "kwargs") if meta.get(key)}
    if meta.get("options"):
        return row | {"question": meta["content"], "choices": list(meta["options"]), "answer": problem.answer}
    asked = [dict(m) for m in problem.messages]
    row["question" if len(asked) == 1 else "messages"] = asked[0]["content"] if len(asked) == 1 else asked
    if isinstance(problem.answer, tuple):
        tests = [asdict(test) for test in problem.answer]
        return row | ({"tests": tests} if len(json.dumps(tests, default=str)) <= LARGEST else {})
    golds = meta.get("answers")
    return row | {"answer": list(golds) if golds else problem.answer}


def stored_tests(row: Row) -> tuple[TestCase, ...]:
    """The tests of a row that ``as_row`` wrote; none of another."""
    tests = row.get("tests")
    if not isinstance(tests, list) or not all(isinstance(t, dict) and "kind" in t for t in tests):
        return ()
    known = TestCase.__dataclass_fields__.keys()
    return tuple(TestCase(**{key: value for key, value in test.items() if key in known}) for test in tests)
