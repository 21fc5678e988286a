"""Reinforcement learning: settings, the loop, its live parts, what it reports and what it saves."""

from aha.stages.rl.loop import RL

__all__ = ["RL"]
