"""The check of a GPU: its parts are commands that aha takes, and one that fails leaves the others."""

from __future__ import annotations

import json
import sys
import time

import pytest

from aha.bench import gpu, peers
from aha.cli import main, parse, parser
from aha.types import AhaError

SIDE = {"tokens_per_second": 1000.0, "runs": [1], "percent_of_limit": 40.0}
ROLLOUT = {
    "sides": {"aha": SIDE | {"graphs": {"captured": 2, "replayed": 100, "off": None}}, "vllm": SIDE},
    "machine": {"attention": ["varlen"]}, "ratio": 1.5,
}  # fmt: skip


def text_of(result):
    return "loading\n" + json.dumps(result, indent=1)


def without(result, **changes):
    return json.loads(json.dumps(result)) | changes


@pytest.mark.parametrize("part", gpu.make_parts(gpu.Path("/runs")), ids=lambda part: part.name)
def test_every_part_is_a_command_that_aha_takes(part):
    arguments = parse(parser(part.command[0]), list(part.command))
    assert arguments.command == part.command[0]
    if part.command[0] == "doctor":
        from aha.doctor.full import suite
        from aha.doctor.suite import choose

        assert choose(suite.checks_for(arguments.engine or "local"), arguments.only, quick=arguments.quick)


def test_the_most_important_come_first_and_fit_into_twelve_minutes():
    parts = gpu.make_parts(gpu.Path("/runs"))
    assert len({part.name for part in parts}) == len(parts)
    own = [part.seconds for part in parts if not part.peer]
    assert sum(own[:6]) < gpu.SECONDS < 12 * 60
    assert next(i for i, part in enumerate(parts) if part.peer) >= 6


def test_without_a_gpu_it_says_so(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["bench", "gpu", "--out", str(tmp_path / "out.json")]) == 1
    assert "There is no GPU here" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_parts_are_listed_without_a_gpu(capsys):
    assert main(["bench", "gpu", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()] == [p.name for p in gpu.make_parts(gpu.Path("."))]
    assert main(["bench", "gpu", "--dry-run", "--only", "rolout"]) == 1
    assert "No part 'rolout'" in capsys.readouterr().err


def test_a_rollout_must_have_replayed_graphs_and_its_own_attention():
    result = gpu.judged_graphs(text_of(ROLLOUT))
    assert result["ratio"] == 1.5
    assert "runs" not in result["sides"]["aha"]
    assert (
        gpu.headline(result)
        == "aha 1,000 tokens/s (40 % of the limit), vllm 1,000 tokens/s (40 % of the limit), 1.5 times"
    )
    with pytest.raises(AhaError, match="rectangles, not varlen"):
        gpu.judged_graphs(text_of(without(ROLLOUT, machine={"attention": ["rectangles"]})))
    for graphs in (None, {"captured": 3, "replayed": 0, "off": "a replay was wrong"}):
        with pytest.raises(AhaError, match="No decoding step was replayed"):
            gpu.judged_graphs(text_of(without(ROLLOUT, sides={"aha": SIDE | {"graphs": graphs}})))


def test_other_verdicts(tmp_path):
    bad = {
        "ok": False,
        "findings": [{"name": "weights", "compared": "all", "ok": False}, {"name": "x", "ok": True}],
    }
    with pytest.raises(AhaError, match="1 checks failed: weights: all"):
        gpu.judged_doctor(json.dumps(bad))
    assert gpu.judged_doctor(json.dumps({"ok": True, "findings": [{}, {}]})) == {"findings": 2}
    with pytest.raises(AhaError, match="no JSON"):
        gpu.judged_bench("Killed")
    summary = tmp_path / "summary.json"
    told = f"step 20\nSummary  {summary}\nReport   x\n"
    for after, learned in ((0.6, True), (0.12, False)):
        summary.write_text(json.dumps({"before": {"pass@1": 0.1}, "after": {"pass@1": after}}))
        if learned:
            assert gpu.judged_zero(told)["after"] == 0.6
        else:
            with pytest.raises(AhaError, match="did not learn"):
                gpu.judged_zero(told)
    with pytest.raises(AhaError, match="no summary"):
        gpu.judged_zero("step 1")


def test_a_part_that_fails_hangs_or_lacks_its_peer_leaves_the_others(tmp_path, monkeypatch, capsys):
    script = tmp_path / "aha_stub.py"
    script.write_text(
        "import json, os, sys, time\nkind = sys.argv[1]\n"
        "if kind == 'hang':\n    os.fork(); time.sleep(60)\n"
        "if kind == 'die':\n    print('out of memory', file=sys.stderr); sys.exit(3)\n"
        "print('words'); print(json.dumps({'ok': True, 'findings': []}))\n"
    )
    real = gpu.run_for
    monkeypatch.setattr(
        gpu, "run_for", lambda command, s: real([sys.executable, str(script), *command[3:]], s)
    )
    monkeypatch.setattr(peers, "folder", lambda name: tmp_path / name)
    kinds = ("good", "die", "hang", "peer", "again")
    parts = [
        gpu.Part(k, "", 6 if k == "hang" else 60, (k,), gpu.judged_doctor, "vllm" if k == "peer" else "")
        for k in kinds
    ]
    out, started = tmp_path / "deep" / "out.json", time.monotonic()
    outcomes = gpu.check(parts, out, 100)
    assert time.monotonic() - started < 55, "what hangs does so for 60"
    assert [o.verdict for o in outcomes] == ["passed", "failed", "timed out", "skipped", "passed"]
    written = json.loads(out.read_text())
    assert not written["ok"]
    assert "exit code 3" in written["parts"][1]["why"]
    assert "out of memory" in written["parts"][1]["tail"]
    assert written["machine"]["torch"]
    assert "set AHA_PEERS" in gpu.table(outcomes)
    assert [o.verdict for o in gpu.check(parts[:1], out, 1)] == ["skipped"], "no time left"
