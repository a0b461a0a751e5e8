"""Talking to the elector: one GET, or one open stream. The only module that knows requests.

Contacts what is configured and nothing else: requests go through the adapter
directly, so there are no proxies, no netrc, no redirects and no cookies. Each
exchange has a deadline and a byte allowance, which hold while it connects, waits
for headers and reads; `Sidecar.abort` ends it from any other thread.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - a forked child's first request may not be able to import it
import logging
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import requests
import urllib3.connection
from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException
from sseclient import SSEClient
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError

from ._version import __version__
from .clock import now
from .failures import Dropped, ExchangeFailed, NoStream, failure_from
from .link import Link, MeteredResponse
from .settings import Settings
from .wire import (
    MAX_BYTES,
    READ_SIZE,
    begins_with_event,
    normalise,
    parse_leader,
    printable,
)

__all__ = ["EventStream", "Sidecar"]


SPARE = 5.0
"""Seconds that a busy machine may add to an exchange beyond its deadline."""

_exchanging = threading.local()  # `now` is set on a thread while it sends a request of ours


def _is_not_ours(_: logging.LogRecord) -> bool:
    return not getattr(_exchanging, "now", False)


# urllib3 logs the whole path, with a token in its query, and warns of a strange header
# at every try; what there is to know about our exchanges, the journal says
for _name in ("connection", "connectionpool", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_is_not_ours)


class _LinkedConnection(urllib3.connection.HTTPConnection):
    """A connection whose socket belongs to a link."""

    def __init__(self, *args: Any, link: Link, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._link = link
        self.response_class = partial(MeteredResponse, link=link)  # type: ignore[assignment]  # only ever called

    def _new_conn(self) -> socket.socket:
        try:
            return self._link.connect(self._dns_host, self.port or self.default_port)
        except ConnectionError as error:  # http.client takes some for an answer that came early
            raise NewConnectionError(self, "cannot connect") from error

    def connect(self) -> None:
        super().connect()
        self._link.capture(self.sock)  # with TLS it is another object by now

    def close(self) -> None:
        with self._link.closing():
            super().close()


class _LinkedTLSConnection(_LinkedConnection, urllib3.connection.HTTPSConnection):
    """The same over TLS. Nobody has the socket that shakes hands yet: `cut` shuts a copy."""

    _copy: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        self._copy = sock.dup()
        try:
            self._link.capture(self._copy)
        except OSError:
            sock.close()
            raise
        return sock

    def connect(self) -> None:
        try:
            super().connect()
        finally:
            with self._link.closing():
                if self._copy is not None:
                    self._copy.close()


class _LinkedAdapter(HTTPAdapter):
    """One keep-alive connection, made by and bound to a link. Never retries by itself."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._pool: HTTPConnectionPool | None = None
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        kind = _LinkedTLSConnection if pool.scheme == "https" else _LinkedConnection
        pool.ConnectionCls = partial(kind, link=self._link)
        self._pool = pool
        return pool

    def close(self) -> None:
        """Close the idle connection here: urllib3 leaves that to a finalizer, which at exit
        has had its turn before we step down."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
        super().close()


class _Channel:
    """Requests to one URL over one link."""

    def __init__(self, url: str, accept: str, timeout: float) -> None:
        self.link = Link()
        self.fresh = True  # nothing was ever answered on the current connection
        self._timeout = timeout
        self._adapter = _LinkedAdapter(self.link)
        bare, credentials = _split(url)
        headers = {**_headers(accept), **credentials}
        self._request = requests.Request("GET", bare, headers=headers).prepare()

    @property
    def longest(self) -> float:
        """Seconds within which asking twice is over, however it goes, and some to spare."""
        return 2 * self._timeout + SPARE

    def send(self, told: bytes | None = None) -> requests.Response:
        """Send the request and wait for the headers; raises what requests raises.

        ``told`` makes it a POST of that JSON.
        """
        request = self._request
        if told is not None:
            request = request.copy()
            request.method = "POST"
            request.headers["Content-Type"] = "application/json"
            request.prepare_body(told, None)
        self.link.arm(self._timeout)
        _exchanging.now = True
        try:
            return self._adapter.send(request, stream=True, timeout=self._timeout)
        finally:
            _exchanging.now = False

    def close(self, response: requests.Response) -> None:
        """End the exchange and its connection; for the thread that reads, nobody else."""
        self.fresh = True
        self.link.release()
        response.close()
        self._adapter.close()

    def drop(self) -> None:
        """Close the connection, if there is one, without a response to close."""
        self.fresh = True
        self.link.release()
        self._adapter.close()


def _split(url: str) -> tuple[str, dict[str, str]]:
    """The URL without user and password, and the header that they become.

    What requests does not know, it cannot tell; and it sends Latin-1 only.
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


