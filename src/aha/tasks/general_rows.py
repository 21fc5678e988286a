"""General and harmful prompts from rows of one's own: no rule says which answer is right.

A reward model or a judge grades their answers. Instructions that a program can check (IFEval's columns) are checked.
Rows that repeat a prompt are read once, for one prompt would otherwise weigh as often as its set has judged it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial
from typing import Any

from aha import aside
from aha.chat.prompts import FORM
from aha.data.prompt_rows import PromptRow, read_prompt
from aha.data.sources import Row
from aha.rewards.constraints import constraints_of, unmet
from aha.rewards.language import normalise_language, word_hits
from aha.tasks import rows
from aha.tasks.base import SPLITS, Task
from aha.tasks.rows import WHOLE, RowReader, language_of
from aha.tasks.rubric import final_text
from aha.tasks.splits import check_split, short_hash, split_of
from aha.types import AhaError, Outcome, Problem, Verdict

LATIN = [
    "en",
    "fr",
    "de",
    "es",
    "pt",
    "it",
    "nl",
    "pl",
    "sv",
    "da",
    "no",
    "fi",
    "cs",
    "ro",
    "hu",
    "tr",
    "id",
    "vi",
]
"""Languages of one script that are told apart by their commonest words."""
LEAST_HITS = 3
UNGRADED = "no rule grades this prompt: a reward model or a judge does"


def make_problem(row: Row, number: int, name: str = "general", harmful: bool = False) -> Problem:
    """The prompt in a row; ``harmful``: what it is where the row says nothing. Raises AhaError naming what is wrong."""
    read = read_prompt(row)
    said = str(next((row[c] for c in ("language", "lang") if isinstance(row.get(c), str)), ""))
    constraints = constraints_of(row)
    metadata: dict[str, Any] = {
        "kind": "harmful" if _harm(read, harmful) else "general", "harmful": _harm(read, harmful),
        "layout": read.layout, FORM: "free", "given_pairs": read.pairs, "given_labels": read.labels,
    }  # fmt: skip
    if read.harmful is not None:
        metadata["prompt_label"] = "harmful" if read.harmful else "benign"
    return Problem(
        id=f"{name}-{short_hash(_text(read))}",
        task=name,
        messages=read.messages,
        answer=read.reference,
        language=prompt_language(str(read.messages[-1]["content"]), said),
        metadata=metadata | constraints,
    )


def _harm(prompt: PromptRow, otherwise: bool) -> bool:
    return otherwise if prompt.harmful is None else prompt.harmful


def _text(prompt: PromptRow | Problem) -> str:
    return "\n".join(f"{m['role']}:{m['content']}" for m in prompt.messages)


def prompt_language(text: str, said: str = "") -> str:
    """A prompt's language: by the row's word, by its script, and among Latin ones by the commonest words."""
    try:
        return normalise_language(said) if said else _by_words(text)
    except AhaError:
        return _by_words(text)


def _by_words(text: str) -> str:
    code = language_of(text)
    if code != "en":
        return code
    hits = word_hits(text[:2000], LATIN)
    best = max(LATIN, key=lambda known: hits[known])
    return best if hits[best] >= LEAST_HITS and hits[best] >= 2 * hits["en"] else "en"


def ungraded(problem: Problem) -> bool:
    """Whether a problem is a prompt from a row, which no rule grades."""
    return "given_pairs" in problem.metadata


READER = RowReader(make_problem)
HARMFUL_READER = RowReader(partial(make_problem, harmful=True))


def verify(problem: Problem, text: str) -> Verdict:
    """What a program can say of a prompt that states constraints: whether they are kept, or that nothing is said; of
    any other it can say nothing, UNKNOWN."""
    said = final_text(text)
    not_met = unmet(problem, said)
    if not_met is None:
        return Verdict(Outcome.UNKNOWN, UNGRADED)
    if not said.strip():
        return Verdict(Outcome.NO_ANSWER, "nothing after the thinking")
    wrong = f"does not keep {', '.join(not_met)}"
    return Verdict(Outcome.WRONG, wrong) if not_met else Verdict(Outcome.CORRECT)


def distinct(problems: list[Problem], source: str) -> list[Problem]:
    """Each prompt once; how many rows repeat one is said."""
    by_id: dict[str, Problem] = {}
    for problem in problems:
        by_id[problem.id] = _joined(by_id[problem.id], problem) if problem.id in by_id else problem
    if len(by_id) < len(problems):
        aside.note(
            f"{source}: {len(problems) - len(by_id)} of {len(problems)} rows repeat a prompt; it is asked once."
        )
    return list(by_id.values())


def _joined(first: Problem, other: Problem) -> Problem:
    """The first problem with the judged answers of both rows."""
    both = {k: (*first.metadata[k], *other.metadata[k]) for k in ("given_pairs", "given_labels")}
    return Problem(first.id, first.task, first.messages, first.answer or other.answer, first.language,
                   {**first.metadata, **both})  # fmt: skip


def load(
    name: str, reader: RowReader, source: str | None, test_source: str | None, split: str, n: int, seed: int
) -> list[Problem]:
    """At most ``n`` prompts of a split, the same for one seed. 5% + 5% are held out by their text; of so few rows that
    none falls there, the first by their hash."""
    if split != WHOLE:
        check_split(name, split)
    chosen = test_source if split == "test" and test_source else source
    if chosen is None:
        raise AhaError(
            f"Task {name} has no rows for the {split} split: give it a file (general=FILE, or --data FILE)."
        )
    problems = distinct(rows.read_problems(chosen, reader, name), chosen)
    if split != WHOLE and not (split == "test" and test_source):
        problems = held_out(problems, chosen)[split]
    random.Random(f"{name}:{split}:{seed}").shuffle(problems)
    return problems[:n]


def held_out(problems: list[Problem], source: str) -> Mapping[str, list[Problem]]:
    """Prompts by split. Raises AhaError for fewer than three, which cannot be parted."""
    if len(problems) < len(SPLITS):
        raise AhaError(
            f"'{source}' has {len(problems)} different prompts: give three at least, one for each split."
        )
    splits: dict[str, list[Problem]] = {split: [] for split in SPLITS}
    for problem in problems:
        splits[split_of(_text(problem))].append(problem)
    by_hash = iter(sorted(problems, key=lambda p: p.id))
    for split in ("test", "validation", "train"):
        while not splits[split]:
            _move(splits, next(by_hash), split)
    return splits


def _move(splits: dict[str, list[Problem]], problem: Problem, split: str) -> None:
    """Put a problem into an empty split, unless that would empty its own."""
    home = next(members for members in splits.values() if problem in members)
    if len(home) > 1:
        home.remove(problem)
        splits[split].append(problem)


def task(source: str | None, name: str = "general", test_source: str | None = None) -> Task:
    """Prompts over the rows of ``source``, those of the task ``harmful`` harmful unless they say otherwise."""
    reader = HARMFUL_READER if name == "harmful" else READER

    def load_split(split: str, n: int, seed: int) -> list[Problem]:
        return load(name, reader, source, test_source, split, n, seed)

    return Task(
        name, load_split, verify, verify, lambda problem, text: None, lambda p: str(p.metadata["kind"])
    )
