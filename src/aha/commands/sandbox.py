"""Run an untrusted Python program behind a wall, or say how strong the wall is on this machine.

aha sandbox                 which isolation there is here (31 attacks are tried and must fail)
aha sandbox program.py      run a program; its standard input is read from --stdin FILE
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TextIO

from aha import options
from aha.options import number, whole
from aha.types import AhaError

HELP = "run an untrusted Python program in the sandbox, or check the sandbox"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The program, and its limits."""
    parser.add_argument("file", nargs="?", type=Path, help="the program; without it the sandbox is checked")
    parser.add_argument("--stdin", type=Path, help="a file to feed to the program")
    parser.add_argument(
        "--wall", type=number(above=True), default=4.0, help="seconds it may take (default 4)"
    )
    parser.add_argument("--memory-mb", type=whole(1), default=1024, help="memory it may use (default 1024)")
    parser.add_argument(
        "--package",
        action="append",
        metavar="NAME",
        help="an installed package that the program may import, beside numpy; may be given again",
    )
    parser.add_argument("--isolation", choices=("namespaces", "landlock"), help="ask for this kind")
    parser.add_argument(
        "--unsafe-sandbox",
        action="store_true",
        help="where no isolation can be had, run the program with your own rights all the same",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the program; the exit code is 0 if it ran well."""
    from aha.sandbox import Sandbox, Status

    if args.file is None:
        why = "no program is named. Write aha sandbox FILE.py; without one the sandbox is checked."
        options.refuse(args, ("stdin", "wall", "memory_mb"), why)
    with Sandbox(isolation=args.isolation, unsafe=args.unsafe_sandbox, packages=args.package) as sandbox:
        if args.file is None:
            sandbox.run("pass")
            said = sandbox.describe()
            print(
                json.dumps({"isolation": said}) if args.json
                else f"Isolation here: {said}. The canaries were held."
            )  # fmt: skip
            return 0
        done = sandbox.run(
            _read(args.file).decode(errors="replace"),
            _read(args.stdin) if args.stdin else b"",
            wall=args.wall,
            memory_mb=args.memory_mb,
        )
    result = {
        "status": str(done.status),
        "exit_code": done.exit_code,
        "seconds": round(done.seconds, 4),
        "memory_mb": round(done.memory_mb, 1),
        "isolation": str(done.isolation),
        "note": done.note,
    }
    if args.json:
        texts = {
            "stdout": done.stdout.decode(errors="replace"),
            "stderr": done.stderr.decode(errors="replace"),
        }
        print(json.dumps(result | texts, indent=1))
    else:
        _show(done.stdout, sys.stdout)
        _show(done.stderr, sys.stderr)
        print(", ".join(f"{k} {v}" for k, v in result.items() if v != ""), file=sys.stderr)
    return 0 if done.status is Status.OK else 1


def _show(output: bytes, stream: TextIO) -> None:
    """Write what a program wrote; to a terminal without the codes that a terminal obeys."""
    if stream.isatty():
        text = output.decode("utf-8", "replace")
        output = "".join(
            c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
        ).encode()
    stream.buffer.write(output)
    stream.flush()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AhaError(f"Cannot read '{path}': {error.strerror}.") from error
