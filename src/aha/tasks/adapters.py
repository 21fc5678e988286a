"""Tasks of other libraries, scored by their own code: reasoning-gym's data sets, and environments of one turn of
``verifiers`` (its classic environments with a rubric, and its newer tasksets). Neither is needed by this package.

``reasoning_gym:NAME:key=value`` makes a data set by its name, ``verifiers:NAME`` an installed environment; what a file
of one's own makes of them (``file.py:name``) is known by what it can do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from aha.hints import nearest
from aha.rewards.places import stated
from aha.types import AhaError, Problem

ROW = "row"
"""Where a problem's metadata keep the library's own row: its scoring reads it."""


class Gym:
    """A reasoning-gym data set, or what makes one of a size and a seed, as a task."""

    def __init__(self, make: Callable[[int, int], Any], fixed: bool = False):
        self.make, self.fixed = make, fixed
        self.dataset = make(1, 0)

    def problems(self, n: int, seed: int) -> Iterator[dict[str, Any]]:
        """Its entries, asked for their final answer."""
        for entry in self.make(n, 0 if self.fixed else seed):
            yield {"question": entry["question"], "answer": entry["answer"], ROW: dict(entry)}

    def verify(self, problem: Problem, text: str) -> float:
        """What the data set's own ``score_answer`` gives, from 0 to 1."""
        return float(self.dataset.score_answer(stated(problem, text), problem.metadata[ROW]))

    def facet(self, problem: Problem) -> str:
        """Which of several data sets it came from."""
        return str(problem.metadata[ROW].get("metadata", {}).get("source_dataset", problem.task))


def gym(name: str) -> Callable[..., Gym]:
    """What makes the task of a reasoning-gym data set by its name. Raises AhaError where there is none."""
    library = _library("reasoning_gym", "reasoning-gym")
    known = library.factory.DATASETS
    if name not in known:
        hint = nearest(name, known, f"It has {len(known)} of them.")
        raise AhaError(f"reasoning-gym has no data set '{name}'. {hint}")
    return lambda **options: Gym(lambda n, seed: library.create_dataset(name, size=n, seed=seed, **options))


class Environment:
    """A classic environment of ``verifiers``: rows from its data sets, scored by its rubric."""

    def __init__(self, env: Any):
        turns = getattr(env, "max_turns", 1)
        if turns != 1 and type(env).__name__ != "SingleTurnEnv" and _many_turns(env):
            raise AhaError(
                f"The environment {type(env).__name__} has several turns; only those of one can be asked."
            )
        self.env = env

    def problems(self, split: str, n: int, seed: int) -> Iterator[dict[str, Any]]:
        """Training rows; validation and test are halves of its evaluation rows."""
        if split == "train":
            rows: Any = self.env.get_dataset(n=n, seed=seed)
            kept = list(rows)
        else:
            rows = list(self.env.get_eval_dataset())
            kept = rows[::2] if split == "test" else rows[1::2]
        for row in kept[:n]:
            yield {"prompt": row["prompt"], "answer": row.get("answer"), ROW: dict(row)}

    async def verify(self, problem: Problem, text: str) -> float:
        """The environment's reward of an answer."""
        row = problem.metadata[ROW]
        state = _state(self.env, row, text)
        rubric = self.env.rubric
        if _of_groups(rubric):
            await rubric.score_group([state])
        else:
            await rubric.score_rollout(state)
        return float(state["reward"])


def _many_turns(env: Any) -> bool:
    return any(base.__name__ in ("MultiTurnEnv", "ToolEnv") for base in type(env).__mro__) and not any(
        base.__name__ == "SingleTurnEnv" for base in type(env).__mro__
    )


def _of_groups(rubric: Any) -> bool:
    look = getattr(rubric, "_get_group_reward_funcs", None)
    return bool(look and look())


def _state(env: Any, row: Mapping[str, Any], text: str) -> Any:
    """The state of a finished rollout, as the rubric reads it."""
    from importlib import import_module

    known = {k: row[k] for k in ("prompt", "answer", "info", "example_id", "task") if row.get(k) is not None}
    said = [{"role": "assistant", "content": text}]
    types = import_module("verifiers.types")
    state = types.State(input={"answer": "", "info": {}, "task": "default", "example_id": 0} | known)
    empty = {"reward": None, "metrics": None, "trajectory": [], "completion": said, "is_completed": True}
    timing = getattr(types, "RolloutTiming", dict)()
    for key, value in (empty | {"timing": timing, "error": None, "stop_condition": None}).items():
        state[key] = value
    return state


class Taskset:
    """A taskset of ``verifiers.v1``: its tasks, each scored by its own ``score`` without a runtime."""

    def __init__(self, taskset: Any):
        self.taskset = taskset
        kind = type(taskset).task_type()
        if kind.NEEDS_CONTAINER or type(taskset).toolsets(taskset.config):
            raise AhaError(
                f"The taskset {type(taskset).__name__} needs a container or tools; only questions can be asked."
            )

    def problems(self) -> Iterator[dict[str, Any]]:
        """Its tasks, in its order."""
        for task in self.taskset:
            data = task.data
            asked = [] if data.system_prompt is None else [{"role": "system", "content": data.system_prompt}]
            asked += [{"role": "user", "content": data.prompt_text}]
            yield {"prompt": asked, "answer": getattr(data, "answer", None), ROW: {"task": task}}

    async def verify(self, problem: Problem, text: str) -> float | None:
        """The sum of the task's rewards by their weights; None where each of them needs a runtime."""
        task = problem.metadata[ROW]["task"]
        trace = _trace(task, [*problem.messages, {"role": "assistant", "content": text}])
        await task.score(trace)
        rewards = [reward for reward in trace.rewards.values() if reward is not None]
        return float(sum(reward.value for reward in rewards)) if rewards else None


def _trace(task: Any, messages: Sequence[Mapping[str, str]]) -> Any:
    """A finished conversation as the task's scoring reads it."""
    from importlib import import_module

    v1 = import_module("verifiers.v1")
    kinds = {"system": v1.SystemMessage, "user": v1.UserMessage, "assistant": v1.AssistantMessage}
    nodes = [
        v1.MessageNode(parent=i - 1 if i else None, message=kinds[m["role"]](content=m["content"]),
                       sampled=m["role"] == "assistant")
        for i, m in enumerate(messages)
    ]  # fmt: skip
    about = v1.TraceTask(type=type(task).__name__, data=task.data)
    return v1.Trace(task=about, agent=v1.AgentInfo(config=v1.AgentConfig()), nodes=nodes)


def environment(name: str) -> Callable[..., Any]:
    """What loads an installed environment of ``verifiers`` by its name. Raises AhaError without the library."""
    library = _library("verifiers", "verifiers")

    def make(**options: Any) -> Any:
        if hasattr(library, "load_environment"):
            return library.load_environment(name, **options)
        from importlib import import_module

        loaders = import_module("verifiers.v1.utils.loaders")
        return loaders.load_taskset(loaders.taskset_config_type(name)(id=name, **options))

    return make


def _library(module: str, package: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise AhaError(f"'{module}:...' needs {package}: pip install {package}.") from error


def wrap(part: Any) -> Any | None:
    """What another library made, as an object with problems and a verifier; None for anything else."""
    if hasattr(part, "score_answer") and hasattr(part, "__getitem__"):
        return Gym(lambda n, seed: part, fixed=True)
    if hasattr(part, "rubric") and hasattr(part, "get_dataset"):
        return Environment(part)
    if hasattr(part, "task_type") and hasattr(part, "load") and hasattr(part, "config"):
        return Taskset(part)
    return None
