"""The sampler: its log probabilities, what it draws, and its seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from aha.doctor import exact, ground_truth
from aha.doctor.finding import Check, Finding, at_most, count
from aha.doctor.subject import DoctorContext
from aha.sampling import sampler
from aha.sampling.local import scheduler
from aha.training import batching
from aha.types import Group, Rollout

HOT = 20.0  # a temperature at which whatever a model prefers hardly matters
SHARE_OFF = (
    0.02  # of tokens, beside twice transformers' own: a nucleus's edge can fall either way by rounding
)
OFF = {
    True: 2e-3,
    False: 0.1,
}  # nats from which on a log probability counts as off, or five times transformers' error
FLIPS = 0.015  # draws that rounding may turn, of all, beside those that transformers' own error says
CAUSE = (
    "sampler and trainer compute different distributions: another temperature or truncation, positions or "
    "masks that differ, an off-by-one in the shift, stale weights, or an unsupported architecture"
)
FIX = "sample at the temperature that is trained on; compare aha doctor --model tiny, and report the architecture"


def rollouts_of(groups: Sequence[Group]) -> list[Rollout]:
    """All rollouts, in order."""
    return [m.rollout for g in groups for m in g.members]


def policy_logprobs(subject: DoctorContext, groups: Sequence[Group], temperature: float) -> list[np.ndarray]:
    """What the policy says [C] of each completion, through packing, as training asks it."""
    examples = ground_truth.examples(groups, [np.ones(len(g.members)) for g in groups])
    longest = max(len(e.token_ids) for e in examples)
    batches = batching.pack(examples, batching.token_mean, max(subject.plan.max_tokens_per_batch, longest))
    values = batching.unpack(examples, batches, [subject.policy.logprobs(b, temperature) for b in batches])
    return [v[e.prompt_length :].astype(np.float64) for e, v in zip(examples, values, strict=True)]


def held(subject: DoctorContext, groups: Sequence[Group], temperature: float) -> tuple[list[int], exact.Held]:
    """Some of the rollouts, by number, with the truth about them."""
    rollouts = rollouts_of(groups)
    chosen = subject.some_of(rollouts)
    return chosen, subject.exact.truth([rollouts[i] for i in chosen], temperature)


def sampled(groups: Sequence[Group]) -> list[np.ndarray]:
    """What the sampler said [C] of each completion."""
    return [np.asarray(r.logprobs, np.float64) for r in rollouts_of(groups)]


def compared(
    subject: DoctorContext, groups: Sequence[Group], temperature: float, how: str, policy: bool = True
) -> Iterator[Finding]:
    """The sampler, and the policy, against the truth beside transformers; and against each other on all tokens."""
    said = sampled(groups)
    chosen, truth = held(subject, groups, temperature)
    yield from truth.compare(f"the sampler's logprobs {how}", [said[i] for i in chosen], cause=CAUSE, fix=FIX)
    if not policy:
        return
    asked = policy_logprobs(subject, groups, temperature)
    yield from truth.compare(f"the policy's logprobs {how}", [asked[i] for i in chosen], cause=CAUSE, fix=FIX)
    yield from apart(f"|sampler - policy| {how}", truth, said, asked)


def apart(
    what: str, truth: exact.Held, first: Sequence[np.ndarray], second: Sequence[np.ndarray]
) -> Iterator[Finding]:
    """Two of our ways on all tokens: each may err as transformers does, so their difference by both errors."""
    gap = exact.Gap.of(first, second)
    mean, largest, _ = truth.limits(exact.Gap(gap.mean / 1.5, gap.largest / 2))
    yield at_most(f"{what}, mean", gap.mean, 1.5 * mean, cause=CAUSE, fix=FIX, more=f"{gap.tokens} tokens",
                  unit=" nats")  # fmt: skip
    yield at_most(f"{what}, largest", gap.largest, 2 * largest, cause=CAUSE, fix=FIX, more=f"token {gap.at}",
                  unit=" nats")  # fmt: skip


def logprobs(subject: DoctorContext) -> Iterator[Finding]:
    """At the run's temperature: sampler and policy against the truth, as near as transformers' own forward."""
    t = subject.plan.temperature
    yield from compared(subject, subject.groups(), t, f"at temperature {t:g}")


def settings(subject: DoctorContext) -> Iterator[Finding]:
    """Other temperatures; truncation, where the log probability is that of the renormalised distribution."""
    for temperature in (0.7, 1.3):
        groups = subject.sample(temperature, seed=2)
        yield from compared(subject, groups, temperature, f"at temperature {temperature}")
    greedy = subject.sample(0.0, seed=3)
    yield from compared(subject, greedy, 1.0, "of greedy samples (reported at temperature 1)", policy=False)
    for cut in ({"top_p": 0.6}, {"top_k": 5, "top_p": 0.8}, {"min_p": 0.05}):
        yield _truncated(subject, cut)


def _truncated(subject: DoctorContext, cut: dict[str, Any]) -> Finding:
    """The share of tokens whose log probability is not that of the distribution left by the truncation, beside the
    share that transformers has. A token at the edge of what is left may fall either way by rounding."""
    rollouts = rollouts_of(subject.sample(1.3, seed=4, **cut))
    chosen = [rollouts[i] for i in subject.some_of(rollouts, 0.5)]
    error = subject.exact.truth(chosen[:2], 1.3).error("sdpa").mean
    near = max(OFF[subject.precise], 5 * error)
    off, own, total = 0, 0, 0
    for r in chosen:
        for row, plainly, token, logprob in zip(
            *_rows(subject, r), r.completion_ids, r.logprobs, strict=True
        ):
            lowest, highest = (x[token] for x in ground_truth.restricted_bounds(row, 1.3, near, **cut))  # type: ignore[arg-type]
            theirs = ground_truth.restricted(plainly, 1.3, **cut)[token]  # type: ignore[arg-type]
            off, total = off + int(not lowest - near <= logprob <= highest + near), total + 1
            own += int(np.isfinite(theirs) and not lowest - near <= theirs <= highest + near)
    named = ", ".join(f"{k} {v:g}" for k, v in cut.items())
    chance = SHARE_OFF if subject.precise else max(SHARE_OFF, 1 / max(total, 1))
    return at_most(
        f"tokens whose logprob is off by {near:.2g} nats from the renormalised one, {named}",
        off / max(total, 1),
        chance + 2 * own / max(total, 1),
        more=f"{off} of {total}; transformers' own {own}",
        cause="the sampler truncates another distribution than it says, or does not renormalise",
        fix="look at sampling.sampler.sample",
    )


def _rows(subject: DoctorContext, r: Rollout) -> tuple[np.ndarray, np.ndarray]:
    """Logits [C, V] of a completion's tokens: true ones, and transformers' own."""
    ids = np.concatenate([r.prompt_ids, r.completion_ids])
    count = len(r.completion_ids)
    with ground_truth.own_attention(subject.model), torch.no_grad():
        own = ground_truth.logits(subject.model, ids, count + 1)[:-1].double().cpu().numpy()
    return subject.exact.logits(ids, count), own


CASES: tuple[dict[str, float], ...] = (
    {"temperature": 1.0},
    {"temperature": 0.6, "top_p": 0.95},
    {"temperature": 1.0, "top_k": 4},
    {"temperature": 1.5, "min_p": 0.1, "top_p": 0.7},
)


def draws(subject: DoctorContext) -> Iterator[Finding]:
    """20,000 draws from made-up logits: their frequencies, and the log probabilities reported with them."""
    rng = np.random.default_rng(subject.data_seed)
    row, n = rng.normal(0, 2, 40), 20_000
    yield _greedy(torch.tensor(row, dtype=torch.float32).repeat(4, 1).to(subject.device))
    for case in CASES:
        params = sampler.SamplingParams(**case)  # type: ignore[arg-type]
        seeds = sampler.row_seeds(11 + subject.data_seed, np.arange(n, dtype=np.uint64))
        uniform = scheduler.uniforms(seeds, np.zeros(n, np.int64))
        logits = torch.tensor(row, dtype=torch.float32).repeat(n, 1).to(subject.device)
        tokens, said = scheduler.sample(logits, torch.from_numpy(uniform).to(logits.device), params)
        expected = ground_truth.restricted(row.astype(np.float32), **case)  # type: ignore[arg-type]
        p = np.exp(expected)
        frequency = np.bincount(tokens.cpu().numpy(), minlength=40) / n
        z = np.abs(frequency - p) / np.sqrt(np.maximum(p * (1 - p), 1e-9) / n + 1 / n**2)
        named = ", ".join(f"{k} {v:g}" for k, v in case.items())
        yield at_most(
            f"frequency of drawn tokens, {named}",
            float(z.max()),
            5.5,
            unit=" standard errors",
            cause="the sampler does not draw from the distribution it is asked for",
            fix="look at sampling.sampler.sample and its uniform numbers",
        )
        gap = np.abs(said.double().cpu().numpy() - expected[tokens.cpu().numpy()])
        yield at_most(
            f"logprob reported with a draw, {named}",
            float(gap.max()),
            1e-4,
            unit=" nats",
            cause="the reported logprob is not that of the distribution drawn from (temperature, renormalising)",
            fix="look at sampling.sampler.sample",
        )


def seeds(subject: DoctorContext) -> Iterator[Finding]:
    """The same seed draws the same; other seeds, questions and samples do not; the batch plays no part."""
    prompts = [subject.prompter.encode(p)[0] for p in subject.some_problems()]
    # Hot sampling: two streams that agree over a dozen tokens are then one and the same stream.
    heat = min(HOT, getattr(subject.engine, "max_temperature", HOT))
    hot = sampler.SamplingParams(temperature=heat, max_tokens=min(12, subject.tokens()))
    same = [scheduler.Request(prompts[0], 4, key) for key in (0, 1)]
    first = _completions(subject.engine, same, hot, 5)
    again = _completions(subject.engine, same, hot, 5)
    differing = [str(i) for i, (a, b) in enumerate(zip(first, again, strict=True)) if a != b]
    yield count(
        "completions that change when the same call is repeated",
        differing,
        len(first),
        cause="sampling depends on something besides (seed, step, question, sample, token)",
        fix="draw with sampling.sampler.uniforms alone; on a GPU, ask for deterministic kernels",
    )
    other = _completions(subject.engine, same, hot, 6)
    total = len(first) + len(other)
    repeated = total - len(set(first) | set(other))
    if heat < HOT:  # a sure model repeats itself at what the engine allows
        yield _batch_independence(subject, prompts)
        return
    yield count(
        "completions of one prompt that repeat over 2 seeds, 2 questions and 4 samples, at temperature 20",
        ["a repeated stream"] * repeated,
        total,
        cause="seeds are not mixed with step, question and sample: the same random numbers are used again",
        fix="look at row_seeds, at the keys of requests and at the stage's seed of a step",
    )
    yield _batch_independence(subject, prompts)


def _batch_independence(subject: DoctorContext, prompts: list[list[int]]) -> Finding:
    """Ids of completions sampled in one batch, and two rows at a time on an engine of its own.

    Matrix products of other shapes round otherwise, so a draw at the edge of two tokens may flip: no more often than
    transformers' own error turns a probability."""
    params = sampler.SamplingParams(temperature=1.0, max_tokens=subject.tokens())
    requests = [scheduler.Request(prompt, 3, key) for key, prompt in enumerate(prompts)]
    together = _completions(subject.engine, requests, params, 7)
    if subject.engine.shares_modules:
        apart = _completions(subject.new_engine(subject.model, max_rows=2), requests, params, 7)
    else:
        apart = [ids for r in requests for ids in _completions(subject.engine, [r], params, 7)]
    flips = sum(a != b for a, b in zip(together, apart, strict=True))
    draws = sum(_alike(a, b) + (a != b) for a, b in zip(together, apart, strict=True))
    _, truth = held(subject, subject.groups(), 1.0)
    own = truth.error("eager" if ground_truth.is_capped(subject.model) else "sdpa").mean
    rate = FLIPS + exact.FACTORS[0] * own
    chance = 3 * math.sqrt(rate * (1 - min(rate, 1.0)) / max(draws, 1))  # of so few draws
    return at_most(
        "share of draws that come out otherwise when the batch is a few rows instead of all",
        flips / max(draws, 1),
        rate + chance,
        more=f"{flips} of {draws}",
        cause="a sample depends on what else is in the batch: a row reads another row's cache or numbers",
        fix="look at sampling.local (compaction, seeds of rows) and sampling.kv_cache",
    )


