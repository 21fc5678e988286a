"""Claims over run folders with known figures: every verdict, missing stages, seeds, and the files written."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from aha.files import write_json, write_jsonl
from aha.runs.claims import table as claims
from aha.runs.claims.data import read_figures
from aha.runs.claims.rules import FAILS, HOLDS, MISSING, UNSURE, Criterion, judged, t_interval, t_quantile
from aha.types import AhaError

WOBBLE = (0.0, 0.01, -0.01, 0.005)  # what distinguishes the seeds


def stage(run: Path, name: str, settings=None, summary=None, metrics=(), evals=(), state=0) -> None:
    place = run / name
    write_json(place / "settings.json", {"fingerprint": "x", "settings": {"name": name, **(settings or {})}})
    write_json(place / "done.json", {"fingerprint": "x", "seconds": 60.0, "summary": summary or {}})
    if metrics:
        write_jsonl(place / "metrics.jsonl", metrics)
    if evals:
        write_jsonl(place / "evals.jsonl", evals)
    if state:
        (place / "checkpoints/step-000001").mkdir(parents=True)
        (place / "checkpoints/step-000001/state.pt").write_bytes(b"0" * state)


def curve(first: float, last: float, steps: int = 20, **more) -> list[dict]:
    """Metrics whose accuracy, length and reflective words go from their first to their last figures."""
    rows = []
    for step in range(1, steps + 1):
        share = (step - 1) / (steps - 1)
        row = {
            "step": step,
            "rewards/accuracy/mean": first + (last - first) * share,
            "num_tokens": 1000 * step,
        }
        rows.append(row | {key: a + (b - a) * share for key, (a, b) in more.items()})
    return rows


def figures(rate: float, **changes) -> dict:
    return {
        "pass@1": rate, "pass@1_ci": [rate - 0.02, rate + 0.02], "maj@8": min(1.0, rate + 0.1), "lenient": rate,
        "format": 0.8, "language": 0.8, "readable": 0.5, "n_problems": 128, "n_samples": 8,
    } | changes  # fmt: skip


def proxy_rows(truths, proxies) -> list[dict]:
    rows = [{"name": "step", "split": "validation"} for _ in truths]
    rows[0] |= {"name": "before", "split": "test"}
    rows[-1] |= {"name": "after", "split": "test"}
    return [
        row | {"step": i, "preference/true": t, "preference/proxy": p}
        for i, (row, t, p) in enumerate(zip(rows, truths, proxies, strict=True))
    ]


def make_run(folder: Path, seed: int, extras: bool = True, **rates: float) -> Path:
    """A finished run in which every claim holds, if ``rates`` does not change a checkpoint's pass@1."""
    w = WOBBLE[seed]
    own = {"seed": seed}
    evals = [
        {"name": "before", "step": 0, "split": "test", "pass@1": 0.1, "mean_length": 30, "reflections": 0.4},
        {"name": "after", "step": 20, "split": "test", "pass@1": 0.9 + w, "mean_length": 110, "reflections": 0.9 + w},
    ]  # fmt: skip
    grown = {"completions/mean_length": (30, 115 + 100 * w), "reflections/mean": (0.4, 0.8 + w)}
    zero = own | {"model": "tiny", "rewards": {"accuracy": 1.0, "format": 0.2}, "steps": 20}
    stage(folder, "zero", zero, {"rl_seconds": 300.0}, curve(0.1, 0.9 + w, **grown), evals, 1200)
    stage(folder, "student_rl", own, {"rl_seconds": 240.0}, curve(0.0, 0.2))
    stage(folder, "distilled", own, {"seconds": 20.0, "tokens": 40_000})
    stage(folder, "reject", own, {"sampled": 8192})
    checkpoints = {
        "tiny": figures(0.1), "zero": figures(0.9 + w, language=0.8 + w), "dev1": figures(0.5, readable=0.9 + w),
        "dev2": figures(0.9 + w / 2, language=0.99), "dev3": figures(0.85),
        "r1": figures(0.91 + w, language=0.99, format=0.97 + w),
        "student": figures(0.01), "distilled": figures(0.5 + w), "student_rl": figures(0.2),
    }  # fmt: skip
    plain = {name: figures(0.1, general=0.1 + (0.7 + w) * (name == "r1")) for name in checkpoints}
    plain["r1"] |= {"format": 0.95 + w}
    stage(folder, "compare", own)
    changed = {n: f | ({"pass@1": rates[n]} if n in rates else {}) for n, f in checkpoints.items()}
    write_json(folder / "compare/compare.json", {"countdown": changed, "general": plain})
    if not extras:
        return folder
    hacked = proxy_rows([0.5, 0.7, 0.6, 0.5 + w, 0.4 + w], [0.5, 0.6, 0.7, 0.8, 0.9 + w])
    stage(folder, "hacked", own, evals=hacked)
    ppo = {**zero, "steps": 10, "algorithm": {"lam": 1.0}, "min_lr_ratio": 0.7}
    halfway = 0.1 + 0.8 * 9 / 19
    stage(folder, "ppo", ppo, {}, curve(0.1, halfway - 0.01 + w / 4, 10), state=2400)
    stage(folder, "ppo_095", ppo | {"algorithm": {"lam": 0.95}}, {}, curve(0.1, 0.3, 10), state=2400)
    stage(folder, "dev2_no_language", own)
    more = {
        "dev2_no_language": figures(0.905 + w / 2, language=0.7 + w), "hacked": figures(0.3), "ppo": figures(0.5 + w),
        "ppo_095": figures(0.3),
    }  # fmt: skip
    stage(folder, "compare_claims", own)
    more = {n: f | ({"pass@1": rates[n]} if n in rates else {}) for n, f in more.items()}
    write_json(folder / "compare_claims/compare.json", {"countdown": more})
    return folder


