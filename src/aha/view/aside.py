"""Findings of other commands, for the page's tabs: asked in a process of their own, which fetches nothing and gives its
memory back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import anyio.to_thread

from aha import plugins
from aha.runs.charts import number, show
from aha.runs.report.data import Json, as_dict, read_object
from aha.settings import former
from aha.types import AhaError
from aha.view.blocks import FindingBlock
from aha.view.child_process import child_command

PATIENCE = 600.0
"""Seconds that a command may take."""
FOUND = (0, 3)
"""Exit codes of a command that has something to say."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
LONGEST = 600
PROGRESS = re.compile(r"step (\d+) of (\d+)")
_running: set[subprocess.Popen[str]] = set()
_one = threading.Semaphore(1)  # whoever trains here comes first


def asked(*words: str | Path) -> Any:
    """What ``aha WORDS --json`` prints. Raises AhaError with its own words where it fails."""
    with _one:
        ran = subprocess.Popen(
            child_command("aha", *words, "--json"), stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **OFFLINE},
        )  # fmt: skip
        _running.add(ran)
        try:
            out, err = ran.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise AhaError(f"aha {words[0]} took more than {PATIENCE:.0f} s. Ask in a terminal.") from None
        finally:
            ran.kill()
            ran.wait()
            _running.discard(ran)
    try:
        if ran.returncode in FOUND:
            return json.loads(out)
    except ValueError:
        pass
    said = err.strip().splitlines()
    raise AhaError(said[-1] if said else f"aha {words[0]} ended with {ran.returncode}, and said nothing.")


async def poured(*words: str | Path) -> AsyncIterator[list[int] | Json]:
    """The same for a command that says on stderr how far it is: [done, of] again and again, and at last what it prints.
    Who stops listening ends it. Raises AhaError as ``asked`` does, and where another command is looking."""
    if not _one.acquire(blocking=False):
        raise AhaError("Another look at a run is under way. Ask again when it has ended.")
    try:
        with tempfile.TemporaryFile("w+", encoding="utf-8") as out, _begun(words, out) as ran:
            last = ""
            assert ran.stderr is not None
            while line := await anyio.to_thread.run_sync(ran.stderr.readline, abandon_on_cancel=True):
                if step := PROGRESS.fullmatch(line.strip()):
                    yield [int(part) for part in step.groups()]
                elif line.strip():
                    last = line.strip()
            code = await anyio.to_thread.run_sync(ran.wait, abandon_on_cancel=True)
            if code not in FOUND:
                raise AhaError(last or f"aha {words[0]} ended with {code}, and said nothing.")
            out.seek(0)
            yield json.load(out)
    finally:
        _one.release()


@contextmanager
def _begun(words: Sequence[str | Path], out: IO[str]) -> Iterator[subprocess.Popen[str]]:
    """The command that says how far it is; it ends with the block."""
    ran = subprocess.Popen(
        child_command("aha", *words, "--json", "--progress"), stdin=subprocess.DEVNULL, text=True,
        stdout=out, stderr=subprocess.PIPE, env={**os.environ, **OFFLINE},
    )  # fmt: skip
    _running.add(ran)
    try:
        yield ran
    finally:
        ran.kill()
        ran.wait()
        _running.discard(ran)


def end() -> None:
    """End the commands that run: the server stops."""
    for ran in list(_running):
        ran.kill()


def refuse_own_code(run: Path) -> None:
    """Raise AhaError for a run whose settings name code of one's own, which these commands would run."""
    for settings in as_dict(read_object(run / "config.json", []).get("stages")).values():
        if parts := plugins.parts_of(former.stored(as_dict(settings))):
            raise AhaError(
                f"The run has a part of one's own ({parts[0]}), which this page does not run. Ask in a terminal."
            )


# --- aha diagnose ------------------------------------------------------------------------------------------


def diagnosis(runs: Sequence[Path]) -> list[FindingBlock]:
    """What is wrong with a run, with evidence and what to change: ``aha diagnose``."""
    refuse_own_code(runs[0])
    return diagnosed(asked("diagnose", runs[0].resolve()))


