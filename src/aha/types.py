"""The types that walk between the rooms of the house. Imports nothing of ours.

A rollout becomes scored, scored rollouts become a group, a group becomes examples, examples become a
batch: every step returns a new frozen type, so that nothing unscored or unweighted can be trained on.
Index t always speaks of token t: the next-token shift happens once, inside the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Message = Mapping[str, str]
"""One chat message: ``{"role": "user", "content": "..."}``."""


class AhaError(Exception):
    """An error the user can act on: it names the input, the cause and the way out."""


class FaultyRow(AhaError):
    """A row that its own publisher marks as faulty: it is left out and told, and is no sign of a wrong source."""


class Terminated(KeyboardInterrupt):
    """Somebody asked for the end by SIGTERM: it is left as by Ctrl-C, with nothing lying about, and by everything:
    whoever takes Ctrl-C for less than the end hands this on."""

    code = 128 + 15


class Finish(StrEnum):
    """Why a completion ended."""

    STOP = "stop"  # the model wrote EOS or a stop string
    LENGTH = "length"  # the token limit cut it
    ABORT = "abort"  # cancelled by us
    ERROR = "error"  # the engine failed on it


class Outcome(StrEnum):
    """What a verifier found. UNKNOWN (timeout, memory, parse) is never counted as wrong."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verifier's finding and, in words, its reason. ``value``: what the answer is worth, where the task's own
    scoring gives parts of 1."""

    outcome: Outcome
    note: str = ""
    value: float | None = None


@dataclass(frozen=True, slots=True)
class TestCase:
    """One test of a program: by stdin and stdout, by a function's arguments and result, or by asserts."""

    __test__ = False  # not a pytest class
    kind: str  # "stdio" | "function" | "asserts"
    input: Any  # stdin text | positional arguments (a JSON list) | the test source
    expected: Any = None  # stdout text | the result (JSON) | None
    entry_point: str = ""
    prelude: str = ""  # Python that runs before the program: the data set's imports and helpers
    compare: str = "strict"  # results of functions: see sandbox.ResultComparison
    tolerance: float = 0.0  # of numbers with a decimal point in the expected output, and of near results


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with what is needed to grade an answer to it."""

    id: str
    task: str
    messages: tuple[Message, ...]
    answer: str | tuple[TestCase, ...] | None = None
    language: str = "en"
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled completion. ``prompt_ids`` [P], ``completion_ids`` [C] and ``logprobs`` [C] are what the
    sampler saw and chose; ``text`` is only for reading and grading and is never tokenized again. ``version_spans`` are
    (first token, version of the policy) where more than one version sampled it; ``policy_version`` is the last."""

    prompt_ids: np.ndarray
    completion_ids: np.ndarray
    logprobs: np.ndarray
    text: str
    finish: Finish
    policy_version: int = 0
    opened_think: bool = False  # the prompt itself already ended in "<think>"
    version_spans: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """One reward's value. ``None`` = could not be graded; it is never 0. ``steps`` are the rewards of single
    steps, (end of the step in the text, reward), where the reward supervises the process. ``silent``: the reward has
    nothing to say of such a question; its 0 counts in the sum alone, and in no mean of the reward's own."""

    value: float | None
    note: str = ""
    steps: tuple[tuple[int, float], ...] = ()
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Scored:
    """A rollout with its scores by name and their weighted sum (``None`` if any of them is ``None``)."""

    rollout: Rollout
    scores: Mapping[str, Score]
    reward: float | None


@dataclass(frozen=True, slots=True)
class Group:
    """All scored rollouts of one problem: ``members`` [G]."""

    problem: Problem
    members: tuple[Scored, ...]

    @property
    def has_signal(self) -> bool:
        """At least two graded members with different rewards."""
        return len({m.reward for m in self.members if m.reward is not None}) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenColumns:
    """What may be known of each token: [L] of an ``Example``, [T] of a ``Batch``; all examples of a batch have a
    column, or none. A column that is added here is packed and checkpointed with the others."""

    policy_logprobs: np.ndarray | None = None  # of the policy before the update; None: the sampler's stand in
    reference_logprobs: np.ndarray | None = None
    values: np.ndarray | None = None  # the critic's, of the state in which token t is chosen
    returns: np.ndarray | None = None  # what the critic is to learn
    imitation: np.ndarray | None = None  # weight of -log p beside the loss
    stale: np.ndarray | None = None  # 1 where an earlier version of the policy sampled the token


@dataclass(frozen=True, slots=True)
class Example(TokenColumns):
    """One sequence to train on, all arrays [L]. ``mask`` is True where the token is learned from.
    ``prompt_length`` tokens at the front may be shared with neighbours of the same ``group``."""

    token_ids: np.ndarray
    mask: np.ndarray
    advantage: np.ndarray
    sampler_logprobs: np.ndarray | None = None
    prompt_length: int = 0
    group: int = -1  # examples of one group with equal prompts may share it; -1 = share nothing
    right: bool = False  # a correct answer
    steps: tuple[tuple[int, float], ...] = ()  # process rewards: (index of a step's last token, reward)


Reward = Callable[[Problem, Sequence[Rollout]], Sequence[Score]]
"""Grades all rollouts of one problem together (a length reward needs the group); one score per rollout."""


@dataclass(frozen=True, slots=True)
class Batch(TokenColumns):
    """Packed tokens for one forward and backward pass: no padding, arrays [T].

    ``segments`` [S, 4] holds (start, length, prefix_start, prefix_length) of each stretch of tokens; a
    prefix is another segment's tokens that this one sees as its past. ``predictor`` is the index of the
    token whose output predicts token t (-1: none), the one place where the next-token shift is written
    down. ``weights`` already hold the normalisation over the whole optimizer batch; 0 = not trained.
    ``sequence`` numbers the completion a token belongs to (-1: prompt). ``origin`` is the token's place
    when the packed examples' tokens are laid end to end (a shared prompt: its first owner's).
    """

    token_ids: np.ndarray
    positions: np.ndarray
    segments: np.ndarray
    predictor: np.ndarray
    sequence: np.ndarray
    weights: np.ndarray
    advantages: np.ndarray
    sampler_logprobs: np.ndarray
    origin: np.ndarray
