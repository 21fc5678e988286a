"""Captured decoding steps against plain ones: the same samples, and a fault that is noticed."""

from __future__ import annotations

import json
import logging
import types
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import make_model
from tape import Tape

from aha import kernels
from aha.cli import main
from aha.sampling.engine import Request
from aha.sampling.local import graphs as module
from aha.sampling.local.engine import LocalEngine
from aha.sampling.local.graphs import Graphs, graphs_for, padded
from aha.sampling.local.kv_cache import GROWTH, CacheStep, SlotCache, buffer_bytes_per_token
from aha.sampling.sampler import SamplingParams


@pytest.fixture(autouse=True)
def torch_operators():
    """What a GPU runs."""
    with kernels.without():
        yield


def engine_of(model, tokenizer, graphs=None, **settings):
    engine = LocalEngine(model, tokenizer, **settings)
    engine.eos_ids = frozenset(range(0, 300, 30))  # rows end at many lengths
    engine.graphs = graphs
    return engine


class Noting(Graphs):
    """Notes which step was taken."""

    def __init__(self, recorder, **settings):
        super().__init__(recorder, **settings)
        self.keys = []

    def _step_for(self, live, decoder, cache):
        step = super()._step_for(live, decoder, cache)
        self.keys.append((len(step.hidden), cache.room))
        return step


def requests_of(n, samples=3, seed=0, longest=40):
    rng = np.random.default_rng(seed)
    return [
        Request(rng.integers(0, 300, rng.integers(1, longest)).tolist(), samples, 100 + i) for i in range(n)
    ]


def sample(engine, asked, **params):
    sampled = dict(engine.generate(asked, SamplingParams(**{"max_tokens": 120} | params), seed=3))
    return [rollout for i in sorted(sampled) for rollout in sampled[i]]


def same(got, expected):
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.completion_ids.tolist() == b.completion_ids.tolist()
        assert a.logprobs == pytest.approx(b.logprobs, abs=2e-5)
        assert (a.finish, a.text) == (b.finish, b.text)


# --- the same samples --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "changes"),
    [("llama", {}), ("qwen2", {}), ("qwen3", {}), ("llama", {"attention_bias": True, "head_dim": 32})],
    ids=["llama", "qwen2", "qwen3", "bias"],
)
def test_replayed_steps_sample_what_plain_ones_do(tokenizer, family, changes):
    model, graphs = make_model(tokenizer, family=family, **changes), Noting(Tape())
    asked = [Request(list(range(1, 251)), 3, 7), *requests_of(9)]  # the longest rows leave before others
    engine = engine_of(model, tokenizer, graphs, max_rows=11)
    expected = sample(engine_of(model, tokenizer, max_rows=11), asked)
    assert len({len(r.completion_ids) for r in expected}) > 10, "rows must end at many lengths"
    same(sample(engine, asked), expected)
    assert graphs.off is None
    rooms = [room for _, room in graphs.keys]
    assert len({rows for rows, _ in graphs.steps}) >= 4
    assert any(later > room for room, later in pairwise(rooms)), "room must grow"
    assert any(later < room for room, later in pairwise(rooms)), "and shrink"
    assert graphs.replayed > 10 * graphs.captured
    captured = graphs.captured
    same(sample(engine, asked), expected)
    assert graphs.captured == captured, "the next call finds the graphs of the last"


@pytest.mark.parametrize("params", [{"temperature": 0}, {"temperature": 0.7}, {"top_p": 0.8, "top_k": 20}])
def test_however_tokens_are_drawn(tokenizer, params):
    model, asked, graphs = make_model(tokenizer), requests_of(4), Graphs(Tape())
    expected = sample(engine_of(model, tokenizer), asked, max_tokens=40, **params)
    same(sample(engine_of(model, tokenizer, graphs), asked, max_tokens=40, **params), expected)
    assert graphs.off is None


