"""What an evaluation asks: a model by its name on any engine, and a judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aha import plugins, ranks
from aha.judges.asking import Judge, over, own
from aha.runs.pipeline import Context
from aha.sampling import engines
from aha.sampling.client.engine import ChatPrompter, RemoteEngine
from aha.sampling.client.metering import Usage
from aha.sampling.engine import Engine, EngineSetup
from aha.sampling.local.engine import LocalEngine
from aha.sampling.rollouts import Prompter
from aha.stages.engines import AnswerSource, concurrency, connect, is_endpoint, open_source, own_judge
from aha.types import AhaError


@dataclass(frozen=True, slots=True)
class BenchmarkJudge:
    """Who grades where no rule can: how it was named, how it is asked, how many questions at once, and a hash of its
    code where it is a function of one's own."""

    name: str
    judge: Judge
    threads: int = 1
    code: str = ""


@dataclass(frozen=True, slots=True)
class EvaluationEngine:
    """Which engine samples, with what it is made for: ``rows`` completions at once. For endpoints the prices per
    million tokens and what may be spent."""

    engine: str = "local"
    rows: int = 512
    prices: Mapping[str, float] = field(default_factory=dict)

    def stage(self) -> SimpleNamespace:
        """What stands for a stage's settings: those of every engine, as they are where nobody set any."""
        names = {"name": "evaluation", "engine": self.engine, "max_num_seqs": self.rows}
        return SimpleNamespace(**names, **vars(engines.unset()))


def open_model(
    model: str,
    folder: Path,
    prompt: str,
    device: str,
    dtype: str,
    threads: int,
    settings: EvaluationEngine = EvaluationEngine(),
) -> AnswerSource:
    """The engine behind a model's name (checkpoint, GGUF file, hub name) or an endpoint's address. Raises AhaError for
    several ranks that would ask one endpoint, and for an engine that cannot be had."""
    if is_endpoint(model):
        if ranks.world()[1] > 1:
            raise AhaError(
                "An endpoint is asked for many answers at once by one process: leave --ranks away."
            )
        client = connect(model, folder, **settings.prices)
        return AnswerSource(RemoteEngine(client), ChatPrompter(prompt=prompt), None, 1 << 30)
    source = open_source(Context(folder, device, dtype, threads), model, prompt, rows=settings.rows)
    return source if settings.engine == "local" else replace(source, engine=_other(source, settings, threads))


def _other(source: AnswerSource, settings: EvaluationEngine, threads: int) -> Engine:
    """Another engine with the weights of a source's model."""
    kind, stage = engines.engine_class(settings.engine), settings.stage()
    kind.check(stage)
    local = source.engine
    assert isinstance(local, LocalEngine)
    setup = EngineSetup(settings.rows, source.context, threads, stage)
    engine = kind.make(local.model, source.tokenizer, setup)
    if engine.takes_weights:
        engine.load_weights(engine.weights_of(local.model), 0)
    return engine


def spent(source: AnswerSource) -> Usage | None:
    """What an endpoint was asked for and what it cost; None of any other engine."""
    return source.engine.client.usage if isinstance(source.engine, RemoteEngine) else None


def price_of(source: AnswerSource) -> float:
    """What a million sampled tokens cost; 0 for what costs nothing, or is not known."""
    return source.engine.client.endpoint.price_out if isinstance(source.engine, RemoteEngine) else 0.0


def open_judge(address: str, folder: Path, max_tokens: int = 2048) -> BenchmarkJudge:
    """An endpoint that remembers its answers in ``folder``, or a function of one's own. Raises AhaError for neither."""
    rank, size = ranks.world()
    folder, code = folder / f"rank{rank}" if size > 1 else folder, ""
    if is_endpoint(address):
        complete = over(connect(address, folder), max_tokens=max_tokens)
    elif (part := own_judge(address)) is not None:
        complete, code = own(part), plugins.source_of(part).hash
    else:
        raise AhaError(f"'{address}' is no judge. Give http://host:port/v1#MODEL, or FILE.py:NAME.")
    return BenchmarkJudge(address, Judge(complete), concurrency(address), code)


def asked_with(source: AnswerSource, prompt: str) -> AnswerSource:
    """The same engine, asked with another prompt."""
    prompter: Any = (
        ChatPrompter(prompt=prompt) if source.tokenizer is None else Prompter(source.tokenizer, prompt)
    )
    return replace(source, prompter=prompter)
