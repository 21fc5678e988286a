"""A run that version 0.1.0 made is read by today's commands, and none of its files but the page is written.

``version_0_1/zero`` is what ``aha zero`` of commit 56241f6 left (two steps, two questions of four samples), without
weights, optimizer states and page: the tiny base stands where its checkpoints stood, with the files that they had."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

import aha
from aha import chat
from aha.cli import main
from aha.modeling import EMBEDDED, keeps_prompt, load_tokenizer
from aha.recipes import get_recipe, r1
from aha.runs import config, folders

KEPT = Path(__file__).parent / "version_0_1" / "zero"
CHECKPOINT = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)
PLACES = ("final", "checkpoints/step-000001", "checkpoints/step-000002")
ASK = ("--task", "countdown", "--problems", "1", "--samples", "1", "--max-tokens", "4", "--threads", "1")


def hashes(folder):
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "report.html")
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The run in ``runs/zero`` of an empty folder, which is the current one; its files are as they were at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "runs" / "zero"
    shutil.copytree(KEPT, folder)
    for place in PLACES:
        for name in CHECKPOINT:
            shutil.copyfile(EMBEDDED["tiny"] / name, folder / "rl" / place / name)
    for place in PLACES[1:]:
        (folder / "rl" / place / "state.pt").write_bytes(b"what the optimizer was")
    before = hashes(folder)
    yield Path("runs/zero")
    assert hashes(folder) == before


def said(capsys, *words):
    """What a command prints. 3 is ``aha diagnose`` that has something to say."""
    assert main([str(word) for word in words]) in (0, 3), capsys.readouterr().err
    return capsys.readouterr().out


def test_it_is_listed_with_its_settings_and_figures(run, capsys):
    text = said(capsys, "list", "runs")
    assert "finished, pass@1 0.0%" in text
    assert "r1_zero, tiny, countdown, grpo_no_kl, step 2 of 2" in text


def test_its_page_is_written_again(run, capsys):
    said(capsys, "report", run)
    page = (run / "report.html").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in (run / "rl/rollouts/after.jsonl").read_text("utf-8").splitlines()]
    assert "max_num_seqs" in page  # decode_rows then
    assert rows[0]["text"].strip()[:20] in page


def test_it_is_diagnosed_watched_compared_and_rescored(run, capsys):
    assert "Cause" in said(capsys, "diagnose", run) or "nothing lasting is wrong" in said(
        capsys, "diagnose", run
    )
    assert "finished, pass@1 0.0%" in said(capsys, "watch", run)
    assert "cannot be told apart on 3 problems" in said(capsys, "compare", run, run)
    text = said(capsys, "rescore", run, "--rewards", "format")
    assert "16 rollouts of 2 steps" in text


def test_its_models_answer(run, capsys):
    assert "pass@1" in said(capsys, "eval", run, *ASK)
    text = said(capsys, "eval", run / "rl/checkpoints/step-000001", *ASK)
    assert "First prompt (r1_zero, which the checkpoint was trained with)" in text
    assert said(capsys, "chat", run / "rl/final", "--ask", "3 5 9 -> 24", "--max-tokens", "4").strip()
    said(capsys, "export", run, "exported")
    assert "pass@1 | 0." in Path("exported/README.md").read_text(encoding="utf-8")


def test_python_reads_it(run):
    result = aha.Result("runs/zero")
    assert (result.before["format"], result.figures["n_problems"]) == (1 / 3, 3)
    assert len(result["rl"].rollouts("after")) == 6
    assert len(result.metrics) == 2


def test_the_viewer_shows_it(run):
    pytest.importorskip("starlette")
    from starlette.testclient import TestClient

    from aha.view import app

    with TestClient(
        app.build(app.ViewApp([Path("runs")]), "t", 8421), base_url="http://127.0.0.1:8421"
    ) as page:
        page.headers["authorization"] = "Bearer t"

        def get(path, **asked):
            answer = page.get(f"/api/{path}", params={"run": "zero", **asked})
            assert answer.status_code == 200, answer.text
            return answer.json()

        assert len(get("runs")["rows"]) == 1
        curves = get("curves")["zero"]
        assert curves["stages"]
        assert not curves["faults"]
        assert get("graph")
        assert get("tab", name="diagnosis")
        rows = get("rollouts")["rows"]
        assert len(rows) == 16 + 2 * 6
        one = get("rollout", id=rows[0]["id"])
        why = page.post("/api/why", json={"run": "zero", "id": rows[0]["id"]})
        assert one
        assert why.status_code in (200, 400)
        assert "earlier version" in why.text


def test_the_same_command_makes_a_run_beside_it_and_says_why(run):
    stages = get_recipe("r1_zero").build()
    then = [
        "rl.steps=2", "rl.prompts_per_step=2", "rl.group_size=4", "rl.test_problems=3", "rl.test_samples=2",
        "rl.eval_problems=2", "rl.eval_samples=1", "rl.eval_every=1", "rl.mini_batches=1", "rl.max_tokens=64",
        "rl.max_tokens_schedule=[2,72]", "rl.save_every=1", "rl.train_problems=64", "rl.max_num_seqs=64",
    ]  # fmt: skip
    config.apply(stages, config.read_overrides(then, []))
    place, why = folders.choose(run, stages)
    assert place == Path("runs/zero-2")
    assert "rl is of an earlier version of aha, without judge_" in why
    assert "unset" not in why


@pytest.mark.parametrize(
    ("template", "has_turns", "prompt"),
    [
        ("r1_zero", False, "A conversation between User and Assistant."),
        ("auto", False, "A conversation between User and Assistant."),
        ("r1_zero", True, "A conversation between User and Assistant."),
        ("auto", True, "[1 + 1?]"),
        ("chat", True, "[1 + 1?]"),
        ("none", True, "1 + 1?"),
        ("none", False, "1 + 1?"),
    ],
)
@pytest.mark.parametrize("place", PLACES)
def test_its_checkpoints_are_asked_as_they_were_trained(run, tmp_path, place, template, has_turns, prompt):
    """They kept no prompt: the setting ``template`` of their stage says it, and nothing is added to the question."""
    stage = tmp_path / "other" / "rl"
    shutil.copytree(run / "rl", stage)
    kept = json.loads((stage / "settings.json").read_text())
    kept["settings"]["template"] = template
    (stage / "settings.json").write_text(json.dumps(kept))
    if has_turns:
        turns = "{% for message in messages %}[{{ message['content'] }}]{% endfor %}"
        (stage / place / "chat_template.jinja").write_text(turns)
    tokenizer = load_tokenizer(str(stage / place))
    chosen = chat.choose("auto", tokenizer)
    rendered = chat.render(({"role": "user", "content": "1 + 1?"},), tokenizer, prompt=chosen)
    assert rendered.text.startswith(prompt)
    assert chosen.trained
    assert "boxed" not in rendered.text


def test_the_recipe_asks_a_base_as_it_was_trained_also_where_a_run_is_named(run, tmp_path):
    assert keeps_prompt("runs/zero")
    assert keeps_prompt("runs/zero/rl/final")
    assert not keeps_prompt("tiny")
    assert r1.first_prompt("runs/zero", None) == {"prompt": "auto"}
    (tmp_path / "alone").mkdir()
    assert not keeps_prompt(str(tmp_path / "alone"))
