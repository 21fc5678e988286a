"""How fast a base learns: held-out accuracy over steps and over seconds, beside TRL.

Both sides get the same base, questions, verifier and weights of rewards, group, mini-batches, loss, optimizer and
number of steps; each samples and trains in its own way. What is measured in between, by the same sampler and on the
same held-out questions, takes none of their time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from aha import options
from aha.bench import interleave, models
from aha.files import check_writable
from aha.options import number, whole
from aha.types import AhaError

HELP = "held-out accuracy over steps and seconds of learning"
COLORS = {interleave.OURS: 1, "trl": 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Base, task, length of the run, and the peer."""
    parser.add_argument(
        "--model", default="tiny", help="the base: tiny, a folder or a hub name (default: %(default)s)"
    )
    parser.add_argument("--task", default="countdown", help="what is asked (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps")
    parser.add_argument("--dtype", default="auto", help="auto, bfloat16, float32")
    parser.add_argument("--threads", type=whole(), default=0, help="CPU threads (default: every core)")
    parser.add_argument(
        "--steps", type=whole(1), default=34, help="rollouts, each with its updates (%(default)s)"
    )
    parser.add_argument("--seeds", default="0,1,2", help="one run of each side for each (%(default)s)")
    parser.add_argument(
        "--prompts", type=whole(), default=0, help="questions of one step (default: the recipe's)"
    )
    parser.add_argument(
        "--group", type=whole(), default=0, help="completions of each (default: the recipe's)"
    )
    parser.add_argument(
        "--max-tokens", type=whole(), default=0, help="longest completion (default: the recipe's)"
    )
    parser.add_argument(
        "--lr", type=number(), default=0.0, help="constant learning rate (default: the recipe's)"
    )
    parser.add_argument(
        "--eval-every", type=whole(1), default=3, help="steps between measurements (%(default)s)"
    )
    parser.add_argument(
        "--eval-problems", type=whole(1), default=128, help="held-out questions (%(default)s)"
    )
    parser.add_argument("--eval-samples", type=whole(1), default=2, help="samples of each (%(default)s)")
    parser.add_argument(
        "--target", type=number(0, 1), default=0.8, help="accuracy whose time is told (%(default)s)"
    )
    parser.add_argument("--against", choices=("trl",), help="the peer, one step each in turn")
    parser.add_argument(
        "--peer-micro-batch", type=whole(1), default=16, help="trl's sequences of one pass (%(default)s)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write both curves as a page")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


@dataclass(slots=True)
class Curve:
    """Of one side and seed: what was measured after so many steps and seconds, and the tokens sampled."""

    side: str
    seed: int
    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    tokens: float = 0.0

    def add(self, step: int, seconds: float, accuracy: float) -> None:
        """One measurement."""
        self.steps.append(step)
        self.seconds.append(round(seconds, 3))
        self.accuracy.append(round(accuracy, 4))

    def seconds_to(self, target: float) -> float | None:
        """When ``target`` was reached, on straight lines between measurements; None where it was not."""
        before = (0.0, 0.0)
        for at, value in zip(self.seconds, self.accuracy, strict=True):
            if value >= target:
                share = (target - before[1]) / (value - before[1]) if value > before[1] else 0.0
                return round(before[0] + share * (at - before[0]), 3)
            before = (at, value)
        return None


class Learner(Protocol):
    """One that learns."""

    def take(self, step: int) -> tuple[float, float]:
        """One rollout and its updates: (tokens sampled, seconds)."""
        ...

    def model(self) -> Any:
        """The model as it is now, fit for sampling with our engine."""
        ...


def run(args: argparse.Namespace) -> int:
    """Learn on both sides, a step each in turn, and say how accuracy went."""
    if not args.against:
        options.refuse(args, ("peer_micro_batch",), "it is of a peer. Name one with --against.")
    if args.plot:
        check_writable(args.plot)  # before hours of learning
    job = LearnJob(args)
    curves: list[Curve] = []
    comparison: dict[str, Any] = {}
    version = None
    for seed in job.seeds:
        with contextlib.ExitStack() as stack:
            sides: dict[str, Learner] = {interleave.OURS: AhaLearner(job, seed)}
            if args.against:
                peer, version = stack.enter_context(trl_side(job, seed))
                sides[args.against] = peer
            curves += learn(job, seed, sides)
        comparison = result(job, curves, version)
        if args.plot:  # after each seed: what was measured is kept, whatever ends the next one
            args.plot.write_text(page(curves, args.target, comparison), encoding="utf-8")
    if args.json:
        from aha import hardware, kernels

        print(
            json.dumps(
                comparison | {"machine": hardware.describe_machine() | {"kernels": kernels.compiled()}},
                indent=1,
            )
        )
    else:
        print("\n".join(lines(comparison)))
    return 0


