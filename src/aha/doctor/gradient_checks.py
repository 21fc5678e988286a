"""Gradients: packed equals one by one, whatever the micro-batches, the sharing of prompts and the ranks."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from aha.doctor import formulas, ground_truth, miniature
from aha.doctor.finding import Check, Finding, at_most, count, holds
from aha.doctor.subject import DoctorContext, made_groups
from aha.training import batching, parallel
from aha.training import policy as policies
from aha.training.algorithm import Algorithm
from aha.types import Batch, Example

LOGPROB_LIMIT = 5e-3  # nats, float32 on any device
GRADIENT_LIMIT = 2e-3  # relative, float32: the orders of summation differ
SAME_LIMIT = 3e-4  # relative, between two ways through our own code
WHOLE = 1 << 20
PACKING = (
    "the packed batch is not the sequences it is made of: attention leaks over segment borders, positions "
    "or predictors are mixed up, a weight or an advantage stands on the wrong token, or a gradient is wrong"
)
PACKING_FIX = "look at batching.pack, attention.make_plan and the policy's backward"


def made_examples(subject: DoctorContext, seed: int = 0) -> list[Example]:
    """Examples of four groups of different prompt and completion lengths, with noisy old logprobs."""
    groups = made_groups(subject, (3, 9, 1, 17), 3, seed=seed)
    rng = np.random.default_rng(seed + 1)
    examples = ground_truth.examples(groups, ground_truth.random_advantages(groups, seed))
    # A reference near the truth in scale, far enough from it for every term of the loss to have a slope.
    return [
        replace(e, reference_logprobs=np.where(e.mask, -np.abs(rng.normal(2.5, 1, len(e.mask))), 0.0))
        for e in examples
    ]


def near_policy(policy: policies.Policy, examples: Sequence[Example], seed: int, t: float) -> list[Example]:
    """The examples with old and reference logprobs a little off the policy's own: ratios on both sides of
    both clips, as late in an epoch of updates."""
    batches = batching.pack(examples, batching.token_mean, WHOLE)
    said = batching.unpack(examples, batches, [policy.logprobs(b, t) for b in batches])
    rng = np.random.default_rng(seed + 2)
    noise = lambda e, scale: rng.normal(0, scale, len(e.token_ids)) * e.mask  # noqa: E731
    return [
        replace(
            e,
            sampler_logprobs=((v + noise(e, 0.25)) * e.mask).astype(np.float32),
            reference_logprobs=((v + noise(e, 0.4)) * e.mask).astype(np.float32),
        )
        for e, v in zip(examples, said, strict=True)
    ]


def full_algorithm(subject: DoctorContext) -> Any:
    """The run's algorithm; one with a KL and an entropy term if it has none or the formulas do not know it."""
    algorithm = subject.plan.algorithm
    if formulas.known(algorithm) and formulas.weights(algorithm, []) is not None:
        return algorithm
    return Algorithm.model_validate({"preset": "grpo", "kl_coef": 0.05, "entropy_coef": 0.01})


def gradients(policy: policies.Policy, batches: Sequence[Batch], loss: Any, t: float) -> list[Tensor]:
    """The gradient that the batches leave in the masters; it is cleared."""
    policy.zero_grad()
    for batch in batches:
        policy.backward(batch, loss, t)
    grads = [m.grad.clone() if m.grad is not None else torch.zeros_like(m) for m in policy.masters]
    policy.zero_grad()
    return grads


def plain_gradients(
    model: Any, examples: Sequence[Example], algorithm: Any, weights: Sequence[np.ndarray], t: float
) -> tuple[list[Tensor], list[np.ndarray]]:
    """(gradient of the whole loss, logprobs [L] of each example): autograd through transformers' forward,
    one sequence at a time."""
    params = [p for p in model.parameters() if p.requires_grad]
    total, said = [torch.zeros_like(p) for p in params], []
    with ground_truth.own_attention(model):
        for e, w in zip(examples, weights, strict=True):
            new, entropy = ground_truth.token_logprobs(model, e.token_ids, t)
            said.append(np.concatenate([[0.0], new.detach().cpu().numpy()]))
            on = torch.from_numpy(e.mask[1:].copy()).to(new.device)
            pick = lambda a: torch.from_numpy(np.asarray(a, np.float32)[1:].copy()).to(new.device)[on]  # noqa: B023, E731
            reference = None if e.reference_logprobs is None else pick(e.reference_logprobs)
            loss = formulas.completion_loss(
                algorithm, new[on], pick(e.sampler_logprobs), reference, pick(e.advantage), entropy[on]
            )
            grads = torch.autograd.grad((loss * pick(w)).sum(), params, allow_unused=True)
            for kept, g in zip(total, grads, strict=True):
                kept += 0 if g is None else g
    return total, said


