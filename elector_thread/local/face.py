"""One face of the local elector: the sidecar that one replica has beside it.

Owns a loopback port, the connections to it, and this sidecar's own memory of the
last result. Which faults are on is told from outside, through `Face.afflict`.
Lives on one event loop, so needs no lock.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from .faults import Kind
from .gohttp import (
    BadRequest,
    Request,
    RequestReader,
    answer,
    event,
    redirect,
    stream_head,
)

__all__ = ["Face", "bound", "result"]

BEFORE_ELECTION = b"{}"
JSON_HEADERS = b"Cache-Control: no-cache\r\nContent-Type: application/json\r\n"
HTML_HEADERS = b"Content-Type: text/html; charset=utf-8\r\n"
HTML_PAGE = b"<!DOCTYPE html><title>Sign in</title><h1>Sign in to go on</h1>\n"
GARBAGE = b'{"name":"\xff\xfe, and then the line was cu'

_ESCAPED = re.compile("[<>&\u2028\u2029]")


def result(leader: str) -> bytes:
    """An election result as the sidecar remembers it: Go's JSON, the time of right now."""
    updated = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = json.dumps(
        {"name": leader, "last_update": updated}, separators=(",", ":"), ensure_ascii=False
    )
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


class Face:
    """The HTTP face of one sidecar.

    name: the replica it belongs to; None for the plain face that anybody may use.
    report_url: where that replica may tell what it believes; None for the plain face.
    changed: called on the loop whenever a stream opened or ended.
    """

    def __init__(
        self,
        name: str | None,
        port: int = 0,
        *,
        report_url: str | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.gets = 0
        self._report_url = report_url
        self._changed = changed
        self._socket = bound(port)
        self.port: int = self._socket.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._result = BEFORE_ELECTION
        self._effects: frozenset[Kind] = frozenset()
        self._afflicting = asyncio.Lock()  # opening takes a moment, in which more may come
        self._connections: set[_Connection] = set()
        self._streams: dict[_Connection, Request] = {}
        self._hung: dict[_Connection, Request] = {}

    # --- what others may know --------------------------------------------------------

    @property
    def get_url(self) -> str:
        """What ELECTOR_GET_URL is for this replica."""
        return f"http://localhost:{self.port}/"

    @property
    def sse_url(self) -> str:
        """What ELECTOR_SSE_URL is for this replica."""
        return f"http://localhost:{self.port}/sse"

    @property
    def environ(self) -> dict[str, str]:
        """The variables that the platform sets, and where to report to."""
        environ = {
            "ELECTOR_GET_URL": self.get_url,
            "ELECTOR_SSE_URL": self.sse_url,
            "ELECTOR_PATH": f"localhost:{self.port}",
        }
        if self._report_url is not None:
            environ["ELECTOR_THREAD_REPORT_URL"] = self._report_url
        return environ

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    # --- life, on the loop -------------------------------------------------------------

    async def open(self) -> None:
        """Accept connections."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: _Connection(self), sock=self._socket)

    def close(self) -> None:
        """End everything, for good."""
        self._stop_listening()
        self._socket.close()
        for connection in list(self._connections):
            connection.drop()

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    # --- what happens to it --------------------------------------------------------------

    def tell(self, news: bytes) -> None:
        """A new result: remember it, and push it to every stream."""
        self._result = news
        if Kind.MUTE in self._effects:
            return
        for connection, request in self._streams.items():
            connection.write(event(request, self._said()))

    async def afflict(self, effects: frozenset[Kind]) -> None:
        """These faults are on now, and no others; what was off until now happens at once."""
        async with self._afflicting:
            await self._afflict(effects)

    async def _afflict(self, effects: frozenset[Kind]) -> None:
        begun, self._effects = effects - self._effects, effects
        if Kind.REFUSE in begun:
            self._refuse()
        elif Kind.REFUSE not in effects:
            await self.open()
        if Kind.RESET in begun or Kind.DROP in begun:
            self.end_streams(reset=Kind.RESET in begun)
        if Kind.HANG not in effects:
            for connection, request in list(self._hung.items()):
                del self._hung[connection]
                self._answer(connection, request)

    def end_streams(self, *, reset: bool) -> None:
        """End every stream in the middle, politely or with a TCP reset."""
        for connection in list(self._streams):
            connection.drop(reset=reset)

    def _refuse(self) -> None:
        """As if the process were gone. A bound socket that does not listen keeps the port ours."""
        self._stop_listening()
        for connection in list(self._connections):
            connection.drop(reset=True)
        self._socket = bound(self.port)

    # --- what clients get ------------------------------------------------------------------

    def handle(self, connection: _Connection, request: Request) -> None:
        """One request came in."""
        if request.path == "*":  # Go answers OPTIONS * by itself
            connection.finish(answer(request, b"", b""), request)
        elif request.path != request.clean_path:
            connection.finish(redirect(request), request)
        elif request.path == "/sse":
            self._stream(connection, request)
        else:
            self.gets += 1
            self._answer(connection, request)

    def _answer(self, connection: _Connection, request: Request) -> None:
        if Kind.HANG in self._effects:
            self._hung[connection] = request
            return
        wrong = self._wrong_answer(request)
        connection.finish(wrong or answer(request, self._said(), JSON_HEADERS), request)

    def _stream(self, connection: _Connection, request: Request) -> None:
        if wrong := self._wrong_answer(request):
            connection.finish(wrong, request)
            return
        self._streams[connection] = request
        connection.write(stream_head(request) + event(request, self._said()))
        if self._effects & {Kind.DROP, Kind.RESET}:
            connection.drop(reset=Kind.RESET in self._effects)
        self._changed()

    def _wrong_answer(self, request: Request) -> bytes | None:
        if Kind.ERROR in self._effects:
            return answer(request, b"", b"", b"500 Internal Server Error")
        if Kind.HTML in self._effects:
            return answer(request, HTML_PAGE, HTML_HEADERS)
        return None

    def _said(self) -> bytes:
        if Kind.GARBAGE in self._effects:
            return GARBAGE
        return BEFORE_ELECTION if Kind.EMPTY in self._effects else self._result

    def met(self, connection: _Connection) -> None:
        """A connection was made."""
        self._connections.add(connection)

    def lost(self, connection: _Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        self._hung.pop(connection, None)
        if self._streams.pop(connection, None):
            self._changed()


class _Connection(asyncio.Protocol):
    """One client's connection: requests are handled one at a time, in order."""

    def __init__(self, face: Face) -> None:
        self._face = face
        self._reader = RequestReader()
        self._busy = False  # a request is not answered yet; for a stream, never

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "TCP is duplex"
        self._transport = transport
        self._face.met(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._face.lost(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except BadRequest as error:
            self._refuse(error)
        self._advance()

    def write(self, data: bytes) -> None:
        """Send something."""
        self._transport.write(data)

    def finish(self, response: bytes, request: Request) -> None:
        """Send a whole answer, then take the next request."""
        self._transport.write(response)
        if request.closes:
            self._transport.close()
            return
        self._busy = False
        asyncio.get_running_loop().call_soon(self._advance)

    def drop(self, *, reset: bool = False) -> None:
        """End it now: with FIN, after what was sent, or with RST."""
        if not reset:
            self._transport.close()
            return
        with suppress(OSError):  # gone already
            self._transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        self._transport.abort()

    def _advance(self) -> None:
        if self._busy or self._transport.is_closing():
            return
        try:
            request = self._reader.next()
        except BadRequest as error:
            self._refuse(error)
            return
        if request is not None:
            self._busy = True
            self._face.handle(self, request)

    def _refuse(self, error: BadRequest) -> None:
        self._transport.write(error.response)
        self._transport.close()


def bound(port: int) -> socket.socket:
    """A socket that has the port, and refuses connections until it listens."""
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return sock