def diagnosed(said: Json) -> list[FindingBlock]:
    """A diagnosis as blocks, what lasts and explains the rest first."""
    illnesses = sorted(said["found"], key=lambda illness: not _grave(illness))
    blocks = [_illness(illness) for illness in illnesses]
    if said["healthy"] and said.get("nothing"):
        blocks.insert(0, FindingBlock("There is nothing to look at", [f"{said['nothing']}."]))
    elif said["healthy"]:
        blocks.insert(0, FindingBlock("Healthy", ["Nothing lasting was found."], tone="good"))
    notes = [str(note) for note in said["notes"]]
    return [*blocks, FindingBlock("What could not be looked at", notes)] if notes else blocks


def _grave(illness: Json) -> bool:
    return bool(illness["lasting"]) and not illness["explained_by"]


def _illness(illness: Json) -> FindingBlock:
    where = f"{illness['stage']}, first at step {illness['step']}"
    texts = [where, *illness["evidence"], illness["advice"]]
    if illness["settings"]:
        texts.append(f"To change: {', '.join(illness['settings'])}")
    if illness["explained_by"]:
        texts.append(f"It follows from: {', '.join(illness['explained_by'])}")
    if not illness["lasting"]:
        texts.append("It has passed.")
    links = [
        (f"Step {sample['step']}, {sample['problem_id']}, member {sample['member']}: {_short(sample['text'])}",
         {"stage": illness["stage"], "part": "steps", "step_from": str(sample["step"]), "step_to": str(sample["step"]),
          "problem": str(sample["problem_id"])})
        for sample in illness["samples"]
    ]  # fmt: skip
    return FindingBlock(illness["title"], texts, links=links, tone="bad" if _grave(illness) else "")


def _short(text: Any) -> str:
    words = " ".join(str(text).split())
    return words if len(words) <= 120 else words[:119] + "…"


# --- aha compare -------------------------------------------------------------------------------------------


def comparison(runs: Sequence[Path]) -> list[FindingBlock]:
    """Runs side by side: ``aha compare``."""
    return compared(asked("compare", *(run.resolve() for run in runs)))


def compared(said: Json) -> list[FindingBlock]:
    """A comparison as blocks: what can be told apart, settings that differ, figures, samples."""
    runs = [str(run) for run in said["runs"]]
    blocks = [_pair(pair) for pair in said["pairs"]]
    settings = [[row["name"], *map(_value, row["values"])] for row in said["settings"]]
    blocks.append(
        FindingBlock(
            "Settings that differ", [] if settings else ["The same in all."], ["setting", *runs], settings
        )
    )
    figures = [[f"{row['stage']} {row['key']}", *_figures(row)] for row in said["figures"]]
    blocks.append(FindingBlock("Figures: the last, and the best in brackets", [], ["figure", *runs], figures))
    return [*blocks, FindingBlock("Notes", said["notes"])] if said["notes"] else blocks


def _pair(pair: Mapping[str, Any]) -> FindingBlock:
    rows = [
        [
            name,
            _short(solved["question"]),
            _short(solved["right"]),
            f"{_short(solved['wrong'])} ({solved['why']})",
        ]
        for name, side in ((pair["first"], "first_only"), (pair["second"], "second_only"))
        for solved in pair[side]
    ]
    head = ["solved by", "question", "its answer", "the other's answer"]
    tone = "good" if pair["told_apart"] else ""
    return FindingBlock(f"{pair['first']} and {pair['second']}", [pair["sentence"]], head, rows, tone=tone)


def _value(value: Any) -> str:
    return "–" if value is None else str(value)[:LONGEST]


def _figures(row: Mapping[str, Any]) -> list[str]:
    kind = "rate" if row["key"].startswith(("rewards/accuracy", "rewards/format", "pass@1")) else "number"
    pairs = zip(row["last"], row["best"], strict=True)
    return [
        show(number(a), kind) + (f" ({show(number(b), kind)})" if b is not None else "") for a, b in pairs
    ]
