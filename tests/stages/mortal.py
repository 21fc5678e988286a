"""The whole recipe in processes that kill themselves at some write: ``python mortal.py FOLDER SEED``.

Kills from outside seldom hit the short time between two files that belong together, or half a line. Here each
process counts what it writes and dies by SIGKILL before, after or in the middle of one of its first dozen writes;
the next one goes on, until one lives to the end. Processes are forked, so that none pays for imports.
"""

from __future__ import annotations

import builtins
import os
import random
import signal
import sys
from pathlib import Path

from smallest import flat, with_few_documents

from aha import files
from aha.recipes import r1
from aha.runs import config, pipeline
from aha.runs.pipeline import Context, ordered

WRITES = 12
REPLACE = os.replace


class Death:
    """Counts writes, and ends the process at the last one that it is given."""

    def __init__(self, writes: int, before: bool):
        self.left, self.before = writes, before

    def due(self) -> bool:
        self.left -= 1
        return self.left == 0

    def now(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def replace(self, source, target) -> None:
        due = self.due()
        if due and self.before:
            self.now()
        REPLACE(source, target)
        if due:
            self.now()

    def open(self, path, mode="r", **options):
        file = builtins.open(path, mode, **options)  # noqa: SIM115 - the caller closes it
        if mode == "a" and self.due():
            write = file.write

            def torn(text: str) -> None:
                write(text[: len(text) // 2])
                file.flush()
                self.now()

            file.write = torn  # type: ignore[method-assign]
        return file


def live(folder: Path, death: Death) -> None:
    """The recipe, until its end or its death."""
    os.replace, files.open = death.replace, death.open  # type: ignore[attr-defined]
    stages = list(r1.build(model="tiny"))
    config.apply(ordered(stages), flat())
    context = Context(folder, plain=True, threads=1)
    pipeline.run(stages, folder, context, config={}, say=lambda text: None)


def main(folder: Path, seed: int) -> int:
    """How many processes died."""
    with_few_documents()
    rng = random.Random(seed)
    for deaths in range(1000):
        death = Death(rng.randint(1, WRITES), rng.random() < 0.5)
        child = os.fork()
        if child == 0:
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 1)
            try:
                live(folder, death)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            return deaths
        assert os.WTERMSIG(status) == signal.SIGKILL
    raise AssertionError("it gets nowhere")


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), int(sys.argv[2])))
