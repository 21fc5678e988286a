"""General questions with a notion of helpful and safe answers: the closed world's, graded by rubric.

The rubric is the true preference of the miniature; a reward model or a judge stands in for it in training, and
is measured against it here.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from aha.tasks.base import Task
from aha.tasks.general_world import Item, find, items, kinds
from aha.tasks.rubric import GOOD_ENOUGH, Rubric, RubricScore, final_text, score
from aha.tasks.splits import check_split, short_hash, split_of
from aha.types import AhaError, Outcome, Problem, Verdict


@dataclass(frozen=True, slots=True)
class GeneralDifficulty:
    """Which kinds of questions, the share of harmful ones, and the share asked in Chinese."""

    kinds: tuple[str, ...] = ("greet", "sorry", "thank", "list", "opposite", "tip", "care")
    harmful: float = 0.2
    chinese: float = 0.3


ALL = GeneralDifficulty()


def make_problem(item: Item, language: str, wording: int = 0) -> Problem:
    """A Problem whose metadata hold the kind and the rubric as plain data."""
    text = item.wordings[language][wording % len(item.wordings[language])]
    return Problem(
        id=f"general-{item.kind}-{short_hash(text)}",
        task="general",
        messages=({"role": "user", "content": text},),
        language=language,
        metadata={
            "kind": item.kind,
            "slots": item.slots,
            "harmful": item.kind == "harm",
            "rubric": item.rubrics[language].as_dict(),
        },
    )


def questions(difficulty: GeneralDifficulty, split: str) -> dict[str, list[tuple[Item, str, int]]]:
    """Every (item, language, wording) of a split by kind. Raises AhaError for a kind there is not."""
    unknown = sorted(set(difficulty.kinds) - set(kinds()))
    if unknown:
        raise AhaError(f"General questions have no kinds {', '.join(unknown)}. Known: {', '.join(kinds())}.")
    by_kind: dict[str, list[tuple[Item, str, int]]] = {}
    for item in items():
        share = difficulty.harmful if item.kind == "harm" else item.kind in difficulty.kinds
        if not share or split_of(item.key) != split:
            continue
        for language, wordings in item.wordings.items():
            if difficulty.chinese < 1 if language == "en" else difficulty.chinese > 0:
                by_kind.setdefault(item.kind, []).extend((item, language, i) for i in range(len(wordings)))
    return by_kind


def load(difficulty: GeneralDifficulty, split: str, n: int, seed: int) -> list[Problem]:
    """At most ``n`` different questions of a split, the same for one seed: the kind is drawn first, then the
    question. The world is closed: fewer come back where a split has no more."""
    check_split("general", split)
    rng = random.Random(f"general:{split}:{seed}")
    left = questions(difficulty, split)
    for members in left.values():
        rng.shuffle(members)
    problems: list[Problem] = []
    while left and len(problems) < n:
        kind = _draw_kind(list(left), difficulty.harmful, rng)
        language = "zh" if rng.random() < difficulty.chinese else "en"
        problems.append(make_problem(*_take(left[kind], language)))
        if not left[kind]:
            del left[kind]
    return problems


def _draw_kind(kinds_left: list[str], harmful: float, rng: random.Random) -> str:
    harmless = [kind for kind in kinds_left if kind != "harm"]
    if "harm" in kinds_left and (not harmless or rng.random() < harmful):
        return "harm"
    return rng.choice(harmless)


def _take(pool: list[tuple[Item, str, int]], language: str) -> tuple[Item, str, int]:
    """The last question in that language, else the last of all; it is taken out."""
    index = next((i for i in reversed(range(len(pool))) if pool[i][1] == language), len(pool) - 1)
    return pool.pop(index)


# --- grading -------------------------------------------------------------------------------------------


def rubric_of(problem: Problem) -> Rubric:
    """The problem's rubric. Raises AhaError if it has none."""
    data = problem.metadata.get("rubric")
    if data is None:
        raise AhaError(f"Problem {problem.id} has no rubric: only questions of the task general have one.")
    return Rubric.from_dict(data)


def rubric(problem: Problem, text: str) -> RubricScore:
    """The true preference: how helpful (0..1) and whether safe the final text of an answer is."""
    return score(rubric_of(problem), text)


def rubric_for(question: str) -> Rubric | None:
    """The rubric of a question of the closed world by its wording; None for any other text."""
    match = find(question)
    return match[0].rubrics[match[1]] if match else None


def verify(problem: Problem, text: str) -> Verdict:
    """CORRECT where the answer is helpful enough and safe; NO_ANSWER where there is no final text."""
    if not final_text(text).strip():
        return Verdict(Outcome.NO_ANSWER, "nothing after the thinking")
    judged = rubric(problem, text)
    note = f"helpful {judged.helpful:.2f}{'' if judged.safe else ', unsafe'}"
    note += f": {'; '.join(judged.reasons)}" if judged.reasons else ""
    right = judged.safe and judged.helpful >= GOOD_ENOUGH
    return Verdict(Outcome.CORRECT if right else Outcome.WRONG, note)


def verify_lenient(problem: Problem, text: str) -> Verdict:
    """The same, tags taken away where nothing follows the thinking."""
    if final_text(text).strip():
        return verify(problem, text)
    bare = text
    for tag in ("<think>", "</think>", "<answer>", "</answer>"):
        bare = bare.replace(tag, " ")
    return verify(problem, bare)


def vote(problem: Problem, text: str) -> str | None:
    """Refusals vote together; other answers by their words in order."""
    final = final_text(text).strip()
    return " ".join(final.split()).casefold().rstrip(".。!！") if final else None


def task(difficulty: GeneralDifficulty = ALL, name: str = "general") -> Task:
    """General questions."""

    def load_split(split: str, n: int, seed: int) -> list[Problem]:
        return load(difficulty, split, n, seed)

    return Task(name, load_split, verify, verify_lenient, vote, lambda p: str(p.metadata["kind"]))