def test_in_bfloat16_a_replay_is_the_plain_step_within_rounding(tokenizer):
    """Other sizes of a step round otherwise, so that tokens may differ; what is drawn first is prefill's."""
    model, asked, graphs = make_model(tokenizer, dtype=torch.bfloat16), requests_of(4), Graphs(Tape())
    expected = sample(engine_of(model, tokenizer), asked, max_tokens=2)
    sampled = sample(engine_of(model, tokenizer, graphs), asked, max_tokens=2)
    assert graphs.replayed > 0
    assert graphs.off is None
    for a, b in zip(sampled, expected, strict=True):
        assert a.logprobs[0] == b.logprobs[0]
        if a.completion_ids.tolist() == b.completion_ids.tolist():
            assert a.logprobs == pytest.approx(b.logprobs, abs=0.1)


@pytest.mark.parametrize("tokens", [700, 1000, 1500])
def test_a_tight_cache_is_shared_out_the_same(tokenizer, tokens):
    model, asked = make_model(tokenizer), requests_of(4, longest=100)
    plain, graphs = engine_of(model, tokenizer), Noting(Tape())
    engine = engine_of(model, tokenizer, graphs, cache_bytes=tokens * buffer_bytes_per_token(model))
    engine.eos_ids = plain.eos_ids = frozenset({-1})
    same(sample(engine, asked, max_tokens=200), sample(plain, asked, max_tokens=200))
    assert graphs.off is None
    assert engine.preempted > 0
    assert all(rows * room <= tokens for rows, room in graphs.keys)


def test_what_stands_in_unused_memory_does_not_disturb(tokenizer, monkeypatch):
    """Rows that only fill a step up are finite whatever stood in their place, and change nobody else's."""
    model, asked = make_model(tokenizer), requests_of(12)
    expected = sample(engine_of(model, tokenizer, max_rows=12), asked)
    original, resize = SlotCache.__init__, SlotCache._resize

    def spoiled(self, *args, **kwargs):
        original(self, *args, **kwargs)
        for buffer in [*(x for layer in self.layers for x in layer), *self.spares.values()]:
            buffer.fill_(torch.nan)

    def spoiling(self, room, keep):
        resize(self, room, keep)
        for layer, shapes in zip(self.layers, self.shapes, strict=True):
            for buffer, (heads, dim) in zip(layer, shapes, strict=True):
                buffer[self.used * heads * room * dim :] = torch.nan

    monkeypatch.setattr(SlotCache, "__init__", spoiled)
    monkeypatch.setattr(SlotCache, "_resize", spoiling)
    graphs, filled = Graphs(Tape()), 0
    engine = engine_of(model, tokenizer, graphs, max_rows=12)
    step = graphs.step

    def watched(decoder, cache, ids, lengths):
        nonlocal filled
        hidden = step(decoder, cache, ids, lengths)
        whole = graphs.steps[next(reversed(graphs.steps))].hidden
        filled += len(whole) - len(ids)
        assert whole.isfinite().all()
        return hidden

    monkeypatch.setattr(graphs, "step", watched)
    same(sample(engine, asked), expected)
    assert filled > 0
    assert graphs.off is None


# --- weights -----------------------------------------------------------------------------------------------


def test_weights_written_into_need_no_new_graph(tokenizer):
    model, asked = make_model(tokenizer), requests_of(6)
    graphs = Graphs(Tape())
    engine = engine_of(model, tokenizer, graphs)
    before = sample(engine, asked, max_tokens=60, temperature=0)
    captured = graphs.captured
    torch.manual_seed(5)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    expected = sample(engine_of(model, tokenizer), asked, max_tokens=60, temperature=0)
    assert any(
        a.completion_ids.tolist() != b.completion_ids.tolist() for a, b in zip(before, expected, strict=True)
    )
    forgotten = graphs.recorder.forgotten
    same(sample(engine, asked, max_tokens=60, temperature=0), expected)
    assert graphs.recorder.forgotten == forgotten
    # Other lengths may need other sizes; those that were there are not captured again.
    assert graphs.captured - captured == len(graphs.steps) - captured


