"""Questions that an endpoint refused: too long for its context, or of a content that it does not take.

They are not graded, are counted and named, and are asked again when the same command is given again: the endpoint may
have a longer context by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aha.benchmarks import keeping
from aha.benchmarks.records import GradedProblem
from aha.sampling.client.engine import RemoteEngine
from aha.stages.engines import AnswerSource
from aha.types import AhaError, Finish

REASONS = {
    Finish.ABORT.value: ("too_long", "have no room in the context"),
    Finish.ERROR.value: ("filtered", "are of a content that is not taken"),
}
"""How a completion ended that is no answer -> the name of its number among what was read, and why in words."""
SHOWN = 5


def graded_before(source: AnswerSource, file: Path) -> dict[str, GradedProblem]:
    """All graded problems of a file, which loses those that an endpoint refused then."""
    done = keeping.read(file)
    refused = {name for name, record in done.items() if any(s.unanswered for s in record.samples)}
    if not refused or not isinstance(source.engine, RemoteEngine):
        return done
    keeping.leave_out(file, refused)
    return {name: record for name, record in done.items() if name not in refused}


def counts(records: Sequence[GradedProblem]) -> dict[str, list[str]]:
    """The problems that have answers of which there is none, by why."""
    named = {
        name: [r.problem for r in records if any(s.unanswered == finish for s in r.samples)]
        for finish, (name, _) in REASONS.items()
    }
    return {name: problems for name, problems in named.items() if problems}


def sentences(benchmark: str, records: Sequence[GradedProblem]) -> list[str]:
    """Which problems were not answered, and why."""
    words, told = dict(REASONS.values()), []
    for name, problems in counts(records).items():
        shown = ", ".join(problems[:SHOWN]) + (", ..." if len(problems) > SHOWN else "")
        told.append(
            f"{benchmark}: {len(problems)} of {len(records)} problems {words[name]}, and were not graded there: "
            f"{shown}. They are asked again when the same command is given again."
        )
    return told


def check(source: AnswerSource, benchmark: str, records: Sequence[GradedProblem]) -> None:
    """Raise AhaError where an endpoint answered nothing at all."""
    every = [sample for record in records for sample in record.samples]
    if not every or not isinstance(source.engine, RemoteEngine) or not all(s.unanswered for s in every):
        return
    if any(turn.tokens for sample in every for turn in sample.turns):
        return
    url = source.engine.client.endpoint.base_url
    why = " and ".join(f"{len(own)} {dict(REASONS.values())[name]}" for name, own in counts(records).items())
    raise AhaError(
        f"{url} answered none of the {len(records)} problems of {benchmark}: {why}. Serve the model with a longer "
        "context (vLLM: --max-model-len, llama.cpp: -c), give fewer --shots, or ask other rows."
    )
