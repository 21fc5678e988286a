"""What the page asks about rollouts: pages of them, one with its group, why it was paid, and a grader's mistakes."""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from starlette.requests import Request

from aha.rewards.math import parse_gold
from aha.runs.charts import clean
from aha.runs.growing import as_row
from aha.runs.report.data import Json, as_dict
from aha.settings import former
from aha.types import AhaError
from aha.view.chain import gold, shown
from aha.view.index.asked import RolloutQuery, read_filters
from aha.view.index.keeper import IndexKeeper
from aha.view.index.searching import Row
from aha.view.index.tables import FINISHES
from aha.view.notes import ViewNotes
from aha.view.shelf import RunShelf
from aha.view.why.path import MATH_TASKS, explain, full_text

EXCERPT = 260
"""Characters of a text in a list."""
REGEX_SECONDS = 0.3
"""That a regular expression may take for one text."""
MOST_HITS = 200
"""Different texts that are marked."""


class RolloutRows:
    """Rows of rollout files by their place. Not for several threads at once."""

    def __init__(self, run: Path, files: dict[int, str]):
        self.run, self.files = run, files
        self._open: tuple[int, BinaryIO] | None = None

    def __enter__(self) -> RolloutRows:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._open:
            self._open[1].close()
            self._open = None

    def read(self, row: Row) -> Json:
        """The file's row for a row of the index; empty where the file was changed under it."""
        file, at, size = row[1], row[2], row[3]
        if self._open is None or self._open[0] != file:
            self._close()
            try:
                self._open = (file, (self.run / self.files[file]).open("rb"))
            except (OSError, KeyError):
                return {}
        self._open[1].seek(at)
        return as_row(self._open[1].read(size)) or {}