def packing(subject: DoctorContext) -> Iterator[Finding]:
    """Packed, with and without shared prompts, against transformers one by one: logprobs and gradients."""
    subject = miniature.of(subject)
    t, algorithm = subject.plan.temperature, full_algorithm(subject)
    policy = subject.new_policy()
    examples = near_policy(policy, made_examples(subject), subject.data_seed, t)
    weights = formulas.weights(algorithm, examples)
    assert weights is not None
    expected, said = plain_gradients(policy.model, examples, algorithm, weights, t)
    policy.zero_grad()  # the plain pass went through the same parameters
    for share, batch_tokens in ((True, WHOLE), (False, WHOLE), (True, 48)):
        chosen = examples if share else [replace(e, group=-1) for e in examples]
        batches = batching.pack(chosen, algorithm.weighting(), batch_tokens)
        how = f"{'shared prompts' if share else 'every prompt apart'}, {len(batches)} batch(es)"
        values = batching.unpack(chosen, batches, [policy.logprobs(b, t) for b in batches])
        gap = max(float(np.abs(a - b)[e.mask].max()) for e, a, b in zip(examples, values, said, strict=True))
        yield at_most(f"|packed - one by one| logprobs, {how}", gap, LOGPROB_LIMIT, unit=" nats",
                      cause=PACKING, fix=PACKING_FIX)  # fmt: skip
        got = gradients(policy, batches, algorithm.loss(), t)
        yield at_most(f"packed and one-by-one gradient of {algorithm.preset}, relative, {how}",
                      ground_truth.relative_error(got, expected), GRADIENT_LIMIT,
                      cause=PACKING, fix=PACKING_FIX)  # fmt: skip


def invariance(subject: DoctorContext) -> Iterator[Finding]:
    """One optimizer batch cut in several ways, under each way of averaging."""
    subject = miniature.of(subject)
    policy, t = subject.new_policy(), subject.plan.temperature
    examples = near_policy(policy, made_examples(subject, 3), subject.data_seed, t)
    loss = Algorithm.model_validate({"preset": "grpo", "kl_coef": 0.05, "entropy_coef": 0.01}).loss()
    cause = (
        "the normalisation is taken over a micro-batch instead of the optimizer batch, gradients do not add "
        "up over micro-batches, or a loss is scaled by their number"
    )
    run = subject.plan.algorithm.weighting()
    for name, weighting in (("the run's", run), ("sequence mean", batching.sequence_mean),
                            ("token mean", batching.token_mean)):  # fmt: skip
        whole = gradients(policy, batching.pack(examples, weighting, WHOLE), loss, t)
        longest = max(len(e.token_ids) for e in examples)
        alone = [replace(e, group=-1) for e in examples]
        ways = {
            "small micro-batches": batching.pack(examples, weighting, longest + 8),
            "one sequence a batch, no prompt shared": batching.pack(alone, weighting, longest),
            "the other order": batching.pack(examples[::-1], weighting, 60),
        }
        for way, batches in ways.items():
            got = gradients(policy, batches, loss, t)
            yield at_most(f"gradient of one batch and of {way} ({len(batches)}), relative, {name} weights",
                          ground_truth.relative_error(got, whole), SAME_LIMIT, cause=cause,
                          fix="weigh tokens over the whole optimizer batch, before it is cut")  # fmt: skip
    yield _silent(policy, examples, t)


def _silent(policy: policies.Policy, examples: Sequence[Example], t: float) -> Finding:
    """Leaving out what has no advantage must not change the gradient of a loss without other terms."""
    quiet = [replace(e, advantage=e.advantage * (e.group != 1), reference_logprobs=None) for e in examples]
    loss = Algorithm.model_validate({"preset": "grpo_no_kl"}).loss()
    full, fewer = (
        gradients(
            policy, batching.pack(quiet, batching.sequence_mean, WHOLE, skip_zero_advantage=skip), loss, t
        )
        for skip in (False, True)
    )
    return at_most("gradient with and without the sequences of advantage 0, relative",
                   ground_truth.relative_error(fewer, full), SAME_LIMIT,
                   cause="the normalisation counts only what is left, so silent groups change the step",
                   fix="fix the weights before anything is left out (batching.pack)")  # fmt: skip