def seeds_of(text: str) -> list[int]:
    """``0,1,2`` as numbers. Raises AhaError for anything else, and for a seed that stands twice."""
    seeds = [int(part) for part in text.split(",") if part.strip().isdecimal()]
    if len(set(seeds)) != len(text.split(",")):
        raise AhaError(f"--seeds {text}: give different whole numbers with commas between, as in 0,1,2.")
    return seeds


class LearnJob:
    """What both sides are given: the recipe's settings for this base, with the changes asked for."""

    def __init__(self, args: argparse.Namespace):
        from aha import hardware, modeling
        from aha.recipes import get_recipe
        from aha.rewards import get_reward
        from aha.sampling.rollouts import Prompter
        from aha.tasks import get_task

        (stage,) = get_recipe("r1_zero").build(model=args.model, task=args.task)
        changes = {
            "prompts_per_step": args.prompts,
            "group_size": args.group,
            "max_tokens": args.max_tokens,
            "lr": args.lr,
        }
        if args.group == 1:
            raise AhaError("--group 1: an advantage compares completions of one question. Give 2 or more.")
        self.stage: Any = stage.model_copy(update={name: value for name, value in changes.items() if value})
        if self.stage.prompts_per_step % self.stage.mini_batches:
            raise AhaError(
                f"--prompts must be a multiple of the {self.stage.mini_batches} mini-batches of a step."
            )
        self.args = args
        self.seeds = seeds_of(args.seeds)
        self.threads = hardware.set_threads(args.threads)
        self.device = hardware.pick_device(args.device)
        self.dtype = hardware.pick_dtype(args.dtype, self.device)
        self.tokenizer = modeling.load_tokenizer(args.model)
        self.task = get_task(args.task)
        self.prompter = Prompter(self.tokenizer, self.stage.prompt)
        self.rewards = {
            name: (w, get_reward(name, self.task.verify, self.task.verify_lenient))
            for name, w in self.stage.rewards.items()
        }
        count = args.steps * self.stage.prompts_per_step
        self.train = self.prompter.drop_long(self.task.load("train", count, 0), self.stage.max_prompt_tokens)
        self.test = self.task.load("test", args.eval_problems, 0)

    def questions(self, seed: int) -> list[Any]:
        """Those of all steps, in the order in which both sides ask them."""
        count, drawn = self.args.steps * self.stage.prompts_per_step, []
        rng = random.Random(f"learn:{seed}")
        while len(drawn) < count:
            drawn += rng.sample(self.train, len(self.train))
        return drawn[:count]

    def load(self, source: str | Path | None = None) -> Any:
        """The base, or a checkpoint of it, in the compute type."""
        from aha import modeling

        return modeling.load_model(str(source or self.args.model), self.device, self.dtype)

    def engine(self, model: Any) -> Any:
        """Our sampler of a model."""
        from aha.sampling.local.engine import LocalEngine

        return LocalEngine(model, self.tokenizer, max_rows=self.stage.max_num_seqs)

    def measure(self, model: Any) -> float:
        """Accuracy on the held-out questions, in the format that is asked for."""
        from aha.sampling.sampler import SamplingParams
        from aha.stages.evaluation.evaluate import evaluate

        params = SamplingParams(temperature=1.0, max_tokens=self.stage.max_tokens)
        engine = self.engine(model)
        evaluation = evaluate(
            engine, self.prompter, self.task, self.test, self.args.eval_samples, params, seed=1
        )
        return float(evaluation.figures["pass@1"])

    def grade(self, problems: Sequence[Any], completions: Sequence[Sequence[int]]) -> list[float]:
        """The weighted rewards of completions given as token ids, as our own side's are graded."""
        import numpy as np

        from aha.sampling.engine import ending_ids
        from aha.types import Finish, Rollout

        ends, rewards = ending_ids(None, self.tokenizer), []
        for problem, ids in zip(problems, completions, strict=True):
            prompt, opened = self.prompter.encode(problem)
            stopped = bool(ids) and ids[-1] in ends
            text = self.tokenizer.decode(ids[:-1] if stopped else ids, skip_special_tokens=False)
            rollout = Rollout(
                np.array(prompt), np.array(ids), np.zeros(len(ids), np.float32), text,
                Finish.STOP if stopped else Finish.LENGTH, opened_think=opened,
            )  # fmt: skip
            scores = [(w, reward(problem, [rollout])[0].value) for w, reward in self.rewards.values()]
            rewards.append(float(sum(w * (value or 0.0) for w, value in scores)))
        return rewards