def make_runs(place: Path, seeds: int = 3, **options) -> list[Path]:
    return [make_run(place / f"r1_{seed}", seed, **options) for seed in range(seeds)]


def verdicts(folders: list[Path]) -> dict[str, str]:
    return {j.claim.key: j.verdict for j in claims.judge(folders).claims}


def finding(folders: list[Path], key: str, text: str):
    (finding,) = (f for j in claims.judge(folders).claims if j.claim.key == key for f in j.findings
                if f.criterion.text == text)  # fmt: skip
    return finding


# --- the rule ----------------------------------------------------------------------------------------------


def value_of(run):
    raise AssertionError("the rule judges values")


ABOVE = Criterion("x", "number", value_of, 2.0)
BELOW = Criterion("x", "number", value_of, 2.0, "below")


@pytest.mark.parametrize(
    ("criterion", "values", "verdict"),
    [
        (ABOVE, (3.0, 3.1, 2.9), HOLDS),
        (ABOVE, (1.0, 1.1, 0.9), FAILS),
        (ABOVE, (1.0, 3.1, 2.9), UNSURE),
        (ABOVE, (2.0, 2.0), FAILS),  # no part of the interval is above 2
        (BELOW, (1.0, 1.1, 0.9), HOLDS),
        (BELOW, (3.0, 3.1, 2.9), FAILS),
        (BELOW, (2.0, 2.0), FAILS),
        (ABOVE, (9.0,), UNSURE),
        (ABOVE, (9.0, 9.1, None), HOLDS),
        (ABOVE, (9.0, math.nan), UNSURE),
        (ABOVE, (None, None), MISSING),
        (Criterion("x", "number", value_of), (1.0, 2.0), ""),
        (Criterion("x", "ratio", value_of, 1.0, exact=True), (2.0,), HOLDS),
        (Criterion("x", "ratio", value_of, 1.0, exact=True), (2.0, 0.5), FAILS),
    ],
)
def test_the_verdict_on_known_values(criterion, values, verdict):
    assert judged(criterion, values).verdict == verdict


def test_what_is_said_beside_a_verdict():
    assert "one seed" in judged(ABOVE, [9.0]).note
    assert "is on the claim's side" in judged(ABOVE, [9.0]).note
    assert "not on the claim's side" in judged(ABOVE, [1.0]).note
    assert judged(ABOVE, [9.0, 9.1, None]).note == "measured in 2 of 3 runs"


