"""How a bug is planted: by replacing what the program calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from aha.sampling.local import scheduler
from aha.training import batching, sequences


@dataclass(frozen=True)
class Bug:
    """``plant`` takes pytest's monkeypatch; ``check`` must fail; ``patient`` are settings of the patient."""

    plant: Any
    check: str
    patient: dict[str, Any] = field(default_factory=dict)


BUGS: dict[str, Bug] = {}


def bug(check: str, **patient: Any) -> Any:
    def note(plant: Any) -> Any:
        BUGS[plant.__name__] = Bug(plant, check, patient)
        return plant

    return note


def wrap(mp: Any, owner: Any, name: str, around: Any) -> None:
    """Replace ``owner.name`` by ``around(original, *args)``."""
    original = getattr(owner, name)
    mp.setattr(owner, name, lambda *args, **kwargs: around(original, *args, **kwargs))


def change_examples(mp: Any, change: Any) -> None:
    wrap(mp, sequences, "to_examples", lambda f, g, *rest: [change(e) for e in f(g, *rest)])


def change_batches(mp: Any, change: Any) -> None:
    wrap(mp, batching, "pack", lambda f, *a, **k: [change(b) for b in f(*a, **k)])


def change_rollouts(mp: Any, change: Any) -> None:
    """Every finished rollout of the engine goes through ``change``."""

    def finish(original: Any, run: Any, row: int, why: Any, text: Any) -> None:
        one = run.owner[row]
        original(run, row, why, text)
        one.pending.done[one.number] = change(one.pending.done[one.number])

    wrap(mp, scheduler.Scheduler, "_finish", finish)


TOKENIZER = SimpleNamespace(value=None)
"""The suite puts its tokenizer here."""
