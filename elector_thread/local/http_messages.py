"""The sidecar's HTTP: h11 parses the requests; responses are written as the sidecar writes them.

h11 cannot write them, because it answers HTTP/1.0 clients with HTTP/1.1 and never keeps
their connections open.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import unquote, urlsplit

import h11

__all__ = [
    "BAD_REQUEST",
    "HttpRequest",
    "RequestReader",
    "event_message",
    "response_message",
    "stream_head",
]

READ_SIZE = 64 * 1024
BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request"
)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What of a request decides the response.

    path: decoded, without the query. http11: False for HTTP/1.0.
    connection: "close", "keep-alive" or "", from the Connection header.
    """

    method: str
    path: str
    http11: bool
    connection: str

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open after the response."""
        return self.connection != "close" if self.http11 else self.connection == "keep-alive"

    @property
    def chunked(self) -> bool:
        """Whether an event stream for this request is sent in chunks."""
        return self.http11 and self.method != "HEAD"


class RequestReader:
    """Reads the requests of one connection, one after another."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._parser = h11.Connection(h11.SERVER)

    async def next(self) -> HttpRequest | None:
        """The next request, after its body was read and discarded; None at the end.

        Raises h11.RemoteProtocolError if the client does not speak HTTP/1.
        """
        head: h11.Request | None = None
        while True:
            event = self._parser.next_event()
            if event is h11.NEED_DATA:
                self._parser.receive_data(await self._reader.read(READ_SIZE))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.ConnectionClosed):
                return None
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None, "a message has a head"
                self._start_next()
                return _parsed(head)

    def _start_next(self) -> None:
        received, _ = self._parser.trailing_data
        self._parser = h11.Connection(h11.SERVER)
        if received:
            self._parser.receive_data(received)


def _parsed(head: h11.Request) -> HttpRequest:
    target = head.target.decode("ascii", "replace")
    if not target.startswith("/"):  # a whole URL, as a proxy receives it
        target = urlsplit(target).path
    values = b",".join(value for name, value in head.headers if name == b"connection")
    options = [option.strip() for option in values.decode("latin-1").lower().split(",")]
    return HttpRequest(
        method=head.method.decode("ascii"),
        path=unquote(target.partition("?")[0]),
        http11=head.http_version != b"1.0",
        connection=next((word for word in ("close", "keep-alive") if word in options), ""),
    )


def response_message(
    request: HttpRequest, body: bytes, *headers: str, status: str = "200 OK"
) -> bytes:
    """A complete response. ``headers`` are lines like ``Name: value``."""
    connection = ""
    if request.keep_alive is not request.http11:  # not what the version implies
        connection = f"Connection: {'keep-alive' if request.keep_alive else 'close'}"
    head = _head(request, status, *headers, _date(), f"Content-Length: {len(body)}", connection)
    return head if request.method == "HEAD" else head + body


def stream_head(request: HttpRequest) -> bytes:
    """The head of an event stream."""
    stays = request.http11 and request.keep_alive
    return _head(
        request,
        "200 OK",
        "Cache-Control: no-cache",
        "Connection: keep-alive" if stays else "",
        "Content-Type: text/event-stream",
        _date(),
        "Connection: close" if request.http11 and not stays else "",
        "Transfer-Encoding: chunked" if request.chunked else "",
    )


def event_message(request: HttpRequest, data: bytes) -> bytes:
    """One event of the stream that ``request`` opened; nothing if it was a HEAD."""
    if request.method == "HEAD":
        return b""
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event) if request.chunked else event


def _head(request: HttpRequest, status: str, *headers: str) -> bytes:
    first = f"HTTP/1.{int(request.http11)} {status}"
    return "\r\n".join([first, *filter(None, headers), "", ""]).encode()


def _date() -> str:
    return f"Date: {formatdate(usegmt=True)}"
