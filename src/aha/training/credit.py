"""Credit for single tokens: KL in the reward, global normalisation, GAE, process rewards, corrections.

Each function takes the examples of a whole rollout and returns new ones; values are read only where
``mask`` is True. Before it, every token of a completion carries the completion's advantage or reward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from aha.training.advantages import STD_EPS
from aha.training.batching import Weighting
from aha.types import Example

Examples = Sequence[Example]
Importance = Literal["none", "truncated", "masked"]


def _old(e: Example) -> np.ndarray:
    """Log probabilities of the policy before the update."""
    logprobs = e.sampler_logprobs if e.policy_logprobs is None else e.policy_logprobs
    assert logprobs is not None
    return logprobs


def _k1(e: Example) -> np.ndarray:
    """log(policy / reference) of the completion's tokens [C]."""
    assert e.reference_logprobs is not None
    return (_old(e) - e.reference_logprobs)[e.mask].astype(np.float64)


def _with(e: Example, completion: np.ndarray) -> Example:
    """``e`` with these advantages [C] on its trained tokens."""
    advantage = np.zeros(len(e.mask))
    advantage[e.mask] = completion
    return replace(e, advantage=advantage)


def subtract_kl(examples: Examples, coef: float) -> list[Example]:
    """REINFORCE++ (arXiv 2501.03262): A_t = A - coef * sum over j >= t of log(policy_j / reference_j)."""
    return [_with(e, e.advantage[e.mask] - coef * np.cumsum(_k1(e)[::-1])[::-1]) for e in examples]


def whiten(examples: Examples) -> list[Example]:
    """REINFORCE++: mean 0 and standard deviation 1 over all trained tokens of the rollout.

    Over the global batch, as the original and its code have it; the survey arXiv 2505.00551 prints the
    normalisation per group. Exactly 0 where all are equal.
    """
    values = np.concatenate([e.advantage[e.mask] for e in examples]) if examples else np.zeros(0)
    if len(values) == 0 or values.min() == values.max():
        return [replace(e, advantage=np.zeros(len(e.mask))) for e in examples]
    mean, std = values.mean(), values.std()
    return [_with(e, (e.advantage[e.mask] - mean) / (std + STD_EPS)) for e in examples]


def gae(rewards: np.ndarray, values: np.ndarray, gamma: float, lam: float) -> np.ndarray:
    """Generalised advantage estimation (arXiv 1506.02438, eq. 16) of one completion, all arrays [C].

    delta_t = r_t + gamma V_{t+1} - V_t, A_t = sum of (gamma lam)^l delta_{t+l}; V after the end is 0.
    """
    delta = rewards + gamma * np.append(values[1:], 0.0) - values
    out, running = np.zeros(len(delta)), 0.0
    for t in range(len(delta) - 1, -1, -1):
        running = delta[t] + gamma * lam * running
        out[t] = running
    return out


def gae_credit(
    examples: Examples,
    *,
    gamma: float,
    lam: float | None,
    lam_critic: float,
    lam_length: float = 0.05,
    kl_coef: float = 0.0,
) -> list[Example]:
    """PPO: advantages from the critic's values, and the returns it is to learn.

    The reward comes with the last token; ``kl_coef`` * log(policy / reference) is taken off at each token.
    Actor and critic have their own lambda (VC-PPO, arXiv 2503.01491). ``lam`` None is VAPO's, which depends
    on the completion's length l: 1 - 1 / (lam_length * l) (arXiv 2504.05118), at least 0.
    """
    done = []
    for e in examples:
        assert e.values is not None
        values = e.values[e.mask].astype(np.float64)
        rewards = np.zeros(len(values))
        if len(values) == 0:
            continue
        rewards[-1] = e.advantage[e.mask][-1]
        if kl_coef:
            rewards -= kl_coef * _k1(e)
        actor = max(0.0, 1 - 1 / (lam_length * len(values))) if lam is None else lam
        returns = np.zeros(len(e.mask))
        returns[e.mask] = gae(rewards, values, gamma, lam_critic) + values
        done.append(replace(_with(e, gae(rewards, values, gamma, actor)), returns=returns))
    return done


