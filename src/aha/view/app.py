"""The application: which address answers what."""

from __future__ import annotations

import contextlib
import functools
import mimetypes
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from aha import __version__
from aha.files import cache_folder, well_formed
from aha.runs.growing import as_row
from aha.types import AhaError
from aha.view import aside, tabs
from aha.view.curves import curves
from aha.view.graph import stage_graph
from aha.view.guard import ViewGuard
from aha.view.notes import ViewNotes
from aha.view.rescoring import RescoreAnswers
from aha.view.rollouts import RolloutAnswers
from aha.view.shelf import RunShelf, as_json, beside_runs
from aha.view.talk.pages import TalkAnswers
from aha.view.watch import RunWatch

STATIC = Path(__file__).parent / "static"
MOST_RUNS = 16
"""Runs whose curves are drawn together."""
MOST_BODY = 1 << 20
"""Bytes of a request."""
FAULTS = (AhaError, OSError, sqlite3.Error)
"""What an answer may run into, and tells in words."""

Answer = Callable[[Request], Any]


class ViewApp:
    """What the addresses have in common: the runs, the viewer's own files, and the stream of changes."""

    def __init__(self, roots: list[Path]):
        self.shelf = RunShelf(roots)
        self.notes = ViewNotes(beside_runs(self.shelf.roots[0]))
        self.watch = RunWatch(self.shelf)
        self.rollouts = RolloutAnswers(self.shelf, self.notes)
        self.talk = TalkAnswers(self.shelf)
        self.rescoring = RescoreAnswers(self.shelf, self.notes.folder)

    def routes(self) -> list[Route]:
        """All addresses."""
        get = {
            "/api/runs": self.runs, "/api/curves": self.curves, "/api/graph": self.graph, "/api/tab": self.tab,
            "/api/overview": self.rollouts.overview, "/api/rollouts": self.rollouts.page,
            "/api/count": self.rollouts.count, "/api/groups": self.rollouts.groups, "/api/rollout": self.rollouts.one,
            "/api/mistakes": self.rollouts.flags, "/api/models": self.talk.there,
            "/api/rescorable": self.rescoring.there,
        }  # fmt: skip
        post = {"/api/notes": self.note, "/api/why": self.rollouts.why, "/api/flag": self.rollouts.flag,
                "/api/unload": self.talk.unload}  # fmt: skip
        return [
            *(Route(f"/{name}", functools.partial(_file, name)) for name in _static_names()),
            Route("/", functools.partial(_file, "index.html")),
            Route("/api/events", self.events),
            Route("/api/talk", pouring(self.talk.answer), methods=["POST"]),
            Route("/api/rescore", pouring(self.rescoring.answer), methods=["POST"]),
            *(Route(path, answering(function)) for path, function in get.items()),
            *(Route(path, posting(function), methods=["POST"]) for path, function in post.items()),
        ]

    # --- runs ---

    def runs(self, request: Request) -> dict[str, Any]:
        """The table, its notes, and what else the page can show."""
        return {
            "rows": [as_json(row) for row in self.shelf.rows()], "notes": self.notes.all(), "tabs": tabs.titles(),
            "roots": [str(root) for root in self.shelf.roots], "own": str(self.notes.folder), "version": __version__,
        }  # fmt: skip

    def curves(self, request: Request) -> dict[str, Any]:
        """The curves of the runs that are named, and what could not be read."""
        by_run = {}
        for run in _runs(request):
            folder = self.shelf.folder(run)
            stages = self.shelf.figures.drawn(folder, curves)
            by_run[run] = {"stages": stages, "faults": self.shelf.figures.run(folder).faults}
        return by_run

    def graph(self, request: Request) -> dict[str, Any]:
        """The stages of a run."""
        run = _runs(request, 1)[0]
        data = self.shelf.figures.run(self.shelf.folder(run))
        return stage_graph(data, self.shelf.row(run).state == "running")

    def tab(self, request: Request) -> list[dict[str, Any]]:
        """The findings of a tab on the runs that are named."""
        return tabs.found(
            request.query_params.get("name", ""), [self.shelf.folder(run) for run in _runs(request)]
        )

    def note(self, said: dict[str, Any]) -> dict[str, Any]:
        """Set a run's tags and note."""
        run = str(said.get("run", ""))
        self.shelf.folder(run)
        return self.notes.keep(run, said.get("tags", []), said.get("note", ""))

    async def events(self, request: Request) -> Response:
        """Changes, as they come."""
        return StreamingResponse(self.watch.stream(), media_type="text/event-stream")


