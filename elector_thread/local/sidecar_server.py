"""The HTTP server of one elector sidecar: the elector's latest result, by GET and by event stream.

Runs on the local elector's event loop, so it needs no lock.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from contextlib import suppress
from datetime import UTC, datetime

import h11

from .faults import FaultKind
from .http_messages import (
    BAD_REQUEST,
    READ_SIZE,
    HttpRequest,
    RequestReader,
    event_message,
    response_message,
    stream_head,
)

__all__ = ["NO_RESULT", "SidecarServer", "bind_socket", "election_result"]

NO_RESULT = b"{}"
"""What a sidecar answers before the first election."""

JSON_HEADERS = ("Cache-Control: no-cache", "Content-Type: application/json")
HTML = b"<!DOCTYPE html><title>Sign in</title><h1>Sign in to continue</h1>\n"
HTML_HEADER = "Content-Type: text/html; charset=utf-8"
GARBAGE = b'{"name":"\xff\xfe, and then the line was cu'


def election_result(leader: str) -> bytes:
    """An election result as the sidecar sends it."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    result = {"name": leader, "last_update": now}
    return json.dumps(result, separators=(",", ":"), ensure_ascii=False).encode()


class SidecarServer:
    """Answers as the elector sidecar does, on a loopback port of its own.

    name: the replica whose sidecar it is; None for programs that are not replicas.
    report_url: where that replica reports its state.

    Attributes: ``port``, ``get_url``, ``sse_url``, ``environ`` (the environment variables for
    a process beside this sidecar) and ``gets`` (how many GETs it was sent).
    """

    def __init__(self, name: str | None, port: int = 0, *, report_url: str | None = None) -> None:
        self.name = name
        self.gets = 0
        self._socket = bind_socket(port)
        self.port: int = self._socket.getsockname()[1]
        self.get_url = f"http://localhost:{self.port}/"
        self.sse_url = f"{self.get_url}sse"
        self.environ = {
            "ELECTOR_GET_URL": self.get_url,
            "ELECTOR_SSE_URL": self.sse_url,
            "ELECTOR_PATH": f"localhost:{self.port}",
        }
        if report_url is not None:
            self.environ["ELECTOR_THREAD_REPORT_URL"] = report_url
        self._server: asyncio.Server | None = None
        self._closed = False
        self._result = NO_RESULT
        self._faults: frozenset[FaultKind] = frozenset()
        self._not_hanging = asyncio.Event()
        self._not_hanging.set()
        self._connections: set[asyncio.StreamWriter] = set()
        self._streams: dict[asyncio.StreamWriter, HttpRequest] = {}

    @property
    def streams(self) -> int:
        """The number of open streams."""
        return len(self._streams)

    # --- control, on the event loop -----------------------------------------------------

    async def open(self) -> None:
        """Accept connections."""
        if self._server is not None or self._closed:
            return
        self._server = await asyncio.start_server(
            self._serve, sock=self._socket, start_serving=False
        )
        await self._server.start_serving()

    def close(self) -> None:
        """End all connections and release the port, for good."""
        self._closed = True
        self._stop_listening()
        self._not_hanging.set()
        for writer in list(self._connections):
            writer.transport.abort()

    def publish(self, result: bytes) -> None:
        """Remember a new result and send it to every stream."""
        self._result = result
        if FaultKind.MUTE in self._faults:
            return
        for writer, request in self._streams.items():
            writer.write(event_message(request, self._body()))

    async def set_faults(self, faults: frozenset[FaultKind]) -> None:
        """From now on these faults are active, and no others."""
        begun, ended, self._faults = faults - self._faults, self._faults - faults, faults
        if FaultKind.REFUSE in begun:
            self._refuse_connections()
        if begun & {FaultKind.DROP, FaultKind.RESET}:
            for writer in list(self._streams):
                _disconnect(writer, reset=FaultKind.RESET in begun)
        if FaultKind.HANG in faults:
            self._not_hanging.clear()
        else:
            self._not_hanging.set()
        if FaultKind.EMPTY in ended:  # as when the first election is over
            self.publish(self._result)
        if FaultKind.REFUSE not in faults:
            await self.open()

    def _refuse_connections(self) -> None:
        self._stop_listening()
        for writer in list(self._connections):
            _disconnect(writer, reset=True)
        self._socket = bind_socket(self.port)  # reserves the port without listening

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._socket.close()

    # --- connections --------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            await self._answer_requests(reader, writer)
        except h11.RemoteProtocolError:
            writer.write(BAD_REQUEST)
        except ConnectionError:
            pass  # the client is gone
        finally:
            self._connections.discard(writer)
            self._streams.pop(writer, None)
            writer.close()

    async def _answer_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        requests = RequestReader(reader)
        keep_alive = True
        while keep_alive and (request := await requests.next()):
            keep_alive = request.keep_alive
            if request.path == "/sse" and not self._faults & {FaultKind.ERROR, FaultKind.HTML}:
                self._open_stream(request, writer)
                while await reader.read(READ_SIZE):
                    pass  # the sidecar never answers what follows on this connection
                return
            if request.path != "/sse":
                self.gets += 1
                await self._not_hanging.wait()
            writer.write(self._response(request))

    def _open_stream(self, request: HttpRequest, writer: asyncio.StreamWriter) -> None:
        self._streams[writer] = request
        writer.write(stream_head(request) + event_message(request, self._body()))
        if self._faults & {FaultKind.DROP, FaultKind.RESET}:
            _disconnect(writer, reset=FaultKind.RESET in self._faults)

    def _response(self, request: HttpRequest) -> bytes:
        if FaultKind.ERROR in self._faults:
            return response_message(request, b"", status="500 Internal Server Error")
        if FaultKind.HTML in self._faults:
            return response_message(request, HTML, HTML_HEADER)
        return response_message(request, self._body(), *JSON_HEADERS)

    def _body(self) -> bytes:
        if FaultKind.GARBAGE in self._faults:
            return GARBAGE
        return NO_RESULT if FaultKind.EMPTY in self._faults else self._result


def _disconnect(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    """End a connection after what was written so far, or at once by a TCP reset."""
    if not reset:
        writer.close()
        return
    with suppress(OSError):  # already disconnected
        no_linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
    writer.transport.abort()


def bind_socket(port: int) -> socket.socket:
    """A socket that holds a loopback port (0: a free one) and does not listen yet."""
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return sock
