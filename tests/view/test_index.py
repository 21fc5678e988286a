"""The index of rollouts against a plain scan of the files, as they grow, are replaced, and are broken."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from served import HOSTILE, client, write_lines

from aha.runs.report.data import is_right
from aha.types import AhaError
from aha.view.index import building, keeper, searching, words
from aha.view.index.asked import SORTS, RolloutQuery, read_filters
from aha.view.index.building import IndexBuilder
from aha.view.index.keeper import IndexKeeper
from aha.view.index.searching import IndexReader
from aha.view.index.tables import index_path
from aha.view.rollouts import RolloutRows

WORDS = [
    "wait",
    "Wait",
    "waiter",
    "try again",
    "等等，再试",
    "不对",
    "however",
    "12+7",
    "(24-12)*3",
    "naïve",
    "Straße",
    "x_y",
    HOSTILE,
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An index of the test's own, and questions that a busy machine does not cut short."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(searching, "PATIENCE", 60.0)
    monkeypatch.setattr(keeper, "AT_ONCE", 60.0)


def made_row(rng, step, problem, member):
    reward = rng.choice([None, 0.0, 0.2, 1.0, 1.2, -1.0])
    value = None if reward is None else float(reward >= 1)
    return {
        "step": step,
        "problem_id": f"p{problem}",
        "question": f"What is {problem} % of x_{problem}?",
        "member": member,
        "text": " ".join(rng.choice(WORDS) for _ in range(rng.randint(0, 6))),
        "finish": rng.choice(["stop", "stop", "length", "abort", "odd"]),
        "tokens": rng.randint(1, 40),
        "reward": reward,
        "advantage": rng.choice([None, round(rng.gauss(0, 1), 3)]),
        "scores": {"accuracy": {"value": value, "note": "n"}},
        **(
            {"problem": {"task": rng.choice(["countdown", "logic"]), "language": "en"}} if member == 0 else {}
        ),
    }


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    """The run and its index, for tests that only ask."""
    place = tmp_path_factory.mktemp("once")
    make(place / "runs" / "made")
    builder = IndexBuilder(place / "runs" / "made", place / "index.sqlite")
    builder.build()
    builder.close()
    return place


@pytest.fixture
def run_built(made_once, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "index_path", lambda run: made_once / "index.sqlite")
    return made_once / "runs" / "made"


def write(run, steps, rng, stage="rl"):
    for step in steps:
        rows = [made_row(rng, step, problem, member) for problem in range(6) for member in range(4)]
        write_lines(run / stage / "rollouts" / f"step_{step:05d}.jsonl", rows)


@pytest.fixture
def run(tmp_path):
    return make(tmp_path / "runs" / "made")


def make(place):
    write(place, range(1, 9), random.Random(1))
    write(place, range(1, 3), random.Random(2), "second")
    (place / "config.json").write_text(json.dumps({"recipe": "x", "stages": {"rl": {}, "second": {}}}))
    return place


def scan(run):
    """(file, offset, row) of every row, by nothing but json."""
    for file in building.rollout_files(run):
        at = 0
        for line in file.path.read_bytes().split(b"\n"):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if isinstance(row, dict) and isinstance(row.get("text"), str):
                yield file, at, row
            at += len(line) + 1


def built(run):
    builder = IndexBuilder(run)
    assert builder.build() == 0
    builder.close()
    return index_path(run)


def everything(run, asked, reading=False):
    """All pages of a search: (file, offset) in order; ``reading``: texts may be read in place of asking the index."""
    places, after = [], ""
    with IndexReader(index_path(run)) as index, RolloutRows(run, index.files()) as rows:
        files = index.files()
        text_of = (lambda row: rows.read(row)["text"]) if reading else None
        for _ in range(10_000):
            page = index.page(asked, after, None, text_of)
            places += [(files[row[1]], row[2]) for row in page.rows]
            after = page.next
            if after is None:
                return places
    raise AssertionError("no end")


def fits(asked, file, row, tasks):
    """What a plain scan says."""
    right = is_right(row)
    fits_it = {"": True, "right": right is True, "wrong": right is False, "ungraded": right is None}
    figure = SORTS[asked.sort][0]
    text = asked.words()
    between = all(
        (low is None or (row[name] is not None and row[name] >= low))
        and (high is None or (row[name] is not None and row[name] <= high))
        for name in ("step", "reward", "tokens")
        for low, high in [(getattr(asked, f"{name}_from"), getattr(asked, f"{name}_to"))]
    )
    return (
        fits_it[asked.outcome]
        and between
        and asked.stage in ("", file.stage)
        and asked.part in ("", file.part)
        and (not asked.task or tasks[row["problem_id"], row["question"]] == asked.task)
        and asked.finish in ("", row["finish"])
        and (
            asked.problem.lower() in row["problem_id"].lower()
            or asked.problem.lower() in row["question"].lower()
        )
        and (text is None or text.matches(row["text"]))
        and (figure == "id" or row[figure] is not None)
    )


QUERIES = [
    {},
    {"text": "wait"}, {"text": "WAIT"}, {"text": "wait*"}, {"text": '"try again"'}, {"text": "again try"},
    {"text": "wait -try"}, {"text": '不对 -"等等"'}, {"text": "等等"}, {"text": "等再"}, {"text": "(24-12)*3"},
    {"text": "12 7"}, {"text": "straße"}, {"text": "x_y"}, {"text": "naïve however"}, {"text": '"script alert 1"'},
    {"text": 'NOT AND "wait'}, {"text": "absent"},
    {"outcome": "right"}, {"outcome": "wrong", "text": "wait"}, {"outcome": "ungraded"},
    {"finish": "length"}, {"finish": "stop", "tokens_from": 10, "tokens_to": 20},
    {"reward_from": 0.1}, {"reward_to": 0.2, "step_from": 3}, {"step_from": 2, "step_to": 2},
    {"stage": "second"}, {"stage": "rl", "part": "steps", "outcome": "right"}, {"stage": "nowhere"},
    {"task": "logic"}, {"problem": "p3"}, {"problem": "% of"}, {"problem": "_3"}, {"problem": "a_b"},
]  # fmt: skip


PLANS = {"pieces": (0, False), "some at once": (30, False), "reading": (2000, True), "dense": (0, True)}
"""How a search may go about it: (rows that are few, whether texts are read)."""


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("asked", QUERIES, ids=str)
def test_a_search_finds_what_a_plain_scan_finds_in_its_order(run_built, asked, plan, monkeypatch):
    monkeypatch.setattr(searching, "PIECE", 17)  # so that even these few rows are gone through piece by piece
    few, reading = PLANS[plan]
    monkeypatch.setattr(searching, "FEW", few)
    run = run_built
    tasks = {}
    for _, _, row in scan(run):
        if "problem" in row:
            tasks.setdefault((row["problem_id"], row["question"]), row["problem"]["task"])
    query = RolloutQuery(**asked, limit=7)
    expected = [(file.name, at) for file, at, row in scan(run) if fits(query, file, row, tasks)]
    assert everything(run, query, reading) == expected
    assert everything(run, RolloutQuery(**asked, limit=7, sort="last"), reading) == expected[::-1]
    with IndexReader(index_path(run)) as index:
        assert index.count(query) == (len(expected), True)


@pytest.mark.parametrize("sort", [name for name, (column, _) in SORTS.items() if column != "id"])
@pytest.mark.parametrize("text", ["", "wait"])
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    "more", [{}, {"outcome": "wrong"}, {"outcome": "right", "step_to": 1}, {"finish": "length"}]
)
def test_by_a_figure_pages_go_on_without_gap_or_repetition(run_built, sort, text, plan, more, monkeypatch):
    few, reading = PLANS[plan]
    monkeypatch.setattr(searching, "FEW", few)
    monkeypatch.setattr(searching, "PIECE", 5)
    run = run_built
    query = RolloutQuery(sort=sort, text=text, limit=9, **more)
    column, direction = SORTS[sort]
    rows = [(file, at, row) for file, at, row in scan(run) if fits(query, file, row, {})]
    places = {(file.name, at): row[column] for file, at, row in rows}
    matches = everything(run, query, reading)
    assert sorted(matches) == sorted(places)
    values = [places[place] for place in matches]
    assert values == sorted(values, reverse=direction == "DESC")


def test_words_and_the_searches_that_need_one():
    assert words.words("Don't (24-12)*3=36, 等等 x_y ½ Straße") == [
        "don", "t", "24", "12", "3", "36", "等", "等", "x", "y", "½", "straße",
    ]  # fmt: skip
    for nothing in ("", "!!!", "-wait", '""', '-"try again"'):
        with pytest.raises(AhaError, match="at least one word"):
            words.read_query(nothing)
    query = words.read_query('wai* "no no" -stop')
    assert query.matches("No, no! Waiting.")
    assert not query.matches("no no await")
    assert not query.matches("no no wait: stop")
    assert query.expression() == '("wai" * AND "no no") NOT "stop"'


def test_what_comes_is_added_and_nothing_is_read_twice(run, monkeypatch):
    built(run)
    before = everything(run, RolloutQuery(limit=200))
    read = []
    real = building.whole_lines

    def noted(path, start, end):
        read.append((path.name, start))
        return real(path, start, end)

    monkeypatch.setattr(building, "whole_lines", noted)
    built(run)
    assert read == []
    file = run / "rl" / "rollouts" / "step_00008.jsonl"
    size = file.stat().st_size
    row = json.dumps(made_row(random.Random(9), 8, 1, 9)).encode()
    with open(file, "ab") as f:
        f.write(row + b"\n" + row[:30])  # a row, and the beginning of one
    write(run, [9], random.Random(3))
    built(run)
    assert read == [("step_00008.jsonl", size), ("step_00009.jsonl", 0)]
    assert len(everything(run, RolloutQuery(limit=200))) == len(before) + 1 + 24
    with open(file, "ab") as f:
        f.write(row[30:] + b"\n")
    built(run)
    matches = everything(run, RolloutQuery(limit=200))
    assert sorted(matches) == sorted((file.name, at) for file, at, _ in scan(run))
    assert len(matches) == len(before) + 2 + 24


def test_files_that_are_replaced_or_gone_leave_nothing_behind(run):
    built(run)
    place = run / "rl" / "rollouts"
    write_lines(place / "other", [made_row(random.Random(7), 8, p, 0) for p in range(3)])
    os.replace(place / "other", place / "step_00008.jsonl")  # as a resumed run writes a step again
    (place / "step_00007.jsonl").unlink()
    built(run)
    expected = [(file.name, at) for file, at, _ in scan(run)]
    assert sorted(everything(run, RolloutQuery(limit=100))) == sorted(expected)
    query = words.read_query("wait")
    matches = everything(run, RolloutQuery(text="wait", limit=100))
    assert sorted(matches) == sorted(
        (file.name, at) for file, at, row in scan(run) if query.matches(row["text"])
    )


def test_an_index_of_mostly_gone_rows_is_made_anew(run, monkeypatch):
    monkeypatch.setattr(building.IndexBuilder, "_mostly_dead", lambda self: dead(self) > 20)

    def dead(builder):
        return (builder.db.execute("SELECT value FROM about WHERE key = 'dead'").fetchone() or [0])[0]

    built(run)
    for step in (6, 7, 8):
        (run / "rl" / "rollouts" / f"step_{step:05d}.jsonl").unlink()
    built(run)
    assert sorted(everything(run, RolloutQuery(limit=100))) == sorted((f.name, at) for f, at, _ in scan(run))
    with IndexReader(index_path(run)) as index:
        assert index.db.execute("SELECT value FROM about WHERE key = 'dead'").fetchone() is None


BROKEN = [
    "{", "null", "[1]", '"text"', '{"step": 1}', '{"text": 5}', '{"text": null}', "\x00", '{"text": "cut',
]  # fmt: skip
ODD = [
    '{"text": "bare"}',
    '{"text": "\\ud800 half \\u0000 nul"}', '{"text": "x", "step": "one", "reward": NaN}',
    '{"text": "y", "reward": Infinity, "member": true, "finish": ["stop"], "scores": 7, "problem_id": {"a": 1}}',
    '{"text": "z", "problem_id": "\\udfff", "question": "\\ud83d", "problem": {"task": "\\ud800"}}',
]  # fmt: skip


def test_lines_that_are_no_rows_are_counted_and_the_others_found(run):
    file = run / "rl" / "rollouts" / "step_00009.jsonl"
    lines = [line for pair in zip(BROKEN, ODD + ODD, strict=False) for line in pair]
    file.write_bytes("\n".join([*lines, ""]).encode() + b"\xff\xfe{}\n")
    built(run)
    with IndexReader(index_path(run)) as index:
        said = {entry["file"]: entry for entry in index.overview()["broken"]}["rl/rollouts/step_00009.jsonl"]
        assert said == {"file": "rl/rollouts/step_00009.jsonl", "lines": len(BROKEN) + 1, "at": 1}
        assert index.count(RolloutQuery(text="half"))[0] == 2
    browser = client(run.parent)
    page = browser.get("/api/rollouts", params={"run": "made", "sort": "last", "limit": 20}).json()
    assert len(page["rows"]) == 20
    for row in page["rows"][:9]:
        assert browser.get("/api/rollout", params={"run": "made", "id": row["id"]}).status_code == 200


def test_a_build_that_is_killed_goes_on_where_it_was(run, monkeypatch):
    monkeypatch.setattr(building, "ROWS", 10)
    builder, left = IndexBuilder(run), []
    builder.build(most=0.0)
    left.append(builder.db.execute("SELECT count(*) FROM rollout").fetchone()[0])
    builder._add({"text": "never written"}, 1, 0, 1)
    builder.db.close()  # in the middle of a transaction
    assert 0 < left[0] < 100
    built(run)
    assert sorted(everything(run, RolloutQuery(limit=100))) == sorted((f.name, at) for f, at, _ in scan(run))
    with IndexReader(index_path(run)) as index:
        assert index.count(RolloutQuery(text='"never written"'))[0] == 0


def test_a_damaged_or_older_index_is_made_anew(run):
    path = built(run)
    for damage in (b"no database at all" * 100, b""):
        for other in path.parent.glob("rollouts.sqlite-*"):
            other.unlink()
        path.write_bytes(damage)
        built(run)
        assert len(everything(run, RolloutQuery(limit=100))) == 240
    builder = IndexBuilder(run)
    builder.db.execute("PRAGMA user_version = 99")
    builder.close()
    built(run)
    assert len(everything(run, RolloutQuery(limit=100))) == 240


def test_much_is_built_by_a_process_that_ends_with_its_parent(run, monkeypatch):
    monkeypatch.setattr(keeper, "LITTLE", 100)
    kept = IndexKeeper()
    try:
        kept.refresh(run)
        worker = kept._workers[run]
        end = time.monotonic() + 300
        while kept.stand(run)["building"]:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert worker.returncode == 0
        assert kept.stand(run) == {"rows": 240, "bytes": kept.stand(run)["total"], "total": kept.stand(run)["total"],
                                   "building": False, "broken": 0}  # fmt: skip
    finally:
        kept.close()
    alone = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from aha.view.index.keeper import end_with_parent as e; import time; e(); time.sleep(99)",
        ],
        stdin=subprocess.PIPE,
    )
    alone.stdin.close()
    assert alone.wait(120) == 0


def test_a_search_says_how_far_it_came_and_goes_on(run, monkeypatch):
    built(run)
    monkeypatch.setattr(searching, "PIECE", 5)
    monkeypatch.setattr(searching, "PATIENCE", 0.0)
    with IndexReader(index_path(run)) as index:
        page = index.page(RolloutQuery(text="absent"))
        assert (page.rows, page.next) == ([], "5")
        assert page.searched == pytest.approx(5 / 240)
        count, whole = index.count(RolloutQuery())
        assert not whole or count == 240
    assert everything(run, RolloutQuery(text="wait", limit=3)) == everything(
        run, RolloutQuery(text="wait", limit=200)
    )


def test_a_regular_expression_is_searched_in_the_texts_and_one_that_runs_away_is_stopped(run, monkeypatch):
    import re

    browser = client(run.parent)
    page = browser.get(
        "/api/rollouts", params={"run": "made", "regex": r"(?i)w\w+r.*等", "limit": 200}
    ).json()
    expected = [(f.name, at) for f, at, row in scan(run) if re.search(r"(?i)w\w+r.*等", row["text"])]
    assert [(row["file"], row["at"]) for row in page["rows"]] == expected != []
    write_lines(run / "rl" / "rollouts" / "step_00009.jsonl", [{"text": "a" * 60 + "!", "step": 9}])
    monkeypatch.setattr(keeper, "LOOK", 0.0)
    said = browser.get("/api/rollouts", params={"run": "made", "regex": "(a|aa)+$", "step_from": 9})
    assert said.status_code == 400
    assert "simpler" in said.json()["error"]
    assert (
        "no regular expression"
        in browser.get("/api/rollouts", params={"run": "made", "regex": "("}).json()["error"]
    )


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"step_from": "x"}, "no such number"), ({"reward_to": "inf"}, "no such number"), 
        ({"sort": "id; DROP"}, "sorted"),
        ({"outcome": "maybe"}, "right, wrong or ungraded"), ({"limit": "9999"}, "1 to 200"),
        ({"finish": "x"}, "ends in"),
        ({"tokens_from": "9" * 40}, "no such number"), ({"text": "((("}, "at least one word"),
        ({"after": "x"}, "no place"),
        ({"sort": "worst", "after": "1"}, "no place"),
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_is_told(run, filters, said):
    answer = client(run.parent).get("/api/rollouts", params={"run": "made", **filters})
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_filters_are_read_as_they_are_sent():
    asked = read_filters(
        {"step_from": "3", "reward_to": "-0.5", "text": " wait ", "run": "x", "sort": "worst"}
    )
    assert asked == RolloutQuery(step_from=3, reward_to=-0.5, text="wait", sort="worst")


def test_a_rare_find_along_a_figure_is_told_in_parts_with_how_far_it_came(run_built, monkeypatch):
    """A page that has had its time says where to go on, though it has found nothing yet."""
    monkeypatch.setattr(searching, "FEW", -1)
    asked, shares = RolloutQuery(sort="longest", outcome="right", step_from=1, limit=9), []
    with IndexReader(index_path(run_built)) as index:
        whole = [row[0] for row in index.page(replace(asked, limit=200)).rows]
        monkeypatch.setattr(searching, "PATIENCE", -1.0)
        monkeypatch.setattr(searching, "PIECE", 8)
        rows, after = [], ""
        while after is not None:
            page = index.page(asked, after)
            rows += [row[0] for row in page.rows]
            shares += [page.searched] if len(page.rows) < 9 else []
            after = page.next
    assert len(shares) > 3
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert rows[: len(whole)] == whole
    assert len(rows) == len(set(rows))
