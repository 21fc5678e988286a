"""Talk to a model. Its thinking is dimmed or folded, and it remembers the turns before. Lines that begin with / are
commands (/help names them). An empty line, Ctrl-D or Ctrl-C ends; with --ask it answers once."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aha.commands.run import add_machine_arguments, add_prompt_argument
from aha.hints import nearest
from aha.options import number
from aha.runs.charts import clean
from aha.types import AhaError, Message, Terminated

if TYPE_CHECKING:
    from aha.commands.talking.streaming import Screen, StreamingEngine
    from aha.sampling.engine import Request
    from aha.sampling.sampler import SamplingParams
    from aha.types import Rollout

HELP = "talk to a model; its thinking is dimmed"
EXAMPLE = "24 7 3 -> 171"
COMMANDS = {
    "new": "forget what was said",
    "retry": "ask the last question again, for another answer",
    "temperature": "of sampling from here on: /temperature 0.2",
    "system": "the system message from here on, of this conversation too: /system You are terse. Alone: none",
    "budget": "tokens after which thinking is ended: /budget 200. Alone: no limit",
    "fold": "show thinking, or its length alone",
    "thought": "show the last thinking",
    "compare": "ask another model the same beside this one: /compare MODEL. Alone: this one only",
    "help": "these",
}
"""What a line may begin with, behind a slash."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model and sampling."""
    parser.add_argument("model", help="tiny, a checkpoint folder, or a hub name")
    parser.add_argument("--ask", metavar="TEXT", help="answer this once and leave")
    parser.add_argument("--system", help="a system message in front of the conversation")
    parser.add_argument(
        "--temperature", type=number(0, 10), default=0.6, help="default 0.6, as the paper recommends"
    )
    parser.add_argument("--top-p", type=number(0, 1, above=True), default=0.95, help="default 0.95")
    parser.add_argument("--max-tokens", type=int, default=480, help="longest answer in tokens")
    parser.add_argument(
        "--think-budget", type=int, metavar="TOKENS", help="thinking is ended after so many tokens"
    )
    parser.add_argument("--fold", action="store_true", help="show the length of the thinking in place of it")
    add_prompt_argument(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the sampling")
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load, then answer until the input ends."""
    from aha import chat, hardware
    from aha.commands.talking import lines

    if args.ask is None and " " in args.prompt and not os.path.isfile(args.prompt):
        args.ask, args.prompt = args.prompt, "auto"  # a question, as --prompt took it once
    chat.check_setting(args.prompt)
    for option, value in (("--max-tokens", args.max_tokens), ("--think-budget", args.think_budget)):
        if value is not None and value < 1:
            raise AhaError(f"{option} {value}: give 1 or more tokens.")
    if args.think_budget is not None and args.think_budget >= args.max_tokens:
        raise AhaError(
            f"--think-budget {args.think_budget} would have no effect: an answer, and its thinking, ends at "
            f"--max-tokens {args.max_tokens}. Lower the one or raise the other."
        )
    hardware.set_threads(args.threads)
    talk = opened(args.model, args)
    if args.ask is not None:
        talk.answer(args.ask)
        return 0
    warning = chat.warn_prompt(talk.prompt, talk.tokenizer, model_name=Path(args.model).name)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    if sys.stdin.isatty():
        print(
            f"Asked with prompt={talk.prompt.name}. For Countdown write numbers and a target, like: {EXAMPLE}"
        )
        print("/help names what can be changed on the way; an empty line ends.")
    if sys.stdout.isatty():
        from aha.commands.talking.streaming import StreamingEngine

        talk.streaming = StreamingEngine(talk.engine, talk.tokenizer)
    with lines.reader(COMMANDS) as talk.line:
        talk.listen()
    print("Next     aha eval", args.model)
    return 0


def opened(name: str, args: argparse.Namespace) -> Talk:
    """A conversation with a model. Raises AhaError where it cannot be loaded, or asked with the prompt."""
    from aha import chat, hardware, modeling
    from aha.sampling.local.engine import LocalEngine

    device = hardware.pick_device(args.device)
    tokenizer = modeling.load_tokenizer(name)
    prompt = chat.choose(args.prompt, tokenizer)
    if args.prompt == "auto" and prompt.name == "boxed" and not prompt.trained:
        prompt = chat.choose("bare", tokenizer)  # talk is no task: nothing asks for a box
    model = modeling.load_model(name, device, hardware.pick_dtype(args.dtype, device))
    return Talk(LocalEngine(model, tokenizer), tokenizer, prompt, args, modeling.max_context(model))


_Value = TypeVar("_Value")


def _number(text: str, kind: Callable[[str], _Value]) -> _Value | None:
    """A text as a number; None where it is none."""
    try:
        return kind(text)
    except ValueError:
        return None


class Talk:
    """A conversation: what was said, and how it goes on."""

    def __init__(self, engine: Any, tokenizer: Any, prompt: Any, args: argparse.Namespace, context: int):
        self.engine, self.tokenizer, self.prompt, self.args = engine, tokenizer, prompt, args
        self.room = context - args.max_tokens  # tokens of the longest prompt
        self.turn = 0
        self.last: Rollout | None = None
        self.messages: list[Message] = []
        self.line: Callable[[], str] = lambda: input("")
        self.streaming: StreamingEngine | None = None
        self.second: tuple[str, Talk] | None = None
        self.forget()

    def forget(self) -> None:
        """Begin anew, with the system message if there is one."""
        system = self.args.system
        self.messages = [{"role": "system", "content": system}] if system else []
        if self.second is not None:
            self.second[1].forget()

    def listen(self) -> None:
        """Answer line by line until an empty one, the end of the input, or Ctrl-C."""
        while (line := self._read()) is not None:
            try:
                if line.startswith("/"):
                    self.command(*line[1:].partition(" ")[::2])
                else:
                    self.answer(line)
            except AhaError as error:
                print(f"aha: {error}", file=sys.stderr)
            except Terminated:
                raise
            except KeyboardInterrupt:  # of an answer that takes long: the next question may come
                print("\n(stopped)")

    def command(self, name: str, text: str) -> None:
        """Do what a line with a slash asks for. Raises AhaError for an unknown one, and for what it cannot take."""
        if name not in COMMANDS:
            hint = nearest(name, COMMANDS, "")
            raise AhaError(
                f"There is no /{name}. {hint}{' ' if hint else ''}/help names those that there are."
            )
        getattr(self, f"_do_{name}")(text.strip())

    def _do_help(self, _: str) -> None:
        width = max(map(len, COMMANDS))
        print("\n".join(f"/{name:<{width}}  {meaning}" for name, meaning in COMMANDS.items()))

    def _do_new(self, _: str) -> None:
        self.forget()

    def _do_retry(self, _: str) -> None:
        asked = next((m["content"] for m in reversed(self.messages) if m["role"] == "user"), None)
        if asked is None:
            raise AhaError("Nothing was asked yet: there is nothing to try again.")
        both = [self, *([self.second[1]] if self.second else [])]
        kept = [talk.messages for talk in both]
        for talk in both:
            if {"role": "user", "content": asked} in talk.messages[
                -2:-1
            ]:  # a second model may not have heard it
                talk.messages = talk.messages[:-2]
        try:
            self.answer(asked)
        except BaseException:
            for talk, before in zip(both, kept, strict=True):
                talk.messages = before  # the answer that was there stands
            raise

    def _do_temperature(self, text: str) -> None:
        value = _number(text, float)
        if value is None or not 0 <= value <= 10:
            raise AhaError(
                f"/temperature takes a number from 0 to 10, not '{text}'. It is {self.args.temperature:g}."
            )
        self.args.temperature = value

    def _do_system(self, text: str) -> None:
        self.args.system = text or None
        said = [m for m in self.messages if m["role"] != "system"]
        self.messages = ([{"role": "system", "content": text}] if text else []) + said
        if self.second is not None:
            self.second[1]._do_system(text)

    def _do_budget(self, text: str) -> None:
        value = _number(text, int) if text else 0
        if value is None or value < 0:
            raise AhaError(f"/budget takes a number of tokens, not '{text}'.")
        if value >= self.args.max_tokens:
            raise AhaError(
                f"/budget {value}: an answer ends at --max-tokens {self.args.max_tokens}. Take fewer."
            )
        self.args.think_budget = value or None

    def _do_fold(self, _: str) -> None:
        self.args.fold = not self.args.fold
        print(f"(thinking is {'folded' if self.args.fold else 'shown'})")

    def _do_compare(self, text: str) -> None:
        if not text:
            self.second = None
            print("(one model answers)")
            return
        other = opened(text, self.args)
        self.second = (text, other)
        print(f"(asked with prompt={other.prompt.name}; it has heard nothing of what was said before)")

    def _do_thought(self, _: str) -> None:
        if self.last is None:
            raise AhaError("Nothing was answered yet.")
        self._show(self.last, fold=False)

    def _read(self) -> str | None:
        try:
            return self.line().strip() or None
        except EOFError:
            return None
        except Terminated:
            raise
        except KeyboardInterrupt:
            print()
            return None

    def answer(self, text: str) -> str:
        """Say ``text``, show the answer and remember both; returns it. Raises AhaError for what cannot be asked."""
        if self.second is not None:
            return self._both(text, *self.second)
        return self._ask(text, show=True)

    def _ask(self, text: str, *, show: bool) -> str:
        from aha import chat
        from aha.sampling.engine import Request
        from aha.sampling.sampler import SamplingParams
        from aha.tasks import countdown

        asked: Message = {"role": "user", "content": countdown.spelled_out(text)}
        ids, opened_think = self._fitting(asked)
        params = SamplingParams(self.args.temperature, self.args.top_p, max_tokens=self.args.max_tokens)
        request = Request(ids, 1, self.turn, opened_think)
        screen = self._screen(opened_think) if show else None
        rollout = self._sampled(request, params, screen)
        self.turn += 1
        said = chat.THINK + rollout.text if opened_think else rollout.text
        self.messages += [asked, {"role": "assistant", "content": said}]
        self.last = rollout
        if screen is not None:
            screen.end()
        elif show:
            self._show(rollout, fold=self.args.fold)
        return said

    def _both(self, text: str, name: str, other: Talk) -> str:
        """Ask both models, and show their answers side by side."""
        from aha.commands.talking.comparing import show

        kept = [*self.messages]
        said = self._ask(text, show=False)
        try:
            other._ask(text, show=False)
        except BaseException:
            self.messages = kept
            raise
        assert self.last is not None
        assert other.last is not None
        show((str(self.args.model), name), (self.last, other.last), fold=self.args.fold)
        return said

    def _screen(self, opened_think: bool) -> Screen | None:
        """What writes an answer while it grows; None where answers are shown whole."""
        if self.streaming is None:
            return None
        from aha.commands.talking.streaming import Screen

        return Screen(opened_think, self.args.fold)

    def _sampled(self, request: Request, params: SamplingParams, screen: Screen | None) -> Rollout:
        """The answer; where thinking has a budget and has used it up, it is ended and the answer goes on from there."""
        from aha import chat
        from aha.types import Finish

        budget = self.args.think_budget
        first = params if not budget or budget >= params.max_tokens else replace(params, max_tokens=budget)
        rollout = self._drawn(request, first, screen)
        if first is params or rollout.finish is not Finish.LENGTH:
            return rollout
        whole = chat.THINK + rollout.text if rollout.opened_think else rollout.text
        if whole.rfind(chat.THINK) > whole.rfind(chat.END_THINK):
            rollout = self._ended(rollout)
            if screen is not None:
                screen.tell(chat.END_THINK, budget)
        resumed = replace(request, partials=(replace(rollout, finish=Finish.ABORT),))
        return self._drawn(resumed, params, screen)

    def _drawn(self, request: Request, params: SamplingParams, screen: Screen | None) -> Rollout:
        if screen is not None and self.streaming is not None:
            return self.streaming.answer(request, params, self.args.seed, screen.tell)
        _, (rollout,) = next(self.engine.generate([request], params, seed=self.args.seed))
        return rollout

    def _ended(self, rollout: Rollout) -> Rollout:
        """The rollout with its thinking closed."""
        import numpy as np

        from aha import chat

        more = self.tokenizer.encode(chat.END_THINK, add_special_tokens=False)
        ids = np.concatenate([rollout.completion_ids, np.array(more, rollout.completion_ids.dtype)])
        logprobs = np.concatenate([rollout.logprobs, np.zeros(len(more), rollout.logprobs.dtype)])
        return replace(rollout, completion_ids=ids, logprobs=logprobs, text=rollout.text + chat.END_THINK)

    def _show(self, rollout: Rollout, fold: bool) -> None:
        """The answer on the terminal, its thinking dimmed, or with ``fold`` only how long it was."""
        from rich.console import Console
        from rich.text import Text

        from aha.runs.console import render_chain, segments

        shown = render_chain(rollout.text, opened_think=rollout.opened_think)
        if fold:
            parts = list(segments(clean(rollout.text), opened_think=rollout.opened_think))
            thought = "".join(text for kind, text in parts if kind == "think")
            tokens = len(self.tokenizer.encode(thought, add_special_tokens=False))
            rest = "".join(text for kind, text in parts if kind not in ("think", "tag")).strip()
            head = f"(thought for {tokens} tokens; /thought shows it)\n" if thought.strip() else ""
            shown = Text.assemble((head, "dim"), (rest, "bold"))
        Console(highlight=False).print(shown)

    def _fitting(self, asked: Message) -> tuple[list[int], bool]:
        """The prompt's token ids with as many earlier turns as there is room for, and whether it opened the thinking.

        What is left out, also where the prompt takes one question alone, is said.
        """
        from aha import chat

        start = sum(m["role"] == "system" for m in self.messages)
        alone = bool(self.prompt.words) and not self.prompt.jinja
        while True:
            earlier = len(self.messages) > start
            if not (alone and earlier):
                rendered = chat.render([*self.messages, asked], self.tokenizer, prompt=self.prompt)
                ids = chat.encode_prompt(rendered, self.tokenizer)
                if len(ids) <= self.room or not earlier:
                    return ids, rendered.opened_think
            print(
                "(the prompt takes one question: what was said before is forgotten)" if alone
                else "(the model's context is full: the oldest turn is forgotten)", file=sys.stderr,
            )  # fmt: skip
            del self.messages[start : len(self.messages) if alone else start + 2]
