"""``aha bench sandbox``: runs a second and latency of the sandbox, bubblewrap and a bare subprocess."""

from __future__ import annotations

import argparse

from aha.options import whole

HELP = "measure the code sandbox beside bubblewrap and a bare subprocess"

_PROGRAM = "print(int(input()) * 7)"
_ANSWER = b"42\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--runs", type=whole(1), default=400, help="runs of each kind (default: %(default)s)")
    parser.add_argument("--workers", type=whole(), default=0, help="parallel runs (default: the processors)")
    parser.add_argument("--isolation", choices=("namespaces", "landlock"), help="measure only this isolation")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Measure and print; 0 if every run gave the right output."""
    import json
    import os
    import platform

    workers = args.workers or os.cpu_count() or 1
    kinds = [f"aha {args.isolation}"] if args.isolation else ["aha namespaces", "aha landlock"]
    rows = [_measure(kind, args.runs, workers) for kind in [*kinds, "bubblewrap", "bare subprocess"]]
    report = {
        "program": _PROGRAM,
        "workers": workers,
        "load_average": round(os.getloadavg()[0], 2),
        "machine": platform.platform(),
        "rows": rows,
    }
    if args.json:
        print(json.dumps(report))
    else:
        _print(report)
    return 0 if all(row.get("wrong", 0) == 0 for row in rows) else 1


def _measure(kind: str, runs: int, workers: int) -> dict:
    """Latency with one run at a time, then throughput with ``workers`` at a time."""
    import contextlib

    from aha.sandbox import Sandbox
    from aha.types import AhaError

    with contextlib.ExitStack() as stack:
        if kind.startswith("aha "):
            try:
                sandbox = stack.enter_context(Sandbox(workers, isolation=kind.removeprefix("aha ")))
            except AhaError as error:
                return {"kind": kind, "missing": str(error)}

            def once() -> bytes:
                return sandbox.run(_PROGRAM, b"6\n").stdout

        else:
            command = _command(kind)
            if command is None:
                return {"kind": kind, "missing": "bwrap is not installed"}

            def once() -> bytes:
                return _subprocess(command)

        return {"kind": kind} | _figures(once, runs, workers)


def _figures(once, runs: int, workers: int) -> dict:
    import time
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers) as threads:
        wrong = sum(out != _ANSWER for out in threads.map(lambda _: once(), range(workers * 4)))  # warm up
        seconds = []
        for _ in range(runs):
            start = time.perf_counter()
            wrong += once() != _ANSWER
            seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
        wrong += sum(out != _ANSWER for out in threads.map(lambda _: once(), range(runs)))
        rate = runs / (time.perf_counter() - start)
    seconds.sort()
    return {
        "runs_per_second": round(rate, 1),
        "p50_ms": round(seconds[runs // 2] * 1e3, 2),
        "p99_ms": round(seconds[min(runs - 1, int(runs * 0.99))] * 1e3, 2),
        "wrong": wrong,
    }


def _command(kind: str) -> list[str] | None:
    import os
    import shutil
    import sys

    interpreter = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    python = [interpreter, "-I", "-S", "-B", "-c", _PROGRAM]
    if kind == "bare subprocess":
        return python
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return None
    shown = [
        path for path in ("/usr", "/lib", "/lib64", os.path.realpath(sys.base_prefix)) if os.path.exists(path)
    ]
    binds = [word for path in shown for word in ("--ro-bind", path, path)]
    return [
        bwrap,
        "--unshare-all",
        "--die-with-parent",
        "--clearenv",
        *binds,
        "--tmpfs",
        "/tmp",
        "--chdir",
        "/tmp",
        *python,
    ]


def _subprocess(command: list[str]) -> bytes:
    import subprocess

    return subprocess.run(command, input=b"6\n", capture_output=True, timeout=30, env={}).stdout


def _print(report: dict) -> None:
    print(f"{report['program']}  {report['workers']} workers, load average {report['load_average']}")
    print(f"{'':<18}{'runs/s':>8}{'p50 ms':>9}{'p99 ms':>9}")
    for row in report["rows"]:
        if "missing" in row:
            print(f"{row['kind']:<18}{row['missing']}")
        else:
            print(f"{row['kind']:<18}{row['runs_per_second']:>8}{row['p50_ms']:>9}{row['p99_ms']:>9}")
