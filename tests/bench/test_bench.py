"""Every benchmark runs on a toy and gives figures that can be true; what they are read with is counted right."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aha import attention, kernels
from aha.bench import interleave, models, roofline, train
from aha.cli import main, parse, parser
from aha.types import AhaError

TOY = ("--shape", "tiny", "--threads", "1", "--runs", "1")
SIZES = {
    "rollout": ("--rows", "6", "--tokens", "5", "--prompts", "3", "--prompt-tokens", "7"),
    "train": ("--tokens", "400", "--length-mean", "30", "--packed-length", "128"),
    "step": (
        "--prompts",
        "2",
        "--group",
        "3",
        "--tokens",
        "6",
        "--prompt-tokens",
        "5",
        "--packed-length",
        "64",
    ),
}


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    """Peaks from small products and buffers: as good here, and quick."""
    monkeypatch.setattr(roofline, "MATMUL_SIZE", {"cpu": 256})
    monkeypatch.setattr(roofline, "READ_BYTES", {"cpu": 4 << 20})


def bench(capsys, part, *words):
    capsys.readouterr()
    assert main(["bench", part, *TOY, *SIZES.get(part, ()), *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("part", SIZES)
def test_figures_are_positive_and_stay_below_the_limit(capsys, part):
    result = bench(capsys, part)
    side = result["sides"]["aha"]
    assert side["tokens_per_second"] > 0
    assert side["seconds"] > 0
    assert 0 < side["percent_of_limit"] < 100
    assert result["machine"]["torch"] == torch.__version__
    assert result["model"]["parameters"] > 10_000
    assert result["limits"]["float32_gflops"] > 0
    assert "ratio" not in result


@pytest.mark.parametrize("way", ["kernels", "rectangles"])
def test_the_machine_is_told_with_the_way_that_attention_went(capsys, monkeypatch, way):
    exact = way == "kernels"
    if exact and not kernels.can_attend(*[torch.zeros(1, 1, 32)] * 3, 1):
        pytest.skip("no C++ compiler here")
    if not exact:
        monkeypatch.setattr(kernels, "can_attend", lambda *x: False)
    attention.WAYS.clear()
    result = bench(capsys, "train")
    assert result["machine"]["attention"] == [way]
    assert (result["sides"]["aha"]["attention_padding"] == 0) == exact


@pytest.mark.parametrize(
    ("part", "peer"), [("rollout", "transformers"), ("rollout", "transformers-cb"), ("train", "transformers")]
)
def test_the_peer_does_the_same_work_in_turn(capsys, part, peer):
    result = bench(capsys, part, "--against", peer)
    ours, theirs = result["sides"]["aha"], result["sides"][peer]
    assert result["ratio"] == pytest.approx(ours["tokens_per_second"] / theirs["tokens_per_second"], rel=0.01)
    assert ours["tokens_per_second"] * ours["seconds"] == pytest.approx(
        theirs["tokens_per_second"] * theirs["seconds"], rel=0.01
    )
    if part == "train":  # equal weights and tokens give equal losses
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.01)


def test_a_plain_page_names_the_ratio_and_the_limit(capsys):
    words = [
        "bench",
        "train",
        *TOY,
        *SIZES["train"],
        "--against",
        "transformers",
        "--peer-precision",
        "masters",
    ]
    assert main(words) == 0
    page = capsys.readouterr().out
    assert "times as fast as transformers" in page
    assert "GFLOP/s" in page
    assert "padding" in page


def test_scale_fits_a_line(capsys):
    scale = bench(capsys, "train", "--scale", "1,2")["scale"]
    assert [row["times"] for row in scale["rows"]] == [1, 2]
    assert scale["rows"][1]["tokens"] == 2 * scale["rows"][0]["tokens"]
    rows = [{"times": t, "tokens": 1000 * t, "seconds": 0.5 + 0.002 * 1000 * t} for t in (1, 2, 4, 8)]
    fit = train.fit_line(rows)
    assert fit["seconds_per_million_tokens"] == pytest.approx(2000)
    assert fit["fixed_seconds"] == pytest.approx(0.5)
    assert fit["deviation"] == pytest.approx(0, abs=1e-6)
    rows[3]["seconds"] *= 2
    assert train.fit_line(rows)["deviation"] > 0.05


@pytest.mark.slow
def test_loading_is_measured_in_processes_of_their_own(capsys):
    capsys.readouterr()
    words = ["bench", "load", *TOY, "--against", "transformers", "--json"]
    assert main(words) == 0
    result = json.loads(capsys.readouterr().out)
    for side in result["sides"].values():
        assert side["load_seconds"] > 0
        assert side["save_seconds"] > 0
        assert 0 < side["import_mb"] <= side["load_peak_mb"] <= side["peak_mb"]
    ours, theirs = result["sides"]["aha"], result["sides"]["transformers"]
    assert result["ratio"] == pytest.approx(theirs["load_seconds"] / ours["load_seconds"], rel=0.05)


def test_the_profile_attributes_the_whole_step(capsys, tmp_path):
    trace = tmp_path / "traces" / "step.json"
    profile = bench(capsys, "step", "--profile", str(trace))["profile"]
    assert sum(profile["classes"].values()) == pytest.approx(profile["seconds"], rel=0.02)
    assert sum(profile["shares"].values()) == pytest.approx(1, abs=0.001)
    for name in (
        "matrix products",
        "attention kernels" if kernels.can_attend(*[torch.zeros(1, 1, 32)] * 3, 1) else "attention products",
        "sampling",
        "grading",
        "optimizer",
        "copies",
        "Python",
    ):
        assert profile["classes"][name] > 0, name
    assert json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]


def test_a_step_of_two_ranks():
    words = ["bench", "step", *TOY, *SIZES["step"], "--ranks", "2", "--device", "cpu", "--json"]
    done = subprocess.run([sys.executable, "-m", "aha", *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["work"]["ranks"] == 2
    assert result["sides"]["aha"]["tokens_per_second"] > 0


def test_work_that_cannot_be_shared_out_is_refused(capsys):
    assert main(["bench", "rollout", *TOY, "--rows", "7", "--prompts", "2"]) == 1
    assert "--rows 7" in capsys.readouterr().err
    assert main(["bench", "train", *TOY, "--length-mean", "500", "--packed-length", "100"]) == 1
    assert "--length-mean 500" in capsys.readouterr().err
    assert main(["bench", "step", *TOY, "--group", "1"]) == 1


def test_documented_commands_are_understood():
    text = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    commands = set(re.findall(r"aha bench [^`\n]*", text))
    ready = [c for c in commands if not re.search(r"[A-Z]{4}", c)]
    assert len(ready) > 15
    for command in ready:
        words = command.split()[1:]
        assert parse(parser("bench"), words).part in words


# --- what figures are read with ---------------------------------------------------------------------------


def test_limits_are_plausible():
    limits = roofline.measure(torch.device("cpu"), size=512, read_bytes=8 << 20, repeats=3)
    assert 1e8 < limits.float32_flops < 1e14
    assert 1e7 < limits.bf16_flops < 1e15
    assert 1e8 < limits.bytes_per_second < 1e13
    assert limits.flops(torch.bfloat16) == limits.bf16_flops
    assert limits.flops(torch.float32) == limits.float32_flops


def test_waste_by_hand():
    a, b, c = (np.zeros(n, int) for n in (6, 4, 2))
    assert train.padding_waste([[a, b], [c]]) == pytest.approx(2 / 14)
    assert train.packing_waste([10, 2], 12) == pytest.approx(12 / 24)
    assert [len(batch) for batch in train.padded_batches([a, b, c], 12)] == [2, 1]
    assert [len(batch) for batch in train.padded_batches([c, c, a], 6)] == [2, 1]
    # One rectangle for 20 and 16 tokens; 2 stand apart.
    segments = np.array([(0, 20, 0, 0), (20, 16, 0, 0), (36, 2, 0, 0)])
    assert train.rectangle_waste([segments]) == pytest.approx(4 / 42)


def test_sequences_have_the_asked_mean_and_sum():
    sequences = train.make_sequences(200_000, 100, "lognormal", 4096, 50)
    lengths = [len(ids) for ids in sequences]
    assert sum(lengths) == pytest.approx(200_000, abs=8)
    assert np.mean(lengths) == pytest.approx(100, rel=0.05)
    assert max(lengths) > 250
    assert {len(ids) for ids in train.make_sequences(1000, 100, "equal", 4096, 50)} == {100}
    with pytest.raises(AhaError):
        train.make_sequences(1000, 100, "equal", 50, 50)


def test_costs_by_hand():
    parts = roofline.Anatomy(
        matrix_parameters=1000, layers=2, attention_width=8, weight_bytes=2000, kv_bytes=10
    )
    assert roofline.training_flops(parts, [3, 5]) == 6 * 1000 * 8 + 6 * 2 * 8 * (9 + 25)
    # One prompt of 4 tokens, 3 rows, 2 tokens: one pass over the prompt, then one step that reads everything.
    prefill = 2 * 1000 * 4 + 2 * 2 * 8 * 16
    step = 3 * (2 * 1000 + 4 * 2 * 8 * 5)
    slow_memory = roofline.decoding(parts, 3, 1, 4, 2, (1e9, 1e3))
    assert slow_memory.flops == prefill + step
    assert slow_memory.bytes == 2000 + 3 * 5 * 10
    assert slow_memory.seconds == pytest.approx(prefill / 1e9 + 2150 / 1e3)
    assert slow_memory.binds == "memory"
    slow_products = roofline.decoding(parts, 3, 1, 4, 2, (1e3, 1e9))
    assert slow_products.seconds == pytest.approx((prefill + step) / 1e3)
    assert slow_products.binds == "matrix products"


def test_shapes_are_the_published_ones():
    assert sum(p.numel() for p in _empty("small").parameters()) == pytest.approx(4.8e6, rel=0.02)
    assert sum(p.numel() for p in _empty("qwen2.5-0.5b").parameters()) == pytest.approx(494e6, rel=0.01)
    assert sum(p.numel() for p in _empty("qwen2.5-1.5b").parameters()) == pytest.approx(1.544e9, rel=0.01)


def _empty(shape):
    """Without memory: only to be counted."""
    return models.random_model(shape, "meta", torch.float32)


def test_the_head_counts_once_and_the_embedding_only_if_it_is_the_head():
    model = models.random_model("tiny", "cpu", torch.float32)
    parts = roofline.anatomy(model)
    layers = sum(p.numel() for n, p in model.named_parameters() if "layers" in n and p.ndim == 2)
    assert parts.matrix_parameters == layers + 128 * 64
    assert parts.kv_bytes == 2 * 2 * 1 * 32 * 4


def test_text_and_ids_of_a_random_model_say_the_same():
    model, tokenizer = models.random_model("tiny", "cpu", torch.float32), models.random_tokenizer("tiny")
    subject = models.BenchModel(model, tokenizer, "tiny", torch.device("cpu"), torch.float32)
    for text in models.prompt_texts(subject, 3, 9):
        ids = tokenizer.encode(text)
        assert len(ids) == 9
        assert tokenizer.decode(ids) == text
    prompts = models.random_prompts(subject, 3, 9)
    assert [len(ids) for ids in prompts] == [9, 9, 9]
    assert tokenizer.eos_token_id not in {i for ids in prompts for i in ids}


def test_sides_take_turns_and_warm_ups_do_not_count():
    calls = []

    def side(name, seconds):
        def work():
            calls.append(name)
            return 10.0, seconds.pop(0)

        return work

    readings = interleave.in_turn(
        {"aha": side("aha", [9.0, 1.0, 2.0]), "peer": side("peer", [9.0, 4.0, 4.0])}, 2
    )
    assert calls == ["aha", "peer", "peer", "aha", "aha", "peer"]
    assert readings["aha"].seconds == [1.0, 2.0]
    assert readings["aha"].rate == pytest.approx((10 + 5) / 2)
    assert readings["aha"].spread == pytest.approx(1 / 1.5)
    result = interleave.result("x", {}, readings, "tokens_per_second")
    assert result["ratio"] == pytest.approx(7.5 / 2.5)


def test_operators_are_classified_by_stretch_then_by_name():
    from aha.bench.profiling import classify

    def event(name, parent=None):
        return SimpleNamespace(name=name, cpu_parent=parent)

    assert classify(event("aten::addmm")) == "matrix products"
    assert classify(event("aten::bmm", event("aha: attention"))) == "attention products"
    assert classify(event("aten::softmax", event("aten::x", event("aha: attention")))) == (
        "attention layout and softmax"
    )
    assert classify(event("aten::bmm", event("_PackedAttentionBackward"))) == "attention products"
    back = event("torch_attn::_varlen_attn_backward", event("GeneratedBackwardFor_torch_attn__varlen_attn"))
    assert classify(event("aten::_flash_attention_backward", back)) == "attention kernels"
    assert classify(event("aten::sum", back)) == "attention layout and softmax"
    assert (
        classify(event("aten::index_copy_", event("_PackedKeysBackward"))) == "attention layout and softmax"
    )
    assert classify(event("aten::cumsum", event("aha: sampling"))) == "sampling"
    assert classify(event("aten::copy_", event("aha: optimizer"))) == "optimizer"
    assert classify(event("aten::copy_")) == "copies"
    assert classify(event("aten::silu")) == "other operators"


def test_a_type_that_the_cpu_only_emulates_is_measured_on_less(monkeypatch):
    sides, product = [], torch.mm

    def noted(a, b, out):
        sides.append(len(a))
        return product(a, b, out=out)

    monkeypatch.setattr(torch, "mm", noted)
    monkeypatch.setattr(roofline, "SMALLEST_PRODUCT", 32)
    assert roofline.matmul_peak(torch.device("cpu"), torch.float32, 128, 1) > 0
    assert {max(sides), min(sides)} == {128, 32}
    sides.clear()
    monkeypatch.setattr(roofline, "LONG_S", 0.0)
    assert roofline.matmul_peak(torch.device("cpu"), torch.float32, 128, 1) > 0
    assert set(sides) == {32}