class RolloutAnswers:
    """The answers; ``close`` ends what works for them in the background."""

    def __init__(self, shelf: RunShelf, notes: ViewNotes):
        self.shelf, self.notes, self.keeper = shelf, notes, IndexKeeper()
        self._grading = threading.Semaphore(2)  # programs of a run must not take the whole machine

    def close(self) -> None:
        """End what works in the background."""
        self.keeper.close()

    def _run(self, request: Request) -> Path:
        return self.shelf.folder(request.query_params.get("run", ""))

    # --- lists ---

    def overview(self, request: Request) -> dict[str, Any]:
        """What there is to filter by, and how far the index is."""
        run = self._run(request)
        with self.keeper.reader(run) as index:
            return {**index.overview(), "index": self.keeper.stand(run)}

    def page(self, request: Request) -> dict[str, Any]:
        """One page of the rollouts that fit."""
        run, asked = self._run(request), read_filters(request.query_params)
        after = request.query_params.get("after", "")
        with self.keeper.reader(run) as index, RolloutRows(run, index.files()) as rows:
            page = index.page(
                asked, after, _fits(asked, rows), lambda row: str(rows.read(row).get("text", ""))
            )
            problems = index.problems([row[5] for row in page.rows])
            lines = [
                _line(row, rows.read(row), problems.get(row[5], {}), rows.files.get(row[1], ""), asked)
                for row in page.rows
            ]
        return {"rows": lines, "next": page.next, "searched": page.searched}

    def count(self, request: Request) -> dict[str, Any]:
        """How many fit, by the index: a regular expression it does not know."""
        asked = read_filters(request.query_params)
        with self.keeper.reader(self._run(request)) as index:
            count, whole = index.count(asked)
        return {"count": count, "whole": whole}

    def groups(self, request: Request) -> list[dict[str, Any]]:
        """The groups of a step."""
        query = request.query_params
        said = query.get("step", "")
        if not re.fullmatch(r"\d{1,18}", said):
            raise AhaError(f"A step is a whole number, not {said[:40]!r}.")
        step = int(said)
        with self.keeper.reader(self._run(request)) as index:
            return index.groups(query.get("stage", ""), query.get("part", "steps"), step)

    # --- one ---

    def one(self, request: Request) -> dict[str, Any]:
        """A rollout and its group, each as it is shown."""
        run, id_ = self._run(request), _id(request.query_params.get("id", ""))
        expression = request.query_params.get("regex", "")
        with self.keeper.reader(run) as index, RolloutRows(run, index.files()) as rows:
            rollout = index.one(id_)
            group = index.group(id_)
            members = [rows.read(row) for row in group]
            problem = problem_row(members)
            flags = {
                (f.get("file"), f.get("at")): f
                for f in self.notes.flags()
                if f.get("run") == request.query_params["run"]
            }
            file = rows.files[rollout[1]]
            said = [
                {**shown(member, problem), "id": row[0], "flag": flags.get((file, row[2]))}
                for row, member in zip(group, members, strict=True)
            ]
        return {
            "id": id_, "file": file, "stage": file.split("/")[0], "members": said, "signal": signal(members),
            "neighbours": [id_ - 1 if id_ > 1 else None, id_ + 1],
            "hits": _hits(expression, [str(member.get("text", "")) for member in members]) if expression else [],
        }  # fmt: skip

    def why(self, said: Json) -> dict[str, Any]:
        """The graders' path over a rollout, asked again."""
        run = self.shelf.folder(str(said.get("run", "")))
        with self.keeper.reader(run) as index, RolloutRows(run, index.files()) as rows:
            group = index.group(_id(said.get("id")))
            members = [rows.read(row) for row in group]
            at = [row[0] for row in group].index(_id(said.get("id")))
            stage = rows.files[group[at][1]].split("/")[0]
        config = self.shelf.figures.run(run).config
        settings = former.stored(as_dict(as_dict(config.get("stages")).get(stage)))
        with self._grading:
            return explain(members, at, problem_row(members), run / stage, settings)

    # --- mistakes ---

    def flags(self, request: Request) -> list[Json]:
        """The graders' mistakes that were noted."""
        return self.notes.flags()

    def flag(self, said: Json) -> Json:
        """Note a grader's mistake on a rollout, or take it back."""
        name = str(said.get("run", ""))
        run = self.shelf.folder(name)
        with self.keeper.reader(run) as index, RolloutRows(run, index.files()) as rows:
            id_ = _id(said.get("id"))
            rollout, members = index.one(id_), [rows.read(row) for row in index.group(id_)]
            row, file = rows.read(rollout), rows.files[rollout[1]]
        place = {"run": name, "file": file, "at": rollout[2]}
        if said.get("remove"):
            return {"removed": self.notes.unflag(place)}
        problem = problem_row(members)
        kept = {key: row.get(key) for key in ("problem_id", "step", "member", "question", "scores", "reward")}
        return self.notes.flag(
            {"gold": gold(row, problem), "prediction": full_text(row), "expected": said.get("expected"),
             "comment": said.get("comment", ""), "task": problem.get("task") or row.get("task"), **place, **kept,
             "problem": problem},
            by_the_math_verifier(row, problem),
        )  # fmt: skip


def by_the_math_verifier(row: Json, problem: Json) -> bool:
    """Whether a rollout was graded by the math verifier, and its reference can be read by it."""
    if str(problem.get("task") or row.get("task")) not in MATH_TASKS:
        return False
    try:
        parse_gold(gold(row, problem))
    except AhaError:
        return False
    return True


def problem_row(members: Sequence[Json]) -> Json:
    """What a group's file says of its problem: with one of its members, the first."""
    return next((m["problem"] for m in members if isinstance(m.get("problem"), dict)), {})


def signal(members: Sequence[Json]) -> dict[str, Any]:
    """Whether a group has a signal, and in words why it has none: every member was paid the same."""
    rewards = [member.get("reward") for member in members]
    graded = [r for r in rewards if isinstance(r, (int, float))]
    if len(set(graded)) > 1:
        return {
            "has": True,
            "words": f"{len(set(graded))} different rewards, from {min(graded):g} to {max(graded):g}",
        }
    notes: dict[str, int] = {}
    for member in members:
        for name, score in as_dict(member.get("scores")).items():
            note = re.sub(r"-?\d+(?:\.\d+)?", "N", clean(as_dict(score).get("note") or "", 120))
            if note:
                notes[f"{name}: {note}"] = notes.get(f"{name}: {note}", 0) + 1
    cut = sum(member.get("finish") == "length" for member in members)
    said = [f"{count} x {note}" for note, count in sorted(notes.items(), key=lambda item: -item[1])[:6]]
    said += [f"{cut} cut at the length limit"] if cut else []
    which = (
        f"all {len(graded)} graded members were paid {graded[0]:g}" if graded else "no member could be graded"
    )
    return {"has": False, "words": f"No signal: {which}." + (f" {'; '.join(said)}." if said else "")}


