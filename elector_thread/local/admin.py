"""The admin HTTP and the page: how people look at a local elector and break things on purpose.

Guarded three times, since a web page must not be able to steer it: the Host must be
loopback with our port (a rebound name is not), an Origin must be our own, and all but
the page's looks needs the token. Replicas report with a key of their own, which opens
nothing else. Knows the cluster; lives on its loop.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .cluster import Cluster
from .faults import FaultError, Kind
from .views import ReportError

__all__ = ["Admin"]

PAGE = Path(__file__).parent / "page"
MAX_BODY = 16 * 1024
STATE_EVERY = 1.0
"""Seconds between two states sent to the page when nothing happens."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Admin:
    """The ASGI application. ``hang_up`` ends its event streams, so that a server can stop."""

    def __init__(self, cluster: Cluster, port: int, token: str) -> None:
        self._cluster = cluster
        self._token = token
        self._ending = asyncio.Event()
        kinds = [kind.as_dict() for kind in Kind]
        self._kinds = json.dumps(kinds)
        self.app = Starlette(
            routes=[
                Route("/ui", self._page),
                Route("/ui/page.css", _asset("page.css", "text/css")),
                Route("/ui/page.js", _asset("page.js", "text/javascript")),
                Route("/ui/lanes.js", _asset("lanes.js", "text/javascript")),
                Route("/admin/state", self._guarded(self._state)),
                Route("/admin/kinds", self._guarded(self._list_kinds)),
                Route("/admin/events", self._guarded(self._events)),
                Route("/admin/elect", self._guarded(self._elect), methods=["POST"]),
                Route("/admin/fault", self._guarded(self._fault), methods=["POST"]),
                Route("/admin/clear", self._guarded(self._clear), methods=["POST"]),
                Route("/admin/report", self._report, methods=["POST"]),
            ],
            middleware=[Middleware(_OwnOrigin, port=port)],
        )

    def hang_up(self) -> None:
        """End every event stream. On the loop's thread."""
        self._ending.set()
        self._cluster.chronicle.nudge()

    # --- the token ---------------------------------------------------------------------

    def _guarded(
        self, handler: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            if not self._knows_token(request):
                return _error(403, "the token is missing or wrong; it is in the printed address")
            try:
                return await handler(request)
            except (FaultError, _BadBody) as error:
                return _error(400, str(error))

        return guarded

    def _knows_token(self, request: Request) -> bool:
        given = request.headers.get("x-elector-token") or request.query_params.get("token", "")
        return secrets.compare_digest(given.encode(), self._token.encode())

    # --- looking -----------------------------------------------------------------------

    async def _page(self, request: Request) -> Response:
        if not self._knows_token(request):
            text = "Open the address that the local elector printed when it started:\n"
            text += "it holds the token, /ui?token=...\n"
            return PlainTextResponse(text, 403, headers=HEADERS)
        return await _asset("page.html", "text/html")(request)

    async def _state(self, _: Request) -> Response:
        return JSONResponse(self._cluster.state(), headers=HEADERS)

    async def _list_kinds(self, _: Request) -> Response:
        return Response(self._kinds, media_type="application/json", headers=HEADERS)

    async def _events(self, request: Request) -> Response:
        last = request.headers.get("last-event-id", "")
        after = int(last) if last.isdecimal() and len(last) < 12 else 0
        return StreamingResponse(self._tell(after), media_type="text/event-stream", headers=HEADERS)

    async def _tell(self, after: int) -> AsyncIterator[str]:
        """The record so far, then what comes; the whole state at every change and every second."""
        chronicle = self._cluster.chronicle
        entries, news = chronicle.listen(after)
        try:
            yield _message("record", entries, entries[-1]["n"] if entries else after)
            while not self._ending.is_set():
                yield _message("state", self._cluster.state())
                for entry in await _soon(news):
                    yield _message("record", [entry], entry["n"])
        finally:
            chronicle.leave(news)

    # --- steering ----------------------------------------------------------------------

    async def _elect(self, request: Request) -> Response:
        name = (await _body(request, "name")).get("name")
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise _BadBody(f"name: expected the name of a replica, got {name!r}")
        if len(name) > 253:
            raise _BadBody("name: expected at most 253 characters, as host names have")
        self._cluster.elect(name)
        return await self._state(request)

    async def _fault(self, request: Request) -> Response:
        given = await _body(request, "kind", "replica", "seconds")
        fault = await self._cluster.fault(
            given.get("kind"), given.get("replica"), given.get("seconds")
        )
        return JSONResponse(fault.as_dict(self._cluster.chronicle.now()), headers=HEADERS)

    async def _clear(self, request: Request) -> Response:
        given = await _body(request, "kind", "replica")
        count = await self._cluster.clear(given.get("kind"), given.get("replica"))
        return JSONResponse({"cleared": count}, headers=HEADERS)

    async def _report(self, request: Request) -> Response:
        try:
            report = await _body(request)
            known = self._cluster.report(request.query_params.get("key", ""), report)
        except (ReportError, _BadBody) as error:
            return _error(400, str(error))
        return Response(status_code=204) if known else _error(403, "no replica has this key")


class _BadBody(ValueError):
    """The body of a request is not what was expected. The message says what was."""


class _OwnOrigin:
    """Refuses whoever comes by another name, or from another page."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"{host}:{port}" for host in ("localhost", "127.0.0.1", "[::1]")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: ASGIApp = self._app
        if scope["type"] == "http" and not self._is_ours(Request(scope)):
            app = _error(403, "refused: this answers to its own page and its own name alone")
        await app(scope, receive, send)

    def _is_ours(self, request: Request) -> bool:
        origins = request.headers.getlist("origin")
        site = request.headers.get("sec-fetch-site", "none")
        return (
            request.headers.get("host", "").lower() in self._hosts
            and all(origin.removeprefix("http://").lower() in self._hosts for origin in origins)
            and (site in ("same-origin", "none") or request.url.path == "/ui")
        )


async def _soon(news: asyncio.Queue[Any]) -> list[Any]:
    """The entries that are new, after a second at most; several changes at once are one."""
    entries: list[Any] = []
    try:
        entries.append(await asyncio.wait_for(news.get(), STATE_EVERY))
    except TimeoutError:
        return []
    while not news.empty():
        entries.append(news.get_nowait())
    return [entry for entry in entries if entry is not None]


async def _body(request: Request, *known: str) -> dict[str, Any]:
    """The JSON object in a request; with ``known``, no other fields. Raises `_BadBody`."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise _BadBody(f"expected at most {MAX_BODY} bytes")
    try:
        given = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise _BadBody("expected a JSON object") from None
    if not isinstance(given, dict):
        raise _BadBody("expected a JSON object")
    unknown = sorted(set(given) - set(known)) if known else []
    if unknown:
        raise _BadBody(f"expected only {', '.join(known)}; got {', '.join(unknown)}"[:200])
    return given


def _asset(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def asset(_: Request) -> Response:
        text = (PAGE / name).read_text(encoding="utf-8")
        return Response(text, media_type=kind, headers=HEADERS)

    return asset


def _error(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status, headers=HEADERS)


def _message(kind: str, data: Any, number: int | None = None) -> str:
    head = f"event: {kind}\n" + (f"id: {number}\n" if number is not None else "")
    return f"{head}data: {json.dumps(data)}\n\n"
