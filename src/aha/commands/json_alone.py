"""Standard output that holds JSON alone where it is asked for, whatever a task or a reward of one's own prints."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Any


@contextmanager
def json_alone(args: argparse.Namespace) -> Iterator[None]:
    """With ``--json`` all that is printed within goes to standard error, but for what ``show`` prints."""
    args.out = sys.stdout
    with redirect_stdout(sys.stderr) if args.json else nullcontext():
        yield


def show(args: argparse.Namespace, value: Any) -> None:
    """Print a value as JSON on standard output."""
    print(json.dumps(value, indent=1), file=getattr(args, "out", sys.stdout))
