"""The two calls to the sidecar: one GET, or one open event stream."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

from sseclient import SSEClient

from .._state.clock import now
from ..settings import Settings
from .events import MAX_BYTES, Malformed, normalise, parse_leader, printable
from .failures import ConnectionDropped, ExchangeFailed, NoStream, UnexpectedAnswer
from .http import Exchange, HttpClient

__all__ = ["Answer", "EventStream", "SidecarClient", "StreamEvent"]


class Answer(NamedTuple):
    """What a GET brought: the leader's name (None for ``{}``), and when it was asked."""

    leader: str | None
    asked_at: float


class StreamEvent(NamedTuple):
    """The data of one event, and an instant after which all of it came in."""

    data: str
    received_after: float


class SidecarClient:
    """The connections to the sidecar; after `cancel` every call fails.

    `ask` and `close` belong to one thread, `open_stream` to another.
    """

    def __init__(self, settings: Settings) -> None:
        assert settings.get_url is not None, "an unconfigured elector asks nothing"
        timeout = settings.request_timeout
        self._get = HttpClient(settings.get_url, "application/json", timeout)
        self._stream: HttpClient | None = None
        if settings.sse_url is not None:
            self._stream = HttpClient(settings.sse_url, "text/event-stream", timeout)
        self._may_quote = not settings.holds_secrets

    def ask(self) -> Answer:
        """Ask for the leader by GET. Raises `ExchangeFailed`.

        If the sidecar has closed the kept-alive connection meanwhile, this asks once more, on
        a new one.
        """
        reused = self._get.reused
        answer = self._attempt()
        if reused and isinstance(answer, ConnectionDropped):
            answer = self._attempt()
        if isinstance(answer, ExchangeFailed):  # raised here: as its context it might echo a secret
            raise self._safe(answer)
        return answer

    def _attempt(self) -> Answer | ExchangeFailed:
        try:
            return self._ask()
        except ExchangeFailed as failure:
            return failure

    def _ask(self) -> Answer:
        asked_at = now()
        if self._stream is not None:  # events that come in from now on are newer than the answer
            self._stream.transport.note_if_empty(asked_at)
        with self._get.get() as exchange:
            if exchange.status != 200:
                status = exchange.status
                raise ExchangeFailed(f"HTTP {status} to GET", _retry_after(exchange), status)
            if problem := _unexpected(exchange, "application/json"):
                raise UnexpectedAnswer(problem)
            body = exchange.read(MAX_BYTES)
        try:
            return Answer(parse_leader(body), asked_at)
        except Malformed as problem:
            raise UnexpectedAnswer(str(problem)) from None

    def open_stream(self) -> EventStream:
        """Open the event stream. Raises `NoStream` if there is none, else `ExchangeFailed`."""
        assert self._stream is not None, "no stream is configured"
        exchange = self._stream.get()
        problem, status = _unexpected(exchange, "text/event-stream"), None
        if exchange.status != 200:
            status = exchange.status
            problem = f"HTTP {status} to the stream's GET"
        if problem:
            with exchange:
                raise self._safe(NoStream(problem, status=status))
        exchange.keep_open()
        return EventStream(exchange, self._stream)

    def close(self) -> None:
        """Close the idle connection of `ask`. For the thread that asks."""
        self._get.close()

    def cancel(self) -> None:
        """End every exchange under way, from any thread, and refuse later ones."""
        for client in self._clients():
            client.cancel()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called: a failure then says nothing about the sidecar."""
        return self._get.cancelled

    def abandon(self) -> None:
        """In a forked child: close our copies of the parent's sockets."""
        for client in self._clients():
            client.transport.abandon()

    def redacted(self, problem: Exception) -> str:
        """What went wrong, without a quotation that might echo a secret of ours."""
        return str(problem) if self._may_quote else str(problem).partition(", got ")[0]

    def _safe(self, failure: ExchangeFailed) -> ExchangeFailed:
        return type(failure)(self.redacted(failure), failure.retry_after, failure.status)

    def _clients(self) -> Iterator[HttpClient]:
        return (client for client in (self._get, self._stream) if client is not None)


class EventStream:
    """An open stream: iterates over its events, and ends when the stream does.

    Raises `ExchangeFailed` when the stream breaks. For the stream thread.
    """

    def __init__(self, exchange: Exchange, client: HttpClient) -> None:
        self._exchange = exchange
        self._transport = client.transport
        self._blocks = normalise(self._read1)
        self._received_after = client.transport.received_after

    def _read1(self, size: int) -> bytes:
        data = self._exchange.read1(size)
        if self._blocks.between_events:  # else an event's first bytes came in earlier
            self._received_after = self._transport.received_after
        return data

    def __iter__(self) -> Iterator[StreamEvent]:
        try:
            for event in SSEClient(self._blocks).events():  # of any type
                yield StreamEvent(event.data, self._received_after)
        except Malformed as problem:
            raise ExchangeFailed(str(problem)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exchange.close()


def _unexpected(exchange: Exchange, media_type: str) -> str | None:
    """What is wrong with the headers of a response of which ``media_type`` is expected."""
    shown = exchange.headers.get("Content-Type", "no content type")
    if shown.partition(";")[0].strip().lower() != media_type:
        return f"expected {media_type}, got {printable(shown, 60)}"
    encoding = exchange.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        return f"asked for no content encoding, got {printable(encoding, 40)}"
    return None


def _retry_after(exchange: Exchange) -> float | None:
    value = exchange.headers.get("Retry-After", "").strip()
    return float(value) if value.isascii() and value.isdigit() and len(value) < 10 else None
