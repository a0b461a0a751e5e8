"""Health endpoints: the elector's status as JSON, as a plain WSGI or ASGI application.

The answer is 200, or 503 when the library's own threads are dead or stuck (`Status.alive`).
A restart of the process fixes that, so the endpoint suits liveness probes. The answer does not
depend on who the leader is or on whether the elector can be reached, so that it suits
readiness probes as well: followers serve requests, too. With ``?verbose`` the answer is text
for people, which also lists the past leaderships.

Django and Flask have views of their own, in their adapters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qs

from .._state.model import Status
from ..default import default_elector
from ._lifespan import Message, Receive, Send
from ._text import describe_at_length

__all__ = ["asgi", "report", "wsgi"]

StartResponse = Callable[[str, list[tuple[str, str]]], object]
WsgiApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]
AsgiEndpoint = Callable[..., Any]
"""An ASGI application. Starlette's ``add_route`` takes one, but its types do not allow `App`."""


class HasStatus(Protocol):
    """An `Elector`, or an adapter's elector."""

    def status(self) -> Status:
        """One consistent view of everything."""


def report(status: Status, query: str) -> tuple[HTTPStatus, dict[str, str], bytes]:
    """The answer to a probe with this query string: its code, headers and body."""
    code = HTTPStatus.OK if status.alive else HTTPStatus.SERVICE_UNAVAILABLE
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    if "verbose" in parse_qs(query, keep_blank_values=True):
        headers["Content-Type"] = "text/plain; charset=utf-8"
        return code, headers, f"{describe_at_length(status)}\n".encode()
    return code, headers, json.dumps(status.as_dict()).encode()


def wsgi(elector: HasStatus | None = None) -> WsgiApp:
    """A WSGI application that answers every request with the status.

    elector: default the process-wide one, which the first request starts.
    """

    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        status = (elector or default_elector()).status()
        code, headers, body = report(status, environ.get("QUERY_STRING", ""))
        headers["Content-Length"] = str(len(body))
        start_response(f"{code.value} {code.phrase}", list(headers.items()))
        return [body]

    return application


class _Asgi:
    """See `asgi`. An object, because Starlette's ``add_route`` would call a function as a view."""

    def __init__(self, elector: HasStatus | None) -> None:
        self._elector = elector

    async def __call__(self, scope: Message, _: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"the health endpoint supports only http, got {scope['type']}")
        status = (self._elector or default_elector()).status()
        code, headers, body = report(status, scope.get("query_string", b"").decode("latin-1"))
        headers["Content-Length"] = str(len(body))
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": code.value, "headers": raw})
        await send({"type": "http.response.body", "body": body})


def asgi(elector: HasStatus | None = None) -> AsgiEndpoint:
    """An ASGI application that answers every request with the status.

    For Starlette and FastAPI: ``app.add_route("/elector", health.asgi(elector))``.

    elector: default the process-wide one, which the first request starts.
    """
    return _Asgi(elector)