def _alike(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two completions have in common before they part."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _completions(
    engine: Any, requests: Sequence[scheduler.Request], params: sampler.SamplingParams, seed: int
) -> list[tuple[int, ...]]:
    """Ids of every completion, in the order of requests and samples."""
    rollouts = dict(engine.generate(requests, params, seed=seed))
    return [tuple(r.completion_ids.tolist()) for i in range(len(requests)) for r in rollouts[i]]


def _greedy(logits: torch.Tensor) -> Finding:
    """Temperature 0: the likeliest token, with its log probability at temperature 1."""
    z = logits[:4] + torch.linspace(0, 1, 4, device=logits.device)[:, None]
    params = sampler.SamplingParams(temperature=0.0)
    tokens, said = scheduler.sample(z, torch.zeros(4, device=z.device), params)
    expected = [ground_truth.restricted(row, 1.0) for row in z.double().cpu().numpy()]
    gap = max(abs(w.max() - s) for w, s in zip(expected, said.tolist(), strict=True))
    best = all(int(w.argmax()) == t for w, t in zip(expected, tokens.tolist(), strict=True))
    return at_most("greedy: the likeliest token and its logprob at temperature 1", gap if best else np.inf, 1e-4,
                   unit=" nats", cause="greedy and sampled log probabilities are mixed up",
                   fix="look at sampling.sampler.sample")  # fmt: skip


CHECKS = (
    Check("logprobs", "the sampler's logprobs equal the policy's", logprobs, quick=True),
    Check("sampling_settings", "temperature, greedy, top-p, top-k and min-p", settings),
    Check("draws", "the sampler draws what it says", draws),
    Check("seeds", "random numbers are functions of position", seeds),
)
