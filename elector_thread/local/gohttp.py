"""HTTP/1 as Go's ``net/http`` server speaks it: the sidecar is a Go program.

Pure: bytes in, requests out; requests in, bytes out. Knows neither sockets nor who
leads. The expected bytes were recorded from Go's server; see ``tests/local/golden.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate
from html import escape
from posixpath import normpath
from urllib.parse import unquote, urlsplit

import h11

__all__ = ["BadRequest", "Request", "RequestReader", "answer", "event", "redirect", "stream_head"]

MAX_BUFFERED = 64 * 1024
"""Most bytes that a client may send ahead of its answers."""


class BadRequest(Exception):
    """What came in is no request. ``response`` is what Go says to that before it closes."""

    def __init__(self, status: str = "400 Bad Request") -> None:
        super().__init__(status)
        text = status.encode()
        self.response = (
            b"HTTP/1.1 " + text + b"\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" + text
        )


@dataclass(frozen=True, slots=True)
class Request:
    """One request: what of it decides the answer.

    path: decoded, without the query. query: with its ``?``, or empty.
    modern: HTTP/1.1; otherwise 1.0. asked: "close", "keep-alive" or "" in Connection.
    """

    method: str
    path: str
    query: str = ""
    modern: bool = True
    asked: str = ""

    @property
    def closes(self) -> bool:
        """Whether the connection ends with an answer of known length."""
        return self.asked == "close" if self.modern else self.asked != "keep-alive"

    @property
    def clean_path(self) -> str:
        """The path as Go's router wants it; it redirects to that from any other."""
        path = normpath("/" + self.path.lstrip("/"))
        return path if path == "/" or not self.path.endswith("/") else path + "/"


class RequestReader:
    """Turns bytes into requests, one after the other, pipelined or not."""

    def __init__(self) -> None:
        self._parser = h11.Connection(h11.SERVER)
        self._begun: h11.Request | None = None

    def feed(self, data: bytes) -> None:
        """Take in what the client sent. Raises `BadRequest` if it floods us."""
        if len(self._parser.trailing_data[0]) > MAX_BUFFERED:
            raise BadRequest
        self._parser.receive_data(data)

    def next(self) -> Request | None:
        """The next whole request, its body read and ignored; None if there is none yet."""
        try:
            while (found := self._parser.next_event()) is not h11.NEED_DATA:
                if isinstance(found, h11.Request):
                    self._begun = found
                elif isinstance(found, h11.EndOfMessage):
                    return self._finish()
        except h11.RemoteProtocolError as error:
            missing = ": missing required Host header" if "Host:" in str(error) else ""
            raise BadRequest(f"400 Bad Request{missing}") from None
        return None

    def _finish(self) -> Request:
        assert self._begun is not None, "a message ends after it began"
        begun, self._begun = self._begun, None
        rest, _ = self._parser.trailing_data
        self._parser = h11.Connection(h11.SERVER)
        if rest:
            self._parser.receive_data(rest)
        return _request(begun)


def _request(raw: h11.Request) -> Request:
    if raw.http_version not in (b"1.0", b"1.1"):
        raise BadRequest("505 HTTP Version Not Supported: unsupported protocol version")
    target = raw.target.decode("ascii", "replace")
    if not target.startswith("/"):  # the absolute form, as proxies get it; or "*"
        target = urlsplit(target)._replace(scheme="", netloc="", fragment="").geturl()
    path, mark, query = target.partition("?")
    asked = b",".join(value for name, value in raw.headers if name == b"connection").lower()
    words = [word.strip() for word in asked.split(b",")]
    return Request(
        method=raw.method.decode("ascii"),
        path=unquote(path) or "/",
        query=mark + query,
        modern=raw.http_version == b"1.1",
        asked="close" if b"close" in words else "keep-alive" if b"keep-alive" in words else "",
    )


def answer(request: Request, body: bytes, headers: bytes, status: bytes = b"200 OK") -> bytes:
    """A whole answer. ``headers`` are the handler's own, as ``Name: value\\r\\n`` lines, sorted."""
    length = b"Content-Length: %d\r\n" % len(body)
    head = _status(request, status) + headers + _date() + length + _connection(request)
    return head + b"\r\n" + (b"" if request.method == "HEAD" else body)


def redirect(request: Request) -> bytes:
    """The router's answer to a path like ``//`` or ``/a/../sse``."""
    to = request.clean_path + request.query
    body, kind = b"", b""
    if request.method in ("GET", "HEAD"):
        kind = b"Content-Type: text/html; charset=utf-8\r\n"
        body = f'<a href="{escape(to)}">Moved Permanently</a>.\n\n'.encode()
    place = b"Location: " + to.encode() + b"\r\n"
    return answer(request, body, kind + place, b"301 Moved Permanently")


def stream_head(request: Request) -> bytes:
    """How an event stream begins. Its handler asks for keep-alive, which Go grants 1.1 only."""
    stays = request.modern and request.asked != "close"
    return b"".join(
        (
            _status(request, b"200 OK"),
            b"Cache-Control: no-cache\r\n",
            b"Connection: keep-alive\r\n" if stays else b"",
            b"Content-Type: text/event-stream\r\n",
            _date(),
            b"Connection: close\r\n" if request.modern and not stays else b"",
            b"Transfer-Encoding: chunked\r\n" if _chunked(request) else b"",
            b"\r\n",
        )
    )


def event(request: Request, result: bytes) -> bytes:
    """One event, framed as this request's stream is; nothing to who asked for the head alone."""
    data = b"data: " + result + b"\n\n"
    if request.method == "HEAD":
        return b""
    return b"%x\r\n%b\r\n" % (len(data), data) if _chunked(request) else data


def _chunked(request: Request) -> bool:
    return request.modern and request.method != "HEAD"


def _status(request: Request, status: bytes) -> bytes:
    return (b"HTTP/1.1 " if request.modern else b"HTTP/1.0 ") + status + b"\r\n"


def _date() -> bytes:
    return b"Date: " + formatdate(usegmt=True).encode() + b"\r\n"


def _connection(request: Request) -> bytes:
    if request.modern:
        return b"Connection: close\r\n" if request.closes else b""
    return b"" if request.closes else b"Connection: keep-alive\r\n"
