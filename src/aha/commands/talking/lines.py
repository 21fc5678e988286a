"""Lines that a person types: with history and editing by prompt_toolkit where it is installed, by readline where not,
and as they are where the input is no terminal."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from aha.files import cache_folder

Read = Callable[[], str]
"""The next line. Raises EOFError at the end of the input, KeyboardInterrupt for Ctrl-C."""
PROMPT = "> "
LENGTH = 1000
"""Lines that the history keeps."""


@contextlib.contextmanager
def reader(commands: Mapping[str, str]) -> Iterator[Read]:
    """What reads lines in this terminal; ``commands`` are completed behind a slash."""
    file = cache_folder() / "chat_history"
    if not sys.stdin.isatty():
        yield lambda: input("")
    elif sys.stdout.isatty() and importlib.util.find_spec("prompt_toolkit") is not None:
        yield _edited(file.with_name("chat_lines"), commands)
    else:
        with _by_readline(file):
            yield lambda: input(PROMPT)


def _edited(file: Path, commands: Mapping[str, str]) -> Read:
    """By prompt_toolkit: history that is searched as one types, completion, several lines with Alt-Enter."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event) -> None:
        event.current_buffer.insert_text("\n")

    kept: FileHistory | InMemoryHistory = InMemoryHistory()
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        kept = FileHistory(str(file))
    words = {f"/{name}": meaning for name, meaning in commands.items()}
    session: PromptSession[str] = PromptSession(
        history=kept,
        auto_suggest=AutoSuggestFromHistory(),
        completer=WordCompleter(list(words), meta_dict=words, sentence=True),
        complete_while_typing=False,
        key_bindings=keys,
        prompt_continuation="  ",
    )
    return lambda: session.prompt(PROMPT)


@contextlib.contextmanager
def _by_readline(file: Path) -> Iterator[None]:
    """The Up key brings back earlier lines, those of earlier sessions as well, where the terminal can do that."""
    try:
        import readline
    except ImportError:  # not on every system
        yield
        return
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        readline.read_history_file(file)
    try:
        yield
    finally:
        readline.set_history_length(LENGTH)
        with contextlib.suppress(OSError):
            readline.write_history_file(file)
