"""The optimizer step by hand, and a checkpoint that continues bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aha.doctor import formulas, gradient_checks, miniature
from aha.doctor.finding import Check, Finding, at_most, count, holds
from aha.doctor.subject import DoctorContext
from aha.training import batching, checkpoint, losses
from aha.training import policy as policies
from aha.types import Batch

STEP_LIMIT = 1e-3  # relative to the distance moved; AdamW in float32 against float64
RATES = (3e-4, 1e-4, 2e-4)
DECAY = 0.1
FIX = "look at Trainer.step and make_optimizers (training.trainer)"


def _batches(subject: DoctorContext) -> list[Batch]:
    return batching.pack(gradient_checks.made_examples(subject, 11), batching.token_mean, 40)


def _chosen(policy: policies.Policy) -> list[int]:
    """A few parameters of every kind, small ones first: all vectors of a layer, some matrices."""
    order = sorted(range(len(policy.masters)), key=lambda i: policy.masters[i].numel())
    vectors = [i for i in order if policy.masters[i].ndim < 2]
    return vectors[:4] + [i for i in order if i not in vectors][:4]


def optimizer(subject: DoctorContext) -> Iterator[Finding]:
    """Three steps at three learning rates against AdamW by hand, with clipping and weight decay."""
    subject = miniature.of(subject)
    policy = subject.new_policy(lr=RATES[0], weight_decay=DECAY, max_grad_norm=0.05)
    batches, chosen = _batches(subject), _chosen(policy)
    start = [policy.masters[i].detach().double().cpu().numpy().copy() for i in chosen]
    seen: list[list[np.ndarray]] = []
    norms, told = [], []
    left = 0.0
    for step, rate in enumerate(RATES):
        for batch in batches[step:]:  # gradients of different size and direction
            policy.backward(batch, losses.negative_log_likelihood)
        whole = [g.detach().double().cpu().numpy() for g in _grads(policy)]
        norm, scale = formulas.clip_scale(whole, 0.05)
        seen.append([whole[i] * scale for i in chosen])
        norms.append(norm)
        told.append(policy.step(rate))
        left = max(left, max(float(g.abs().max()) for g in _grads(policy)))
    worst, decayed = 0.0, 0.0
    for at, i in enumerate(chosen):
        matrix = policy.masters[i].ndim >= 2
        by_hand = formulas.adamw(
            start[at], [g[at] for g in seen], lr=RATES, betas=(0.9, 0.95), eps=1e-8, decay=DECAY * matrix
        )
        got = policy.masters[i].detach().double().cpu().numpy()
        gap = _off(got, by_hand, start[at])
        if matrix:
            worst = _larger(worst, gap)
        else:
            decayed = _larger(decayed, gap)
    yield at_most("matrices after three steps and AdamW by hand, relative to the distance moved", worst,
                  STEP_LIMIT, fix=FIX, cause="the learning rate, the moments, the clip or the weight decay "
                  "are not what they are said to be, or an old gradient is still there")  # fmt: skip
    yield at_most("norms and biases after three steps and AdamW without weight decay", decayed, STEP_LIMIT,
                  cause="weight decay reaches norms and biases, or their rate differs", fix=FIX)  # fmt: skip
    gap = max(abs(a - b) / a for a, b in zip(norms, told, strict=True))
    yield at_most("reported gradient norm and the one by hand, relative", gap, 1e-3, cause="the norm is taken "
                  "after clipping, or of another gradient", fix=FIX)  # fmt: skip
    yield at_most("largest gradient left after a step", left, 0.0,
                  cause="the gradient is not cleared and adds to the next step's", fix=FIX)  # fmt: skip
    yield from _working(subject, batches)


def _off(got: np.ndarray, by_hand: np.ndarray, start: np.ndarray) -> float:
    """How far a weight is from the one by hand beyond what float32 rounds it by in each step, by the distance moved."""
    rounding = len(RATES) * np.finfo(np.float32).eps * np.abs(by_hand)
    beyond = np.maximum(np.abs(got - by_hand) - rounding, 0)
    return float(beyond.max() / max(np.abs(by_hand - start).max(), 1e-12))


def _working(subject: DoctorContext, batches: Sequence[Batch]) -> Iterator[Finding]:
    """In the run's compute type: working weights are the masters rounded, and many small steps add up."""
    model = subject.copy_model()
    policy = policies.Policy(model, policies.OptimizerConfig(lr=1e-5))
    start = [m.detach().clone() for m in policy.masters]
    for _ in range(3):
        policy.backward(batches[0], losses.negative_log_likelihood)
        policy.step()
    stale = [n for n, p, m in zip(_names(model), policy.params, policy.masters, strict=True)
             if not torch.equal(p, m.to(p.dtype))]  # fmt: skip
    yield count("working weights that are not the float32 masters rounded, after a step", stale,
                len(policy.params), cause="the masters are not copied into the working weights", fix=FIX)  # fmt: skip
    still = sum(int((a != b).sum()) for a, b in zip(start, policy.masters, strict=True))
    total = sum(m.numel() for m in start)
    yield holds("small steps are kept in the float32 masters", still > 0.1 * total,
                f"{still / total:.1%} of the masters moved", threshold="more than 10%",
                cause="masters are kept in a type too coarse for the learning rate", fix=FIX)  # fmt: skip