# --- lines of a list ---------------------------------------------------------------------------------------


def _line(row: Row, said: Json, problem: Json, file: str, asked: RolloutQuery) -> dict[str, Any]:
    names = (
        "id",
        "file",
        "at",
        "size",
        "step",
        "problem",
        "member",
        "right",
        "reward",
        "advantage",
        "finish",
        "tokens",
    )
    line: dict[str, Any] = dict(zip(names, row, strict=True))
    line["right"] = None if line["right"] is None else bool(line["right"])
    line["finish"], line["file"] = FINISHES[row[10]], file
    text, notes = str(said.get("text", "")), as_dict(said.get("scores"))
    line["excerpt"] = excerpt(text, asked)
    line["problem"] = {key: clean(problem.get(key) or "", 300) for key in ("name", "task", "question")}
    line["note"] = next((n for s in notes.values() if (n := clean(as_dict(s).get("note") or "", 160))), "")
    line["missing"] = not said
    return line


def excerpt(text: str, asked: RolloutQuery) -> list[list[str]]:
    """The text around what was searched for, in pieces of (text, "hit" or "")."""
    span = _first_hit(text, asked)
    if span is None:
        return [[clean(text[:EXCERPT]) + ("..." if len(text) > EXCERPT else ""), ""]]
    start = max(0, span[0] - EXCERPT // 3)
    end = max(span[1], start + EXCERPT)
    before = ("..." if start else "") + clean(text[start : span[0]])
    return [
        [before, ""],
        [clean(text[span[0] : span[1]], 200), "hit"],
        [clean(text[span[1] : end]) + ("..." if end < len(text) else ""), ""],
    ]


def _first_hit(text: str, asked: RolloutQuery) -> tuple[int, int] | None:
    if asked.regex:
        try:
            match = _compiled(asked.regex).search(text, timeout=REGEX_SECONDS)
        except TimeoutError:
            return None
        return match.span() if match else None
    query = asked.words()
    if query is None:
        return None
    phrase = next(p for p in query.phrases if not p.absent)
    gap = r"[\W_]*"
    pattern = gap.join(re.escape(word) for word in phrase.words)
    match = re.search(pattern, text, re.IGNORECASE)
    return match.span() if match else None


# --- regular expressions -----------------------------------------------------------------------------------


def _fits(asked: RolloutQuery, rows: RolloutRows) -> Any:
    """Whether a row's text fits the regular expression; None where there is none."""
    if not asked.regex:
        return None
    pattern = _compiled(asked.regex)

    def fits(row: Row) -> bool:
        text = rows.read(row).get("text")
        try:
            return isinstance(text, str) and pattern.search(text, timeout=REGEX_SECONDS) is not None
        except TimeoutError:
            raise AhaError(
                f"The expression took more than {REGEX_SECONDS} s for one text (rollout {row[0]}). Make it simpler."
            ) from None

    return fits


def _hits(expression: str, texts: Sequence[str]) -> list[str]:
    """The different texts that an expression finds, the longest first; those that were found in time. The page marks
    them as they stand: a browser's own expressions have no time limit."""
    pattern, hits = _compiled(expression), dict[str, None]()
    for text in texts:
        with contextlib.suppress(TimeoutError):
            for match in itertools.islice(pattern.finditer(text, timeout=REGEX_SECONDS), MOST_HITS):
                hits[match.group()] = None
    hits.pop("", None)
    return sorted(hits, key=len, reverse=True)[:MOST_HITS]


def _compiled(pattern: str) -> Any:
    """With ``regex``, which stops at a time limit where ``re`` would go on for ever. Raises AhaError."""
    try:
        import regex
    except ImportError as error:
        raise AhaError("Regular expressions need the package regex: pip install 'aha-rl[view]'") from error
    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise AhaError(f"This is no regular expression: {error}.") from None


def _id(value: Any) -> int:
    text = str(value)
    if not re.fullmatch(r"\d{1,18}", text):
        raise AhaError(f"{text[:40]!r} is no rollout's number.")
    return int(text)
