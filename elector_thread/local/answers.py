"""Byte for byte what the real sidecar answers, as an ASGI application.

Owns who leads and the open streams; lives on one event loop, so needs no lock.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import formatdate

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

__all__ = ["Answers"]

Headers = list[tuple[bytes, bytes]]


class Answers:
    """The leader's name, and everybody who listens for it."""

    def __init__(self) -> None:
        self._result = b"{}"  # before the first election
        self._listeners: set[asyncio.Queue[bytes | None]] = set()
        self.leader: str | None = None
        self.app = Starlette(
            routes=[Route("/sse", self._stream), Route("/{path:path}", self._answer)]
        )

    def elect(self, name: str) -> None:
        """A new election result: remember it and push it to every stream. On the loop's thread."""
        updated = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.leader = name
        self._result = json.dumps(
            {"name": name, "last_update": updated}, separators=(",", ":"), ensure_ascii=False
        ).encode()
        for listener in self._listeners:
            listener.put_nowait(self._result)

    def hang_up(self) -> None:
        """End every stream, as a server that shuts down does. On the loop's thread."""
        for listener in self._listeners:
            listener.put_nowait(None)

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._listeners)

    async def _answer(self, _: Request) -> Response:
        response = Response(self._result)
        response.raw_headers = _headers(
            (b"Cache-Control", b"no-cache"),
            (b"Content-Type", b"application/json"),
            (b"Content-Length", str(len(self._result)).encode()),
        )
        return response

    async def _stream(self, _: Request) -> Response:
        response = StreamingResponse(self._events())
        response.raw_headers = _headers(
            (b"Cache-Control", b"no-cache"), (b"Content-Type", b"text/event-stream")
        )
        return response

    async def _events(self) -> AsyncIterator[bytes]:
        """One event at connect, then one per result. Silence means nothing."""
        news: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._listeners.add(news)
        try:
            yield _event(self._result)
            while (result := await news.get()) is not None:
                yield _event(result)
        finally:
            self._listeners.discard(news)


def _event(result: bytes) -> bytes:
    return b"data: " + result + b"\n\n"


def _headers(*pairs: tuple[bytes, bytes]) -> Headers:
    """Header names as Go writes them; the Date is ours, since the server's is lower-case."""
    return [*pairs, (b"Date", formatdate(usegmt=True).encode())]
