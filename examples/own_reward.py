"""Rewards of your own: plain functions. Train with them by their place in this file:

aha zero rl.rewards='{"accuracy": 1, "examples/own_reward.py:short": 0.2, "examples/own_reward.py:shows_its_work": 0.1}'
"""

import asyncio


def short(problem, text):
    """One answer at a time: 1 for up to 200 characters, falling to 0 at 1,000."""
    return max(0.0, min(1.0, (1000 - len(text)) / 800))


def shows_its_work(completions, **columns):
    """TRL's signature: all completions of a question, and the columns of its row (the answer, the level, ...)."""
    return [float(text.count("=") >= 2) for text in completions]


async def asks_a_service(problem, text):
    """A coroutine: the answers of a group are graded together, as a call to a service would be."""
    await asyncio.sleep(0.001)
    return None if not text else float("wait" in text.lower())  # None: could not be graded, which is never 0