@pytest.mark.parametrize("change_at", [1, 4, 9])
def test_weights_replaced_by_others_are_captured_anew(tokenizer, change_at):
    def logprobs(graphs):
        model = make_model(tokenizer)
        engine, steps = engine_of(model, tokenizer, graphs), []
        engine.eos_ids = frozenset({-1})

        def progress(_):
            steps.append(1)
            if len(steps) == change_at:
                for layer in model.base_model.layers:
                    for linear in (layer.mlp.down_proj, layer.self_attn.v_proj):
                        linear.weight.data = linear.weight.data * 2

        request = Request([5, 6, 7], 3, 0)
        ((_, rollouts),) = engine.generate([request], SamplingParams(max_tokens=20), progress=progress)
        return np.concatenate([r.logprobs for r in rollouts])

    graphs = Graphs(Tape())
    assert logprobs(graphs) == pytest.approx(logprobs(None), abs=1e-4)
    assert graphs.captured == 2
    assert len(graphs.steps) == 1


def test_several_models_in_turn(tokenizer):
    models = [make_model(tokenizer, seed=seed, family=f) for seed, f in ((0, "llama"), (1, "qwen3"))]
    asked = requests_of(6)
    expected = [sample(engine_of(m, tokenizer), asked, max_tokens=50) for m in models]
    engines = [engine_of(m, tokenizer, Graphs(Tape())) for m in models]
    streams = [engine.generate(asked, SamplingParams(max_tokens=50), seed=3) for engine in engines]
    sampled = [{}, {}]
    for _ in asked:
        for which, stream in enumerate(streams):
            index, group = next(stream)
            sampled[which][index] = group
    for which in (0, 1):
        same([r for i in sorted(sampled[which]) for r in sampled[which][i]], expected[which])


# --- the store ---------------------------------------------------------------------------------------------


def test_so_many_graphs_are_kept_and_no_more(tokenizer):
    model, asked = make_model(tokenizer), requests_of(12)
    graphs, most = Graphs(Tape(), kept=2), 0
    engine = engine_of(model, tokenizer, graphs, max_rows=11)

    def progress(_):
        nonlocal most
        most = max(most, len(graphs.steps))

    sampled = dict(engine.generate(asked, SamplingParams(max_tokens=120), seed=3, progress=progress))
    expected = sample(engine_of(model, tokenizer, max_rows=11), asked)
    same([r for i in sorted(sampled) for r in sampled[i]], expected)
    assert most == 2
    assert graphs.captured > 4


def test_a_larger_cache_lets_go_of_the_graphs_of_the_smaller(tokenizer):
    model, graphs = make_model(tokenizer), Graphs(Tape())
    engine = engine_of(model, tokenizer, graphs)
    sample(engine, requests_of(2), max_tokens=20)
    small = engine._cache
    expected = sample(engine_of(model, tokenizer), requests_of(9), max_tokens=200)
    same(sample(engine, requests_of(9), max_tokens=200), expected)
    assert engine._cache is not small
    assert graphs.owner[1] is engine._cache
    cells = [cell.cell_contents for s in graphs.steps.values() for cell in s.plain.__closure__ or ()]
    assert small not in cells


def test_rows_are_rounded_up_within_bounds():
    sizes = [padded(n, 1 << 20) for n in range(1, 1025)]
    assert sizes[:9] == [1, 2, 4, 4, 8, 8, 8, 8, 16]
    assert sizes == sorted(sizes)
    assert all(n <= size <= max(8, 1.25 * n + 8) for n, size in enumerate(sizes, 1))
    assert len(set(sizes[:512])) <= 24
    assert padded(9, 13) == 13


def test_graphs_are_for_gpus_and_can_be_turned_off(model, monkeypatch):
    assert graphs_for(model) is None
    gpu = types.SimpleNamespace(device=torch.device("cuda", 1))
    on_gpu = types.SimpleNamespace(parameters=lambda: iter([gpu]))
    engines_made = []
    monkeypatch.setattr(module, "CudaRecorder", lambda device: engines_made.append(device) or Tape())
    assert isinstance(graphs_for(on_gpu), Graphs)
    assert engines_made == [torch.device("cuda", 1)]
    monkeypatch.setenv("AHA_GRAPHS", "0")
    assert graphs_for(on_gpu) is None


