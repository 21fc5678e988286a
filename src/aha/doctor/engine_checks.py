"""An engine in another process: new weights reach it, and weights that are not the policy's are noticed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from aha.doctor import weight_checks
from aha.doctor.finding import Check, Finding, NotApplicable, holds
from aha.doctor.subject import DoctorContext
from aha.sampling import sampler
from aha.sampling.engine import Engine, Request
from aha.types import Rollout

CAUSE = "the engine samples with weights, or a prefix cache, from before the last load"
FIX = "do not train with this engine; report its version and the architecture"
CHANGE = 0.2  # of a matrix's mean absolute value


def _remote(subject: DoctorContext) -> Engine:
    if not subject.engine.takes_weights:
        raise NotApplicable("the engine shares the policy's modules")
    return subject.engine


def _changed(subject: DoctorContext) -> torch.nn.Module:
    """A copy of the model with noise on every matrix."""
    model = subject.copy_model()
    generator = torch.Generator().manual_seed(17 + subject.data_seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                noise = torch.randn(p.shape, generator=generator).to(p.device)
                p.add_((noise * CHANGE * p.detach().float().abs().mean()).to(p.dtype))
    return model


def update(subject: DoctorContext) -> Iterator[Finding]:
    """Other weights, then the policy's again: what is sampled follows both times, from prompts seen before."""
    engine, changed = _remote(subject), _changed(subject)
    version = engine.version
    try:
        _sample(subject, engine)  # its prompts are in the prefix cache now
        engine.load_weights(engine.weights_of(changed), version + 1)
        yield from _follows(subject, engine, changed, "new", version + 1)
    finally:
        engine.load_weights(engine.weights_of(subject.model), version)
    yield from _follows(subject, engine, subject.model, "the policy's", version, other=changed)


def _follows(
    subject: DoctorContext,
    engine: Engine,
    holds_now: torch.nn.Module,
    which: str,
    version: int,
    other: torch.nn.Module | None = None,
) -> Iterator[Finding]:
    rollouts = _sample(subject, engine)
    before = other or subject.model
    yield from weight_checks.follows(
        rollouts, holds_now, before, f"after a load of {which} weights", CAUSE, FIX
    )
    versions = {r.policy_version for r in rollouts}
    yield holds("version that the rollouts carry", versions == {version}, f"{sorted(versions)}",
                threshold=str(version), cause="the engine does not know what it holds", fix=FIX)  # fmt: skip


def _sample(subject: DoctorContext, engine: Engine) -> list[Rollout]:
    prompts = [subject.prompter.encode(p)[0] for p in subject.some_problems()]
    params = sampler.SamplingParams(temperature=1.0, max_tokens=subject.tokens())
    requests = [Request(p, 2, i) for i, p in enumerate(prompts)]
    return [r for _, of_request in sorted(engine.generate(requests, params, seed=9)) for r in of_request]


def proof(subject: DoctorContext) -> Iterator[Finding]:
    """One element of one tensor is altered on its way; the hashes must notice, whichever tensor it is."""
    engine = _remote(subject)
    subject.require_room(1)
    sound, version = engine.weights_of(subject.model), engine.version
    try:
        for name in _some(sound):
            altered = dict(sound) | {name: _altered(sound[name])}
            said = engine.altered(altered, sound, version)
            yield holds(f"one element of '{name}' altered on its way", name in said, said or "not noticed",
                        threshold="refused, naming it", fix=FIX,
                        cause="the hashes do not cover what the engine holds")  # fmt: skip
    finally:
        engine.load_weights(sound, version)
    again = engine.prove(sound)
    yield holds("the policy's own weights afterwards", again.version == version, again.hash,
                threshold="accepted", cause="the engine was left with altered weights", fix=FIX)  # fmt: skip


def _some(tensors: dict[str, Tensor]) -> list[str]:
    """The first, the middle and the last matrix, and a vector."""
    matrices = [name for name, t in tensors.items() if t.dim() == 2]
    vectors = [name for name, t in tensors.items() if t.dim() == 1]
    return list(dict.fromkeys([matrices[0], matrices[len(matrices) // 2], matrices[-1], *vectors[-1:]]))


def _altered(tensor: Tensor) -> Tensor:
    """The tensor with its middle element changed in its lowest bit."""
    changed = tensor.detach().clone()
    flat = changed.view(-1)
    at = flat.numel() // 2
    flat[at] = torch.nextafter(flat[at].cpu(), torch.tensor(torch.inf, dtype=flat.dtype)).to(flat.device)
    return changed


CHECKS = (
    Check("engine_update", "new weights reach the engine's process, old prefixes do not stay", update),
    Check("engine_proof", "a weight altered on its way is noticed", proof),
)
"""For engines in a process of their own; the others' table is ``suite.CHECKS``."""
