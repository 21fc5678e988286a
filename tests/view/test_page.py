"""The page in a headless Chromium: let in by its address alone, it shows runs, curves, stages and rollouts, live."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import browser
import pytest
from served import HOSTILE, make_run, write_lines

CHECKS = (Path(__file__).parent / "checks.js").read_text()
pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "-")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The command itself, over two runs; its printed address."""
    place = tmp_path_factory.mktemp("page")
    for name, seed in (("first", 1), ("second", 2)):
        make_run(place / "runs" / name, steps=20, seed=seed)
    rows = [{"text": f"{HOSTILE} wait", "problem_id": HOSTILE, "question": HOSTILE, "step": 9, "reward": 1.0}]
    write_lines(place / "runs" / "first" / "rl" / "rollouts" / "step_00009.jsonl", rows)
    words = [sys.executable, "-m", "aha", "view", str(place / "runs"), "--port", "0", "--no-open"]
    cache = {**os.environ, "XDG_CACHE_HOME": str(place / "cache")}
    served = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=cache)
    address = re.search(r"http://\S+", served.stdout.readline())
    assert address, served.stderr.read()
    yield place / "runs", address[0]
    served.terminate()
    assert served.wait(120) is not None
    assert served.stderr.read() == ""  # it ends at once, though the page still listens


@pytest.fixture(scope="module")
def page(address):
    with browser.Chromium() as window:
        window.go(address[1].partition("?")[0])
        assert "token" in window.text()  # not let in without it
        window.complaints()
        window.go(address[1])
        window.until("return document.querySelectorAll('tbody tr').length === 2")
        assert "token" not in window.address
        yield window
        assert window.complaints() == []


def shown(page, place):
    """Go to a place of the page, and wait until it stands there."""
    page.run(
        "window.before = document.querySelector('main').firstChild;"
        "if (location.hash === arguments[0]) dispatchEvent(new Event('hashchange')); else location.hash = arguments[0]",
        place,
    )
    page.until("return document.querySelector('main').firstChild !== window.before")


def test_the_table_is_chosen_from_and_sorted_by_keys(page):
    shown(page, "#/runs")
    page.until("return document.querySelectorAll('tbody tr').length === 2")
    page.keys("j")
    page.keys("x")
    page.keys("j")
    page.keys("x")
    page.until("return document.querySelectorAll('tbody tr.on').length === 2")
    page.click("button.primary")
    page.until("return document.querySelectorAll('figure.chart').length > 10")
    assert page.text().count("second") > 0
    assert page.run("return document.querySelectorAll('figure.chart path.line').length") > 30


def test_curves_grow_while_the_run_goes_on(page, address):
    shown(page, "#/curves?run=first")
    page.until("return document.querySelectorAll('figure.chart').length > 10")
    row = json.dumps({"step": 21, "reward": 77.5, "num_tokens": 68_000 * 21, "step_time": 5.0})
    with open(address[0] / "first" / "rl" / "metrics.jsonl", "a") as file:
        file.write(row + "\n")
    page.until("return document.body.innerText.includes('77.5')")
    for name in ("log across", "log up"):
        page.run(
            "[...document.querySelectorAll('label')].find(l => l.textContent === arguments[0]).click()", name
        )
    page.run(
        "const s = document.querySelector('select'); s.value = 'tokens'; s.dispatchEvent(new Event('change'))"
    )
    page.until("return !!document.querySelector('figure.chart path.line')")
    page.click("figure.chart svg")
    assert "at tokens" in page.text()


def test_seeds_become_a_band(page):
    shown(page, "#/curves?run=first&run=second")
    page.until("return document.querySelectorAll('figure.chart').length > 10")
    page.run("[...document.querySelectorAll('label')].find(l => l.textContent === 'seeds as bands').click()")
    page.until("return document.querySelectorAll('figure.chart path.band').length > 5")