def ranks(subject: DoctorContext) -> Iterator[Finding]:
    """Ranks played one after the other: the dealt shares, and the step that each rank takes."""
    subject = miniature.of(subject)
    policy, t = subject.new_policy(lr=1e-3), subject.plan.temperature
    examples = near_policy(policy, made_examples(subject, 5), subject.data_seed, t)
    loss = Algorithm.model_validate({"preset": "grpo", "kl_coef": 0.05}).loss()
    batches = batching.pack(examples, subject.plan.algorithm.weighting(), 40)
    whole = gradients(policy, batches, loss, t)
    fix = "deal each batch to one rank, and sum the ranks' gradients before clipping (training.parallel)"
    for size in (2, 3):
        shares = [parallel.deal(batches, rank, size) for rank in range(size)]
        dealt = sorted(id(b) for share in shares for b in share)
        wrong = [] if dealt == sorted(map(id, batches)) else ["a batch is dealt twice or to nobody"]
        yield count(f"batches dealt to {size} ranks", wrong, len(batches), cause="batches are lost or doubled",
                    fix=fix)  # fmt: skip
        parts = [gradients(policy, share, loss, t) for share in shares]
        summed = [torch.stack(g).sum(0) for g in zip(*parts, strict=True)]
        yield at_most(f"sum of {size} ranks' gradients and the whole, relative",
                      ground_truth.relative_error(summed, whole), SAME_LIMIT, fix=fix,
                      cause="a rank's share is not its part of the sum")  # fmt: skip
    yield from _rank_step(subject, batches, loss, t, fix)


def _rank_step(
    subject: DoctorContext, batches: Sequence[Batch], loss: Any, t: float, fix: str
) -> Iterator[Finding]:
    """Rank 0 of 2 with rank 1's gradient standing in for the network: the masters must end where one
    process with all batches would put them."""
    alone, first = subject.new_policy(lr=1e-3), subject.new_policy(lr=1e-3)
    for batch in batches:
        alone.backward(batch, loss, t)
    norm = alone.step()
    absent = gradients(first, parallel.deal(batches, 1, 2), loss, t)
    for batch in parallel.deal(batches, 0, 2):
        first.backward(batch, loss, t)
    network = mock.patch.object(parallel, "dist", _network(absent))
    with network, mock.patch.object(parallel, "world", return_value=(0, 2)):
        summed = first.step()
    yield at_most("gradient norm of rank 0 of 2 and of one process, relative difference",
                  abs(summed - norm) / norm, 1e-3, fix=fix,
                  cause="gradients are not summed over ranks, or are averaged, or after clipping")  # fmt: skip
    gap = [a - b for a, b in zip(first.masters, alone.masters, strict=True)]
    moved = [
        m.detach() - p.detach().to(m.dtype)
        for m, p in zip(alone.masters, subject.model.parameters(), strict=True)
    ]
    size = sum(float(m.square().sum()) for m in moved) ** 0.5
    yield at_most("step of rank 0 of 2 and of one process, relative difference",
                  sum(float(g.square().sum()) for g in gap) ** 0.5 / max(size, 1e-30), 0.05, fix=fix,
                  cause="ranks take different steps and drift apart")  # fmt: skip
    yield holds("a world of one rank", parallel.world() == (0, 1) or parallel.world()[1] > 1,
                str(parallel.world()), cause="the rank emulation leaked", fix=fix)  # fmt: skip


def _network(absent: Sequence[Tensor]) -> Any:
    """torch.distributed as rank 0 of 2 sees it: an all-reduce adds what rank 1 holds, tensor by tensor or several,
    in their order, as one."""
    waiting = [torch.cat([g.reshape(-1) for g in absent])]

    def all_reduce(tensor: Tensor, op: Any = None, **_: Any) -> None:
        part, waiting[0] = waiting[0].tensor_split([tensor.numel()])
        tensor.add_(part.view_as(tensor))

    from torch.distributed import ReduceOp

    return types.SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: True,
        get_rank=lambda *_: 0,
        get_world_size=lambda *_: 2,
        all_reduce=all_reduce,
        ReduceOp=ReduceOp,
    )


CHECKS = (
    Check("packing", "packed = padded = one by one", packing),
    Check("invariance", "the gradient does not depend on how the batch is cut", invariance),
    Check("ranks", "the gradient does not depend on the number of ranks", ranks),
)
