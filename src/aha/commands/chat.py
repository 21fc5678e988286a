"""Talk to a model. Its thinking is dimmed, and it remembers the turns before. An empty line, Ctrl-D or Ctrl-C ends;
with --ask it answers once."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any

from aha.commands.run import add_machine_arguments, add_prompt_argument
from aha.types import AhaError, Message

HELP = "talk to a model; its thinking is dimmed"
EXAMPLE = "24 7 3 -> 171"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model and sampling."""
    parser.add_argument("model", help="tiny, a checkpoint folder, or a hub name")
    parser.add_argument("--ask", metavar="TEXT", help="answer this once and leave")
    parser.add_argument("--system", help="a system message in front of the conversation")
    parser.add_argument("--temperature", type=float, default=0.6, help="default 0.6, as the paper recommends")
    parser.add_argument("--top-p", type=float, default=0.95, help="default 0.95")
    parser.add_argument("--max-tokens", type=int, default=480, help="longest answer in tokens")
    add_prompt_argument(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the sampling")
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load, then answer until the input ends."""
    from aha import chat, hardware, modeling
    from aha.sampling.local.engine import LocalEngine

    if args.ask is None and " " in args.prompt and not Path(args.prompt).is_file():
        args.ask, args.prompt = args.prompt, "auto"  # a question, as --prompt took it once
    chat.check_setting(args.prompt)
    hardware.set_threads(args.threads)
    device = hardware.pick_device(args.device)
    tokenizer = modeling.load_tokenizer(args.model)
    prompt = chat.choose(args.prompt, tokenizer)
    if args.prompt == "auto" and prompt.name == "boxed" and not prompt.trained:
        prompt = chat.choose("bare", tokenizer)  # talk is no task: nothing asks for a box
    model = modeling.load_model(args.model, device, hardware.pick_dtype(args.dtype, device))
    talk = Talk(LocalEngine(model, tokenizer), tokenizer, prompt, args, modeling.max_context(model))
    if args.ask is not None:
        talk.answer(args.ask)
        return 0
    warning = chat.warn_prompt(prompt, tokenizer, model_name=Path(args.model).name)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    if sys.stdin.isatty():
        print(f"Asked with prompt={prompt.name}. For Countdown write numbers and a target, like: {EXAMPLE}")
        print("/new forgets what was said; an empty line ends.")
    with _history():
        talk.listen()
    print("Next     aha eval", args.model)
    return 0


@contextlib.contextmanager
def _history() -> Any:
    """The Up key brings back earlier lines, those of earlier sessions as well, where the terminal can do that."""
    try:
        import readline
    except ImportError:  # not on every system
        yield
        return
    file = Path.home() / ".cache" / "aha" / "chat_history"
    if sys.stdin.isatty():
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            readline.read_history_file(file)
    try:
        yield
    finally:
        if sys.stdin.isatty():
            readline.set_history_length(1000)
            with contextlib.suppress(OSError):
                readline.write_history_file(file)


def as_question(text: str) -> str:
    """``24 7 3 -> 171`` as a Countdown question; anything else as it is."""
    from aha.tasks import countdown

    left, arrow, right = text.partition("->")
    numbers = left.replace(",", " ").split()
    if arrow and right.strip().isdigit() and numbers and all(n.isdigit() for n in numbers):
        return countdown.question([int(n) for n in numbers], int(right), countdown.TINY.operators)
    return text


class Talk:
    """A conversation: what was said, and how it goes on."""

    def __init__(self, engine: Any, tokenizer: Any, prompt: Any, args: argparse.Namespace, context: int):
        self.engine, self.tokenizer, self.prompt, self.args = engine, tokenizer, prompt, args
        self.room = context - args.max_tokens  # tokens of the longest prompt
        self.turn = 0
        self.messages: list[Message] = []
        self.forget()

    def forget(self) -> None:
        """Begin anew, with the system message if there is one."""
        system = self.args.system
        self.messages = [{"role": "system", "content": system}] if system else []

    def listen(self) -> None:
        """Answer line by line until an empty one, the end of the input, or Ctrl-C."""
        while (line := self._read()) is not None:
            if line == "/new":
                self.forget()
                continue
            try:
                self.answer(line)
            except AhaError as error:
                print(f"aha: {error}", file=sys.stderr)
            except KeyboardInterrupt:  # of an answer that takes long: the next question may come
                print("\n(stopped)")

    def _read(self) -> str | None:
        try:
            return input("> " if sys.stdin.isatty() else "").strip() or None
        except EOFError:
            return None
        except KeyboardInterrupt:
            print()
            return None

    def answer(self, text: str) -> str:
        """Say ``text``, show the answer and remember both; returns it. Raises AhaError for what cannot be asked."""
        from rich.console import Console

        from aha import chat
        from aha.runs.console import render_chain
        from aha.sampling.engine import Request
        from aha.sampling.sampler import SamplingParams

        asked: Message = {"role": "user", "content": as_question(text)}
        ids, opened = self._fitting(asked)
        params = SamplingParams(self.args.temperature, self.args.top_p, max_tokens=self.args.max_tokens)
        request = Request(ids, 1, self.turn, opened)
        _, (rollout,) = next(self.engine.generate([request], params, seed=self.args.seed))
        self.turn += 1
        said = chat.THINK + rollout.text if opened else rollout.text
        self.messages += [asked, {"role": "assistant", "content": said}]
        Console(highlight=False).print(render_chain(rollout.text, opened_think=rollout.opened_think))
        return said

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
