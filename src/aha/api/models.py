"""A model that is loaded: asked, and evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from aha import hardware, modeling, plugins
from aha.api.tables import table
from aha.sampling.local.engine import LocalEngine
from aha.sampling.rollouts import Prompter, sample_groups
from aha.sampling.sampler import SamplingParams
from aha.stages.evaluation import evaluate as evaluation
from aha.tasks import get_task, reads_rows
from aha.tasks.rows import WHOLE
from aha.types import AhaError, Group, Message, Problem

Asked = str | Sequence[Message]
"""A question, or a conversation that ends with one."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An evaluation: its ``figures`` (pass@1 with its interval, votes, format, length, ...), and every answer."""

    figures: dict[str, Any]
    groups: list[Group] = field(repr=False)

    @property
    def rollouts(self) -> Any:
        """Every answer with its scores and the reason for each, as a table."""
        return table(evaluation.rollout_rows(0, self.groups))


class Model:
    """A checkpoint in memory. ``model`` and ``tokenizer`` are transformers' own."""

    def __init__(self, source: str, device: str = "auto", dtype: str = "auto", threads: int = 0):
        hardware.set_threads(threads)
        place = hardware.pick_device(device)
        self.source = source
        self.model = modeling.load_model(source, place, hardware.pick_dtype(dtype, place))
        self.tokenizer = modeling.load_tokenizer(source)

    def __repr__(self) -> str:
        return f"Model({self.source!r}, {sum(p.numel() for p in self.model.parameters()):,} parameters)"

    @cached_property
    def engine(self) -> LocalEngine:
        """What samples."""
        return LocalEngine(self.model, self.tokenizer)

    def generate(
        self,
        asked: Asked | Sequence[Asked],
        n: int = 1,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 1024,
        prompt: Any = "auto",
        seed: int = 0,
    ) -> Any:
        """The model's answers as texts: one for one question, a list for ``n`` above 1, and a list of those for
        several questions. ``temperature`` 0 is greedy. Raises AhaError where a prompt leaves no room."""
        many = not isinstance(asked, str) and not _is_conversation(asked)
        questions: Sequence[Any] = asked if many else [asked]
        problems = [_problem(question, i) for i, question in enumerate(questions)]
        prompter = Prompter(self.tokenizer, plugins.reference_to(prompt))
        params = SamplingParams(temperature, top_p, max_tokens=max_tokens)
        groups = sample_groups(self.engine, prompter, problems, n, params, {}, seed=seed)
        texts = [[evaluation.full_text(member.rollout) for member in group.members] for group in groups]
        shown = [samples if n > 1 else samples[0] for samples in texts]
        return shown if many else shown[0]

    def evaluate(self, task: Any = "countdown", **options: Any) -> Evaluated:
        """As ``aha.evaluate`` of this model."""
        return evaluate(self, task, **options)


def load(source: str, *, device: str = "auto", dtype: str = "auto", threads: int = 0) -> Model:
    """A model by its name: ``tiny``, a checkpoint's folder, a file, or a hub name. Raises AhaError for one that cannot
    be loaded."""
    return Model(source, device, dtype, threads)


def evaluate(
    model: Model | str,
    task: Any = "countdown",
    *,
    data: str | None = None,
    test_data: str | None = None,
    split: str | None = None,
    problems: int | None = None,
    samples: int = 16,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_tokens: int = 440,
    prompt: Any = "auto",
    any_format: bool = False,
    seed: int = 0,
) -> Evaluated:
    """Evaluate a model on a task, as ``aha eval`` does: ``samples`` answers to each of the problems.

    ``task`` may be a name, ``file.py:name``, or a function or class of one's own. Raises AhaError for what cannot be
    loaded or asked.
    """
    loaded = load(model) if isinstance(model, str) else model
    name = plugins.reference_to(task)
    plugins.load([name] if plugins.is_reference(name) else [])
    chosen_task = get_task(name, data, test_data)
    which = split or (WHOLE if data and not test_data and reads_rows(name, data) else "test")
    asked = chosen_task.load(which, problems or 256, 0)
    prompter = Prompter(loaded.tokenizer, plugins.reference_to(prompt))
    params = SamplingParams(temperature, top_p, max_tokens=max_tokens)
    done = evaluation.evaluate(
        loaded.engine, prompter, chosen_task, asked, samples, params, seed=seed, strict=not any_format
    )
    return Evaluated(done.figures, done.groups)


def _is_conversation(asked: Any) -> bool:
    return (
        bool(asked)
        and isinstance(asked, Sequence)
        and all(isinstance(m, Mapping) and "role" in m for m in asked)
    )


def _problem(asked: Any, number: int) -> Problem:
    if isinstance(asked, str):
        messages: tuple[Message, ...] = ({"role": "user", "content": asked},)
    elif _is_conversation(asked):
        messages = tuple(asked)
    else:
        raise AhaError(f"A question is a text or a list of messages, not {type(asked).__name__}.")
    return Problem(id=f"asked-{number}", task="asked", messages=messages)