def test_the_benchmark_says_whether_there_were_graphs(capsys, monkeypatch):
    monkeypatch.setattr("aha.sampling.local.engine.graphs_for", lambda model: Graphs(Tape()))
    sizes = ("--rows", "4", "--tokens", "12", "--prompts", "2", "--prompt-tokens", "7", "--runs", "1")
    capsys.readouterr()
    threads = torch.get_num_threads()
    try:
        assert main(["bench", "rollout", "--shape", "tiny", "--threads", "1", *sizes, "--json"]) == 0
    finally:
        torch.set_num_threads(threads)
    side = json.loads(capsys.readouterr().out)["sides"]["aha"]
    assert side["graphs"] == {"captured": 1, "replayed": 22, "off": None}  # the first tokens are prefill's


# --- a steady cache ----------------------------------------------------------------------------------------


def test_a_steady_cache_stays_in_place_and_keeps_what_it_has(model):
    cache = SlotCache(model, 3000, 400, steady=True)
    places = [x.data_ptr() for layer in cache.layers for x in layer]
    rng, known = torch.Generator().manual_seed(0), {}
    kept = {n: tuple(torch.randn(20, 2, 8, generator=rng) for _ in (0, 1)) for n in range(2)}
    cache.write_prompt(torch.tensor([0, 1, 2]), kept, 0, 20)
    for rows, longest in ((3, 21), (3, 140), (3, 390), (2, 60), (2, 21)):
        cache.make_room(rows, longest)
        assert cache.room >= longest
        known[cache.room] = None
        for layer in range(2):
            for i in (0, 1):
                there = cache.view(layer, i, rows)[:, :, :20]
                assert torch.equal(there, kept[layer][i].transpose(0, 1).expand(rows, -1, -1, -1))
                assert (cache.view(layer, i, rows)[:, :, 20:] == 0).all()
    assert list(known) == [128, 256, 400]
    assert places == [x.data_ptr() for layer in cache.layers for x in layer]


@pytest.mark.parametrize("steady", [True, False])
def test_room_never_exceeds_what_there_is(model, steady):
    """Rows that come, grow and go, as the engine has them."""
    rng, rooms, kept = np.random.default_rng(0), [], {}
    for _ in range(40):
        capacity = int(rng.integers(40, 600))
        cache = SlotCache(
            model, max(capacity + GROWTH, int(rng.integers(600, 4000))), capacity, steady=steady
        )
        rows = np.zeros(0, np.int64)
        for _ in range(60):
            rows = rows[rng.random(len(rows)) < 0.9]
            came = rng.integers(1, capacity, int(rng.integers(0, 8)))
            if len(came) and cache.holds(len(rows) + len(came), int(max(*came, *rows, 0)) + GROWTH):
                cache.expect(len(rows), len(came), int(rows.max(initial=0)))
                rows = np.append(rows, came)
                cache.write_prompt(torch.tensor([len(rows) - 1]), kept, 0, int(came.max()))
            rows = np.minimum(rows + int(rng.integers(0, 40)), capacity)
            while len(rows) and not cache.holds(len(rows), int(rows.max())):
                rows = rows[:-1]
            if len(rows):
                cache.make_room(len(rows), int(rows.max()))
                assert rows.max() <= cache.room < capacity + GROWTH
                assert len(rows) * cache.room <= cache.tokens
                assert cache.room % GROWTH == 0
                assert steady or cache.room - rows.max() < 5 * GROWTH
                rooms.append(cache.room)
    changes = np.mean(np.diff(rooms) != 0)
    assert (changes < 0.2) == steady, changes


# --- faults ------------------------------------------------------------------------------------------------


class Faulty(Tape):
    """Goes wrong at the recording of that number, in the way given: (engine's cache, the step's hidden states)."""

    def __init__(self, fault, at=1):
        super().__init__()
        self.fault, self.at, self.engine = fault, at, None

    def record(self, work):
        replay = super().record(work)
        if self.recorded != self.at:
            return replay

        def wrong():
            self.fault(replay, self.engine)

        return wrong


def does_nothing(replay, engine):
    pass


def is_a_little_off(replay, engine):
    replay()
    engine.graphs.steps[next(reversed(engine.graphs.steps))].hidden[0] *= 1.01


def gives_nan(replay, engine):
    replay()
    engine.graphs.steps[next(reversed(engine.graphs.steps))].hidden[0, 0] = torch.nan


