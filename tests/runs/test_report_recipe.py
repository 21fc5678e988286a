"""The page of a run of the whole recipe: its own sections, from a folder as such a run leaves it, and broken ones."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import test_claims
import test_report
from report_run import HOSTILE, Page, write_lines

from aha.data.cards import DataSource, Filter, write_data
from aha.files import write_json
from aha.runs.claims import table as claims
from aha.runs.report import page as report
from aha.runs.report import recipe_data as report_recipe_data
from aha.runs.report.data import read_run

CHAIN = "<think> let me see. {name} tries {i} </think> <answer> {i} </answer>"
SECTIONS = ["claims", "compared", "curves", "lineage", "data", "reward-models", "chains"]


def answer(name: str, problem: int, member: int, right: bool) -> dict:
    return {
        "problem_id": f"countdown/{problem}", "question": f"Make {problem}.", "answer": str(problem), "member": member,
        "text": CHAIN.format(name=name, i=member), "finish": "stop", "tokens": 12, "reward": float(right),
        "scores": {"accuracy": {"value": float(right), "note": ""}},
    }  # fmt: skip


def make_recipe(folder: Path) -> Path:
    """The run of test_claims with what a page shows beside its figures, and its claims judged."""
    test_claims.make_run(folder, 0)
    inputs = {
        "zero": {"algorithm": {}}, "dev1": {"model": "tiny", "data": ["<cold_start>"], "epochs": 2},
        "cold_start": {"model": "<zero>", "review": "optional"}, "dev2": {"model": "<dev1>", "algorithm": {}},
        "reject": {"model": "<dev2>", "domain_ratios": "", "others": ["<general>"]}, "general": {"teacher": None},
        "dev3": {"model": "tiny", "data": ["<reject>"], "epochs": 2},
        "helpful_rm": {"model": "<dev3>", "held_out": 0.1, "epochs": 4},
        "r1": {"model": "<dev3>", "helpful_model": "<helpful_rm>", "algorithm": {}},
        "compare": {"models": ["tiny", "<zero>", "<r1>"], "names": ["tiny", "zero", "r1"]},
    }  # fmt: skip
    for number, (name, settings) in enumerate(inputs.items()):
        place = folder / name
        if not (place / "done.json").exists():
            test_claims.stage(folder, name)
        stored = json.loads((place / "settings.json").read_text())
        write_json(place / "settings.json", {
            "fingerprint": f"{number:016x}", "settings": {**stored["settings"], **settings}
        })  # fmt: skip
    for name, rate in (("dev2", 1e-5), ("dev2_no_language", 2e-5)):
        stored = json.loads((folder / name / "settings.json").read_text())
        write_json(
            folder / name / "settings.json", {**stored, "settings": {**stored["settings"], "lr": rate}}
        )
    summary = {"kind": "helpful", "rows": 900, "held_out": 100, "accuracy": 0.83}
    write_json(folder / "helpful_rm/done.json", {"fingerprint": "x", "seconds": 7200, "summary": summary})
    table = "domain     samples  avg tokens  avg rounds\ncountdown      512        93.5        1.00"
    filters = [Filter("selection", 8192, 512, {"wrong": 7000, "mixed language": 680})]
    write_data(
        folder / "reject/data.jsonl", [{"a": 1}], [DataSource("dev2 on countdown", 512)], filters, table
    )
    for name in ("zero", "r1"):
        rows = [
            {"step": i, "reward": i / 9, "rewards/accuracy/mean": i / 9, "completions/mean_length": 20 + i}
            for i in range(1, 9)
        ]
        write_lines(folder / name / "metrics.jsonl", rows)
    for name, good in (("tiny", ()), ("zero", (2, 3)), ("r1", (1, 3))):
        rows = [answer(name, i, j, i in good) for i in range(5) for j in range(2)]
        write_lines(folder / "compare/rollouts" / f"{name}.countdown.jsonl", rows)
    write_json(
        folder / "config.json",
        {"recipe": "r1_claims", "stages": {name: {"model": "tiny"} for name in inputs}},
    )
    write_json(folder / "summary.json", {"figures": {}, "problems": 128})
    claims.write(claims.judge([folder]), [folder])
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    return make_recipe(tmp_path_factory.mktemp("recipe") / "r1")


@pytest.fixture
def run(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "r1")


def section(page: str, name: str) -> str:
    return re.search(rf'<section id="{name}">.*?</section>', page, re.DOTALL).group(0)


def test_every_section_is_there_in_order_and_in_the_navigation(run):
    page = report.build_report(run)
    assert re.findall(r'<section id="([a-z][a-z-]*[a-z])">', page) == SECTIONS
    assert [a["href"] for a in Page(page).of("a")][: len(SECTIONS)] == [f"#{name}" for name in SECTIONS]
    assert "<h2>zero <" in page
    assert "<h2>compare <" not in page, "a stage without steps has no section of its own"
    assert "Before and after" not in page.split('<section id="stage-')[0], "there is no one before and after"
    assert "17 stages in <b>2 h 16 min</b>" in page
    assert "does not invent" in page


def test_checkpoints_of_all_comparisons_stand_in_one_table_a_task(run):
    text = section(report.build_report(run), "compared")
    assert text.count("<h3>") == 2
    assert "128 problems, 8 samples each" in text
    for name in ("tiny", "zero", "dev1", "r1", "distilled", "dev2_no_language", "ppo_095"):
        assert f"<b>{name}</b>" in text
    assert '90.0% <span class="ci">[88.0%, 92.0%]</span>' in text
    assert "helpfulness" in text.split("<h3>")[2]
    assert "helpfulness" not in text.split("<h3>")[1]


def test_claims_are_shown_as_they_were_judged(run):
    text = section(report.build_report(run), "claims")
    assert "Over r1 (seed 0)." in text
    assert text.count("<b>cannot tell</b>") == 10
    assert text.count("<b>not measured</b>") == 1, "no reflective words in these metrics"
    assert "dev2_no_language differs from dev2 in more than it is there for: lr." in text
    assert "above x2.00" in text
    assert "one seed has no interval" in text
    (run / "claims.json").unlink()
    assert 'id="claims"' not in report.build_report(run)


def test_lineage_has_inputs_and_hashes(run):
    text = section(report.build_report(run), "lineage")
    sha = re.search(r"sha256: `(\w+)`", (run / "reject/data.card.md").read_text()).group(1)
    assert sha[:12] in text
    row = next(line for line in text.split("<tr>") if "<b>r1</b>" in line)
    assert "dev3, helpful_rm" in row
    assert "reinforcement learning" in row
    assert f"{8:016x}" in row
    assert '<svg class="graph"' in text
    nodes = {n.stage.name: n for n in report_recipe_data.read_whole(read_run(run), []).nodes}
    assert [nodes[n].depth for n in ("zero", "cold_start", "dev1", "dev2", "reject", "dev3", "r1")] == [
        *(0, 1, 2, 3, 4, 5, 7)
    ]
    assert (nodes["reject"].kind, nodes["helpful_rm"].kind) == ("rejection sampling", "reward model")
    assert nodes["cold_start"].kind == "cold start data"


def test_data_reward_models_and_proxies(run):
    page = report.build_report(run)
    data = section(page, "data")
    assert "<td>512</td><td>93.5</td>" in data
    assert "selection: 8192 -&gt; 512 (wrong: 7000; mixed language: 680)" in data
    models = section(page, "reward-models")
    assert '83.0% <span class="ci">[74.5%, 89.1%]</span>' in models
    assert "hacked: proxy and truth" in models
    assert "true rubric, validation from 0.700 to 0.500" in models
    curves = section(page, "curves")
    assert "Accuracy over steps: zero from" in curves
    assert "r1 from 11.1% to 88.9%" in curves


def test_everybodys_first_answer_to_the_same_problems(run):
    text = section(report.build_report(run), "chains")
    asked = re.findall(r"<p>(Make \d)\..*?\(countdown: ([^)]*)\)", text)
    assert asked == [
        ("Make 1", "tiny wrong, r1 right"),
        ("Make 0", "tiny wrong, r1 wrong"),
        ("Make 2", "tiny wrong, r1 wrong"),
    ]
    first = text.split('<div class="pair">')[1]
    assert [first.count(f"{name} tries 0") for name in ("tiny", "zero", "r1")] == [1, 1, 1]
    assert "tries 1" not in first


def test_a_run_without_a_comparison_has_the_page_it_had(tmp_path):
    zero = test_report.make_run(tmp_path / "zero")
    page = report.build_report(zero)
    assert "Before and after" in page
    assert not re.search(r'<section id="(?!stage)', page)
    assert page.count("<style>") == 1
    assert "40 steps in <b>206 s</b>" in page


def test_the_page_is_balanced_and_reaches_for_nothing(run):
    page = Page(report.build_report(run))
    assert page.open == []
    assert not page.of("link")
    assert not page.of("img")
    for _, attrs in page.tags:
        assert all(not name.startswith("on") and name not in ("src", "xlink:href") for name in attrs)
        assert attrs.get("href", "#").startswith("#")


def test_hostile_text_is_only_text(run):
    row = answer("tiny", 0, 0, False) | {"text": HOSTILE, "question": HOSTILE, "answer": HOSTILE}
    for name in ("tiny", "zero", "r1"):
        write_lines(run / "compare/rollouts" / f"{name}.countdown.jsonl", [row])
    data = json.loads((run / "compare/compare.json").read_text())
    data["countdown"][HOSTILE] = data["countdown"]["zero"]
    data[HOSTILE] = data["general"]
    write_json(run / "compare/compare.json", data)
    (run / "reject/data.card.md").write_text(
        f"# {HOSTILE}\n## Sources\n- {HOSTILE}\n## Statistics\n{HOSTILE}  x\n1  2"
    )
    told = json.loads((run / "claims.json").read_text())
    told["claims"][0] |= {"title": HOSTILE, "verdict": HOSTILE, "key": HOSTILE}
    told["notes"] = [HOSTILE]
    write_json(run / "claims.json", told)
    hostile = {"fingerprint": HOSTILE, "settings": {"model": HOSTILE, "algorithm": HOSTILE}}
    write_json(run / "dev3/settings.json", hostile)
    text = report.build_report(run)
    page = Page(text)
    assert page.open == []
    assert len(page.of("script")) == 1
    assert not page.of("img")
    assert "\x1b" not in text


@pytest.mark.parametrize(
    "name", ["compare/compare.json", "claims.json", "dev3/settings.json", "helpful_rm/done.json", "reject/data.card.md",
             "compare/rollouts/r1.countdown.jsonl", "compare_claims/compare.json"]
)  # fmt: skip
@pytest.mark.parametrize(
    "content",
    [None, b"", b"{", b"[]", b"\xff\x00", b'{"countdown": 3, "claims": [{"figures": [3, {}]}], "runs": 4}',
     b'{"settings": {"model": "<dev3>"}, "summary": {"accuracy": 9, "held_out": -1}, "countdown": {"zero": {}}}'],
)  # fmt: skip
def test_any_file_may_be_missing_or_broken(run, name, content):
    (run / name).unlink()
    if content is not None:
        (run / name).write_bytes(content)
    assert Page(report.build_report(run)).open == []


# --- in a browser ------------------------------------------------------------------------------------------


class Browser:
    """A headless Chromium, spoken to over its debugging pipe."""

    def __init__(self, program: str, profile: Path, width: int):
        self.width = width
        to_read, self.to_write = os.pipe()
        self.to_read, to_write = os.pipe()
        flags = "--headless --no-sandbox --disable-gpu --disable-background-networking"
        command = f'exec "$0" {flags} --user-data-dir="$1" --remote-debugging-pipe 3<&{to_read} 4>&{to_write}'
        self.process = subprocess.Popen(
            ["bash", "-c", command, program, str(profile)], pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self.rest, self.count, self.events = b"", 0, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def _next(self) -> dict:
        while b"\0" not in self.rest:
            more = os.read(self.to_read, 1 << 16)
            assert more, "the browser has gone"
            self.rest += more
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def call(self, method: str, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if hasattr(self, "session"):
            message["sessionId"] = self.session
        os.write(self.to_write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self.count:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, address: str) -> None:
        for domain in ("Network", "Page", "Log", "Runtime"):
            self.call(f"{domain}.enable")
        size = {"width": self.width, "height": 3000, "deviceScaleFactor": 1, "mobile": False}
        self.call(
            "Emulation.setDeviceMetricsOverride", **size
        )  # windows have a least width, screens have not
        self.call("Page.navigate", url=address)
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self._next())

    def value(self, expression: str):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"]["value"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.to_write)
        os.close(self.to_read)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_it_without_a_request(run, tmp_path, width):
    program = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium here: `apt-get install chromium` to look at the page as a reader does")
    browser = Browser(program, tmp_path / "profile", width)
    try:
        browser.open(report.write_report(run).as_uri())
        asked = [
            e["params"]["request"]["url"]
            for e in browser.events
            if e.get("method") == "Network.requestWillBeSent"
        ]
        assert [url.rpartition("/")[2] for url in asked] == ["report.html"]
        assert asked[0].startswith("file://")
        bad = ("Runtime.exceptionThrown", "Log.entryAdded")
        assert [e["params"] for e in browser.events if e.get("method") in bad] == []
        sections = "[...document.querySelectorAll('main > section')].map(s => [s.id, s.getBoundingClientRect().height])"
        heights = dict(browser.value(sections))
        assert list(heights)[: len(SECTIONS)] == SECTIONS
        assert min(heights.values()) > 60
        counted = "document.querySelectorAll('#compared table tr').length"
        assert browser.value(counted) == 13 + 9 + 2
        assert browser.value("document.querySelectorAll('#lineage svg.graph g').length") == 17
        assert browser.value("document.querySelectorAll('#chains .side').length") == 9
        assert browser.value("document.documentElement.scrollWidth") <= width, (
            "wide tables scroll by themselves"
        )
        browser.value("document.querySelector('#claims details').open = true")
        assert (
            browser.value("document.querySelector('#claims details table').getBoundingClientRect().height")
            > 60
        )
        hover = (
            "(() => {const svg = document.querySelector('#curves svg[data-chart]'), b = svg.getBoundingClientRect();"
            "svg.dispatchEvent(new PointerEvent('pointermove', {clientX: b.x + b.width / 2, clientY: b.y + 50}));"
            "return document.querySelector('#curves .tip').textContent})()"
        )
        assert "zero" in browser.value(hover), "the page's own script runs under its policy"
    finally:
        browser.close()
