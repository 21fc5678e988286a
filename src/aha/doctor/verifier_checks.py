"""Verifiers and the sandbox: known answers, what is late or unreadable, and the canaries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aha import chat
from aha.doctor.finding import Check, Finding, NotApplicable, count, holds
from aha.doctor.subject import DoctorContext
from aha.tasks import countdown
from aha.types import AhaError, Outcome, Problem

RIGHT, WRONG, NONE, UNKNOWN = Outcome.CORRECT, Outcome.WRONG, Outcome.NO_ANSWER, Outcome.UNKNOWN
CAUSE = "the verifier gives rewards that nobody earned, or withholds earned ones"


def _said(answer: str, problem: Problem | None = None) -> str:
    """An answer where the problem's prompt asks for it."""
    boxed = problem is not None and problem.metadata.get(chat.PLACE) == "boxed"
    return "<think>let me see</think> " + (f"\\boxed{{{answer}}}" if boxed else f"<answer>{answer}</answer>")


def verifier(subject: DoctorContext) -> Iterator[Finding]:
    """The run's own task: answers known to be right, wrong and missing, for a few of its problems."""
    problems = list(subject.problems[:4])
    cases = [case for p in problems for case in _cases(p)]
    if not cases:
        raise NotApplicable("this task's problems hold no answers that can be written down")
    wrong = []
    for problem, text, expected in cases:
        verdict = subject.task.verify(problem, text)
        if verdict.outcome is not expected:
            wrong.append(f"{text[-50:]!r} for {problem.id}: {verdict.outcome} ({verdict.note})")
    yield count(f"known answers to {len(problems)} problems of the task {subject.task.name}", wrong, len(cases),
                cause=CAUSE, fix="look at the task's verify and at the reference answers of the data")  # fmt: skip


def _cases(problem: Problem) -> list[tuple[Problem, str, Outcome]]:
    """(problem, text, what must be found). An answer is right in its place only."""
    if problem.task.startswith("countdown") and "numbers" in problem.metadata:
        right = _solution(problem)
        others = " + ".join(str(n + 1) for n in problem.metadata["numbers"])
        texts = [(_said(right, problem), RIGHT)] if right else []
        texts += [(_said(str(problem.metadata["target"]), problem), WRONG), (_said(others, problem), WRONG)]
        texts += [(right or "1 + 1", NONE)]
    elif isinstance(problem.answer, str) and problem.task in ("gsm8k", "math"):
        texts = [(_said(problem.answer, problem), RIGHT), ("<think>no idea</think>", NONE)]
        number = problem.answer.strip().replace(",", "")
        if number.lstrip("-").isdecimal():
            texts += [(_said(str(int(number) + 1), problem), WRONG)]
            texts += [(_said(f"{number}.0", problem), RIGHT)]
    else:
        return []
    return [(problem, text, expected) for text, expected in texts]


def _solution(problem: Problem) -> str:
    """An expression that reaches the target, by trying all."""
    numbers, target = problem.metadata["numbers"], problem.metadata["target"]
    if len(numbers) > 3:
        return ""
    return next((e.text for e in countdown.expressions(numbers, "+-*/") if e.value == target), "")


# (reference answer, what the model wrote, what must be found)
MATH: tuple[tuple[str, str, Outcome], ...] = (
    ("42", r"so \boxed{42}", RIGHT),
    ("42", r"so \boxed{42.0}", RIGHT),
    ("42", r"so \boxed{41}", WRONG),
    ("42", "it is 42 or so", NONE),
    (r"\frac{1}{2}", r"\boxed{0.5}", RIGHT),
    (r"\frac{1}{2}", r"\boxed{\frac{2}{4}}", RIGHT),
    (r"\frac{1}{2}", r"\boxed{\frac{1}{3}}", WRONG),
    ("x^2+2x+1", r"\boxed{(x+1)^2}", RIGHT),
    ("x^2+2x+1", r"\boxed{(x-1)^2}", WRONG),
    (r"\sqrt{8}", r"\boxed{2\sqrt{2}}", RIGHT),
    ("(1, 2)", r"\boxed{(1,2)}", RIGHT),
    ("(1, 2)", r"\boxed{(2,1)}", WRONG),
    ("1000000", r"\boxed{10^6}", RIGHT),
    ("7", r"<think>\boxed{7}</think> I gave up.", NONE),
    ("7", r"\boxed{9^{9^{9^{9}}}}", WRONG),
)
COUNTDOWN: tuple[tuple[str, Outcome], ...] = (
    ("3*5+7", RIGHT),
    ("(3 * 5) + 7", RIGHT),
    ("7+5*3", RIGHT),
    ("3*5+7+0", WRONG),
    ("22", WRONG),
    ("3*5+7 = 22", WRONG),
    ("3*7+5-4", WRONG),
    ("__import__('os')", WRONG),
    ("22/0", WRONG),
)


