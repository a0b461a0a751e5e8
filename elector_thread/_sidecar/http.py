"""One bounded, cancellable HTTP exchange at a time; the only module that knows requests.

Contacts what is configured and nothing else: requests go through the adapter directly,
so there are no proxies, no netrc, no redirects and no cookies. Each exchange has a
deadline and a byte allowance, which hold while it connects, waits for headers and reads;
`HttpClient.cancel` ends it from any other thread. Looking up a host name is the one step
that can be neither timed nor cancelled: nothing may wait for the thread that does it.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - socket imports it late; a fork meanwhile would lose it
import io
import logging
import queue
import socket
import ssl
import sys
import threading
from base64 import b64encode
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from http.client import HTTPResponse
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import requests
import urllib3.connection
from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError

from .._version import __version__
from .events import READ_SIZE
from .failures import ExchangeFailed, UnexpectedAnswer, failure_from
from .transport import Transport

__all__ = ["Exchange", "HttpClient"]

ERRORS = (RequestException, HTTPError, OSError, ValueError)
"""What an exchange raises when the other end, or the network, misbehaves."""

_exchanging = threading.local()  # `now` is set on a thread while it sends a request of ours


def _is_not_ours(_: logging.LogRecord) -> bool:
    return not getattr(_exchanging, "now", False)


def _silence_urllib3() -> None:
    """Keep our requests out of urllib3's log, which shows the path with its query.

    It also warns of a strange header at each attempt; our own log reports outages once.
    """
    for name in ("connection", "connectionpool", "response", "util.retry"):
        logging.getLogger(f"urllib3.{name}").addFilter(_is_not_ours)


def _untraced() -> AbstractContextManager[object]:
    """Around a request of ours: OpenTelemetry's instrumentation of urllib3 leaves it alone.

    Else each would become a span and carry a header. The instrumentation has imported this
    module if it is active; importing it here would cost everyone else.
    """
    utils = sys.modules.get("opentelemetry.instrumentation.utils")
    suppress = getattr(utils, "suppress_http_instrumentation", None)
    return nullcontext() if suppress is None else suppress()


class _MeteredReader(io.RawIOBase):
    """The raw bytes of a response, read within the transport's bounds."""

    def __init__(self, raw: Any, sock: socket.socket, transport: Transport) -> None:
        self._raw = raw
        self._sock = sock
        self._transport = transport

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self._transport.receive_into(self._sock, buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _MeteredResponse(HTTPResponse):
    """http.client's response, reading through a `_MeteredReader`."""

    def __init__(
        self, sock: socket.socket, *args: Any, transport: Transport, **kwargs: Any
    ) -> None:
        super().__init__(sock, *args, **kwargs)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_MeteredReader(raw, sock, transport), 2 * READ_SIZE)


