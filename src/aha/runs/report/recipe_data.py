"""What a run of the whole recipe left beside its steps: stages, comparisons, data cards, chains of one problem.

As in ``report_data``, nothing is fatal: what is missing or damaged is left out, and counted into ``faults``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from aha.runs.charts import Point, number
from aha.runs.export import StoredStage
from aha.runs.report.data import Json, RunData, as_dict, is_right, read_lines, read_object
from aha.settings import former

COMPARED, CLAIMS = "compare.json", "claims.json"
CARD = "data.card.md"
READ_CHARACTERS = 100_000  # of a data card


@dataclass(frozen=True, slots=True)
class StageNode:
    """One stage of the graph."""

    stage: StoredStage
    fingerprint: str
    finished: bool
    inputs: tuple[str, ...]
    depth: int = 0
    card: Mapping[str, Sequence[str]] = field(
        default_factory=dict
    )  # lines under each heading of its data card

    @property
    def data_hash(self) -> str:
        """SHA-256 of the data that it made, as its card has it; "" for a stage that makes none."""
        matches = (re.search(r"sha256: `([0-9a-f]{64})`", line) for line in self.card.get("", ()))
        return next((match.group(1) for match in matches if match), "")

    @property
    def kind(self) -> str:
        """What kind of stage it is, in words, by the settings that only that kind has."""
        s = self.stage.settings
        kinds = (
            ("algorithm", "reinforcement learning"), ("held_out", "reward model"), ("epochs", "fine-tuning"),
            ("corpus", "pretraining"), ("models", "comparison" if "names" in s else "judged answers"),
            ("domain_ratios", "rejection sampling"), ("review", "cold start data"),
        )  # fmt: skip
        return next((words for key, words in kinds if key in s), "data" if self.card else "")


@dataclass(frozen=True, slots=True)
class Whole:
    """A run of several stages that ends in a comparison of checkpoints."""

    nodes: tuple[StageNode, ...]
    tasks: Mapping[str, Mapping[str, Json]]  # figures by task and checkpoint
    rollouts: Mapping[str, Path]  # by checkpoint: the folder of the comparison that has its chains
    claims: Json

    @property
    def names(self) -> list[str]:
        """The compared checkpoints, in order."""
        return list(dict.fromkeys(name for models in self.tasks.values() for name in models))


def read_whole(run: RunData, faults: list[str]) -> Whole | None:
    """The whole recipe in a run's folder; None for a run without a comparison of checkpoints."""
    tasks: dict[str, dict[str, Json]] = {}
    rollouts: dict[str, Path] = {}
    for path in sorted(run.folder.glob(f"*/{COMPARED}")):
        if ".old" in path.parent.name:
            continue
        for task, models in read_object(path, faults).items():
            by_model = {name: as_dict(figures) for name, figures in as_dict(models).items()}
            tasks.setdefault(task, {}).update({name: f for name, f in by_model.items() if f})
            rollouts |= dict.fromkeys(by_model, path.parent / "rollouts")
    if not any(tasks.values()):
        return None
    return Whole(tuple(stage_nodes(run, faults)), tasks, rollouts, read_object(run.folder / CLAIMS, faults))


def stage_nodes(run: RunData, faults: list[str], waiting: bool = False) -> list[StageNode]:
    """The stages that were begun, inputs before what was made from them as far as the run's settings order them; with
    ``waiting`` those too that the run has yet to begin."""
    planned = as_dict(run.config.get("stages"))
    order = list(planned)
    places = [p.parent for p in run.folder.glob("*/settings.json") if ".old" not in p.parent.name]
    by_name = {place.name: _node(place, faults) for place in places}
    for name in order if waiting else ():
        if name not in by_name:
            by_name[name] = _made_node(run.folder / name, as_dict(planned[name]), {}, "")
    depths = {name: _depth(name, by_name, ()) for name in by_name}
    nodes = [replace(node, depth=depths[name]) for name, node in by_name.items()]
    last = len(order)
    return sorted(
        nodes,
        key=lambda n: (order.index(n.stage.name) if n.stage.name in order else last, n.depth, n.stage.name),
    )