def learn(job: LearnJob, seed: int, sides: dict[str, Learner]) -> list[Curve]:
    """All steps of each side, one of each in turn; a curve of each. How far it is goes to stderr."""
    curves = {name: Curve(name, seed) for name in sides}
    spent = dict.fromkeys(sides, 0.0)
    for step in range(job.args.steps + 1):
        for name in sides if step % 2 else reversed(sides):
            if step:
                tokens, seconds = sides[name].take(step)
                spent[name] += seconds
                curves[name].tokens += tokens
            if step % job.args.eval_every == 0 or step == job.args.steps:
                curves[name].add(step, spent[name], job.measure(sides[name].model()))
                accuracy = curves[name].accuracy[-1]
                print(
                    f"seed {seed} step {step} {name} {spent[name]:.1f} s {accuracy:.1%}",
                    file=sys.stderr,
                    flush=True,
                )
    return list(curves.values())


class AhaLearner:
    """Our sampler and trainer."""

    def __init__(self, job: LearnJob, seed: int):
        from aha.training.policy import OptimizerConfig, Policy

        stage = job.stage
        self.job, self.seed, self.problems = job, seed, job.questions(seed)
        self.policy = Policy(job.load(), OptimizerConfig(lr=stage.lr, max_grad_norm=stage.max_grad_norm))
        self.engine = job.engine(self.policy.sampler)

    def model(self) -> Any:
        """The policy's own."""
        return self.policy.sampler

    def take(self, step: int) -> tuple[float, float]:
        """As the stage of reinforcement learning does it."""
        import numpy as np

        from aha.sampling.rollouts import sample_groups
        from aha.sampling.sampler import SamplingParams
        from aha.training.batching import pack
        from aha.training.sequences import split_by_group, to_examples

        job, stage = self.job, self.job.stage
        started, n = time.perf_counter(), stage.prompts_per_step
        params = SamplingParams(temperature=stage.temperature, max_tokens=stage.max_tokens)
        problems = self.problems[(step - 1) * n : step * n]
        groups = sample_groups(
            self.engine,
            job.prompter,
            problems,
            stage.group_size,
            params,
            job.rewards,
            seed=1000 * self.seed + step,
        )
        rewards = [
            np.array([member.reward or 0.0 for member in group.members], dtype=float) for group in groups
        ]
        examples = to_examples(groups, stage.algorithm.advantages(rewards))
        loss, weighting = stage.algorithm.loss(), stage.algorithm.weighting()
        for part in split_by_group(examples, stage.mini_batches, random.Random(f"{self.seed}:{step}")):
            for batch in pack(part, weighting, stage.max_tokens_per_batch):
                self.policy.backward(batch, loss, stage.temperature)
            self.policy.step(stage.lr)
        tokens = sum(len(m.rollout.completion_ids) for g in groups for m in g.members)
        return float(tokens), time.perf_counter() - started


class Trl:
    """TRL in its own environment; its completions are graded here."""

    def __init__(self, job: LearnJob, peer: Any, problems: Sequence[Any], place: Path):
        self.job, self.peer, self.problems, self.place = job, peer, problems, place

    def model(self) -> Any:
        """Its weights, written and read."""
        self.peer.ask({"save": str(self.place / "now")})
        return self.job.load(self.place / "now")

    def take(self, step: int) -> tuple[float, float]:
        """A rollout with its updates; grading takes the time that it takes here."""
        reply, grading = self.peer.ask({"go": step}), 0.0
        while "grade" in reply:
            started = time.perf_counter()
            rewards = self.job.grade([self.problems[i] for i in reply["index"]], reply["grade"])
            grading += time.perf_counter() - started
            reply = self.peer.ask({"rewards": rewards})
        return reply["tokens"], reply["seconds"] - reply["waited"] + grading


@contextlib.contextmanager
def trl_side(job: LearnJob, seed: int) -> Iterator[tuple[Trl, str]]:
    """TRL ready to learn, and what it says of itself."""
    from aha.bench.peers import Peer
    from aha.training.policy import OptimizerConfig

    stage, problems = job.stage, job.questions(seed)
    with tempfile.TemporaryDirectory() as name, Peer.start("trl", job.threads, driver="trl_learn") as peer:
        place = Path(name)
        subject = models.BenchModel(job.load(), job.tokenizer, job.args.model, job.device, job.dtype)
        folder = models.save(subject, place / "base")
        job.tokenizer.save_pretrained(place / "now")
        question = {
            "folder": str(folder), "device": str(job.device), "dtype": str(job.dtype).removeprefix("torch."),
            "threads": job.threads, "seed": seed, "steps": job.args.steps, "micro_batch": job.args.peer_micro_batch,
            "prompts": [job.prompter.render(p).text for p in problems], "questions": stage.prompts_per_step,
            "group": stage.group_size, "mini_batches": stage.mini_batches, "max_tokens": stage.max_tokens,
            "temperature": stage.temperature, "lr": stage.lr, "max_grad_norm": stage.max_grad_norm,
            "clip_low": stage.algorithm.clip_low, "clip_high": stage.algorithm.clip_high,
            "betas": list(OptimizerConfig().betas),
        }  # fmt: skip
        started = peer.ask(question)
        yield Trl(job, peer, problems, place), str(started["version"])