def _names(model: Any) -> list[str]:
    return [n for n, p in model.named_parameters() if p.requires_grad]


def _grads(policy: policies.Policy) -> list[Tensor]:
    return [torch.zeros_like(m) if m.grad is None else m.grad for m in policy.masters]


def _larger(a: float, b: float) -> float:
    return b if not b <= a else a  # NaN stays


def resume(subject: DoctorContext) -> Iterator[Finding]:
    """Four steps; and two, a checkpoint, new objects, and two more: equal to the last bit."""
    subject = miniature.of(subject)
    subject.require_savable()
    batches = _batches(subject)
    with subject.scratch() as place:
        whole = _policy(subject)
        for step in range(1, 5):
            _take(whole, batches, step)
        first = _policy(subject)
        for step in (1, 2):
            _take(first, batches, step)
        folder = checkpoint.save(
            Path(place), 2, first, subject.tokenizer, {"tokens": 7}, {"extra": torch.ones(2)}
        )
        del first
        second = _policy(subject)
        with torch.no_grad():  # as another process would start: with other weights
            for master in second.masters:
                master.zero_()
        saved = checkpoint.latest(Path(place))
        progress, extra = checkpoint.load(folder if saved is None else saved, second)
        for step in range(int(progress["step"]) + 1, 5):
            _take(second, batches, step)
        loaded = type(subject.model).from_pretrained(folder)
    noted = progress.get("step") == 2 and progress.get("tokens") == 7 and bool((extra["extra"] == 1).all())
    yield holds("progress and extra tensors of the checkpoint", noted, str(progress), threshold="as saved",
                cause="the checkpoint does not hold what it was given", fix="look at training.checkpoint")  # fmt: skip
    yield from _compare(whole, second)
    yield _loads(subject, loaded)


def _compare(whole: policies.Policy, second: policies.Policy) -> Iterator[Finding]:
    cause = "a part of the state (optimizer moments, masters, step) is not in the checkpoint, or not restored"
    fix = "look at Trainer.state, Trainer.load_state and training.checkpoint"
    names = _names(whole.model)
    for what, a, b in (
        ("masters", whole.masters, second.masters),
        ("working weights", whole.params, second.params),
        ("optimizer moments", _moments(whole), _moments(second)),
    ):
        wrong = [
            names[i % len(names)] for i, (x, y) in enumerate(zip(a, b, strict=False)) if not torch.equal(x, y)
        ]
        wrong += [f"{len(a)} and {len(b)} tensors"] if len(a) != len(b) else []
        yield count(f"{what} of the resumed and of the uninterrupted run that differ", wrong, len(a),
                    cause=cause, fix=fix)  # fmt: skip
    yield holds("version after resuming", whole.version == second.version,
                f"{whole.version} and {second.version}", threshold="equal", cause=cause, fix=fix)  # fmt: skip


def _loads(subject: DoctorContext, loaded: Any) -> Finding:
    """The checkpoint as transformers loads it has the saved shape and finite weights that are not the start's."""
    pairs = list(zip(loaded.parameters(), subject.model.parameters(), strict=True))
    same = all(torch.equal(a.cpu().float(), b.detach().cpu().float()) for a, b in pairs)
    finite = all(bool(torch.isfinite(a).all()) for a, _ in pairs)
    return holds("the checkpoint loads in transformers with the trained weights", finite and not same,
                 f"{len(pairs)} tensors, {'unchanged' if same else 'changed'}", threshold="finite and changed",
                 cause="the saved model is not the trained one", fix="look at training.checkpoint")  # fmt: skip


def _policy(subject: DoctorContext) -> policies.Policy:
    return policies.Policy(subject.copy_model(), policies.OptimizerConfig(lr=1e-3, weight_decay=0.01))


def _take(policy: policies.Policy, batches: Sequence[Batch], step: int) -> None:
    """One step at a rate of its own on a batch of its own."""
    policy.backward(batches[step % len(batches)], losses.negative_log_likelihood)
    policy.step(1e-3 / step)


def _moments(policy: policies.Policy) -> list[Tensor]:
    moments = []
    for opt in policy.optimizers:
        for state in opt.state_dict()["state"].values():
            moments += [v for _, v in sorted(state.items()) if isinstance(v, Tensor)]
    return moments


CHECKS = (
    Check("optimizer", "the optimizer's step by hand", optimizer),
    Check("resume", "save and resume equal uninterrupted", resume),
)