def test_a_search_leads_to_a_rollout_and_why_it_was_paid(page):
    shown(page, "#/rollouts?run=first")
    page.until("return document.querySelectorAll('a.item').length === 50")
    page.keys("/")
    page.keys("等等\ue007")  # and Enter
    page.until("return document.querySelectorAll('mark.hit').length > 10")
    page.click("a.item")
    page.until("return document.body.innerText.includes('Why this reward')")
    assert page.run("return document.querySelectorAll('section.side').length") == 4
    assert page.run("return document.querySelectorAll('mark.reflection').length") > 0
    page.keys("t")
    page.until("return ![...document.querySelectorAll('details.think')].some(d => d.open)")
    page.run("[...document.querySelectorAll('button')].find(b => b.textContent.startsWith('Ask')).click()")
    page.until("return !!document.querySelector('#path .box')")


def test_text_of_a_run_never_becomes_part_of_the_page(page):
    shown(page, "#/rollouts?run=first&step_from=9&step_to=9")
    page.until("return document.querySelectorAll('a.item').length === 1")
    assert page.run("return document.querySelectorAll('main script, main img').length") == 0
    assert "<script>alert(1)</script>" in page.text()
    page.click("a.item")
    page.until("return document.body.innerText.includes('Why this reward')")
    assert page.run("return document.querySelectorAll('main script, main img').length") == 0


def test_tags_and_notes_are_kept(page, address):
    shown(page, "#/runs")
    page.until("return document.querySelectorAll('tbody tr').length === 2")
    page.click("tbody tr td:last-child button")
    page.type("form input", "good, again")
    page.click("form button.primary")
    page.until("return document.querySelectorAll('.tag').length === 2")
    assert "again" in (address[0] / ".aha-view" / "notes.json").read_text()


@pytest.mark.slow
def test_two_answers_are_written_side_by_side_and_remembered(page):
    shown(page, "#/talk?run=first")
    page.until("return !!document.querySelector('.ask textarea')")
    page.run(
        "const other = document.querySelectorAll('.bar select')[1];"
        "other.value = 'base:tiny'; other.dispatchEvent(new Event('change'))"
    )
    ended = (
        "return [...document.querySelectorAll('.side')].filter(s => /[0-9]+ tokens/.test(s.innerText)).length"
    )
    page.type(".ask textarea", "24 7 3 -> 171\ue007")
    page.until(f"{ended} === 2", 120)
    page.type(".ask textarea", "5 6 2 -> 60\ue007")
    page.until(f"{ended} === 4", 120)
    page.run("[...document.querySelectorAll('button')].find(b => b.textContent === 'Try again').click()")
    page.until(f"{ended} === 4 && document.querySelectorAll('button.primary:not(:disabled)').length", 120)
    assert page.run("return document.querySelectorAll('.turn').length") == 2
    shown(page, "#/runs")
    shown(page, "#/talk?run=first")
    page.until(f"{ended} === 4")  # what was said is still there
    page.run("[...document.querySelectorAll('button')].find(b => b.textContent === 'Begin anew').click()")
    assert page.run("return document.querySelectorAll('.turn').length") == 0


PLACES = ("runs", "curves?run=first", "graph?run=first", "rollouts?run=first", "rollouts?run=first&groups=1",
          "rollout?run=first&id=3", "findings?run=first", "findings?run=first&tab=rescoring",
          "talk?run=first", "mistakes")  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_every_place_fits_a_phone_is_named_and_can_be_read(page, place):
    page.size(390, 844)
    try:
        shown(page, f"#/{place}")
        page.until(
            "return document.querySelector('main h1') && !document.body.innerText.includes('Searching…')"
        )
        assert page.run(CHECKS + "return wide()") == []
        assert page.run("return document.getElementById('toast').textContent") == ""
        assert page.run(CHECKS + "return nameless()") == []
        for scheme in ("light", "dark"):
            page.run("document.documentElement.dataset.theme = arguments[0]", scheme)
            assert page.run(CHECKS + "return pale()") == []
    finally:
        page.run("document.documentElement.dataset.theme = 'light'")
        page.size(1280, 900)
