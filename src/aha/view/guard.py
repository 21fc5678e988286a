"""Who may ask: the browser that the command opened, and nobody else on this machine or the web.

Every answer needs the token that the command made, in a cookie or in the ``Authorization`` header. A ``Host`` that
is not this machine's own name is refused, so that a page elsewhere whose name was pointed at 127.0.0.1 (DNS rebinding)
gets nothing; what changes something must come from this very page.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import parse_qs

from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE = ("GET", "HEAD")
HEADERS = {
    # nothing is loaded from elsewhere, no other page may frame this one, and no text of a run can become a script
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
REFUSED = (
    "This page is for the browser that `aha view` opened. Open the whole address that the command printed, with its "
    "token.\n"
)


def new_token() -> str:
    """256 random bits, as they stand in an address."""
    return secrets.token_urlsafe(32)


class ViewGuard:
    """An ASGI application before another one. ``port`` is the one that the server listens on."""

    def __init__(self, app: ASGIApp, token: str, port: int):
        self.app, self.token = app, token
        self.hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        self.cookie = f"aha_view_{port}"  # browsers keep one jar for all ports of a host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # lifespan; there are no websockets
            await self.app(scope, receive, send)
            return
        answer = self._refusal_or_entry(scope)
        await (answer or self.app)(scope, receive, _with_headers(send))

    def _refusal_or_entry(self, scope: Scope) -> Response | None:
        headers = _headers(scope)
        if headers.get("host", "") not in self.hosts:
            return PlainTextResponse("This host name is not served here.\n", 403)
        token = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and scope["method"] in SAFE and self._is(token):
            return self._entry()
        if not self._is(self._carried(headers)):
            return PlainTextResponse(REFUSED, 403)
        if scope["method"] not in SAFE and not self._from_this_page(headers):
            return PlainTextResponse("Only this page itself may change something.\n", 403)
        return None

    def _is(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.token.encode())

    def _entry(self) -> Response:
        answer = RedirectResponse("/", 303)  # so that the token leaves the address bar and the history
        answer.set_cookie(self.cookie, self.token, path="/", httponly=True, samesite="strict")
        return answer

    def _carried(self, headers: Mapping[str, str]) -> str:
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return token.strip()
        # not http.cookies: it drops all where another program on this machine has set one that it cannot read
        return cookie_parser(headers.get("cookie", "")).get(self.cookie, "")

    def _from_this_page(self, headers: Mapping[str, str]) -> bool:
        """Another program's page on this machine has the same site, and its requests the same cookies: not the same
        origin. JSON alone is taken, which no form can send."""
        origin, kind = headers.get("origin"), headers.get("content-type", "").partition(";")[0].strip()
        same = origin is None or origin in {f"http://{host}" for host in self.hosts}
        return same and kind == "application/json"


def _headers(scope: Scope) -> dict[str, str]:
    """By lower-case name; of several of one name the last, but for ``host``, which must stand there once."""
    pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
    headers = dict(pairs)
    if sum(name == "host" for name, _ in pairs) != 1:
        headers.pop("host", None)
    return headers


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                *message.get("headers", []),
                *((name.encode(), value.encode()) for name, value in HEADERS.items()),
            ]
        await send(message)

    return sending