@pytest.mark.parametrize("degrees", [1, 2, 5, 19, 30, 31, 60])
def test_the_quantiles_are_students(degrees):
    """The density integrated by Simpson's rule from 0 to the quantile is 0.475."""
    top, n = t_quantile(degrees), 20_000
    scale = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(degrees * math.pi)
    values = [(1 + (top * i / n) ** 2 / degrees) ** (-(degrees + 1) / 2) for i in range(n + 1)]
    area = top / n / 3 * (values[0] + values[-1] + 4 * sum(values[1:-1:2]) + 2 * sum(values[2:-1:2]))
    assert scale * area == pytest.approx(0.475, abs=2e-4)


def test_the_interval_by_hand():
    mean, low, high = t_interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert high - mean == pytest.approx(4.303 / math.sqrt(3))
    assert mean - low == pytest.approx(high - mean)
    verdict = judged(Criterion("x", "ratio", value_of, 1.0), [2.0, 8.0])
    assert verdict.mean == pytest.approx(4.0), "ratios have a geometric mean"


# --- the claims over run folders ---------------------------------------------------------------------------


def test_every_claim_can_hold(tmp_path):
    folders = make_runs(tmp_path)
    assert verdicts(folders) == dict.fromkeys(
        ("a", "b", "c", "d", "e", "f", "g1", "g2", "h", "i", "j"), HOLDS
    )
    table = claims.judge(folders)
    assert table.notes == ()
    assert finding(folders, "a", "pass@1 of zero / base").values == pytest.approx((9.0, 9.1, 8.9))
    assert finding(folders, "h", "time of reinforcement learning").mean == 240
    assert finding(folders, "h", "tokens trained on, distillation").mean == 40_000
    assert finding(folders, "i", "training state, PPO / GRPO").mean == pytest.approx(2.0)
    assert finding(folders, "g2", "true rubric since its best evaluation").values == pytest.approx(
        (-0.2, -0.19, -0.21)
    )


def test_grpo_and_ppo_are_held_together_at_equal_steps(tmp_path):
    folders = make_runs(tmp_path)
    lacks = finding(folders, "i", "what GRPO lacks to PPO at equal steps")
    # Step 10 of 20 of GRPO's curve, and the end of PPO's: means over the last two steps of ten.
    grpo = 0.1 + 0.8 * 8.5 / 19
    assert finding(folders, "i", "training accuracy at equal steps, GRPO").values[0] == pytest.approx(grpo)
    assert lacks.high < 0.03


@pytest.mark.parametrize(
    ("rates", "key"),
    [
        ({"zero": 0.15}, "a"),
        ({"r1": 0.5}, "f"),
        ({"distilled": 0.1}, "h"),
        ({"ppo_095": 0.9}, "i"),
        ({"dev2": 0.6}, "d"),
    ],
)
def test_a_claim_can_fail(tmp_path, rates, key):
    assert verdicts(make_runs(tmp_path, **rates))[key] == FAILS


def test_seeds_that_disagree_cannot_tell(tmp_path):
    folders = make_runs(tmp_path)
    make_run(tmp_path / "other", 3, distilled=0.05)
    assert verdicts([*folders, tmp_path / "other"])["h"] == UNSURE


def test_missing_stages_are_not_measured(tmp_path):
    by_claim = verdicts(make_runs(tmp_path, extras=False))
    assert {key: v for key, v in by_claim.items() if v != HOLDS} == dict.fromkeys(
        ("d", "g1", "g2", "i", "j"), MISSING
    )


def test_an_unfinished_stage_and_one_set_aside_do_not_count(tmp_path):
    folders = make_runs(tmp_path)
    for folder in folders:
        (folder / "hacked").rename(folder / "hacked.old")
        (folder / "student_rl/done.json").unlink()
    by_claim = verdicts(folders)
    assert by_claim["g1"] == by_claim["j"] == MISSING
    assert finding(folders, "h", "time of reinforcement learning").mean is None


