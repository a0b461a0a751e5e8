"""The socket of an exchange: connecting, its limits, its off switch, and the age of its bytes."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from elector_thread._sidecar import transport as transport_module
from elector_thread._sidecar.calls import EventStream, SidecarClient, StreamEvent
from elector_thread._sidecar.transport import ALLOWANCE, LimitReached, Transport
from elector_thread.settings import resolve

from .polling import until
from .scripted import CHUNKED_SSE_HEAD, PATIENCE, Connection, ScriptedServer, chunk, event, result

LOOK_UP = "elector_thread._sidecar.transport.socket.getaddrinfo"

# --- connecting, and its end -----------------------------------------------------------------


def test_no_connection_is_made_after_the_cancel(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if it comes while the host's name is looked up, which cannot be interrupted."""
    looking, go_on = threading.Event(), threading.Event()
    look_up = socket.getaddrinfo
    failures: list[Exception] = []

    def slow(host: str, port: int, **kwargs: Any) -> list[Any]:
        looking.set()
        go_on.wait(PATIENCE)
        return look_up("127.0.0.1", port, **kwargs)

    def connect() -> None:
        try:
            transport.connect("elector.test", server.port)
        except LimitReached as failure:
            failures.append(failure)

    monkeypatch.setattr(LOOK_UP, slow)
    transport = Transport()
    thread = threading.Thread(target=connect)
    thread.start()
    assert looking.wait(PATIENCE)
    transport.cancel()
    go_on.set()
    thread.join(PATIENCE)
    assert [str(failure) for failure in failures] == ["stopped"]
    assert server.connections == 0


