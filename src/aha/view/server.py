"""Listens on this machine alone, and opens the browser."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from aha.types import AhaError

HOST = "127.0.0.1"
USUAL_PORT = 8421


def serve(roots: list[Path], port: int | None, open_browser: bool, say: Callable[[str], None]) -> None:
    """Serve the page over these folders until interrupted. ``port`` None: the usual one, or any free one where it is
    taken; 0: any free one. Raises AhaError where the port that was asked for is taken, and where the web server is
    not installed."""
    try:
        import uvicorn

        from aha.view import app, guard
    except ImportError as error:
        raise AhaError(
            f"aha view needs {error.name or 'starlette and uvicorn'}: pip install 'aha-rl[view]'"
        ) from error
    listening, token = listen(port), guard.new_token()
    number = listening.getsockname()[1]
    address = f"http://{HOST}:{number}/?token={token}"
    view = app.ViewApp(roots)
    config = uvicorn.Config(
        app.build(view, token, number), log_level="warning", access_log=False, ws="none", lifespan="on",
        proxy_headers=False, server_header=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    say(f"View     {address}")
    say(_hint(open_browser))
    if open_browser and has_screen():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    server = uvicorn.Server(config)
    stop = server.handle_exit

    def handle_exit(sig: int, frame: FrameType | None) -> None:
        view.watch.end()  # or each open page would be waited for
        stop(sig, frame)

    server.handle_exit = handle_exit
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(server.serve(sockets=[listening]))


def listen(port: int | None) -> socket.socket:
    """A socket on this machine's own address."""
    try:
        return _bound(USUAL_PORT if port is None else port)
    except OverflowError:
        raise AhaError(f"--port {port}: a port is a number from 0 to 65535; 0 takes any free one.") from None
    except OSError as error:
        if port is None:
            return _bound(0)
        raise AhaError(
            f"Port {port} cannot be had ({error.strerror}). Choose another --port; 0 takes any free one."
        ) from error


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
        bound.listen(128)
    except OSError:
        bound.close()
        raise
    return bound


def has_screen() -> bool:
    """Whether a browser could show itself here; one in the terminal would stand in its own way."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


def _hint(open_browser: bool) -> str:
    if has_screen() and open_browser:
        return "         for this machine's user alone; Ctrl-C ends"
    return "         open it on this machine, or from yours: ssh -L PORT:127.0.0.1:PORT HOST; Ctrl-C ends"