class Sidecar:
    """The elector beside this process, for one life: after `abort` every call fails.

    `ask` may be called from several threads; their link makes them take turns, so
    that there is one keep-alive connection. `open_stream` belongs to the stream thread.
    """

    def __init__(self, settings: Settings) -> None:
        self._get = _channel(settings.get_url, "application/json", settings)
        self._sse = _channel(settings.sse_url, "text/event-stream", settings)
        self._report = _channel(settings.report_url, "application/json", settings)
        self._may_quote = not settings.holds_secrets

    def words(self, problem: Exception) -> str:
        """What went wrong; what came instead is left out if it might echo a secret of ours."""
        return str(problem) if self._may_quote else str(problem).partition(", got ")[0]

    def _safe(self, failure: ExchangeFailed) -> ExchangeFailed:
        return type(failure)(self.words(failure), failure.retry_after)

    def ask(self) -> tuple[str | None, float]:
        """One GET: the leader's name (None for ``{}``), and the instant at which it was asked.

        Raises `ExchangeFailed`. A keep-alive connection that the elector has closed
        meanwhile is no failure: it is asked once more, on a new one.
        """
        assert self._get is not None, "unconfigured electors do not ask"
        link = self._get.link
        if link.is_mine:
            raise ExchangeFailed("this thread is asking already, below this very call")
        try:
            if not link.take_turn(self._get.longest):
                raise ExchangeFailed("stopped")
            return self._ask_twice_if_dropped(self._get)
        finally:
            try:
                link.end_turn()
            except BaseException:  # a signal handler's: not even that may keep the turn
                link.end_turn()
                raise
            if self.aborted:
                self.close()

    def _ask_twice_if_dropped(self, channel: _Channel) -> tuple[str | None, float]:
        reused = not channel.fresh
        try:
            return self._ask(channel)
        except ExchangeFailed as failure:
            if not (reused and isinstance(failure, Dropped)):
                raise
        return self._ask(channel)

    def _ask(self, channel: _Channel) -> tuple[str | None, float]:
        asked_at = now()
        failure: ExchangeFailed | None = None
        try:
            response = channel.send()
        except (RequestException, HTTPError, OSError, ValueError) as error:
            failure = failure_from(error)
        if failure is not None:  # raised out here: the library's own error may hold credentials
            channel.drop()
            raise self._safe(failure)
        try:
            leader = _read_leader(response, channel.link)
        except (RequestException, HTTPError, OSError, ValueError) as error:
            failure = failure_from(error)
        except ExchangeFailed as error:
            failure = error
        if failure is not None:
            channel.close(response)
            raise self._safe(failure)
        channel.fresh = False
        return leader, asked_at

    def open_stream(self) -> EventStream:
        """Open the event stream. Raises `NoStream` if it is none, else `ExchangeFailed`."""
        assert self._sse is not None, "no stream is configured"
        failure: ExchangeFailed | None = None
        try:
            response = self._sse.send()
        except (RequestException, HTTPError, OSError, ValueError) as error:
            failure = failure_from(error)
        if failure is not None:
            self._sse.drop()
            raise self._safe(failure)
        problem = _why_no_stream(response)
        if problem:
            self._sse.close(response)
            raise self._safe(NoStream(problem))
        self._sse.link.relax()
        return EventStream(response, self._sse)

    def report(self, told: bytes) -> None:
        """POST what we believe to the local elector's page; for the report thread alone.

        Whatever comes of it is nobody's concern: it may be gone, or never have been.
        """
        assert self._report is not None, "no report_url is configured"
        try:
            response = self._report.send(told)
        except (RequestException, HTTPError, OSError, ValueError):
            self._report.drop()
            return
        if response.status_code != 204:  # a body that we do not want to read
            self._report.close(response)
            return
        response.close()  # nothing to read: the connection is kept

    def abort(self) -> None:
        """End every exchange under way, from any thread, and refuse later ones."""
        for channel in self._channels():
            channel.link.cut()

    def close(self) -> None:
        """Close the idle GET connection. If it is not idle, whoever uses it does, after `abort`."""
        if self._get is not None and self._get.link.take_free_turn():
            try:
                self._get.drop()
            finally:
                self._get.link.end_turn()

    @property
    def aborted(self) -> bool:
        """Whether `abort` was called: whoever still fails then has nothing to report."""
        return any(channel.link.is_cut for channel in self._channels())

    def abandon(self) -> None:
        """In a forked child: let go of the parent's sockets without touching its connections."""
        for channel in self._channels():
            channel.link.abandon()

    def _channels(self) -> Iterator[_Channel]:
        return (c for c in (self._get, self._sse, self._report) if c is not None)


