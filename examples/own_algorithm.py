"""Algorithms of your own. aha zero rl.algorithm.preset=examples/own_algorithm.py:RANKED"""

import numpy as np
import torch


def ranks(rewards):
    """From the rewards of one group [G] to advantages [G]: by rank instead of by size. Equal rewards give 0."""
    below = (rewards[:, None] > rewards[None, :]).sum(1)
    above = (rewards[:, None] < rewards[None, :]).sum(1)
    return (below - above) / np.maximum(len(rewards) - 1, 1)


def soft_clip(logprobs, entropy, view, width=0.2):
    """The loss of each token [n]: the ratio is squashed smoothly instead of clipped."""
    ratio = torch.exp(logprobs - view.old_logprobs)
    soft = 1 + width * torch.tanh((ratio - 1) / width)
    return -soft * view.advantages, {"ratio": ratio}


RANKED = {"preset": "grpo_no_kl", "advantage": ranks, "objective": soft_clip, "aggregation": "token_mean"}
"""A set of settings that begins with a preset of the package (aha list algorithms)."""
