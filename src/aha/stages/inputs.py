"""What a stage is given from outside (models, tasks, rows, addresses), looked at before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aha import hardware, modeling
from aha.data.schemas import read_source
from aha.data.sources import is_file_name
from aha.judges.asking import own
from aha.rewards import get_rewards
from aha.runs.pipeline import Context, Stage
from aha.sampling.engines import engine_class
from aha.sampling.rollouts import Prompter
from aha.stages import engines
from aha.tasks import deal_rows, get_task
from aha.tasks.base import Task
from aha.training.classifier import check_classifier, is_classifier
from aha.training.scalar import HEAD_FILE
from aha.types import AhaError, Problem


def names(stages: Iterable[Stage]) -> None:
    """Raise AhaError for tasks, rewards, judges and files that are not there, without loading rows or models."""
    for stage in stages:
        for file in stage.data_files():
            if is_file_name(file) and not Path(file).expanduser().exists():
                raise AhaError(f"{stage.name}: there is no file '{file}'.")
        for task in _tasks(stage):
            get_rewards(getattr(stage, "rewards", {}), task.verify)
        for asked in (getattr(stage, "judge", None), getattr(stage, "teacher", None)):
            if isinstance(asked, str) and (part := engines.own_judge(asked)) is not None:
                own(part)


def _tasks(stage: Stage) -> list[Task]:
    """The tasks among a stage's settings, with the rows that each of them reads."""
    own, several = getattr(stage, "task", None), getattr(stage, "tasks", ())
    if not (own or several):
        return []
    data, test_data = getattr(stage, "data", None), getattr(stage, "test_data", None)
    rows = {own: (data, test_data)} if own else deal_rows(several, data, test_data)
    return [get_task(name, *sources) for name, sources in rows.items()]


def machine(context: Context, precision: str) -> None:
    """Raise AhaError for a device or a compute type that is not here."""
    device = hardware.pick_device(context.device)
    hardware.pick_dtype(context.dtype if context.dtype != "auto" else precision, device)


def model(source: str | Stage | None) -> Any:
    """The tokenizer of a checkpoint that is named, its config and its weights' files looked at; None for a stage,
    whose checkpoint is still to be made, and for nothing. Raises AhaError for one that cannot be loaded."""
    if not isinstance(source, str):
        return None
    tokenizer = modeling.load_tokenizer(source)
    modeling.check_files(source)
    return tokenizer


def reward_model(source: str | Stage) -> None:
    """Raise AhaError for a checkpoint that is no reward model, neither one with our head nor a classifier, and for an
    address without a model's name."""
    if not isinstance(source, str):
        return
    if engines.is_endpoint(source):
        endpoint(source)
        return
    if is_classifier(source.partition("@")[0]):
        check_classifier(source)
        return
    model(source)
    if not is_reward_model(source):
        raise AhaError(
            f"'{source}' is no reward model: it has no {HEAD_FILE}, and its config names no ForSequenceClassification. "
            "Train one: aha reward-model PAIRS."
        )


def is_reward_model(name: str) -> bool:
    """Whether a checkpoint scores: a classifier of Hugging Face, or one with our head."""
    return is_classifier(name.partition("@")[0]) or (Path(modeling.resolve(name)) / HEAD_FILE).is_file()


def context_length(source: str) -> int:
    """The longest sequence of a checkpoint that is named, in tokens."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(modeling.resolve(source))
    return modeling.max_context(SimpleNamespace(config=config.get_text_config(decoder=True)))


def sampled(source: str | Stage) -> None:
    """As ``model``, of one that may stand behind an address."""
    if isinstance(source, str) and engines.is_endpoint(source):
        endpoint(source)
    else:
        model(source)


def endpoint(address: str | None) -> None:
    """Raise AhaError for what is no ``http://host:port/v1#MODEL``, no function of one's own and no checkpoint."""
    if address is None:
        return
    if (part := engines.own_judge(address)) is not None:
        own(part)
        return
    if not engines.is_endpoint(address):
        with hint(f"'{address}' is no endpoint either: http://host:port/v1#MODEL, or FILE.py:NAME."):
            model(address)
        return
    if not address.partition("#")[2]:
        raise AhaError(f"'{address}' names no model. Write the address and the model: {address}#MODEL.")


def rows(sources: Iterable[str | Stage]) -> None:
    """Raise AhaError for a file that is not there, or too many of whose rows cannot be read. What is on the hub is
    not asked for."""
    for source in sources:
        if isinstance(source, str) and is_file_name(source):
            read_source(source)


def task(
    name: str, data: str | None = None, test_data: str | None = None, splits: Sequence[str] = ("train",)
) -> Task:
    """The task, with at least one problem in each of the splits. Raises AhaError where there is none."""
    chosen = get_task(name, data, test_data)
    for split in splits:
        chosen.load(split, 1, 0)
    return chosen


@contextmanager
def hint(text: str) -> Iterator[None]:
    """Say another way out with an AhaError."""
    try:
        yield
    except AhaError as error:
        raise AhaError(f"{error} {text}") from error


def prompts(problems: Sequence[Problem], tokenizer: Any, prompt: str, room: int) -> None:
    """Raise AhaError where no prompt has at most ``room`` tokens."""
    prompter = Prompter(tokenizer, prompt)
    if not any(len(prompter.encode(problem)[0]) <= room for problem in problems):
        prompter.drop_long(problems, room)


def engine(stage: Any) -> None:
    """Raise AhaError where a stage cannot have the engine that it asks for."""
    engine_class(stage.engine).check(stage)
