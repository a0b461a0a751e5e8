"""The HTTP server of one elector sidecar: the elector's latest result, by GET and by event stream.

Runs on the local elector's event loop, so it needs no lock.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

from .api_server import ApiServer
from .faults import FaultKind
from .http_messages import (
    READ_SIZE,
    HttpRequest,
    RequestReader,
    event_message,
    response_message,
    stream_head,
)
from .http_server import HttpServer, disconnect
from .objects import ObjectStore

__all__ = ["NO_RESULT", "SidecarServer", "election_result"]

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

    Beside it is the API server as this replica reaches it, on another port: ``api``.

    name: the replica whose sidecar it is; None for programs that are not replicas.
    objects: what the API server returns.
    report_url: where that replica reports its state.
    verify: whether ``environ`` asks for verification by the Lease.

    Attributes: ``port``, ``get_url``, ``sse_url``, ``environ`` (the environment variables for
    a process beside this sidecar) and ``gets`` (how many GETs it was sent).
    """

    def __init__(
        self,
        name: str | None,
        port: int = 0,
        *,
        objects: ObjectStore,
        report_url: str | None = None,
        verify: bool = False,
    ) -> None:
        self.name = name
        self.gets = 0
        self._http = HttpServer(self._answer_requests, port)
        self.port = self._http.port
        self.api = ApiServer(objects)
        self.get_url = f"http://localhost:{self.port}/"
        self.sse_url = f"{self.get_url}sse"
        self.environ = {
            "ELECTOR_GET_URL": self.get_url,
            "ELECTOR_SSE_URL": self.sse_url,
            "ELECTOR_PATH": f"localhost:{self.port}",
            "ELECTOR_THREAD_LEASE_URL": self.api.lease_url,
        }
        if name is not None:
            self.environ["NAIS_POD_NAME"] = name
        if report_url is not None:
            self.environ["ELECTOR_THREAD_REPORT_URL"] = report_url
        if verify:
            self.environ["ELECTOR_THREAD_VERIFY"] = "lease"
        self._result = NO_RESULT
        self._faults: frozenset[FaultKind] = frozenset()
        self._not_hanging = asyncio.Event()
        self._not_hanging.set()
        self._streams: dict[asyncio.StreamWriter, HttpRequest] = {}

    @property
    def streams(self) -> int:
        """The number of open streams."""
        return len(self._streams)

    # --- control, on the event loop -----------------------------------------------------

    def close(self) -> None:
        """End all connections and release both ports, for good."""
        self._not_hanging.set()
        self._http.close()
        self.api.close()

    def publish(self, result: bytes) -> None:
        """Remember a new result and send it to every stream."""
        self._result = result
        if FaultKind.MUTE in self._faults:
            return
        for writer, request in self._streams.items():
            writer.write(event_message(request, self._body()))

    async def set_faults(self, faults: frozenset[FaultKind]) -> None:
        """From now on these faults are active, and no others. Opens the ports if none refuses."""
        begun, ended, self._faults = faults - self._faults, self._faults - faults, faults
        if FaultKind.REFUSE in faults:
            self._http.refuse()
        if begun & {FaultKind.DROP, FaultKind.RESET}:
            for writer in list(self._streams):
                disconnect(writer, reset=FaultKind.RESET in begun)
        if FaultKind.HANG in faults:
            self._not_hanging.clear()
        else:
            self._not_hanging.set()
        if FaultKind.EMPTY in ended:  # as when the first election is over
            self.publish(self._result)
        if FaultKind.REFUSE not in faults:
            await self._http.open()
        await self.api.set_faults(self._faults)  # they may have changed during the `open`

    # --- connections --------------------------------------------------------------------

    async def _answer_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        requests = RequestReader(reader)
        keep_alive = True
        while keep_alive and (request := await requests.next()):
            keep_alive = request.keep_alive
            if request.path == "/sse" and not self._faults & {FaultKind.ERROR, FaultKind.HTML}:
                await self._serve_stream(request, reader, writer)
                return
            if request.path != "/sse":
                self.gets += 1
                await self._not_hanging.wait()
            writer.write(self._response(request))

    async def _serve_stream(
        self, request: HttpRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve a stream until the client closes the connection."""
        self._open_stream(request, writer)
        try:
            while await reader.read(READ_SIZE):
                pass  # the sidecar never answers what follows on this connection
        finally:
            del self._streams[writer]

    def _open_stream(self, request: HttpRequest, writer: asyncio.StreamWriter) -> None:
        self._streams[writer] = request
        writer.write(stream_head(request) + event_message(request, self._body()))
        if self._faults & {FaultKind.DROP, FaultKind.RESET}:
            disconnect(writer, reset=FaultKind.RESET in self._faults)

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
