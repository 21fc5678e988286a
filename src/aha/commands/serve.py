"""Serve a model under an OpenAI-compatible address: /v1/models, /v1/chat/completions, /v1/completions.

aha serve tiny --port 8000      then: curl localhost:8000/v1/chat/completions -d '{"model": "tiny", ...}'
aha serve runs/helpful/helpful_rm/final --port 8001     a reward model: scores at /classify
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aha.commands.run import add_machine_arguments, add_prompt_argument
from aha.sampling import engines
from aha.types import AhaError, Message

HELP = "serve a model under an OpenAI-compatible address"
MAX_TOKENS = 512


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, address, defaults."""
    parser.add_argument("model", help="tiny, a checkpoint folder, or a hub name")
    parser.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1: this machine only")
    parser.add_argument("--port", type=int, default=8000, help="default 8000; 0 takes any free one")
    parser.add_argument("--name", help="the model's name in requests (default: as given)")
    parser.add_argument(
        "--max-tokens", type=int, help=f"longest completion where none is asked ({MAX_TOKENS})"
    )
    add_prompt_argument(parser)
    parser.add_argument("--allow-origin", default="*", help="web pages whose scripts may ask (default: all)")
    parser.add_argument(
        "--guard",
        metavar="WHO",
        help="review answers and take unsafe ones back: self, a checkpoint, or endpoint#MODEL",
    )
    parser.add_argument(
        "--guard-everything",
        action="store_true",
        help="review every dialogue, not only those with marked words",
    )
    parser.add_argument(
        "--engine", choices=("local", *engines.servers()), default="local",
        help="what samples: the package's own engine, or another's own server with this prompt and these stop tokens",
    )  # fmt: skip
    for name in engines.servers():
        title = engines.ENGINES[name].title
        help_ = f"more words for {title}'s command line, in quotes"
        parser.add_argument(f"--{name}-args", default="", metavar="WORDS", help=help_)
    parser.add_argument("--api-key-env", help="environment variable with a key that requests must carry")
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load, then serve until interrupted."""
    from aha.sampling.http import Server

    key = None
    if args.api_key_env:
        key = os.environ.get(args.api_key_env)
        if not key:
            raise AhaError(f"The environment variable {args.api_key_env} is not set: put the key there.")
    if args.max_tokens is not None and args.max_tokens < 1:
        raise AhaError(f"--max-tokens {args.max_tokens}: give 1 or more.")
    if not 0 <= args.port < 1 << 16:
        raise AhaError(f"--port {args.port}: a port is a number from 0 to 65535; 0 takes any free one.")
    if args.guard_everything and args.guard is None:
        raise AhaError("--guard-everything says how much a guard reviews: name the guard with --guard.")
    for name in engines.servers():
        if name != args.engine and getattr(args, f"{name}_args"):
            raise AhaError(f"--{name}-args are for --engine {name}.")
    if args.engine != "local":
        return _by_another(args, key)
    if (backend := _reward_model(args)) is None:
        backend = _guarded(args, _backend(args))
    server = Server(backend, args.host, args.port, key, args.allow_origin)
    print(f"Serving  {args.name or args.model} at {server.url}   (Ctrl-C ends)", flush=True)
    server.serve()
    return 0


def _by_another(args: argparse.Namespace, key: str | None) -> int:
    """Another engine's own server, with the checkpoint's prompt."""
    from aha import hardware
    from aha.sampling.serving import Serving

    name, title = args.engine, engines.ENGINES[args.engine].title
    if args.guard is not None:
        raise AhaError(f"--guard reviews answers of the package's own engine: leave --engine {name} out.")
    if args.max_tokens is not None:
        raise AhaError(
            f"--max-tokens is of the package's own engine: {title}'s server fills the context where a request names "
            "none. Name max_tokens in requests."
        )
    words = getattr(args, f"{name}_args")
    try:
        more = tuple(shlex.split(words))
    except ValueError as error:
        raise AhaError(f"--{name}-args {words!r} are no words of a command line: {error}.") from None
    device = hardware.pick_device(args.device)
    dtype = str(hardware.pick_dtype(args.dtype, device)).removeprefix("torch.")
    asked = Serving(
        args.model, args.name or args.model, args.prompt, args.host, args.port, args.allow_origin, dtype,
        device.type == "cpu", args.threads or 0, key, more,
    )  # fmt: skip
    with engines.server_class(name)(asked) as server:
        print(f"Prompt   {server.prompt.name}", flush=True)
        print(f"Waiting  for {title}, which takes a minute or more (its log: {server.log})", flush=True)
        server.wait()
        print(f"Serving  {asked.name} at {server.url} by {title}   (Ctrl-C ends)", flush=True)
        server.serve()
    return 0


def _guarded(args: argparse.Namespace, backend: Any) -> Any:
    """The backend, behind the guard that is asked for."""
    if args.guard is None:
        return backend
    from aha.judges.asking import Judge
    from aha.sampling.http.guarded import GuardedBackend

    judge = Judge(_reviewer(args, backend))

    def review(messages: Sequence[Message], text: str) -> bool | None:
        said = "\n\n".join(f"{m['role']}: {m['content']}" for m in messages)
        verdict = judge.safety(said, text)
        return None if verdict is None else verdict != "unsafe"

    print(
        f"Guard    {args.guard}{', every dialogue' if args.guard_everything else ', where words mark it'}",
        flush=True,
    )
    return GuardedBackend(backend, review, everything=args.guard_everything)


def _reviewer(args: argparse.Namespace, backend: Any) -> Any:
    from aha.judges.asking import over
    from aha.judges.served import over_backend
    from aha.sampling.client.endpoint import Client, Endpoint

    if args.guard == "self":
        return over_backend(backend)
    if not args.guard.startswith(("http://", "https://")):
        from aha.stages.local_judge import LocalComplete

        return LocalComplete(args.guard, None, device=args.device, dtype=args.dtype, max_tokens=512)
    address, _, name = args.guard.partition("#")
    if not name:
        raise AhaError(f"'{args.guard}' names no model. Write the address and the model: {args.guard}#MODEL.")
    return over(Client(Endpoint(address, name)), max_tokens=512)


def _reward_model(args: argparse.Namespace) -> Any:
    """A reward model behind the server; None for a model that writes. Raises AhaError for options of the latter."""
    from aha.stages.inputs import is_reward_model

    if not is_reward_model(args.model):
        return None
    from aha.stages.supervised.scoring_backend import scoring_backend

    prompt = None if args.prompt == "auto" else args.prompt
    for option, value in (("--guard", args.guard), ("--max-tokens", args.max_tokens), ("--prompt", prompt)):
        if value is not None:
            raise AhaError(
                f"{option} is about answers that a model writes, and {args.model} is a reward model."
            )
    print("Scores   at /classify: a reward model", flush=True)
    device, dtype = _computing(args)
    return scoring_backend(args.model, args.name or args.model, str(device), dtype, args.threads)


def _computing(args: argparse.Namespace) -> tuple[Any, str]:
    """Set threads; the device and the compute type, which are said."""
    from aha import hardware

    hardware.set_threads(args.threads)
    device = hardware.pick_device(args.device)
    dtype = str(hardware.pick_dtype(args.dtype, device)).removeprefix("torch.")
    print(f"Type     {dtype} on {device}", flush=True)
    return device, dtype


def _backend(args: argparse.Namespace):
    from aha import chat, hardware, modeling
    from aha.sampling.http.model import ModelBackend
    from aha.sampling.local.engine import LocalEngine

    device, dtype = _computing(args)
    model = modeling.load_model(args.model, device, hardware.pick_dtype(dtype))
    tokenizer = modeling.load_tokenizer(args.model)
    name = args.name or args.model
    prompt = chat.choose(args.prompt, tokenizer)
    if warning := chat.warn_prompt(prompt, tokenizer, model_name=Path(args.model).name):
        print(f"warning: {warning}", file=sys.stderr)
    print(f"Prompt   {prompt.name}", flush=True)
    most = MAX_TOKENS if args.max_tokens is None else args.max_tokens
    return ModelBackend(LocalEngine(model, tokenizer), tokenizer, name, prompt, most)
