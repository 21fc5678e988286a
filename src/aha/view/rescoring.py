"""Stored rollouts graded by other rewards from the page: ``aha rescore``, with its progress."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.requests import Request

from aha.files import free_name
from aha.rewards import DESCRIPTIONS
from aha.runs.charts import number, show
from aha.runs.report.data import Json, as_dict, read_object, read_run
from aha.settings import former
from aha.types import AhaError
from aha.view import aside
from aha.view.blocks import FindingBlock
from aha.view.shelf import RunShelf

MOST_LINES = 24
"""Steps in the table, evenly over all."""


class RescoreAnswers:
    """What can be graded anew, and the grading. ``own``: the viewer's folder, where every rollout is written."""

    def __init__(self, shelf: RunShelf, own: Path):
        self.shelf, self.own = shelf, own

    def there(self, request: Request) -> dict[str, Any]:
        """The stages of a run that have rollouts, the rewards it paid, and those that there are."""
        place = self.shelf.folder(request.query_params.get("run", ""))
        stages = {stage.name: files for stage in read_run(place).stages if (files := _steps(stage.folder))}
        known = as_dict(read_object(place / "config.json", []).get("stages"))
        paid = {name: _paid(as_dict(known.get(name))) for name in stages}
        return {"stages": stages, "paid": paid, "rewards": DESCRIPTIONS}

    async def answer(self, said: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """Lines of JSON: ``progress`` [done, of], at last ``blocks`` or ``error``. Raises AhaError at once for what is
        no question."""
        name, words = str(said.get("run", "")), asked_words(said)
        place = self.shelf.folder(name)
        if said.get("stage"):
            self.shelf.stage_folder(name, str(said["stage"]))
        aside.refuse_own_code(place)
        self.own.mkdir(parents=True, exist_ok=True)
        output = free_name(self.own / f"rescored_{place.name}.jsonl")
        return _lines(place.resolve(), ["rescore", place.resolve(), *words, "--output", output])


def _steps(stage: Path) -> int:
    return sum(1 for _ in (stage / "rollouts").glob("step_*.jsonl"))


def _paid(settings: Json) -> dict[str, float]:
    weights = as_dict(former.stored(settings).get("rewards"))
    return {name: weight for name, value in weights.items() if (weight := number(value)) is not None}


def asked_words(said: Mapping[str, Any]) -> list[str]:
    """The command's words. Raises AhaError for rewards without a weight, and for what is no number of steps."""
    rewards, steps, stage = said.get("rewards"), said.get("steps"), said.get("stage")
    if not isinstance(rewards, dict) or not rewards:
        raise AhaError("Choose at least one reward.")
    for name, weight in rewards.items():
        if number(weight) is None or not math.isfinite(float(weight)):
            raise AhaError(f"The weight of {name[:80]} is no number.")
    words = ["--rewards", json.dumps(rewards)]
    if steps is not None:
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise AhaError("The number of steps is a whole number of 1 or more.")
        words += ["--steps", str(steps)]
    return [*words, "--stage", str(stage)] if stage else words


async def _lines(run: Path, words: Sequence[str | Path]) -> AsyncIterator[bytes]:
    try:
        async for news in aside.poured(*words):
            if isinstance(news, list):
                yield _line({"progress": news})
            else:
                yield _line({"blocks": [asdict(block) for block in rescored(news)]})
    except (AhaError, OSError) as error:
        yield _line({"error": str(error)})


def _line(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


# --- what it says ------------------------------------------------------------------------------------------


def rescored(said: Json) -> list[FindingBlock]:
    """A rescoring as blocks: how far both agree, step by step, and the completions that would be moved otherwise."""
    names = ", ".join(f"{weight:g} × {name}" for name, weight in said["rewards"].items())
    count = f"{said['whole']['completions']} rollouts of {len(said['steps'])} steps of {said['stage']}, by {names}."
    flips = number(said["whole"]["flips"])
    tone = "" if flips is None else "good" if flips < 0.1 else "bad"
    written = [f"Every rollout with both rewards: {said['file']}"] if said["file"] else []
    blocks = [FindingBlock("Agreement", [said["sentence"], count, *written], tone=tone), _table(said)]
    if said["flipped"]:
        blocks.append(_flipped(said))
    return [*blocks, FindingBlock("Notes", said["notes"])] if said["notes"] else blocks


def _table(said: Json) -> FindingBlock:
    steps = said["steps"][:: max(1, -(-len(said["steps"]) // MOST_LINES))]
    head = [
        "step",
        "paid",
        "would be paid",
        "groups without signal",
        "would be",
        "not gradable",
        "flips",
        "agreement",
    ]
    rows = [[str(step["step"]), *_figures(step)] for step in steps] + [["all", *_figures(said["whole"])]]
    return FindingBlock("Step by step", ["Means over all rollouts of a step."], head, rows)


def _figures(step: Json) -> list[str]:
    means = [show(number(step[key])) for key in ("reward_before", "reward_after")]
    shares = ("silent_before", "silent_after", "ungradable_after", "flips")
    return [*means, *(show(number(step[key]), "rate") for key in shares), show(number(step["agreement"]))]


def _flipped(said: Json) -> FindingBlock:
    links = [
        (
            f"Step {f['step']}, {f['problem_id']}, member {f['member']}: advantage {f['advantage_before']:+.2f} would "
            f"be {f['advantage_after']:+.2f}. {f['why']}"[:240],
            {
                "stage": said["stage"], "part": "steps", "step_from": str(f["step"]), "step_to": str(f["step"]),
                "problem": str(f["problem_id"]),
            },
        )
        for f in said["flipped"]
    ]  # fmt: skip
    return FindingBlock("Advantages that flip most", links=links)