def _node(place: Path, faults: list[str]) -> StageNode:
    record, done = read_object(place / "settings.json", faults), read_object(place / "done.json", faults)
    return _made_node(place, as_dict(record.get("settings")), done, str(record.get("fingerprint", "")))


def _made_node(place: Path, settings: Json, done: Json, fingerprint: str) -> StageNode:
    seconds = number(done.get("seconds")) or 0.0
    stage = StoredStage(
        place.name, former.stored(settings), as_dict(done.get("summary")), seconds, place / "final"
    )
    inputs = tuple(dict.fromkeys(stage.inputs()))
    return StageNode(stage, fingerprint, bool(done), inputs, card=_card(place / CARD))


def _depth(name: str, nodes: Mapping[str, StageNode], trail: tuple[str, ...]) -> int:
    """The longest way from a stage without inputs; a circle, which only damaged files have, ends it."""
    if name in trail:
        return 0
    before = [_depth(i, nodes, (*trail, name)) + 1 for i in nodes[name].inputs if i in nodes]
    return max(before, default=0)


def _card(path: Path) -> dict[str, list[str]]:
    """The lines of a data card by heading; "" are those before the first."""
    if not path.is_file():
        return {}
    sections: dict[str, list[str]] = {"": []}
    heading = ""
    for line in path.read_text(encoding="utf-8", errors="replace")[:READ_CHARACTERS].splitlines():
        if line.startswith("## "):
            heading = line[3:].strip()
            sections[heading] = []
        elif line.strip() and line != "```":
            sections[heading].append(line)
    return sections


# --- chains ------------------------------------------------------------------------------------------------


def slug(name: str) -> str:
    """A name as part of a file's, as comparisons write it."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)


def same_problems(whole: Whole, task: str, most: int, faults: list[str]) -> list[tuple[str, dict[str, Json]]]:
    """Up to ``most`` problems of a task, each with why it is shown and every checkpoint's first answer to it.

    By rule and not by taste: the first problem of the file that the first checkpoint has wrong and the last of
    the recipe's own right, then the first for each other case, then the next ones.
    """
    chains = {name: _first_answers(whole.rollouts[name], name, task, faults) for name in whole.tasks[task]}
    chains = {name: answers for name, answers in chains.items() if answers}
    if not chains or most <= 0:
        return []
    left, right = next(iter(chains)), "r1" if "r1" in chains else list(chains)[-1]
    keys = [key for key in chains[left] if key in chains[right]]

    def case(key: str) -> tuple[bool | None, bool | None]:
        return is_right(chains[left][key]), is_right(chains[right][key])

    cases = list(dict.fromkeys(((False, True), *map(case, keys))))
    picked = [next((k for k in keys if case(k) == c), None) for c in cases]
    chosen = list(dict.fromkeys([k for k in picked if k is not None] + keys))[:most]
    words = {True: "right", False: "wrong", None: "not graded"}
    return [
        (f"{left} {words[case(k)[0]]}, {right} {words[case(k)[1]]}",
         {name: answers[k] for name, answers in chains.items() if k in answers})
        for k in chosen
    ]  # fmt: skip


def _first_answers(folder: Path, name: str, task: str, faults: list[str]) -> dict[str, Json]:
    """The first answer to each problem."""
    answers: dict[str, Json] = {}
    for row in read_lines(folder / f"{slug(name)}.{slug(task)}.jsonl", faults):
        answers.setdefault(str(row.get("problem_id", "")), row)
    return answers


def share_interval(share: float, n: float) -> Point | None:
    """Wilson's 95 % interval of a share of ``n`` rows."""
    if n <= 0 or not 0 <= share <= 1:
        return None
    z = 1.96
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