class EventStream:
    """An open stream, iterated by the stream thread: the data of all events that are here, a list.

    The iteration ends when the stream does; it raises `ExchangeFailed` when it breaks.
    """

    def __init__(self, response: requests.Response, channel: _Channel) -> None:
        self._response = response
        self._channel = channel
        self._blocks = normalise(self._read1)
        self._events = SSEClient(self._blocks).events()

    def _read1(self, size: int) -> bytes:
        data: bytes = self._response.raw.read1(size, decode_content=False)
        self._channel.link.refill()
        return data

    def __iter__(self) -> Iterator[list[str]]:
        """Wait for an event, then give those that came with it, and again."""
        blocks, link = self._blocks, self._channel.link
        failure: ExchangeFailed | None = None
        batch: list[str] = []
        try:
            for event in self._events:
                if event.event == "message":  # as everywhere: named events are something else
                    batch.append(event.data)
                if batch and not (blocks.more or begins_with_event(link.unread())):
                    yield batch
                    batch = []
        except (RequestException, HTTPError, OSError, ValueError) as error:
            failure = failure_from(error)
        if batch:
            yield batch
        if failure is not None:
            raise failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close(self._response)


def _channel(url: str | None, accept: str, settings: Settings) -> _Channel | None:
    return None if url is None else _Channel(url, accept, settings.request_timeout)


def _read_leader(response: requests.Response, link: Link) -> str | None:
    if response.status_code != 200:
        raise ExchangeFailed(f"HTTP {response.status_code} to GET", _retry_after(response))
    if _media_type(response) != "application/json":
        raise ExchangeFailed(f"expected application/json, got {_shown_type(response)}")
    if encoded := _unwanted_encoding(response):
        raise ExchangeFailed(encoded)
    body = b""
    while chunk := response.raw.read1(READ_SIZE, decode_content=False):
        link.refill()
        body += chunk
        if len(body) > MAX_BYTES:
            raise ExchangeFailed(f"expected at most {MAX_BYTES} bytes, got more")
    return parse_leader(body)


def _why_no_stream(response: requests.Response) -> str | None:
    if response.status_code != 200:
        return f"HTTP {response.status_code} to the stream's GET"
    if _media_type(response) != "text/event-stream":
        return f"expected text/event-stream, got {_shown_type(response)}"
    return _unwanted_encoding(response)


def _unwanted_encoding(response: requests.Response) -> str | None:
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() == "identity":
        return None
    return f"asked for no content encoding, got {printable(encoding, 40)}"


def _media_type(response: requests.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _shown_type(response: requests.Response) -> str:
    return printable(response.headers.get("Content-Type", "no content type"), 60)


def _retry_after(response: requests.Response) -> float | None:
    value = response.headers.get("Retry-After", "").strip()
    return float(value) if value.isascii() and value.isdigit() and len(value) < 10 else None