def test_one_seed_cannot_tell_and_says_so(tmp_path):
    judgement = claims.judge(make_runs(tmp_path, 1))
    assert {j.claim.key: j.verdict for j in judgement.claims}["b"] == UNSURE
    assert judgement.claims[1].sides == (2, 2)
    assert "one seed has no interval" in claims.markdown(judgement)


def test_a_base_without_a_right_answer_counts_as_half_an_answer(tmp_path):
    folders = make_runs(tmp_path, tiny=0.0)
    assert finding(folders, "a", "pass@1 of zero / base").values[0] == pytest.approx(0.9 / (0.5 / (128 * 8)))


def test_what_is_no_set_of_runs(tmp_path):
    (first, _) = make_runs(tmp_path, 2)
    with pytest.raises(AhaError, match="same seed 0"):
        claims.judge([first, make_run(tmp_path / "again", 0)])
    with pytest.raises(AhaError, match="not a folder"):
        claims.judge([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(AhaError, match="has finished"):
        claims.judge([tmp_path / "empty"])
    with pytest.raises(AhaError, match="one run"):
        claims.judge([])


def _set(stage_folder, values):
    settings = json.loads((stage_folder / "settings.json").read_text())
    settings["settings"] |= values
    write_json(stage_folder / "settings.json", settings)


def test_runs_and_stages_that_should_be_alike_are_checked(tmp_path):
    folders = make_runs(tmp_path, 2)
    changed = {"lr": 1e-3, "rewards": {"accuracy": 1.0, "cosine": 0.5}, "later": 1}
    common = {"lr": 1e-4, "rewards": {"accuracy": 1.0, "format": 0.2}}
    for folder in folders:
        for name in ("zero", "ppo"):
            _set(folder / name, common)
    _set(folders[1] / "zero", changed)  # "later": a setting that the others' version of aha did not have
    (first, second, *third) = claims.judge(folders).notes
    assert first == "zero has other settings in r1_1 than in r1_0: lr, rewards."
    assert second == "zero is rewarded for more than accuracy and format: cosine."
    assert third == ["ppo differs from zero in more than it is there for: lr, rewards."]


def test_a_mean_over_reasoning_tasks_needs_all_of_them(tmp_path):
    (folder,) = make_runs(tmp_path, 1)
    data = json.loads((folder / "compare/compare.json").read_text())
    data["logic"] = {"zero": figures(0.5)}
    write_json(folder / "compare/compare.json", data)
    run = read_figures(folder)
    assert run.reasoning("zero", "pass@1") == pytest.approx(0.7)
    assert run.reasoning("dev2", "pass@1") is None
    assert run.general("zero", "general") == pytest.approx(0.1)


# --- files and the command ---------------------------------------------------------------------------------


def test_the_command_writes_and_prints_the_table(tmp_path, capsys):
    from aha.cli import main

    make_runs(tmp_path / "runs")
    assert main(["claims", "r1_0", "r1_1", "r1_2", "--runs-dir", str(tmp_path / "runs")]) == 0
    text = capsys.readouterr().out
    assert "| b | Responses grow longer by themselves | holds | 2 of 2 |" in text
    for name in ("r1_0", "r1_2"):
        assert (tmp_path / "runs" / name / "claims.md").read_text() in text
    data = json.loads((tmp_path / "runs/r1_1/claims.json").read_text())
    assert [run["seed"] for run in data["runs"]] == [0, 1, 2]
    lifted = next(f for f in data["claims"][0]["figures"] if f["demand"])
    assert lifted["demand"] == {"side": "above", "bound": 2.0}
    assert lifted["interval"][0] < lifted["mean"] < lifted["interval"][1]
    assert main(["claims", "r1_0", "--runs-dir", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    assert len(json.loads((tmp_path / "out/claims.json").read_text())["runs"]) == 1
    assert main(["claims", "no_run", "--runs-dir", str(tmp_path)]) == 1


def test_the_rules_need_no_torch(tmp_path):
    import subprocess
    import sys

    (folder,) = make_runs(tmp_path, 1)
    code = (
        "import sys; from aha.cli import main; "
        f"main(['claims', {str(folder)!r}]); assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
