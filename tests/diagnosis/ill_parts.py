"""Tasks, rewards and an engine that make a run ill, each in one way: own parts of the runs in ``ill_runs``."""

from __future__ import annotations

import copy
import json
import random
import re
from dataclasses import replace

from aha.chat import parse
from aha.judges import prompts
from aha.sampling.local.engine import LocalEngine
from aha.tasks import countdown

# --- tasks ---------------------------------------------------------------------------------------------------------


class Impossible:
    """Countdown whose targets are out of reach: no answer is ever right."""

    def problems(self, split, n, seed):
        for problem in countdown.load(countdown.TINY, split, n, seed):
            target = 9973
            yield replace(
                countdown.make_problem(problem.metadata["numbers"], target, countdown.TINY),
                id=problem.id.rpartition("-")[0] + f"-{target}",
            )

    verify = staticmethod(countdown.verify)


class Easy:
    """Countdown that asks for any of its numbers: every answer is right."""

    def problems(self, split, n, seed):
        return countdown.load(countdown.TINY, split, n, seed)

    def verify(self, problem, text):
        return any(str(number) in text for number in problem.metadata["numbers"])


class EasyOrImpossible(Impossible):
    """Half of the questions too easy, half impossible: no group has two rewards."""

    def problems(self, split, n, seed):
        easy = iter(countdown.load(countdown.TINY, split, n, seed))
        for hard in super().problems(split, n, seed):
            yield hard
            yield next(easy)

    def verify(self, problem, text):
        return problem.metadata["target"] != 9973


class OddGolds:
    """A third of the reference answers cannot be read as numbers, so that their questions cannot be graded."""

    def problems(self, split, n, seed):
        for i, problem in enumerate(countdown.load(countdown.TINY, split, n, seed)):
            yield replace(problem, answer="see the table") if i % 3 == 0 else problem

    def verify(self, problem, text):
        target = int(problem.answer)
        return countdown.verify(replace(problem, metadata={**problem.metadata, "target": target}), text)


class Leaking:
    """Questions in which the answer stands."""

    def problems(self, split, n, seed):
        for problem in countdown.load(countdown.TINY, split, n, seed):
            numbers, target = problem.metadata["numbers"], problem.metadata["target"]
            gold = next(e.text for e in countdown.expressions(numbers, "+-*") if e.value == target)
            content = f"{problem.messages[-1]['content']} The answer is {gold}."
            yield replace(problem, messages=({"role": "user", "content": content},), answer=gold)

    def verify(self, problem, text):
        return countdown.verify(problem, text)


class Copies:
    """Six questions, over and over, under ever new names."""

    def problems(self, split, n, seed):
        few = countdown.load(countdown.TINY, split, 6, seed)
        for i in range(n):
            yield replace(few[i % len(few)], id=f"copy-{i}")

    verify = staticmethod(countdown.verify)


class SameSplits:
    """Every split gives the problems that are trained on."""

    def problems(self, split, n, seed):
        return countdown.load(countdown.TINY, "train", n, 0)

    verify = staticmethod(countdown.verify)


# --- rewards -------------------------------------------------------------------------------------------------------


def long(problem, rollouts):
    """The longer the better."""
    return [len(r.completion_ids) / 64 for r in rollouts]


def wordy_judge(problem, rollouts):
    """A judge that loves length: noisy, and blind to what is said."""
    rng = random.Random(problem.id)
    return [min(1.0, len(r.text) / 250) + rng.gauss(0, 0.1) for r in rollouts]


def repeats(problem, text):
    """Pays for saying the same words again."""
    words = text.split()
    return 1 - len(set(words)) / len(words) if words else 0.0


def chinese(problem, text):
    """Pays for Chinese characters."""
    return sum("\u4e00" <= c <= "\u9fff" for c in text) / max(1, len(text)) * 4


def tags_alone(problem, text):
    """Pays for tags, and for a chain between them that reckons nothing."""
    parsed = parse(text)
    return float(parsed.answer is not None) - min(1.0, sum(c.isdigit() for c in parsed.think or text) / 6)


def echo(problem, text):
    """Pays for the target itself as the answer, which is never right."""
    answer = parse(text).answer or text
    numbers = re.findall(r"\d+", answer)
    return float(numbers[-1:] == [problem.answer]) + 0.3 * (len(numbers) == 1)


def fragile(problem, text):
    """Breaks on texts that have no equation."""
    return float(len(text.split("=")[2]) > 3)


# --- judges --------------------------------------------------------------------------------------------------------


def long_judge(messages):
    """A judge as an endpoint would be one, that loves length: what it quotes is graded by its words alone."""
    said = prompts.unquote(messages)["response"]
    return json.dumps({"analysis": "There is a lot in it.", "score": min(10, 1 + len(said.split()) // 4)})


def fair_judge(messages):
    """A judge that looks for an equation with the target, whatever its length."""
    parts = prompts.unquote(messages)
    target = re.findall(r"\d+", parts["request"])[-1]
    reached = re.search(rf"=\s*{target}\b", parts["response"]) is not None
    return json.dumps({"analysis": "", "score": 10 if reached else 1})


# --- an engine -----------------------------------------------------------------------------------------------------


class Endless(LocalEngine):
    """As a model that never learned to end its turn: no token ends a completion."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.eos_ids = frozenset()


class Outdated(LocalEngine):
    """Samples with the weights that it had at its beginning: sampler and policy drift apart."""

    shares_modules = False
    takes_weights = True

    @classmethod
    def make(cls, model, tokenizer, setup):
        return cls(copy.deepcopy(model), tokenizer, max_rows=setup.rows)

    def load_weights(self, tensors, version):
        self.version = version