def writes_elsewhere(replay, engine):
    replay()
    engine._cache.view(1, 1, 1)[0, 0, 0] += 1  # the first token of the first row


def leaves_nan_behind(replay, engine):
    replay()
    engine._cache.view(1, 1, 1)[0, 0, -1] = torch.nan  # where no token stands yet


def leaves_a_key_out(replay, engine):
    place = engine._cache.view(0, 0, engine._cache.used)
    before = place.clone()
    replay()
    place.copy_(before)


def raises(replay, engine):
    raise RuntimeError("planted")


FAULTS = [
    does_nothing,
    is_a_little_off,
    gives_nan,
    writes_elsewhere,
    leaves_nan_behind,
    leaves_a_key_out,
    raises,
]


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_a_wrong_graph_is_noticed_and_costs_nothing_but_time(tokenizer, fault, at, caplog):
    model, asked = make_model(tokenizer), requests_of(12)
    expected = sample(engine_of(model, tokenizer, max_rows=11), asked)
    graphs = Graphs(Faulty(fault, at))
    engine = engine_of(model, tokenizer, graphs, max_rows=11)
    graphs.recorder.engine = engine
    with caplog.at_level(logging.WARNING):
        same(sample(engine, asked), expected)
        same(sample(engine, asked), expected)
    assert graphs.off is not None
    assert graphs.off in caplog.text
    assert caplog.text.count("turned off") == 1
    assert graphs.captured == at
    assert not graphs.steps
    assert engine.preempted == 0


@pytest.mark.parametrize("at", [1, 3])
def test_a_step_that_cannot_be_recorded_is_done_plainly(tokenizer, at, caplog):
    class Refusing(Tape):
        def record(self, work):
            if self.recorded + 1 == at:
                raise RuntimeError("operation not permitted when stream is capturing")
            return super().record(work)

    model, asked = make_model(tokenizer), requests_of(12)
    expected = sample(engine_of(model, tokenizer, max_rows=11), asked)
    engine = engine_of(model, tokenizer, Graphs(Refusing()), max_rows=11)
    same(sample(engine, asked), expected)
    assert "not permitted" in (engine.graphs.off or "")
    assert "not permitted" in caplog.text


def asks_for_the_longest(self, lengths, longest):
    self.step = CacheStep(self, lengths, int(lengths.max()))


def asks_which(self, lengths, longest):
    lengths[lengths > 0] += 0
    self.step = CacheStep(self, lengths, longest)


def brings_lengths_in(self, lengths, longest):
    self.step = CacheStep(self, torch.from_numpy(lengths.numpy().copy()), longest)


@pytest.mark.parametrize("begin_step", [asks_for_the_longest, asks_which, brings_lengths_in])
def test_what_meets_python_while_it_is_recorded_is_refused(tokenizer, monkeypatch, begin_step):
    model, asked = make_model(tokenizer), requests_of(3)
    expected = sample(engine_of(model, tokenizer), asked, max_tokens=20)
    monkeypatch.setattr(SlotCache, "begin_step", begin_step)
    engine = engine_of(model, tokenizer, Graphs(Tape()))
    same(sample(engine, asked, max_tokens=20), expected)
    assert "recording failed" in (engine.graphs.off or "")


def test_a_number_of_pythons_that_was_recorded_is_noticed_at_the_second_step(tokenizer, monkeypatch):
    """The first replay has the lengths that were recorded."""
    model, asked, now = make_model(tokenizer), requests_of(3), {}
    expected = sample(engine_of(model, tokenizer), asked, max_tokens=20)
    original, target = LocalEngine.decode, CacheStep.target

    def decode(self, ids, lengths, cache):
        now["longest"] = int(lengths.max())
        return original(self, ids, lengths, cache)

    def at_pythons(self, heads):
        return target(self, heads) + (now["longest"] - self.where.max())  # 0 until the number is an old one

    monkeypatch.setattr(LocalEngine, "decode", decode)
    monkeypatch.setattr(CacheStep, "target", at_pythons)
    graphs = Graphs(Tape())
    engine = engine_of(model, tokenizer, graphs)
    same(sample(engine, asked, max_tokens=20), expected)
    assert graphs.off is not None
    assert graphs.replayed == 1