def build(view: ViewApp, token: str, port: int) -> ASGIApp:
    """The application behind its guard. What works in the background ends with it."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        view.rollouts.close()
        view.talk.close()
        aside.end()

    return ViewGuard(Starlette(routes=view.routes(), lifespan=lifespan), token, port)


def _runs(request: Request, most: int = MOST_RUNS) -> list[str]:
    """The runs that a request names. Raises AhaError for none or too many."""
    run_names = list(dict.fromkeys(request.query_params.getlist("run")))
    if not 1 <= len(run_names) <= most:
        raise AhaError(f"Name 1 to {most} runs, as run=NAME; these are {len(run_names)}.")
    return run_names


# --- answers -----------------------------------------------------------------------------------------------


def answering(function: Answer) -> Callable[[Request], Awaitable[Response]]:
    """A plain function's result as JSON, computed beside the other requests; its AhaError as an answer in words."""

    async def endpoint(request: Request) -> Response:
        return await _said(lambda: function(request))

    return endpoint


def posting(function: Callable[[dict[str, Any]], Any]) -> Callable[[Request], Awaitable[Response]]:
    """The same for a function of what was sent."""

    async def endpoint(request: Request) -> Response:
        body = await _body(request)
        return _too_large() if body is None else await _said(lambda: function(_object(body)))

    return endpoint


def pouring(
    function: Callable[[dict[str, Any]], Awaitable[AsyncIterator[bytes]]],
) -> Callable[..., Awaitable[Response]]:
    """A function of what was sent whose answer comes in lines of JSON; its AhaError as an answer in words."""

    async def endpoint(request: Request) -> Response:
        body = await _body(request)
        if body is None:
            return _too_large()
        try:
            lines = await function(_object(body))
        except FAULTS as error:
            return _fault(error)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    return endpoint


async def _body(request: Request) -> bytes | None:
    """What was sent; None where it is too much."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY:
            return None
    return bytes(body)


def _too_large() -> Response:
    return JSONResponse({"error": f"More than {MOST_BODY >> 20} MiB were sent."}, 413)


def _object(body: bytes) -> dict[str, Any]:
    row = as_row(body)
    if row is None:
        raise AhaError("What was sent is no JSON object.")
    return row


async def _said(function: Callable[[], Any]) -> Response:
    try:
        return JSONResponse(_plain(await run_in_threadpool(function)))
    except FAULTS as error:
        return _fault(error)


def _fault(error: Exception) -> Response:
    """What went wrong, in words; halves of a pair of surrogates, which a request can hold, cannot be sent back."""
    if isinstance(error, AhaError):
        return JSONResponse({"error": well_formed(str(error))}, 400)
    if isinstance(error, OSError):
        what = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        return JSONResponse({"error": well_formed(f"A file could not be read or written ({what}).")}, 500)
    said = f"The index of the rollouts could not be read ({error}). It lies in {cache_folder() / 'view'}, and is "
    return JSONResponse({"error": said + "made anew where that folder is removed."}, 500)


def _plain(value: Any) -> Any:
    """Without what JSON cannot hold: NaN and infinities become their words, halves of a pair of surrogates a sign."""
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {well_formed(str(key)): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value if value is None or isinstance(value, (int, bool)) else well_formed(str(value))


# --- the page ----------------------------------------------------------------------------------------------


def _static_names() -> list[str]:
    return sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file())


async def _file(name: str, request: Request) -> Response:
    kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0] or "text/plain"
    return Response((STATIC / name).read_bytes(), media_type=kind)
