"""Health endpoints: the elector's status as JSON, as a plain WSGI or ASGI application.

The answer is 200, or 503 when the library's own threads are dead or stuck (`Status.alive`).
A restart of the process fixes that, so the endpoint suits liveness probes. The answer does not
depend on who the leader is or on whether the elector can be reached, so that it suits
readiness probes as well: followers serve requests, too.

Django and Flask have views of their own, in their adapters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Protocol

from .._state.model import Status
from ..default import default_elector
from ._lifespan import Message, Receive, Send

__all__ = ["HEADERS", "asgi", "report", "wsgi"]

HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store"}
"""The headers of every health answer."""

StartResponse = Callable[[str, list[tuple[str, str]]], object]
WsgiApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]
AsgiEndpoint = Callable[..., Any]
"""An ASGI application. Starlette's ``add_route`` takes one, but its types do not allow `App`."""


class HasStatus(Protocol):
    """An `Elector`, or an adapter's elector."""

    def status(self) -> Status:
        """One consistent view of everything."""


def report(status: Status) -> tuple[HTTPStatus, bytes]:
    """The answer to a probe: its code and its JSON body."""
    code = HTTPStatus.OK if status.alive else HTTPStatus.SERVICE_UNAVAILABLE
    return code, json.dumps(status.as_dict()).encode()


def wsgi(elector: HasStatus | None = None) -> WsgiApp:
    """A WSGI application that answers every request with the status.

    elector: default the process-wide one, which the first request starts.
    """

    def application(_: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        code, body = report((elector or default_elector()).status())
        headers = [*HEADERS.items(), ("Content-Length", str(len(body)))]
        start_response(f"{code.value} {code.phrase}", headers)
        return [body]

    return application


class _Asgi:
    """See `asgi`. An object, because Starlette's ``add_route`` would call a function as a view."""

    def __init__(self, elector: HasStatus | None) -> None:
        self._elector = elector

    async def __call__(self, scope: Message, _: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"the health endpoint supports only http, got {scope['type']}")
        code, body = report((self._elector or default_elector()).status())
        headers = [*HEADERS.items(), ("Content-Length", str(len(body)))]
        raw = [(name.lower().encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": code.value, "headers": raw})
        await send({"type": "http.response.body", "body": body})


def asgi(elector: HasStatus | None = None) -> AsgiEndpoint:
    """An ASGI application that answers every request with the status.

    For Starlette and FastAPI: ``app.add_route("/elector", health.asgi(elector))``.

    elector: default the process-wide one, which the first request starts.
    """
    return _Asgi(elector)
