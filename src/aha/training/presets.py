"""Algorithms by name: each a few settings of one trainer, with its paper. Imports nothing heavy.

Rewards are the stage's, not the algorithm's: VC-PPO and DAPO, say, reward correctness with +1 and -1.
"""

from __future__ import annotations

from typing import Any

_NO_CRITIC: dict[str, Any] = {"objective": "logprob", "aggregation": "sequence_sum"}
_DAPO: dict[str, Any] = {"clip_high": 0.28, "aggregation": "token_mean"}
_PPO: dict[str, Any] = {"advantage": "raw", "critic": True, "lam": 1.0, "lam_critic": 1.0}

PRESETS: dict[str, dict[str, Any]] = {
    "reinforce": _NO_CRITIC | {"advantage": "raw"},
    "reinforce_pp": {
        "advantage": "raw",
        "whiten": True,
        "kl": "k1",
        "kl_coef": 0.001,
        "kl_place": "reward",
        "aggregation": "token_mean",
    },
    "reinforce_pp_baseline": {
        "advantage": "group_mean",
        "whiten": True,
        "kl": "k2",
        "kl_coef": 0.001,
        "aggregation": "token_mean",
    },
    "rloo": _NO_CRITIC | {"advantage": "leave_one_out"},
    "remax": _NO_CRITIC | {"advantage": "greedy_baseline"},
    "ppo": _PPO | {"whiten": True, "value_clip": 0.2},
    "vc_ppo": _PPO | {"lam": 0.95, "value_clip": 0.2, "value_pretrain_steps": 50},
    "vapo": _PPO | _DAPO | {"lam": None, "value_clip": 0.2, "value_pretrain_steps": 50, "nll_coef": 0.1},
    "grpo": {"kl": "k3", "kl_coef": 0.001},
    "grpo_no_kl": {},
    "grpo_process": {"advantage": "raw", "process": True, "kl": "k3", "kl_coef": 0.04},
    "grpo_iterative": {"kl": "k3", "kl_coef": 0.04, "reference_every": 100},
    "dr_grpo": {"advantage": "group_mean", "aggregation": "constant_length"},
    "dapo": _DAPO | {"filter_zero_variance": True, "dynamic_sampling": 1.0},
    "gspo": {"ratio": "sequence", "clip_low": 3e-4, "clip_high": 4e-4},
    "cispo": {"objective": "cispo", "clip_low": 1.0, "clip_high": 4.0, "aggregation": "token_mean"},
    "gpg": {"advantage": "gpg", "objective": "logprob", "aggregation": "token_mean"},
    "cppo": {"kl": "k3", "kl_coef": 0.04, "prune_rate": 0.5},
    "kimi": {
        "advantage": "group_mean",
        "objective": "mirror",
        "mirror_coef": 0.01,
        "aggregation": "sequence_sum",
        "curriculum": "failure",
    },
    "grpo_plus": {"clip_high": 0.28, "mask_truncated": True},
    "magic": {
        "aggregation": "token_mean",
        "filter_zero_variance": True,
        "entropy_target": 0.2,
        "entropy_coef_step": 0.005,
        "curriculum": "history",
    },
    "srpo": _DAPO | {"curriculum": "history"},
    "raft": {"advantage": "group_best", "objective": "logprob", "aggregation": "token_mean"},
    "agro": _NO_CRITIC | {"advantage": "raw", "agro": True, "kl_coef": 0.01, "replay_ratio": 0.25},
}

PAPERS: dict[str, str] = {
    "reinforce": "Williams, 1992: the score function times the reward; no baseline, no clip.",
    "reinforce_pp": "arXiv 2501.03262: KL in the reward, normalised over the global batch, PPO's clip.",
    "reinforce_pp_baseline": "arXiv 2501.03262, its variant: the group's mean as baseline, k2 as a loss.",
    "rloo": (
        "arXiv 2402.14740: the other samples of the same prompt are the baseline; whole completions as "
        "actions."
    ),
    "remax": "arXiv 2310.10505: the greedy completion's reward is the baseline.",
    "ppo": (
        "arXiv 1707.06347 with lambda 1, as the R1 paper tuned it for reasoning (its appendix: 0.95 is "
        "much worse)."
    ),
    "vc_ppo": "arXiv 2503.01491: value pretraining, lambda of actor and critic apart.",
    "vapo": (
        "arXiv 2504.05118: VC-PPO, lambda by length, token mean, clip-higher, imitation of correct "
        "completions."
    ),
    "grpo": "DeepSeekMath, arXiv 2402.03300; as the R1 paper uses it, arXiv 2501.12948 section 2.1.",
    "grpo_no_kl": "GRPO without the reference model, as most open reproductions run it.",
    "grpo_process": "DeepSeekMath, section 4.1.3: rewards of steps (a reward that gives them: aha list).",
    "grpo_iterative": (
        "DeepSeekMath, algorithm 1: the reference follows the policy (its reward model is retrained by "
        "stages)."
    ),
    "dr_grpo": (
        "Understanding R1-Zero-like training, arXiv 2503.20783: neither 1/|o| nor the standard deviation."
    ),
    "dapo": (
        "arXiv 2503.14476: clip-higher, token mean, dynamic sampling, no KL (overlong: reward soft_overlong)."
    ),
    "gspo": "Group sequence policy optimization, arXiv 2507.18071.",
    "cispo": "MiniMax-M1, arXiv 2506.13585: the clipped ratio is a weight; no lower bound.",
    "gpg": "arXiv 2504.02546: no reference, no clip; samples without signal are made up for.",
    "cppo": "arXiv 2503.22342: GRPO on the completions with the largest |advantage|.",
    "kimi": "Kimi k1.5, arXiv 2501.12599: online mirror descent, prompts drawn in proportion to failure.",
    "grpo_plus": ("DeepCoder (2025): clip-higher, truncated completions masked, no entropy bonus, no KL."),
    "magic": (
        "Skywork-OR1, arXiv 2505.22312: groups without signal out, no KL, entropy held up by an adaptive "
        "bonus."
    ),
    "srpo": "arXiv 2504.14286: token mean, no KL, problems all right last time leave the next epoch.",
    "raft": "arXiv 2304.06767: fine-tuning on the best samples alone.",
    "agro": "arXiv 2503.19612: consistency of the KL-regularised optimum; samples of any age.",
}
"""Where each comes from, and what it is about."""