def process_credit(examples: Examples, outcome: bool = True) -> list[Example]:
    """GRPO with process supervision (arXiv 2402.03300, section 4.1.3): rewards of steps, normalised over all
    steps of the group; a token's advantage is the sum over the steps that end at or after it.

    With ``outcome`` the reward of the outcome, which every token carries before, is one more step, the last
    token; without it, only steps are rewarded.
    """
    steps = [_all_steps(e, outcome) for e in examples]
    groups: dict[int, list[int]] = {}
    for i, e in enumerate(examples):
        groups.setdefault(e.group, []).append(i)
    done: list[Example] = list(examples)
    for members in groups.values():
        rewards = np.array([value for i in members for _, value in steps[i]])
        equal = len(rewards) == 0 or rewards.min() == rewards.max()
        mean, std = (0.0, 1.0) if equal else (rewards.mean(), rewards.std())
        for i in members:
            e = examples[i]
            at_token = np.zeros(len(e.mask))
            for at, value in steps[i]:
                at_token[at] += 0.0 if equal else (value - mean) / (std + STD_EPS)
            done[i] = _with(e, np.cumsum(at_token[::-1])[::-1][e.mask])
    return done


def _all_steps(e: Example, outcome: bool) -> list[tuple[int, float]]:
    last = [(int(np.flatnonzero(e.mask)[-1]), float(e.advantage[e.mask][-1]))] if outcome else []
    return [*e.steps, *last]


def agro_credit(examples: Examples, coef: float) -> list[Example]:
    """AGRO (arXiv 2503.19612): half the variance, within a prompt, of r - coef * log(policy / reference).

    At the optimum of the KL-regularised problem that quantity depends on the prompt alone, whoever sampled.
    The gradient is that of -coef * (R - mean R) * log policy, so these are the advantages, divided by coef
    so that its size is that of a reward. Logprobs must be those of the policy as it is.
    """
    scores = np.array([e.advantage[e.mask][-1] - coef * _k1(e).sum() for e in examples])
    groups = np.array([e.group for e in examples])
    means = {g: scores[groups == g].mean() for g in set(groups.tolist())}
    return [_with(e, s - means[e.group]) for e, s in zip(examples, scores, strict=True)]


def prune(examples: Examples, rate: float) -> list[Example]:
    """CPPO (arXiv 2503.22342): of each group of G keep floor(G (1 - rate)) with the largest |advantage|.

    The original fills the freed places of its fixed batch with more questions; packed batches have none.
    """
    groups: dict[int, list[int]] = {}
    for i, e in enumerate(examples):
        groups.setdefault(e.group, []).append(i)
    kept: list[int] = []
    for members in groups.values():
        count = max(1, math.floor(len(members) * (1 - rate) + 1e-9))
        order = sorted(members, key=lambda i: -np.abs(examples[i].advantage).max())
        kept += order[:count]
    return [examples[i] for i in sorted(kept)]


def correct_importance(
    examples: Examples, kind: Importance, cap: float, level: Literal["token", "sequence"]
) -> list[Example]:
    """Correct for a sampler that is not quite the policy, by u = policy / sampler, before the update.

    ``truncated``: the advantage times min(u, cap) (truncated importance sampling, Yao et al., 2025).
    ``masked``: times u where 1 / cap <= u <= cap, else 0. At the level of a ``sequence``, u is the
    product over its tokens.
    """
    if kind == "none":
        return list(examples)
    done = []
    for e in examples:
        u = _importance(e, level)
        factor = np.minimum(u, cap) if kind == "truncated" else np.where((u <= cap) & (u >= 1 / cap), u, 0.0)
        done.append(_with(e, e.advantage[e.mask] * factor))
    return done


def _importance(e: Example, level: Literal["token", "sequence"]) -> np.ndarray:
    """policy / sampler [C]."""
    assert e.policy_logprobs is not None
    assert e.sampler_logprobs is not None
    log_u = (e.policy_logprobs - e.sampler_logprobs)[e.mask].astype(np.float64)
    if level == "sequence":
        log_u = np.full(len(log_u), log_u.sum())
    return np.exp(np.clip(log_u, -50, 50))


def importance_figures(
    examples: Examples, cap: float, level: Literal["token", "sequence"]
) -> dict[str, float]:
    """What the correction does to a rollout: its weight on average, and the share of tokens beyond its bounds."""
    ratios = [_importance(e, level) for e in examples]
    u = np.concatenate(ratios) if ratios else np.ones(1)
    return {
        "importance/mean": round(float(np.minimum(u, cap).mean()), 6),
        "importance/above_cap": float((u > cap).mean()),
        "importance/below_inverse": float((u < 1 / cap).mean()),
    }


def imitate(examples: Examples, coef: float, weighting: Weighting) -> list[Example]:
    """VAPO (arXiv 2504.05118): beside the loss, coef times the mean of -log p over all tokens of the
    correct completions. Written relative to the tokens' weights, so that any weighting gives this mean."""
    tokens = sum(int(e.mask.sum()) for e in examples if e.right)
    done = []
    for e, weight in zip(examples, weighting(examples), strict=True):
        share = np.zeros(len(e.mask))
        if e.right:
            share[e.mask] = coef / tokens / weight[e.mask]
        done.append(replace(e, imitation=share))
    return done
