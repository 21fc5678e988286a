"""The report is built from a run folder that looks like a real one, then from ever more broken ones."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from report_run import HOSTILE, Page, evaluation, make_run, rollout, write_lines

from aha.runs import charts
from aha.runs.report import data as report_data
from aha.runs.report import headline, scaling
from aha.runs.report import page as report
from aha.runs.report.data import read_run
from aha.types import AhaError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "zero")


# ------------------------------------------------------------------------------------------ the page


def test_page_holds_what_was_asked(run: Path) -> None:
    page = report.build_report(run)
    for words in (
        *("tiny on countdown", "206 s", "Xeon", "10.7%", "94.7%", "[8.5%, 12.5%]", "maj@16", "+84.0 points"),
        *("Accuracy", "Response length", "Reflective words", "Entropy", "KL to the", "Clipped tokens"),
        *(
            "Truncation",
            "Groups without signal",
            "Sampler mismatch",
            "Speed",
            "Settings",
            "group_size",
            "2.11.0",
        ),
        *(
            "selects and",
            "does not invent",
            "wrong before, right after",
            "<mark>wait</mark>",
            "<mark>等等</mark>",
        ),
    ):
        assert words in page, words
    assert "Read with care" not in page
    assert "could not be read" not in page


def test_page_is_balanced_and_reaches_for_nothing(run: Path) -> None:
    page = Page(report.build_report(run))
    assert page.open == []
    assert not page.of("link")
    assert not page.of("img")
    assert len(page.of("script")) == 1
    for _, attrs in page.tags:
        for name, value in attrs.items():
            assert not name.startswith("on")
            assert name not in ("src", "xlink:href")
            assert name != "href" or value.startswith("#")
    assert len(page.of("svg")) > 15
    assert all(attrs.get("aria-label") or attrs.get("aria-hidden") for attrs in page.of("svg"))


def test_script_runs_only_by_its_hash(run: Path) -> None:
    policy = next(a["content"] for a in Page(report.build_report(run)).of("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy


def test_hostile_text_is_only_text(run: Path) -> None:
    row = rollout(0, 1, 0, True, True) | {
        "text": HOSTILE,
        "question": HOSTILE,
        "answer": HOSTILE,
        "finish": HOSTILE,
    }
    row["scores"] = {HOSTILE: {"value": 1.0, "note": HOSTILE}, "accuracy": {"value": 1.0, "note": HOSTILE}}
    write_lines(run / "rl" / "rollouts" / "after.jsonl", [row])
    write_lines(run / "rl" / "rollouts" / "before.jsonl", [row])
    last = evaluation(1, "after", 40) | {
        "reflection_words": {HOSTILE: 3.0, "</script>": 2.0},
        "split": HOSTILE,
    }
    write_lines(run / "rl" / "evals.jsonl", [last])
    config = json.loads((run / "config.json").read_text())
    config["recipe"] = config["stages"]["rl"]["note"] = HOSTILE
    config["stages"][HOSTILE] = {HOSTILE: HOSTILE}
    (run / "config.json").write_text(json.dumps(config))
    (run / "summary.json").write_text(
        json.dumps({"model": HOSTILE, "task": HOSTILE, "after": {HOSTILE: 1.0}})
    )
    text = report.build_report(run)
    page = Page(text)
    assert page.open == []
    assert len(page.of("script")) == 1
    assert not page.of("img")
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_broken_lines_are_counted_and_not_fatal(run: Path) -> None:
    path = run / "rl" / "metrics.jsonl"
    good = path.read_text().splitlines()
    odd = ['{"step": 99, "rew', "[1, 2]", "null", '"x"', "\x00", "1" * 5000, "[" * 100_000, "{}"]
    odd.append(
        json.dumps({"step": "x", "reward": "high", "entropy": None, "kl": [1], "lr": True, "loss": 10**400})
    )
    odd.append('{"step": 12, "reward": NaN, "entropy": Infinity}')
    path.write_bytes("\n".join(good + odd).encode() + b"\n\xff\xfe{}\n")
    page = report.build_report(run)
    assert "rl/metrics.jsonl: 8 of 51 lines could not be read (the first is line 41)" in page
    assert "reward was not a finite number, first at step 12" in page


@pytest.mark.parametrize("name", ["config.json", "summary.json", "rl/metrics.jsonl", "rl/evals.jsonl"])
@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[]", b"\xff\x00", b'{"stages": 3, "before": [], "step": {}}']
)
def test_any_file_may_be_missing_or_broken(run: Path, name: str, content: bytes | None) -> None:
    (run / name).unlink()
    if content is not None:
        (run / name).write_bytes(content)
    assert Page(report.build_report(run)).open == []


def test_unfinished_run_says_so(run: Path) -> None:
    (run / "summary.json").unlink()
    for name in ("after", "before"):
        (run / "rl" / "rollouts" / f"{name}.jsonl").unlink()
    page = report.build_report(run)
    assert "has not finished" in page
    assert "step_00001" in page
    shutil.rmtree(run / "rl")
    assert "Settings" in report.build_report(run)


def test_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(AhaError, match=r"not a run.*aha list"):
        report.build_report(tmp_path)
    with pytest.raises(AhaError, match="not a folder"):
        report.build_report(tmp_path / "nowhere")


def test_stages_each_have_a_section(run: Path) -> None:
    shutil.copytree(run / "rl", run / "reasoning")
    shutil.copytree(run / "rl", run / "rl.old")
    write_lines(
        run / "sft" / "metrics.jsonl", [{"step": i, "loss": 3 / i, "lr": 1e-3} for i in range(1, 900)]
    )
    config = json.loads((run / "config.json").read_text())
    config["stages"] = {"sft": {"epochs": 2}, **config["stages"]}
    (run / "config.json").write_text(json.dumps(config))
    page = report.build_report(run)
    assert [page.index(f"<h2>{name} <") for name in ("sft", "rl", "reasoning")] == sorted(
        page.index(f"<h2>{name} <") for name in ("sft", "rl", "reasoning")
    )
    assert "<h2>rl.old" not in page
    assert 'href="#stage-2"' in page
    assert "Loss" in page


def test_page_stays_small_however_large_the_chains(run: Path) -> None:
    for name in ("before", "after"):
        rows = [
            rollout(0, i, 0, i % 2 == 0, True) | {"text": "<answer>&x</answer>" * 5000} for i in range(20)
        ]
        write_lines(run / "rl" / "rollouts" / f"{name}.jsonl", rows)
    for i in range(6):
        shutil.copytree(run / "rl", run / f"rl{i}")
    assert len(report.build_report(run).encode()) < 2_000_000


def test_long_runs_draw_few_points(tmp_path: Path) -> None:
    page = report.build_report(make_run(tmp_path / "long", steps=3000))
    assert len(page.encode()) < 800_000


def test_honesty_note_only_for_the_embedded_base(run: Path) -> None:
    for name in ("config.json", "summary.json"):
        text = (run / name).read_text()
        (run / name).write_text(text.replace('"tiny"', '"Qwen/Qwen2.5-0.5B"'))
    page = report.build_report(run)
    assert "does not invent" not in page
    assert "Qwen/Qwen2.5-0.5B on countdown" in page


def test_write_replaces_the_page_and_leaves_nothing_else(run: Path) -> None:
    (run / "report.html").write_text("old")
    files = {p.name for p in run.iterdir()}
    assert report.write_report(run) == run / "report.html"
    assert "<!doctype html>" in (run / "report.html").read_text(encoding="utf-8")
    assert {p.name for p in run.iterdir()} == files


# ------------------------------------------------------------------------------------------ warnings


def stage_of(rows: list[dict]) -> report_data.StageData:
    return report_data.StageData(
        "rl", Path("rl"), {}, [{"step": i, **row} for i, row in enumerate(rows, 1)], []
    )


@pytest.mark.parametrize(
    ("key", "values", "words"),
    [
        ("completions/clipped_ratio", [0.05] * 10 + [0.6] * 10, "was above 50.0% from step 11 to 18"),
        ("entropy", [0.3] * 10 + [0.01] * 10, "was below 0.020"),
        ("frac_reward_zero_std", [0.95] * 6, "no group teaches anything"),
        ("kl", [0.0, 2.0], "far from its reference"),
        ("clip_ratio/region_mean", [0.4] * 6, "moves too far"),
        ("language/mixed", [0.6] * 6, "was above 50.0%"),
        ("sampler_mismatch/mean", [0.2] * 6, "another distribution"),
        (
            "rewards/accuracy/mean",
            [0.1, 0.5, 0.8, 0.8, 0.8, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.3, 0.3],
            "fell from",
        ),
        ("ungradable", [0.0, 0.25, 0.0], "could not be graded in 1 steps (at most 25.0%"),
        ("grad_norm", [1.0] * 20 + [50.0], "jumped to 50 at step 21, 50 times"),
        ("loss", [1.0, float("nan")], "not a finite number, first at step 2"),
    ],
)
def test_warnings_in_words(key: str, values: list[float], words: str) -> None:
    warned = report_data.warnings(stage_of([{key: value} for value in values]))
    assert len(warned) == 1
    assert words in warned[0]


def test_the_page_and_the_live_warnings_have_the_same_bounds() -> None:
    """Every rule with a bound of its own: a curve just beyond it is told by both, one just within by neither."""
    from aha.runs import health
    from aha.runs.report.curves import small_charts

    for rule in health.RULES:
        if rule.against or rule.key == "ungradable":  # the page names every ungradable answer
            continue
        for factor in (0.99, 1.01):
            rows = [{"step": i, rule.key: rule.enter * factor} for i in range(1, 12)]
            same = [r for r in health.RULES if r.key == rule.key and not r.against]
            live = health.warnings(rows, same)
            beyond = any(r.beyond(rule.enter * factor, r.enter) for r in same)
            assert bool(live) == bool(report_data.warnings(stage_of(rows))) == beyond
        upper = health.upper_bound(rule.key)
        if rule.key == "rewards/accuracy/mean":  # a large chart, whose ends are the bounds
            continue
        limits = [c.limit for c in small_charts(stage_of(rows)) if any(s.points for s in c.series)]
        assert limits == [upper]


def test_one_odd_step_is_no_warning() -> None:
    values = [0.01] * 9 + [0.9] + [0.01] * 9
    assert report_data.warnings(stage_of([{"completions/clipped_ratio": v} for v in values])) == []


def test_overlapping_intervals_are_called_that(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    summary["after"] |= {"pass@1": 0.12, "pass@1_ci": [0.1, 0.14], "n_problems": 64}
    (run / "summary.json").write_text(json.dumps(summary))
    page = report.build_report(run)
    assert "cannot tell before from after" in page
    assert "Only 64 problems" in page


# ------------------------------------------------------------------------------------------ parts


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.9474, "rate", "94.7%"),
        (133.6, "number", "134"),
        (1.764, "number", "1.76"),
        (25_800, "tokens", "25.8k"),
        (3.6e7, "tokens", "36.00M"),
        (0.00012, "number", "1.2e-4"),
        (0.0, "number", "0"),
        (12.0, "number", "12"),
        (-3.25, "number", "-3.25"),
        (None, "rate", "-"),
    ],
)
def test_numbers_as_people_read_them(value: float | None, kind: charts.FigureKind, text: str) -> None:
    assert charts.show(value, kind) == text


def test_thin_keeps_the_mean_and_the_end() -> None:
    points = [(float(i), float(i % 2)) for i in range(1001)]
    kept = charts.thin(points, 101)
    assert len(kept) == 101
    assert kept[-1] == points[-1]
    assert kept[0] == (4.5, 0.5)


def test_ticks_cover_and_are_round() -> None:
    assert charts.ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1.0]
    assert charts.ticks(0, 137)[-1] >= 137
    assert charts.ticks(5, 5) == [5]


def test_pairs_are_the_first_of_each_case(run: Path) -> None:
    left, right = (
        report_data.read_chains(run / "rl/rollouts" / f"{n}.jsonl", []) for n in ("before", "after")
    )
    pairs = report_data.pick_pairs(left, right, 6)
    assert 3 <= len(pairs) <= 6
    for pair in pairs:
        assert pair.left is not None
        assert pair.right is not None
        assert pair.left["problem_id"] == pair.right["problem_id"]
    assert report_data.is_right(pairs[0].left or {}) is False
    assert report_data.is_right(pairs[0].right or {}) is True
    assert len({pair.left["problem_id"] for pair in pairs if pair.left}) == len(pairs)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_browser_draws_it(run: Path, tmp_path: Path, width: int) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no Chromium here: `apt-get install chromium` to look at the page as a reader does")
    page, shot = report.write_report(run), tmp_path / "page.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    size = f"--window-size={width},3000"
    command = [browser, *flags, size, f"--screenshot={shot}", page.as_uri()]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    assert shot.stat().st_size > 50_000


def test_what_the_run_warned_of_is_on_its_page_and_said_once(tmp_path):
    stage = tmp_path / "rl"
    stage.mkdir()
    rows = [{"step": i, "reward": 0.5, "kl": 3.0, "entropy": 0.5} for i in range(1, 12)]
    (stage / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    live = {"step": 4, "key": "kl", "value": 3.0, "text": "KL from the reference is 3: lower lr"}
    (stage / "warnings.jsonl").write_text(json.dumps(live) + "\n")
    (read,) = report_data.read_run(tmp_path).stages
    said = [text for text in report_data.warnings(read) if "KL" in text or "kl" in text]
    assert said == ["Step 4: KL from the reference is 3: lower lr"]
    (stage / "warnings.jsonl").unlink()
    (read,) = report_data.read_run(tmp_path).stages
    assert any(text.startswith("kl was above") for text in report_data.warnings(read))


def test_what_came_back_again_and_again_is_told_once(tmp_path):
    rows = [{"step": i, "key": "kl", "text": f"KL is {i}: lower lr."} for i in (4, 7, 9)]
    other = [{"step": i, "key": "kl", "text": f"KL is {i}, 3 times the usual: look."} for i in (5, 6)]
    write_lines(tmp_path / "rl" / "warnings.jsonl", [rows[0], *other, *rows[1:], {"step": 8, "text": "odd"}])
    write_lines(tmp_path / "rl" / "metrics.jsonl", [{"step": 1, "reward": 0.5}])
    (stage,) = read_run(tmp_path).stages
    assert report_data.warnings(stage)[:3] == [
        "Step 4: KL is 4: lower lr. Again 2 times, last at step 9.",
        "Step 5: KL is 5, 3 times the usual: look. Again at step 6.",
        "Step 8: odd",
    ]


def test_settings_are_there_whole_and_those_in_groups_by_name(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["stages"]["rl"] |= {"prompt": "p" * 9000, "vllm": {"port": 7, "gpu": {"share": 0.4}}, "empty": {}}
    config["stages"] |= {f"more{i}": {f"s{j}": j for j in range(250)} for i in range(45)}
    (run / "config.json").write_text(json.dumps(config))
    page = report.build_report(run)
    assert "p" * 9000 in page
    assert "<td>vllm.gpu.share</td><td>0.4</td>" in page
    assert "<td>empty</td><td>{}</td>" in page
    assert page.count("<td>s249</td>") == 45


# --- headline figures and scaling ---------------------------------------------------------------------------


def tiles_of(folder: Path, rows: list[dict], done: dict | None = None) -> list[tuple[str, str]]:
    """The tiles of a run of one stage that sampled nothing."""
    write_lines(folder / "sft" / "metrics.jsonl", rows)
    (folder / "config.json").write_text('{"recipe": "sft", "stages": {"sft": {"model": "tiny"}}}')
    if done:
        (folder / "sft" / "done.json").write_text(json.dumps({"summary": done}))
    return headline.tiles(read_run(folder), {}, {}, {})


def test_headlines_speak_for_the_runs_kind(tmp_path: Path) -> None:
    sft = [{"step": i, "loss": 3.0 - i, "validation_loss": 3.25 - i} for i in (0, 1, 2)]
    assert tiles_of(tmp_path, sft) == [
        ("<s>3.25 &rarr;</s> 1.25", "held-out loss"), ("<s>3 &rarr;</s> 1", "training loss")
    ]  # fmt: skip
    dpo = [{"step": i, "validation_rewards/accuracies": 0.5 + i / 4, "rewards/margins": i} for i in (0, 1)]
    assert tiles_of(tmp_path, dpo) == [
        ("<s>50.0% &rarr;</s> 75.0%", "pairs told apart, held out"),
        ("<s>0 &rarr;</s> 1", "margin of the implicit reward"),
    ]
    model = tiles_of(tmp_path, [{"step": 1, "loss": 0.5}], {"accuracy": 0.83, "held_out": 100})
    assert model == [("83.0%", "sft: right on held-out rows")]


def test_headlines_of_one_evaluation_and_of_checkpoints_compared(run: Path) -> None:
    data = read_run(run)
    assert headline.tiles(data, {}, {"pass@1": 0.25}, {})[0] == ("25.0%", "pass@1")
    both = headline.tiles(data, {"pass@1": 0.1, "maj@4": 0.5}, {"pass@1": 0.2}, {})
    assert [words for _, words in both] == ["pass@1", "tokens per second"], "maj@4 was measured once"
    models = {"base": {"pass@1": 0.1}, "r1": {"pass@1": 0.9}, "ppo": {"pass@1": 0.4}}
    assert headline.tiles(data, {}, {}, {"gsm8k": models})[0] == (
        "<s>10.0% &rarr;</s> 90.0%", "gsm8k: pass@1, base to r1"
    )  # fmt: skip


def test_scaling_is_over_tokens_sampled_and_over_samples_drawn(tmp_path: Path) -> None:
    write_lines(tmp_path / "rl" / "metrics.jsonl", [{"step": i, "num_tokens": 100 * i} for i in range(1, 7)])
    write_lines(
        tmp_path / "rl" / "evals.jsonl", [{"step": i, "split": "test", "pass@1": i / 10} for i in (0, 3, 6)]
    )
    (chart,) = scaling.training(read_run(tmp_path).stages)
    assert (chart.axis, list(chart.series[0].points)) == ("tokens", [(0.0, 0.0), (300.0, 0.3), (600.0, 0.6)])
    (voted,) = scaling.at_test_time({}, {"pass@1": 0.3, "maj@2": 0.3, "maj@8": 0.6, "pass@8": 0.9})
    assert [(s.name, list(s.points)) for s in voted.series] == [
        ("majority vote, after", [(1, 0.3), (2, 0.3), (8, 0.6)]),
        ("any of them, after", [(1, 0.3), (8, 0.9)]),
    ]
    assert scaling.at_test_time({"pass@1": 0.3}, {}) == []
    drawn = charts.draw(chart)
    assert ">tokens</text>" in drawn
    assert ">400</text>" in drawn
