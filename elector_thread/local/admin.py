"""The page of the local elector and its control HTTP API, as an ASGI application.

No other web page can use it: the Host must be this machine with our port, an Origin must
be our own, and everything but the page's style and script needs the token. A replica
reports with a key of its own, which allows nothing else.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .cluster import Cluster
from .faults import FaultError, FaultKind
from .replica import ReportError

__all__ = ["AdminApp"]

PAGE = Path(__file__).parent / "page"
WITHOUT_TOKEN = ("/ui/page.css", "/ui/page.js", "/ui/lanes.js", "/admin/report")
MAX_BODY = 16 * 1024
STATE_INTERVAL = 1.0
"""The page receives the state at every change, and after this many seconds without one."""

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

Handler = Callable[[Request], Awaitable[Response]]


class AdminApp:
    """The handlers; ``app`` is the ASGI application."""

    def __init__(self, cluster: Cluster, port: int, token: str) -> None:
        self._cluster = cluster
        self._ending = False
        self.app = Starlette(
            routes=[
                Route("/ui", _page_file("page.html", "text/html")),
                Route("/ui/page.css", _page_file("page.css", "text/css")),
                Route("/ui/page.js", _page_file("page.js", "text/javascript")),
                Route("/ui/lanes.js", _page_file("lanes.js", "text/javascript")),
                Route("/admin/state", self._state),
                Route("/admin/kinds", self._kinds),
                Route("/admin/events", self._events),
                Route("/admin/elect", self._elect, methods=["POST"]),
                Route("/admin/fault", self._fault, methods=["POST"]),
                Route("/admin/clear", self._clear, methods=["POST"]),
                Route("/admin/report", self._report, methods=["POST"]),
            ],
            exception_handlers=dict.fromkeys((FaultError, ReportError, BodyError), _bad_request),
            middleware=[Middleware(AccessMiddleware, port=port, token=token)],
        )

    def end_events(self) -> None:
        """End every event stream, so that the server can stop. On the event loop."""
        self._ending = True
        self._cluster.history.wake()

    async def _state(self, _: Request) -> Response:
        return JSONResponse(self._cluster.state())

    async def _kinds(self, _: Request) -> Response:
        return JSONResponse([kind.as_dict() for kind in FaultKind])

    async def _events(self, request: Request) -> Response:
        last = request.headers.get("last-event-id", "")
        after = int(last) if last.isdecimal() and len(last) < 12 else 0
        return StreamingResponse(self._stream(after), media_type="text/event-stream")

    async def _stream(self, last: int) -> AsyncIterator[str]:
        """The history since entry ``last`` and the state, then whatever is new."""
        history = self._cluster.history
        while not self._ending:
            if entries := history.after(last):
                last = entries[-1]["n"]
                yield f"event: record\nid: {last}\ndata: {json.dumps(entries)}\n\n"
            yield f"event: state\ndata: {json.dumps(self._cluster.state())}\n\n"
            if not self._ending and not history.after(last):  # nothing new while sending
                await history.wait(STATE_INTERVAL)

    async def _elect(self, request: Request) -> Response:
        name = (await _body(request, "name")).get("name")
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise BodyError(f"name: expected the name of a replica, got {name!r}")
        if len(name) > 253:
            raise BodyError("name: expected at most 253 characters, the limit for host names")
        self._cluster.elect(name)
        return await self._state(request)

    async def _fault(self, request: Request) -> Response:
        given = await _body(request, "kind", "replica", "seconds")
        fault = await self._cluster.add_fault(
            given.get("kind"), given.get("replica"), given.get("seconds")
        )
        return JSONResponse(fault.as_dict(self._cluster.history.now()))

    async def _clear(self, request: Request) -> Response:
        given = await _body(request, "kind", "replica")
        count = await self._cluster.clear_faults(given.get("kind"), given.get("replica"))
        return JSONResponse({"cleared": count})

    async def _report(self, request: Request) -> Response:
        key = request.query_params.get("key", "")
        known = self._cluster.add_report(key, await _body(request))
        return Response(status_code=204) if known else _error(403, "no replica has this key")


class BodyError(ValueError):
    """The body of a request is not what was expected. The message says what was."""


class AccessMiddleware:
    """Refuses requests without the token or from other web pages; adds `HEADERS`."""

    def __init__(self, app: ASGIApp, port: int, token: str) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = {f"{host}:{port}" for host in ("localhost", "127.0.0.1", "[::1]")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        request = Request(scope)
        app = self._app
        if not self._is_same_origin(request):
            app = _error(403, "refused: the request comes from another page or host name")
        elif request.url.path not in WITHOUT_TOKEN and not self._has_token(request):
            app = _error(403, "the token is missing or wrong; use the URL that was printed")
        await app(scope, receive, send_with_headers)

    def _is_same_origin(self, request: Request) -> bool:
        origins = request.headers.getlist("origin")
        site = request.headers.get("sec-fetch-site", "none")
        return (
            request.headers.get("host", "").lower() in self._hosts
            and all(origin.removeprefix("http://").lower() in self._hosts for origin in origins)
            and (site in ("same-origin", "none") or request.url.path == "/ui")
        )

    def _has_token(self, request: Request) -> bool:
        given = request.headers.get("x-elector-token") or request.query_params.get("token", "")
        return secrets.compare_digest(given.encode(), self._token)


async def _body(request: Request, *fields: str) -> dict[str, Any]:
    """The JSON object in a request, with no other fields than ``fields``, if any are given."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise BodyError(f"expected at most {MAX_BODY} bytes")
    try:
        given = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise BodyError("expected a JSON object")
    unknown = sorted(set(given) - set(fields)) if fields else []
    if unknown:
        raise BodyError(f"expected only {', '.join(fields)}; got {', '.join(unknown)}"[:200])
    return given


def _page_file(name: str, media_type: str) -> Handler:
    async def read(_: Request) -> Response:
        return Response((PAGE / name).read_text(encoding="utf-8"), media_type=media_type)

    return read


def _error(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status)


async def _bad_request(_: Request, error: Exception) -> Response:
    return _error(400, str(error))
