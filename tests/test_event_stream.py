"""The event stream of the sidecar: events one by one, and failures in words."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest

from elector_thread._sidecar.calls import SidecarClient
from elector_thread._sidecar.failures import ExchangeFailed, NoStream
from elector_thread.settings import resolve

from .handlers import floods, hangs, says
from .scripted import (
    CHUNKED_SSE_HEAD,
    PATIENCE,
    SSE_HEAD,
    Connection,
    Handler,
    ScriptedServer,
    answer,
    chunk,
    event,
    result,
)

TIMEOUT = 1.0


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[SidecarClient]:
    urls = {"get_url": server.get_url, "sse_url": server.sse_url}
    made = SidecarClient(resolve({}, identity="pod-a", request_timeout=TIMEOUT, **urls))
    yield made
    made.cancel()


NO_STREAMS: dict[str, tuple[bytes, str]] = {
    "JSON, as from an elector without /sse": (answer(b"{}"), "expected text/event-stream"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", "HTTP 204"),
    "404": (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", "HTTP 404"),
    "503": (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "HTTP 503"),
    "redirect": (b"HTTP/1.1 301 M\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "HTTP 301"),
}


@pytest.mark.parametrize(("reply", "reason"), NO_STREAMS.values(), ids=NO_STREAMS)
def test_anything_but_an_event_stream_is_none(
    server: ScriptedServer, client: SidecarClient, reply: bytes, reason: str
) -> None:
    server.on_stream = says(reply)
    with pytest.raises(NoStream, match=reason):
        client.open_stream()


def events_of(
    server: ScriptedServer, client: SidecarClient, handler: Handler
) -> tuple[list[str], str | None]:
    """The data of the events that came, and why the stream broke if it did."""
    server.on_stream = handler
    events: list[str] = []
    with client.open_stream() as stream:
        try:
            events.extend(event.data for event in stream)
        except ExchangeFailed as failure:
            return events, str(failure)
    return events, None


FRAMINGS: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "chunked": (CHUNKED_SSE_HEAD, chunk),
    "close-delimited": (SSE_HEAD + b"\r\n", bytes),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", bytes),
    "with parameters": (
        b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n\r\n",
        bytes,
    ),
}


@pytest.mark.parametrize(("head", "frame"), FRAMINGS.values(), ids=FRAMINGS)
def test_an_event_is_delivered_while_the_stream_stays_open(
    server: ScriptedServer, client: SidecarClient, head: bytes, frame: Callable[[bytes], bytes]
) -> None:
    delivered = threading.Event()

    def handler(connection: Connection) -> None:
        for name in ("pod-a", "pod-b"):
            connection.send((head if name == "pod-a" else b"") + frame(event(name)))
            assert delivered.wait(PATIENCE), "the event was withheld"
            delivered.clear()
        connection.shut()

    server.on_stream = handler
    seen = []
    with client.open_stream() as stream:
        try:
            for given in stream:
                seen.append(given.data)
                delivered.set()
        except ExchangeFailed:
            assert head == CHUNKED_SSE_HEAD  # the others end like this as a matter of course
    assert seen == [result("pod-a").decode(), result("pod-b").decode()]


@pytest.mark.parametrize(("head", "frame"), FRAMINGS.values(), ids=FRAMINGS)
def test_a_stream_in_single_bytes(
    server: ScriptedServer, client: SidecarClient, head: bytes, frame: Callable[[bytes], bytes]
) -> None:
    wire = head + b"".join(frame(bytes([byte])) for byte in event("pod-b"))

    def handler(connection: Connection) -> None:
        for index in range(len(wire)):
            connection.send(wire[index : index + 1])
        connection.shut()

    events, _ = events_of(server, client, handler)
    assert events == [result("pod-b").decode()]


def test_an_encoded_stream_is_none(server: ScriptedServer, client: SidecarClient) -> None:
    server.on_stream = says(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n"
    )
    with pytest.raises(NoStream, match="content encoding"):
        client.open_stream()


@pytest.mark.parametrize("frame", [chunk, bytes], ids=["a chunk each", "one chunk"])
def test_events_that_come_together_are_delivered_one_by_one(
    server: ScriptedServer, client: SidecarClient, frame: Callable[[bytes], bytes]
) -> None:
    names = ("pod-a", "pod-b", "pod-a")
    together = b"".join(frame(event(name)) for name in names)
    if frame is bytes:
        together = chunk(together)
    events, _ = events_of(server, client, says(CHUNKED_SSE_HEAD + together + b"0\r\n\r\n"))
    assert events == [result(name).decode() for name in names]


def test_events_of_any_type_are_delivered(server: ScriptedServer, client: SidecarClient) -> None:
    """A name says nothing about the data, which is an election result or is none."""
    wire = b"event: leader\n" + event("pod-a") + event("pod-b") + b"event: other\ndata: x\n\n"
    events, _ = events_of(server, client, says(SSE_HEAD + b"\r\n" + wire))
    assert events == [result("pod-a").decode(), result("pod-b").decode(), "x"]


@pytest.mark.parametrize(
    "rest", [chunk(b": comment\n\n"), chunk(b"data: half"), b"fff\r\ndata: half"], ids=repr
)
def test_what_follows_an_event_does_not_delay_it(
    server: ScriptedServer, client: SidecarClient, rest: bytes
) -> None:
    delivered = threading.Event()

    def handler(connection: Connection) -> None:
        connection.send(CHUNKED_SSE_HEAD + chunk(event("pod-a")) + rest)
        assert delivered.wait(PATIENCE), "the event was withheld"
        connection.shut()

    server.on_stream = handler
    with client.open_stream() as stream:
        assert next(iter(stream)).data == result("pod-a").decode()
        delivered.set()


@pytest.mark.parametrize("rest", [b"data: {", b"data: x\ndata: y"], ids=repr)
def test_an_event_before_half_of_another_is_delivered(
    server: ScriptedServer, client: SidecarClient, rest: bytes
) -> None:
    cut_off = says(SSE_HEAD + b"\r\n" + event("pod-a") + rest)
    events, _ = events_of(server, client, cut_off)
    assert events == [result("pod-a").decode()]


def test_whole_events_of_a_broken_chunk_are_delivered(
    server: ScriptedServer, client: SidecarClient
) -> None:
    cut_off = says(CHUNKED_SSE_HEAD + chunk(event("pod-a")) + b"fff\r\n" + event("pod-b"))
    events, failure = events_of(server, client, cut_off)
    assert events == [result("pod-a").decode(), result("pod-b").decode()]
    assert failure is not None
    assert "cut short" in failure


BROKEN_STREAMS: dict[str, tuple[Handler, str | None]] = {
    "ended": (says(CHUNKED_SSE_HEAD + b"0\r\n\r\n"), None),
    "cut": (says(CHUNKED_SSE_HEAD), "cut short"),
    "cut in a chunk": (says(CHUNKED_SSE_HEAD + b"ff\r\ndata: x\n\n"), "cut short"),
    "endless line": (floods(SSE_HEAD + b"\r\n", b"x"), "at most 65536 bytes"),
    "endless data": (floods(SSE_HEAD + b"\r\n", b"data: x\n"), "at most 65536 bytes"),
    "endless comments": (floods(SSE_HEAD + b"\r\n", b": x\n"), "without a single one"),
    "chunk of 2**40 bytes": (
        floods(CHUNKED_SSE_HEAD + b"10000000000\r\n", b"x"),
        "at most 65536 bytes",
    ),
    "endless trailers": (floods(CHUNKED_SSE_HEAD + b"0\r\n", b"a: b\r\n"), "without content"),
    "bad chunk header": (says(CHUNKED_SSE_HEAD + b"zz\r\n"), "cut short"),
}


@pytest.mark.parametrize(("handler", "reason"), BROKEN_STREAMS.values(), ids=BROKEN_STREAMS)
def test_a_broken_stream_ends_in_words(
    server: ScriptedServer, client: SidecarClient, handler: Handler, reason: str | None
) -> None:
    _, failure = events_of(server, client, handler)
    if reason is None:
        assert failure is None
    else:
        assert failure is not None
        assert reason in failure


def test_a_stream_that_never_begins_is_given_up(
    server: ScriptedServer, client: SidecarClient
) -> None:
    server.on_stream = hangs()
    with pytest.raises(ExchangeFailed, match="in time"):
        client.open_stream()


# --- cancel ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("head", "_"), FRAMINGS.values(), ids=FRAMINGS)
def test_cancel_wakes_a_blocked_stream(
    server: ScriptedServer, client: SidecarClient, head: bytes, _: object
) -> None:
    reading, ended = threading.Event(), threading.Event()
    server.on_stream = hangs(head)

    def read() -> None:
        with client.open_stream() as stream:
            reading.set()
            with contextlib.suppress(ExchangeFailed):
                list(stream)
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    assert reading.wait(PATIENCE)
    client.cancel()
    assert ended.wait(PATIENCE)


def test_cancel_leaves_unread_what_has_come_in(
    server: ScriptedServer, client: SidecarClient
) -> None:
    sent = threading.Event()
    several = b"".join(chunk(b"data: " + b"x" * 1000 + b"\n\n") for _ in range(60))

    def flood(connection: Connection) -> None:
        connection.send(CHUNKED_SSE_HEAD + several)
        sent.set()
        connection.wait_gone()

    server.on_stream = flood
    got: list[str] = []
    with client.open_stream() as stream:
        assert sent.wait(PATIENCE)
        client.cancel()
        with contextlib.suppress(ExchangeFailed):
            for given in stream:
                got.append(given.data)
    assert len(got) < 60
