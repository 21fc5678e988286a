"""Weights: the engine samples with the very weights that are trained, before and after a step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aha.doctor import exact, ground_truth, miniature
from aha.doctor.finding import Check, Finding, NotApplicable, at_least, holds
from aha.doctor.sharded import ShardRequest
from aha.doctor.subject import DoctorContext
from aha.sampling import sampler
from aha.sampling.engine import Engine, Request
from aha.sampling.local import engine as local
from aha.training import batching, losses
from aha.training import policy as policies
from aha.types import Rollout

SAMPLED_ELEMENTS = 1 << 16
CAUSE = "the engine samples with weights that are not the trained ones"
FIX = "share the modules with the trainer, or load the weights into the engine after every step"


def digest(tensors: Iterable[Tensor]) -> str:
    """A hash of up to 65,536 evenly spread elements of every tensor, in its own type."""
    hasher = hashlib.sha256()
    for tensor in tensors:
        flat = tensor.detach().reshape(-1)
        part = flat[:: max(1, len(flat) // SAMPLED_ELEMENTS)].contiguous()
        hasher.update(str((tuple(tensor.shape), tensor.dtype)).encode())
        hasher.update(part.view(torch.uint8).cpu().numpy().tobytes())
    return hasher.hexdigest()[:16]


def _engine_weights(engine: Any) -> list[Tensor]:
    if not hasattr(engine, "model"):
        raise NotApplicable("the engine's weights are in another process; it must report their hash itself")
    return list(engine.model.parameters())


def weights(subject: DoctorContext) -> Iterator[Finding]:
    """Hashes of the engine's weights, of the policy's, and of the masters in the compute type."""
    yield _proven(subject, subject.engine) if subject.engine.takes_weights else _shared(subject)
    masters = getattr(subject.policy, "masters", None)
    if masters is None or isinstance(subject.policy, ShardRequest):  # parts are the masters themselves
        return
    pairs = list(zip(subject.policy.params, masters, strict=True))
    working, rounded = digest([p for p, _ in pairs]), digest([m.to(p.dtype) for p, m in pairs])
    yield holds("hash of the working weights and of the float32 masters rounded", working == rounded,
                f"{working} and {rounded}", threshold="equal",
                cause="the masters were not copied into the working weights",
                fix="look at Trainer.step and Trainer.load_state")  # fmt: skip


def _proven(subject: DoctorContext, engine: Engine) -> Finding:
    """What another process says that it holds. Raises AhaError if it is something else."""
    adapters = getattr(subject.policy, "adapters", None)
    if adapters is not None:
        with adapters.merged():
            proof = engine.prove(engine.weights_of(subject.model, adapters.plain_state()))
    else:
        proof = engine.prove(engine.weights_of(subject.model))
    return holds("hash of what the engine holds and of the policy's weights", proof.tensors > 0,
                 f"{proof.hash} both; {proof.tensors} tensors read back, {proof.hidden} hidden by their layout",
                 threshold="equal", cause="nothing could be read back from the engine's model",
                 fix="rely on the checks of log probabilities, or sample with engine=local")  # fmt: skip


def _shared(subject: DoctorContext) -> Finding:
    asked = subject.policy
    own = asked.weights() if isinstance(asked, ShardRequest) else asked.model.parameters()
    engine, policy = digest(_engine_weights(subject.engine)), digest(own)
    parts = ", whose parts the ranks have," if isinstance(asked, ShardRequest) else ""
    return holds(f"hash of the engine's weights and of the policy's{parts}", engine == policy,
                 f"{engine} and {policy}", threshold="equal", cause=CAUSE, fix=FIX)  # fmt: skip


def weights_after_step(subject: DoctorContext) -> Iterator[Finding]:
    """A large step on a copy: the hash and the version move, and the output follows."""
    subject = miniature.of(subject)
    model = subject.copy_model()
    size = float(np.mean([p.detach().float().abs().mean().item() for p in model.parameters() if p.ndim > 1]))
    lr = 0.1 * size  # AdamW's first step moves every weight by lr
    policy = policies.Policy(model, policies.OptimizerConfig(lr=lr))
    engine = subject.new_engine(model)
    before, version = digest(_engine_weights(engine)), policy.version
    groups = subject.groups()
    examples = ground_truth.examples(groups, [np.ones(len(g.members)) for g in groups])
    longest = max(len(e.token_ids) for e in examples)
    for batch in batching.pack(examples, batching.token_mean, max(4096, longest)):
        policy.backward(batch, losses.negative_log_likelihood)
    policy.step(lr)
    after = digest(_engine_weights(engine))
    masters = digest([m.to(p.dtype) for p, m in zip(policy.params, policy.masters, strict=True)])
    yield holds("hash of the engine's weights before and after a step", after != before,
                f"{before} and {after}", threshold="different", cause=CAUSE, fix=FIX)  # fmt: skip
    yield holds("hash of the engine's weights and of the updated masters", after == masters,
                f"{after} and {masters}", threshold="equal", cause=CAUSE, fix=FIX)  # fmt: skip
    yield holds("the policy's version after a step", policy.version == version + 1,
                f"{version} to {policy.version}", threshold="one more",
                cause="the version does not count steps", fix="look at Trainer.step")  # fmt: skip
    yield from _output_follows(subject, policy, engine)


def _output_follows(
    subject: DoctorContext, policy: policies.Policy, engine: local.LocalEngine
) -> Iterator[Finding]:
    """New samples carry the new weights' log probabilities; those of the old weights are far off."""
    prompts = [subject.prompter.encode(p)[0] for p in subject.some_problems()]
    params = sampler.SamplingParams(temperature=1.0, max_tokens=subject.tokens())
    requests = [Request(p, 2, i) for i, p in enumerate(prompts)]
    rollouts = [r for _, of_request in sorted(engine.generate(requests, params, seed=8)) for r in of_request]
    yield from follows(rollouts, policy.model, subject.model, "after the step", CAUSE, FIX)


def follows(
    rollouts: Sequence[Rollout], new: Any, old: Any, when: str, cause: str, fix: str
) -> Iterator[Finding]:
    """What was sampled carries the log probabilities of the ``new`` weights, and is far from those of the ``old``."""
    said = [r.logprobs.astype(np.float64) for r in rollouts]
    truth = exact.Exact(new).truth(rollouts, 1.0)
    yield from truth.compare(f"the sampler's logprobs {when} for the weights it should have", said, cause=cause,
                             fix=fix)  # fmt: skip
    error = exact.Gap.of(said, truth.true).mean
    before = exact.Gap.of(said, exact.Exact(old).truth(rollouts, 1.0).true).mean
    least = exact.FACTORS[0] * error + exact.FLOORS[_precise(old)][0]
    yield at_least(f"|sampler {when} - the weights before|, mean", before, least, unit=" nats",
                   cause="a large change of the weights is not seen in what the engine samples", fix=fix)  # fmt: skip


def _precise(model: Any) -> bool:
    return next(model.parameters()).dtype in (torch.float32, torch.float64)


CHECKS = (
    Check("weights", "the engine holds the policy's weights", weights, quick=True),
    Check("weights_after_step", "a step's weights reach the engine", weights_after_step),
)