def test_no_socket_is_left_open_when_a_connection_fails(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[socket.socket] = []
    make = socket.socket

    def note(*args: Any, **kwargs: Any) -> socket.socket:
        made.append(make(*args, **kwargs))
        return made[-1]

    server.close()
    monkeypatch.setattr("elector_thread._sidecar.transport.socket.socket", note)
    transport = Transport()
    with pytest.raises(ConnectionRefusedError):
        transport.connect("127.0.0.1", server.port)
    assert [sock.fileno() for sock in made] == [-1]
    assert not transport._switches


def test_an_exchange_whose_time_is_over_reads_nothing() -> None:
    late, (ours, theirs) = Transport(), socket.socketpair()
    with ours, theirs:
        theirs.send(b"too late")
        late.begin(0.0)
        with pytest.raises(TimeoutError, match="in time"):
            late.receive_into(ours, bytearray(10))


def test_after_the_cancel_what_came_in_is_not_read(server: ScriptedServer) -> None:
    """Its length is known only at its end, so that may never come."""
    transport, (ours, theirs) = Transport(), socket.socketpair()
    with ours, theirs:
        theirs.send(b"more")
        transport.cancel()
        with pytest.raises(LimitReached, match="stopped"):
            transport.receive_into(ours, bytearray(10))


def test_a_forked_child_closes_a_socket_that_is_still_connecting(server: ScriptedServer) -> None:
    transport = Transport()
    sock = transport.connect("127.0.0.1", server.port)
    transport.abandon()
    assert sock.fileno() == -1


def test_bytes_without_payload_are_limited_and_payload_renews_the_limit() -> None:
    transport, (ours, theirs) = Transport(), socket.socketpair()
    piece = bytes(ALLOWANCE // 4)
    with ours, theirs:
        for _ in range(4):
            theirs.sendall(piece)
            receive_all(transport, ours, len(piece))
        transport.refill()
        for _ in range(3):
            theirs.sendall(piece)
            receive_all(transport, ours, len(piece))
        theirs.sendall(piece + b"x")
        receive_all(transport, ours, len(piece))
        with pytest.raises(LimitReached, match="without content"):
            transport.receive_into(ours, bytearray(1))


def receive_all(transport: Transport, sock: socket.socket, count: int) -> None:
    while count:
        count -= transport.receive_into(sock, bytearray(count))


# --- the age of what is read -------------------------------------------------------------------


class Time:
    """What the clock of the transport says."""

    def __init__(self, instant: float) -> None:
        self.instant = instant


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time(100.0)
    monkeypatch.setattr(transport_module, "now", lambda: time.instant)
    return time


class OpenConnection:
    """A transport that reads without a deadline, and its peer."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.transport.begin(60.0)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.sock = self.transport.connect(*listener.getsockname())
            self.peer, _ = listener.accept()
        self.transport.reads_from(self.sock)
        self.transport.lift_deadline()

    def send(self, data: bytes) -> None:
        """Send ``data``, and wait until it is in the socket."""
        self.peer.sendall(data)
        assert select.select([self.sock], [], [], PATIENCE)[0]

    def receive(self, size: int = 100) -> tuple[bytes, float]:
        """What is read, and the instant after which it came in."""
        buffer = bytearray(size)
        count = self.transport.receive_into(self.sock, buffer)
        return bytes(buffer[:count]), self.transport.received_after

    def close(self) -> None:
        self.transport.cancel()
        self.sock.close()
        self.peer.close()


@pytest.fixture
def connection(time: Time) -> Iterator[OpenConnection]:
    made = OpenConnection()
    yield made
    made.close()


def test_bytes_count_from_the_last_instant_at_which_the_socket_was_empty(
    connection: OpenConnection, time: Time
) -> None:
    time.instant = 200.0
    connection.transport.note_if_empty(time.instant)
    connection.send(b"x")
    time.instant = 300.0
    assert connection.receive() == (b"x", 200.0)


def test_bytes_that_were_in_the_socket_stay_old_when_they_are_read_in_pieces(
    connection: OpenConnection, time: Time
) -> None:
    """However long each piece takes: the socket was never empty between them."""
    connection.send(b"xyz")
    for byte in (b"x", b"y", b"z"):
        time.instant += 50.0
        connection.transport.note_if_empty(time.instant)
        assert connection.receive(1) == (byte, 100.0)


def test_a_socket_that_was_read_to_its_end_is_empty_again(
    connection: OpenConnection, time: Time
) -> None:
    connection.send(b"x")
    assert connection.receive() == (b"x", 100.0)
    time.instant = 200.0
    connection.transport.note_if_empty(time.instant)
    assert connection.transport.received_after == 100.0, "what was read before is as old as before"
    connection.send(b"y")
    assert connection.receive() == (b"y", 200.0)


@pytest.mark.parametrize("noted", [None, 250.0], ids=["alone", "noted by another thread"])
def test_a_reader_that_waits_knows_since_when_the_socket_was_empty(
    connection: OpenConnection, time: Time, noted: float | None
) -> None:
    """A pause of the process may last from the beginning of the wait to the read."""
    results: list[tuple[bytes, float]] = []
    time.instant = 200.0
    reader = threading.Thread(target=lambda: results.append(connection.receive()))
    reader.start()
    until(lambda: connection.transport.empty_at == 200.0, "the reader to wait")
    if noted is not None:
        connection.transport.note_if_empty(noted)
    time.instant = 300.0
    connection.peer.send(b"x")
    reader.join(PATIENCE)
    assert results == [(b"x", noted or 200.0)]


def test_an_older_look_does_not_replace_a_newer_one(connection: OpenConnection, time: Time) -> None:
    """Two threads look at once; the one that took the time first notes it last."""
    transport = connection.transport

    class Poller:
        def poll(self, timeout: int | None = None) -> list[Any]:
            if timeout is None:
                connection.send(b"x")
            else:
                transport.note_if_empty(300.0)
            return []

    time.instant = 200.0
    transport._poller = Poller()  # type: ignore[assignment]  # what is used of it
    assert connection.receive() == (b"x", 300.0)


def test_bytes_that_tls_has_decrypted_before_are_as_old_as_what_was_read_with_them(
    connection: OpenConnection, time: Time
) -> None:
    """The socket is empty then, but that says nothing about their age."""

    class Decrypting:
        def __init__(self, sock: socket.socket) -> None:
            self._rest = b""
            self._sock = sock

        def pending(self) -> int:
            return len(self._rest)

        def gettimeout(self) -> None:
            return None

        def recv_into(self, buffer: Any) -> int:
            data = self._rest or self._sock.recv(100)
            taken, self._rest = data[: len(buffer)], data[len(buffer) :]
            buffer[: len(taken)] = taken
            return len(taken)

        def close(self) -> None:
            self._sock.close()

    connection.send(b"xy")
    connection.sock = Decrypting(connection.sock)  # type: ignore[assignment]  # what is used of it
    assert connection.receive(1) == (b"x", 100.0)
    time.instant = 200.0
    connection.transport.note_if_empty(time.instant)
    assert connection.receive(1) == (b"y", 100.0)


def test_a_socket_that_has_ended_is_not_empty(connection: OpenConnection) -> None:
    connection.peer.close()
    assert select.select([connection.sock], [], [], PATIENCE)[0]
    connection.transport.note_if_empty(200.0)
    assert connection.transport.empty_at == 100.0


def test_without_a_connection_nothing_is_noted(connection: OpenConnection) -> None:
    connection.transport.cancel()
    connection.transport.note_if_empty(200.0)
    assert connection.transport.empty_at == 100.0


# --- the age of events -------------------------------------------------------------------------


class OpenStream:
    """The stream of a `ScriptedServer` which sends nothing by itself."""

    def __init__(self, server: ScriptedServer, first: bytes = b"") -> None:
        server.on_stream = lambda connection: (
            connection.send(CHUNKED_SSE_HEAD + first),
            server.keep_stream(connection),
        )
        settings = resolve({}, get_url=server.get_url, sse_url=server.sse_url, identity="pod-a")
        self.client = SidecarClient(settings)
        self.stream: EventStream = self.client.open_stream()
        self.events: Iterator[StreamEvent] = iter(self.stream)
        assert self.client._stream is not None
        self.transport = self.client._stream.transport
        server.wait_streams()
        self.peer: Connection = server.streams[0]

    def send(self, data: bytes) -> None:
        """Send one chunk, and wait until it is in the socket."""
        self.peer.send(chunk(data))
        assert self.transport._socket is not None
        assert select.select([self.transport._socket], [], [], PATIENCE)[0]

    def close(self) -> None:
        self.client.cancel()
        with self.stream:
            pass
        self.client.close()


@pytest.fixture
def streams() -> Iterator[list[OpenStream]]:
    """Those that are to be closed at the end."""
    opened: list[OpenStream] = []
    yield opened
    for stream in opened:
        stream.close()


def open_stream(
    streams: list[OpenStream], server: ScriptedServer, first: bytes = b""
) -> OpenStream:
    streams.append(OpenStream(server, first))
    return streams[-1]


def read_in_background(stream: OpenStream) -> tuple[threading.Thread, list[StreamEvent]]:
    found: list[StreamEvent] = []
    thread = threading.Thread(target=lambda: found.append(next(stream.events)))
    thread.start()
    return thread, found


def test_an_event_that_came_with_the_head_counts_from_the_request(
    server: ScriptedServer, streams: list[OpenStream], time: Time
) -> None:
    stream = open_stream(streams, server, chunk(event("pod-b")))
    time.instant = 200.0
    assert next(stream.events) == (result("pod-b").decode(), 100.0)


def test_an_event_that_came_before_the_first_read_counts_from_the_request(
    server: ScriptedServer, streams: list[OpenStream], time: Time
) -> None:
    stream = open_stream(streams, server)
    time.instant = 200.0
    stream.send(event("pod-b"))
    time.instant = 300.0
    assert next(stream.events) == (result("pod-b").decode(), 100.0)


def test_an_event_counts_from_its_first_half(
    server: ScriptedServer, streams: list[OpenStream], time: Time
) -> None:
    stream = open_stream(streams, server)
    time.instant = 200.0
    reader, found = read_in_background(stream)
    until(lambda: stream.transport.empty_at == 200.0, "the reader to wait")
    time.instant = 300.0
    stream.peer.send(chunk(event("pod-b")[:10]))
    until(lambda: stream.transport.empty_at == 300.0, "the reader to wait for the second half")
    stream.peer.send(chunk(event("pod-b")[10:]))
    reader.join(PATIENCE)
    assert found == [(result("pod-b").decode(), 200.0)]
    time.instant = 400.0
    reader, found = read_in_background(stream)
    until(lambda: stream.transport.empty_at == 400.0, "the reader to wait for the next event")
    stream.peer.send(chunk(event("pod-c")))
    reader.join(PATIENCE)
    assert found == [(result("pod-c").decode(), 400.0)]


def test_a_backlog_of_events_that_is_read_in_several_pieces_is_old_to_its_last_event(
    server: ScriptedServer, streams: list[OpenStream], time: Time
) -> None:
    stream = open_stream(streams, server)
    events = [b"data: %s\n\n" % (letter * 10_000) for letter in (b"x", b"y", b"z")]
    stream.send(b"".join(events))
    for letter in "xyz":
        time.instant += 50.0
        stream.client._stream.transport.note_if_empty(time.instant)
        assert next(stream.events) == (letter * 10_000, 100.0)


def test_a_question_by_get_notes_that_the_stream_is_empty(
    server: ScriptedServer, streams: list[OpenStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So an event that comes after the question is newer than its answer."""
    stream = open_stream(streams, server)
    answer = stream.client.ask()
    stream.send(event("pod-b"))
    assert next(stream.events).received_after == answer.asked_at


def test_a_question_by_get_does_not_make_an_unread_event_new(
    server: ScriptedServer, streams: list[OpenStream]
) -> None:
    stream = open_stream(streams, server)
    before = stream.transport.empty_at
    stream.send(event("pod-b"))
    answer = stream.client.ask()
    assert next(stream.events).received_after == before < answer.asked_at