# --- what came of it -------------------------------------------------------------------------------------------


def result(job: LearnJob, curves: Sequence[Curve], version: str | None) -> dict[str, Any]:
    """Everything as plain data: settings, curves, and how long each side took to the target."""
    stage, target = job.stage, job.args.target
    names = list(dict.fromkeys(curve.side for curve in curves))
    sides = {name: side_of([c for c in curves if c.side == name], target) for name in names}
    figures: dict[str, Any] = {
        "benchmark": "learn",
        "model": job.args.model, "task": job.args.task, "dtype": str(job.dtype).removeprefix("torch."),
        "threads": job.threads, "peer_version": version,
        "settings": {
            "steps": job.args.steps, "prompts": stage.prompts_per_step, "group": stage.group_size,
            "mini_batches": stage.mini_batches, "lr": stage.lr, "max_tokens": stage.max_tokens,
            "clip": [stage.algorithm.clip_low, stage.algorithm.clip_high], "rewards": dict(stage.rewards),
        },
        "target": target, "sides": sides, "curves": [asdict(curve) for curve in curves],
    }  # fmt: skip
    if len(names) == 2:
        figures["ratio"] = ratio(sides[names[1]]["seconds_a_step"], sides[names[0]]["seconds_a_step"])
        figures["ratio_to_target"] = ratio(
            sides[names[1]]["seconds_to_target"], sides[names[0]]["seconds_to_target"]
        )
    return figures


def ratio(peer: float | None, ours: float | None) -> float | None:
    """How many times as fast ours is; None where one of the two is not known."""
    return round(peer / ours, 2) if peer and ours else None


def side_of(curves: Sequence[Curve], target: float) -> dict[str, Any]:
    """One side over its seeds: medians, and the spread of what it ended with."""
    times = [curve.seconds_to(target) for curve in curves]
    reached = [t for t in times if t is not None]
    last = [curve.accuracy[-1] for curve in curves]
    return {
        "seconds_to_target": statistics.median(reached) if len(reached) == len(times) else None,
        "each_to_target": times,
        "seconds_a_step": round(statistics.median(c.seconds[-1] / max(1, c.steps[-1]) for c in curves), 3),
        "tokens_per_second": round(statistics.median(c.tokens / max(1e-9, c.seconds[-1]) for c in curves), 1),
        "accuracy": round(statistics.mean(last), 4),
        "accuracy_from_to": [min(last), max(last)],
    }


def lines(figures: dict[str, Any]) -> list[str]:
    """For people."""
    said = []
    for name, side in figures["sides"].items():
        to = side["seconds_to_target"]
        reached = (
            f"{to:.1f} s to {figures['target']:.0%}"
            if to is not None
            else f"{figures['target']:.0%} not reached by all"
        )
        low, high = side["accuracy_from_to"]
        said.append(
            f"  {name:<6}{reached}, {side['seconds_a_step']:.2f} s a step, {side['tokens_per_second']:,.0f} tokens/s, "
            f"{side['accuracy']:.1%} at the end ({low:.1%} to {high:.1%})"
        )
    if figures.get("ratio"):
        said.append(f"  a step {figures['ratio']} times as fast" + (
            f", the target {figures['ratio_to_target']} times as soon" if figures["ratio_to_target"] else ""
        ))  # fmt: skip
    return said


def page(curves: Sequence[Curve], target: float, figures: dict[str, Any]) -> str:
    """Both sides' curves over steps and over seconds, as one page."""
    from aha.runs.charts import Chart, Series, draw, escape
    from aha.runs.report.look import STYLE

    def chart(title: str, xs: str) -> str:
        series = [
            Series(f"{c.side}, seed {c.seed}", list(zip(getattr(c, xs), c.accuracy, strict=True)),
                   color=COLORS.get(c.side, 3), marks=True, dashed=c.side != interleave.OURS)
            for c in curves
        ]  # fmt: skip
        return draw(Chart(title, f"on held-out questions; {target:.0%} is the target", series, "rate", 1.0))

    body = chart("Accuracy over steps", "steps") + chart("Accuracy over seconds", "seconds")
    told = "".join(f"<p>{escape(line)}</p>" for line in lines(figures))
    head = f"<meta charset=utf-8><title>Learning</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body><main>{body}{told}</main></body></html>\n"