class _Connection(urllib3.connection.HTTPConnection):
    """A connection over a `Transport`, which bounds and cancels it."""

    def __init__(self, *args: Any, transport: Transport, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._transport = transport
        self.response_class = partial(_MeteredResponse, transport=transport)  # type: ignore[assignment]  # only ever called

    def _new_conn(self) -> socket.socket:
        try:
            return self._transport.connect(self._dns_host, self.port or self.default_port)
        except ConnectionError as error:  # http.client takes some for an answer that came early
            raise NewConnectionError(self, "cannot connect") from error

    def connect(self) -> None:
        super().connect()
        self._transport.reads_from(self.sock)  # with TLS it is another object by now


class _TLSConnection(_Connection, urllib3.connection.HTTPSConnection):
    """The same over TLS."""


class _TLSSocket(ssl.SSLSocket):
    """Known to its transport from the handshake on, so that a child forked meanwhile closes it."""

    def do_handshake(self, *args: Any) -> None:
        self.context.transport.holds(self)  # type: ignore[attr-defined]  # see `_tls_context`
        super().do_handshake(*args)


class _IdleConnections(queue.LifoQueue[Any]):
    """The pool's idle connections, a queue that takes no lock.

    A forked child may inherit a queue's lock while it is held, and urllib3's finalizer would
    then wait for it for ever at exit. Each pool here serves one thread at a time.
    """

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        self._idle: deque[Any] = deque()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: ARG002 - never waits
        try:
            return self._idle.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ARG002 - never waits
        if len(self._idle) >= self.maxsize:
            raise queue.Full
        self._idle.append(item)

    def qsize(self) -> int:
        return len(self._idle)


class _Pool(HTTPConnectionPool):
    QueueCls = _IdleConnections


class _TLSPool(HTTPSConnectionPool):
    QueueCls = _IdleConnections


class _Adapter(HTTPAdapter):
    """One keep-alive connection over one transport. Never retries."""

    def __init__(self, transport: Transport, url: str) -> None:
        self._transport = transport
        self._tls = _tls_context(transport) if urlsplit(url).scheme == "https" else None
        self._pool: HTTPConnectionPool | None = None
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._tls)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        kind = _TLSConnection if pool.scheme == "https" else _Connection
        pool.ConnectionCls = partial(kind, transport=self._transport)
        self._pool = pool
        return pool

    def close(self) -> None:
        """Close the idle connection now: urllib3 leaves that to the garbage collector."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
        super().close()


class HttpClient:
    """GETs to one URL over one kept-alive connection, for one thread at a time.

    `cancel` and `note_if_empty` may be called by any thread.
    """

    def __init__(self, url: str, accept: str, timeout: float, ca_file: Path | None = None) -> None:
        _silence_urllib3()
        self.transport = Transport()
        self.reused = False  # the connection has answered before, and may be closed by now
        self._timeout = timeout
        self._adapter = _Adapter(self.transport, url)
        bare, credentials = _split(url)
        headers = {**_headers(accept), **credentials}
        self._request = requests.Request("GET", bare, headers=headers).prepare()
        self._verify: bool | str = True if ca_file is None else str(ca_file)

    def get(
        self, url: str | None = None, headers: Mapping[str, str] = {}, timeout: float | None = None
    ) -> Exchange:
        """Send the request and wait for the headers. Raises `ExchangeFailed`.

        url, headers: for this request, another URL on the same server and more headers.
        timeout: seconds for the whole exchange instead of the usual ones.
        """
        timeout = self._timeout if timeout is None else timeout
        request = self._request
        if url is not None or headers:
            request = request.copy()
            request.url = url or request.url
            request.headers.update(headers)
        self.transport.begin(timeout)
        failure: ExchangeFailed
        _exchanging.now = True
        try:
            with _untraced():
                response = self._adapter.send(
                    request, stream=True, timeout=timeout, verify=self._verify
                )
            return Exchange(response, self)
        except ERRORS as error:
            failure = failure_from(error)
        finally:
            _exchanging.now = False
        self.close()
        raise failure  # not while handling the library's own error, which may hold credentials

    def close(self) -> None:
        """Close the connection. For the thread that uses it."""
        self.reused = False
        self._adapter.close()
        self.transport.release()

    def cancel(self) -> None:
        """End the exchange under way, from any thread, and refuse later ones."""
        self.transport.cancel()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called: a failure then says nothing about the other end."""
        return self.transport.cancelled


class Exchange:
    """A response whose headers have come in; a context manager that ends the exchange.

    The connection is kept for the next request if the body was read to its end.
    """

    def __init__(self, response: requests.Response, client: HttpClient) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._client = client
        self._at_end = False

    def read1(self, size: int) -> bytes:
        """Some bytes of the body, at most ``size``, as soon as there are any; b"" at its end.

        Raises `ExchangeFailed`.
        """
        failure: ExchangeFailed
        try:
            data: bytes = self._response.raw.read1(size, decode_content=False)
        except ERRORS as error:
            failure = failure_from(error)
        else:
            self._client.transport.refill()
            self._at_end = not data
            return data
        raise failure

    def read(self, longest: int) -> bytes:
        """The whole body. Raises `ExchangeFailed`, also if it has more than ``longest`` bytes."""
        body = b""
        while chunk := self.read1(READ_SIZE):
            body += chunk
            if len(body) > longest:
                raise UnexpectedAnswer(f"expected at most {longest} bytes, got more")
        return body

    def keep_open(self) -> None:
        """Lift the deadline: an event stream may be silent for hours."""
        self._client.transport.lift_deadline()

    def close(self) -> None:
        """End the exchange and its connection."""
        self._response.close()
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._at_end and self._client.transport.is_open:
            self._client.reused = True
        else:
            self.close()


def _tls_context(transport: Transport) -> ssl.SSLContext:
    """Like urllib3's own, but for a flag that Python 3.13 added there.

    VERIFY_X509_STRICT refuses the CA certificates of many real clusters (urllib3#3614). And
    urllib3's class is the one of its import; gevent may have replaced it since.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies; TLS 1.2 at least
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as Python and urllib3 do
    if context.sslsocket_class is _TLSSocket.__base__:  # else gevent came after this module
        context.sslsocket_class = _TLSSocket
        context.transport = transport  # type: ignore[attr-defined]  # for `_TLSSocket`
    return context


def _split(url: str) -> tuple[str, dict[str, str]]:
    """The URL without user and password, and the header that they become.

    requests cannot show what it does not know; and it would send them as Latin-1.
    """
    parts = urlsplit(url)
    if parts.username is None and parts.password is None:
        return url, {}
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return bare, {"Authorization": f"Basic {b64encode(pair).decode()}"}


def _headers(accept: str) -> dict[str, str]:
    return {
        "User-Agent": f"elector-thread/{__version__}",
        "Accept": accept,
        "Accept-Encoding": "identity",
        "Cache-Control": "no-cache",
    }