def verifiers(subject: DoctorContext) -> Iterator[Finding]:
    """The math verifier and countdown on a table of known answers; one that cannot be graded in time."""
    from aha.rewards import math as math_rewards

    wrong = _math(math_rewards)
    yield count("answers graded by the math verifier", wrong, len(MATH), cause=CAUSE,
                fix="run the tests of aha.rewards.math on this machine")  # fmt: skip
    problem = countdown.make_problem((3, 5, 7), 22, countdown.TINY)
    off = []
    for text, expected in COUNTDOWN:
        verdict = countdown.verify(problem, _said(text))
        off += [] if verdict.outcome is expected else [f"{text!r}: {verdict.outcome}"]
    yield count("answers graded by countdown", off, len(COUNTDOWN), cause=CAUSE,
                fix="look at tasks.countdown and rewards.arithmetic")  # fmt: skip
    yield _late(math_rewards)


def _math(module: object) -> list[str]:
    verify = module.verify  # type: ignore[attr-defined]
    wrong = []
    for gold, text, expected in MATH:
        verdict = verify(gold, text)
        # Refusing to grade is never an error of the kind looked for here, unless the answer is known.
        if verdict.outcome is not expected:
            wrong.append(f"{text!r} against {gold!r}: {verdict.outcome}")
    return wrong


def _late(module: object) -> Finding:
    """A worker that has no time at all must answer UNKNOWN, not wrong."""
    pool = module.Pool(workers=1, seconds=0.0)  # type: ignore[attr-defined]
    try:
        outcome = pool.compare(r"\int_0^1 x^{31} e^{x} dx", r"\sum_{k=0}^{99} k^{31}").outcome
    finally:
        getattr(pool, "close", lambda: None)()
    return holds("a grade that runs out of time", outcome is UNKNOWN, str(outcome), threshold="unknown",
                 cause="timeouts are counted as wrong answers",
                 fix="return Outcome.UNKNOWN, which has no score (rewards.math.workers)")  # fmt: skip


def sandbox(subject: DoctorContext) -> Iterator[Finding]:
    """The canaries, twice; then a program that is right, one that is wrong and one that never ends."""
    from aha.sandbox import Sandbox, judge_stdio

    try:
        with Sandbox() as box:  # entering runs the canaries
            yield holds("attacks that the sandbox must hold (canaries)", True, f"held by {box.describe()}",
                        threshold="all held", cause="", fix="")  # fmt: skip
            pairs: Sequence[tuple[str, str]] = [("4\n", "8\n")]
            programs = {"print(int(input()) * 2)": True, "print(9)": False, "while True: pass": None}
            wrong = []
            for code, expected in programs.items():
                passed = judge_stdio(code, pairs, sandbox=box, wall=1.0).results[0].passed
                # A program that never ends has failed its test, or could not be judged: never passed.
                good = passed is not True if expected is None else passed is expected
                wrong += [] if good else [f"{code!r}: {passed}"]
            yield count("programs judged in the sandbox", wrong, len(programs), cause=CAUSE,
                        fix="run aha sandbox on this machine")  # fmt: skip
    except AhaError as error:
        needed = "code" in subject.plan.rewards
        if "no isolation" in str(error) and not needed:
            raise NotApplicable(
                f"this run needs no sandbox, and this machine permits none: {error}"
            ) from None
        yield holds("the sandbox on this machine", False, str(error)[:300],
                    cause="the kernel or the container permits less than the sandbox needs",
                    fix="see aha sandbox and docs/security.md")  # fmt: skip


CHECKS = (
    Check("verifier", "the task's verifier on known answers", verifier, quick=True),
    Check("verifiers", "the math verifier, countdown, and what is late", verifiers),
    Check("sandbox", "the sandbox holds and judges", sandbox),
)
