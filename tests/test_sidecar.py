"""One exchange at a time against a server that misbehaves: an error in words, within bounds."""

from __future__ import annotations

import base64
import contextlib
import errno
import gzip
import logging
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from elector_thread.sidecar import Sidecar

from elector_thread import link
from elector_thread._sidecar.failures import ExchangeFailed, NoStream
from elector_thread._state.clock import now
from elector_thread.settings import Settings, resolve

from .scripted import (
    CHUNKED_SSE_HEAD,
    JSON_HEAD,
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


def settings_for(server: ScriptedServer, **more: object) -> Settings:
    urls = {"get_url": server.get_url, "sse_url": server.sse_url}
    return resolve({}, **{"identity": "pod-a", "request_timeout": TIMEOUT, **urls, **more})  # type: ignore[arg-type]  # shorthand


@pytest.fixture
def sidecar(server: ScriptedServer) -> Iterator[Sidecar]:
    made = Sidecar(settings_for(server))
    yield made
    made.abort()


def says(data: bytes) -> Handler:
    """Send ``data`` and close."""

    def handle(connection: Connection) -> None:
        connection.send(data)
        connection.shut()

    return handle


def floods(head: bytes, piece: bytes) -> Handler:
    """Send ``piece`` for as long as the peer takes it, and ten seconds at most."""

    def handle(connection: Connection) -> None:
        connection.sock.settimeout(10)
        connection.send(head)
        until = now() + 10
        block = piece * (65536 // len(piece) + 1)
        while connection.send(block) and now() < until:
            pass
        connection.shut()

    return handle


def hangs(data: bytes = b"") -> Handler:
    """Send ``data``, then nothing."""

    def handle(connection: Connection) -> None:
        connection.send(data)
        connection.wait_gone()

    return handle


def drips(data: bytes) -> Handler:
    """A byte now and then: each read is in time, the whole is not."""

    def handle(connection: Connection) -> None:
        pause = threading.Event()
        for index in range(len(data)):
            if not connection.send(data[index : index + 1]) or pause.wait(0.05):
                return

    return handle


# --- connecting ------------------------------------------------------------------------------


def test_an_address_of_a_family_that_the_host_does_not_have_is_passed_over(
    server: ScriptedServer, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel without IPv6 refuses the socket, yet /etc/hosts may say that localhost is ::1."""
    look_up, make = socket.getaddrinfo, socket.socket

    def without_ipv6(family: int = -1, *more: int, **kwargs: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "not supported")
        return make(family, *more, **kwargs)

    def both(host: str, port: int, **kwargs: Any) -> list[Any]:
        ipv4 = look_up(host, port, **kwargs)
        ipv6 = (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("::1", port, 0, 0))
        return [ipv6, *ipv4]

    monkeypatch.setattr("elector_thread.link.socket.getaddrinfo", both)
    monkeypatch.setattr("elector_thread.link.socket.socket", without_ipv6)
    server.leader = "pod-b"
    assert sidecar.ask()[0] == "pod-b"


def test_a_name_is_looked_up(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo

    def know_it(host: str, port: int, flags: int = 0, **kwargs: Any) -> list[Any]:
        if flags & socket.AI_NUMERICHOST:
            return look_up(host, port, flags=flags, **kwargs)
        assert host == "elector.test"
        return look_up("127.0.0.1", port, **kwargs)

    monkeypatch.setattr("elector_thread.link.socket.getaddrinfo", know_it)
    server.leader = "pod-b"
    url = f"http://elector.test:{server.port}/"
    assert Sidecar(settings_for(server, get_url=url, sse_url=None)).ask()[0] == "pod-b"


def test_a_system_without_settings_for_keep_alive_is_fine(
    server: ScriptedServer, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, _ in link.KEEPALIVE:
        monkeypatch.delattr(socket, name, raising=False)
    server.leader = "pod-b"
    assert sidecar.ask()[0] == "pod-b"


def test_nothing_is_looked_up_for_an_exchange_that_was_cut(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = threading.Event()
    look_up = socket.getaddrinfo

    def slow(host: str, port: int, flags: int = 0, **kwargs: Any) -> list[Any]:
        if flags & socket.AI_NUMERICHOST:
            return look_up(host, port, flags=flags, **kwargs)
        found.wait(5)
        return look_up("127.0.0.1", port, **kwargs)

    monkeypatch.setattr("elector_thread.link.socket.getaddrinfo", slow)
    cut = link.Link()
    cut.cut()
    with pytest.raises(link.LimitReached, match="stopped"):
        cut.connect("elector.test", server.port)
    found.set()
    assert server.connections == 0


def test_an_exchange_whose_time_is_over_reads_no_further() -> None:
    late = link.Link()
    assert late.remaining() is None
    late.arm(0.0)
    with pytest.raises(TimeoutError, match="in time"):
        late.remaining()


def test_where_nothing_was_answered_nothing_is_unread() -> None:
    assert link.Link().unread() == b""


# --- GET -----------------------------------------------------------------------------------

BAD_ANSWERS: dict[str, tuple[Handler, str]] = {
    "not JSON": (says(answer(b"pod-b")), 'expected JSON, got "pod-b"'),
    "wrong types": (says(answer(b'{"name":7}')), "expected {"),
    "deep nesting": (says(answer(b"[" * 60000)), "nested too deeply"),
    "HTML with 200": (
        says(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\n<html"),
        'expected application/json, got "text/html"',
    ),
    "no content type": (
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
        'expected application/json, got "no content type"',
    ),
    "500": (says(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), "HTTP 500"),
    "204": (says(b"HTTP/1.1 204 No Content\r\n\r\n"), "HTTP 204"),
    "404": (says(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), "HTTP 404"),
    "redirect": (
        says(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
        "HTTP 302",
    ),
    "early hints and no more": (says(b"HTTP/1.1 103 Early Hints\r\n\r\n"), "HTTP 103"),
    "compressed": (
        says(answer(gzip.compress(b"{}"), JSON_HEAD + b"Content-Encoding: gzip\r\n")),
        'no content encoding, got "gzip"',
    ),
    "30 MB": (
        floods(JSON_HEAD + b"Content-Length: 31457280\r\n\r\n", b"x"),
        "at most 65536 bytes",
    ),
    "endless body": (floods(JSON_HEAD + b"\r\n", b"x"), "at most 65536 bytes"),
    "chunk of 2**40 bytes": (
        floods(JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n10000000000\r\n", b"x"),
        "at most 65536 bytes",
    ),
    "endless chunk extension": (
        floods(JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;", b"x"),
        "not understood as HTTP",
    ),
    "endless trailers": (
        floods(JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"),
        "without content",
    ),
    "endless header line": (floods(b"HTTP/1.1 200 OK\r\nX: ", b"x"), "not understood as HTTP"),
    "endless headers": (floods(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), "not understood as HTTP"),
    "long headers": (
        floods(b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 60000 + b"\r\n"),
        "without content",
    ),
    "endless 1xx": (floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "without content"),
    "endless redirect": (
        floods(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", b"x"),
        "HTTP 302",
    ),
    "not HTTP": (says(b"SSH-2.0-OpenSSH\r\n"), "not understood as HTTP"),
    "closed at once": (says(b""), "connection lost"),
    "reset": (Connection.reset, "connection lost"),
    "cut short": (says(JSON_HEAD + b"Content-Length: 99\r\n\r\n{"), "cut short"),
    "silent": (hangs(), "no complete answer in time"),
    "silent after the headers": (
        hangs(JSON_HEAD + b"Content-Length: 9\r\n\r\n"),
        "no complete answer in time",
    ),
    "dripping headers": (drips(answer(b"{}")), "no complete answer in time"),
    "dripping body": (
        lambda c: (c.send(JSON_HEAD + b"Content-Length: 99\r\n\r\n"), drips(b" " * 99)(c)),
        "no complete answer in time",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("handler", "reason"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_a_bad_answer_is_an_error_in_words_and_the_next_one_counts(
    server: ScriptedServer, sidecar: Sidecar, handler: Handler, reason: str
) -> None:
    good, server.on_get = server.on_get, handler
    began = now()
    with pytest.raises(ExchangeFailed) as caught:
        sidecar.ask()
    assert reason in str(caught.value)
    assert now() - began < 4 * TIMEOUT
    server.on_get, server.leader = good, "pod-b"
    assert sidecar.ask()[0] == "pod-b"


def test_a_flood_does_not_fill_the_memory(server: ScriptedServer, sidecar: Sidecar) -> None:
    for name in ("30 MB", "endless body", "chunk of 2**40 bytes", "endless 1xx", "long headers"):
        server.on_get = BAD_ANSWERS[name][0]
        tracemalloc.start()
        with pytest.raises(ExchangeFailed):
            sidecar.ask()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000, name


def test_nobody_listens(server: ScriptedServer) -> None:
    server.close()
    with pytest.raises(ExchangeFailed, match="connection refused"):
        Sidecar(settings_for(server)).ask()
    with pytest.raises(ExchangeFailed, match="connection refused"):
        Sidecar(settings_for(server)).open_stream()


def test_a_name_that_resolves_to_nothing() -> None:
    settings = resolve({}, get_url="http://nowhere.invalid:1/", identity="pod-a")
    with pytest.raises(ExchangeFailed, match="cannot be resolved"):
        Sidecar(settings).ask()


def test_a_connection_is_kept(server: ScriptedServer, sidecar: Sidecar) -> None:
    for _ in range(20):
        sidecar.ask()
    assert (server.gets, server.connections) == (20, 1)


@pytest.mark.parametrize("farewell", [b"", b"Connection: close\r\n"], ids=["silently", "politely"])
def test_a_server_that_closes_after_each_answer_is_no_failure(
    server: ScriptedServer, sidecar: Sidecar, farewell: bytes
) -> None:
    server.on_get = says(answer(result("pod-b"), JSON_HEAD + farewell))
    assert [sidecar.ask()[0] for _ in range(20)] == ["pod-b"] * 20


def test_a_kept_connection_that_is_dropped_is_asked_again_once(
    server: ScriptedServer, sidecar: Sidecar
) -> None:
    assert sidecar.ask()[0] is None
    server.on_get = Connection.reset
    with pytest.raises(ExchangeFailed, match="connection lost"):
        sidecar.ask()
    assert server.connections == 2


def test_no_answer_is_left_over_for_the_next_question(
    server: ScriptedServer, sidecar: Sidecar
) -> None:
    """An answer and a half: what follows the first must not be taken for the second."""
    stale = b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(result("pod-stale"))
    server.on_get = lambda connection: connection.send(stale)
    with pytest.raises(ExchangeFailed, match="HTTP 103"):
        sidecar.ask()
    server.on_get = lambda connection: connection.send(answer(result("pod-b")))
    assert sidecar.ask()[0] == "pod-b"


def test_what_is_sent(server: ScriptedServer, sidecar: Sidecar) -> None:
    sidecar.ask()
    with sidecar.open_stream():
        pass
    get, stream = (head.lower() for head in server.heads)
    for head in (get, stream):
        assert "user-agent: elector-thread/" in head
        assert "accept-encoding: identity" in head
        assert "cookie" not in head
        assert "authorization" not in head
    assert "accept: application/json" in get
    assert "accept: text/event-stream" in stream


def test_only_what_is_configured_is_contacted(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """Proxies, netrc and cookies: requests would heed them all."""
    with ScriptedServer() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        netrc = f"{tmp_path}/netrc"
        with open(netrc, "w") as file:  # noqa: PTH123 - tmp_path is a path already
            file.write("machine 127.0.0.1 login me password secret\n")
        monkeypatch.setenv("NETRC", netrc)
        sidecar = Sidecar(settings_for(server))
        server.on_get = lambda c: c.send(answer(b"{}", JSON_HEAD + b"Set-Cookie: a=b\r\n"))
        sidecar.ask()
        sidecar.ask()
        assert proxy.connections == 0
    assert "secret" not in "".join(server.heads)
    assert not any(word in head for head in server.heads for word in ("Cookie", "Authorization"))


def test_a_redirect_is_not_followed(server: ScriptedServer, sidecar: Sidecar) -> None:
    with ScriptedServer("pod-evil") as elsewhere:
        server.on_get = says(
            b"HTTP/1.1 307 Away\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"
            % elsewhere.get_url.encode()
        )
        with pytest.raises(ExchangeFailed, match="HTTP 307"):
            sidecar.ask()
        assert elsewhere.connections == 0


def test_credentials_are_sent_and_never_shown(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"http://user:secret@127.0.0.1:{server.port}/"
    query = "?token=secret"
    sidecar = Sidecar(settings_for(server, get_url=url + query, sse_url=url + "sse" + query))
    sidecar.ask()
    assert query in server.heads[0]
    assert "Authorization: Basic" in server.heads[0]
    server.on_get = Connection.reset
    errors = []
    for exchange in (sidecar.ask, sidecar.ask):
        with pytest.raises(ExchangeFailed) as caught:
            exchange()
        errors.append(caught.value)
    server.close()
    with pytest.raises(ExchangeFailed) as caught:
        sidecar.open_stream()
    for error in (*errors, caught.value):
        assert error.__cause__ is None
        assert error.__context__ is None
        assert "secret" not in repr(error)
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(b"7", 7.0), (b"0", 0.0), (b"Fri, 31 Dec 1999 23:59:59 GMT", None), (b"-1", None)],
)
def test_retry_after_is_passed_on(
    server: ScriptedServer, sidecar: Sidecar, header: bytes, seconds: float | None
) -> None:
    server.on_get = says(
        b"HTTP/1.1 503 Busy\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n" % header
    )
    with pytest.raises(ExchangeFailed) as caught:
        sidecar.ask()
    assert caught.value.retry_after == seconds


# --- the stream ------------------------------------------------------------------------------

NO_STREAMS: dict[str, tuple[bytes, str]] = {
    "JSON, as from an elector without /sse": (answer(b"{}"), "expected text/event-stream"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", "HTTP 204"),
    "404": (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", "HTTP 404"),
    "503": (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "HTTP 503"),
    "redirect": (b"HTTP/1.1 301 M\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "HTTP 301"),
}


@pytest.mark.parametrize(("reply", "reason"), NO_STREAMS.values(), ids=NO_STREAMS)
def test_anything_but_an_event_stream_is_none(
    server: ScriptedServer, sidecar: Sidecar, reply: bytes, reason: str
) -> None:
    server.on_stream = says(reply)
    with pytest.raises(NoStream, match=reason):
        sidecar.open_stream()


def stream_of(
    sidecar: Sidecar, server: ScriptedServer, handler: Handler
) -> tuple[list[list[str]], str | None]:
    server.on_stream = handler
    batches: list[list[str]] = []
    with sidecar.open_stream() as stream:
        try:
            batches.extend(stream)
        except ExchangeFailed as failure:
            return batches, str(failure)
    return batches, None


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
    server: ScriptedServer, sidecar: Sidecar, head: bytes, frame: Callable[[bytes], bytes]
) -> None:
    delivered = threading.Event()

    def handler(connection: Connection) -> None:
        for name in ("pod-a", "pod-b"):
            connection.send((head if name == "pod-a" else b"") + frame(event(name)))
            assert delivered.wait(5), "the event was withheld"
            delivered.clear()
        connection.shut()

    server.on_stream = handler
    seen = []
    with sidecar.open_stream() as stream:
        try:
            for batch in stream:
                seen += batch
                delivered.set()
        except ExchangeFailed:
            assert head == CHUNKED_SSE_HEAD  # the others end like this as a matter of course
    assert seen == [result("pod-a").decode(), result("pod-b").decode()]


@pytest.mark.parametrize(("head", "frame"), FRAMINGS.values(), ids=FRAMINGS)
def test_a_stream_in_single_bytes(
    server: ScriptedServer, sidecar: Sidecar, head: bytes, frame: Callable[[bytes], bytes]
) -> None:
    wire = head + b"".join(frame(bytes([byte])) for byte in event("pod-b"))

    def handler(connection: Connection) -> None:
        for index in range(len(wire)):
            connection.send(wire[index : index + 1])
        connection.shut()

    batches, _ = stream_of(sidecar, server, handler)
    assert batches == [[result("pod-b").decode()]]


def test_events_that_come_together_in_a_chunk_each_are_one_batch(
    server: ScriptedServer, sidecar: Sidecar
) -> None:
    """As the sidecar frames them. What follows the last whole one does not hold it back."""
    together = b"".join(chunk(event(name)) for name in ("pod-a", "pod-b", "pod-a"))
    begun = chunk(b"data: never finished")
    batches, _ = stream_of(sidecar, server, says(CHUNKED_SSE_HEAD + together + begun))
    assert batches == [[result(name).decode() for name in ("pod-a", "pod-b", "pod-a")]]


def test_an_event_that_is_no_plain_one_behind_it_does_not_hold_an_event_back(
    server: ScriptedServer, sidecar: Sidecar
) -> None:
    delivered = threading.Event()

    def handler(connection: Connection) -> None:
        connection.send(CHUNKED_SSE_HEAD + chunk(event("pod-a")) + chunk(b": comment\n\n"))
        assert delivered.wait(5), "the event was withheld"
        connection.shut()

    server.on_stream = handler
    with sidecar.open_stream() as stream:
        assert next(iter(stream)) == [result("pod-a").decode()]
        delivered.set()


def test_an_encoded_stream_is_none(server: ScriptedServer, sidecar: Sidecar) -> None:
    server.on_stream = says(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n"
    )
    with pytest.raises(NoStream, match="content encoding"):
        sidecar.open_stream()


@pytest.mark.parametrize(
    ("user", "sent"),
    [
        ("u:s3cr%E2%82%ACt", "u:s3cr\u20act"),
        ("u:p%40ss", "u:p@ss"),
        ("token", "token:"),
        ("u:\u20ac", "u:\u20ac"),
    ],
)
def test_credentials_are_sent_as_utf8(server: ScriptedServer, user: str, sent: str) -> None:
    sidecar = Sidecar(settings_for(server, get_url=f"http://{user}@127.0.0.1:{server.port}/"))
    heads: list[str] = []

    def note(connection: Connection) -> None:
        heads.append(connection.head)
        connection.send(answer(result("pod-a")))

    server.on_get = note
    sidecar.ask()
    sidecar.abort()
    assert f"Authorization: Basic {base64.b64encode(sent.encode()).decode()}" in heads[0]


def test_events_that_come_together_are_one_batch(server: ScriptedServer, sidecar: Sidecar) -> None:
    together = chunk(event("pod-a") + b"event: other\ndata: x\n\n" + event("pod-b"))
    batches, _ = stream_of(sidecar, server, says(CHUNKED_SSE_HEAD + together + b"0\r\n\r\n"))
    assert batches == [[result("pod-a").decode(), result("pod-b").decode()]]


@pytest.mark.parametrize("rest", [b"data: {", b"data: x\ndata: y"], ids=repr)
def test_an_event_before_half_of_another_is_delivered(
    server: ScriptedServer, sidecar: Sidecar, rest: bytes
) -> None:
    cut_off = says(SSE_HEAD + b"\r\n" + event("pod-a") + rest)
    batches, _ = stream_of(sidecar, server, cut_off)
    assert batches == [[result("pod-a").decode()]]


def test_an_event_before_a_broken_chunk_is_delivered(
    server: ScriptedServer, sidecar: Sidecar
) -> None:
    """The chunk that is cut off holds a whole event, which looks as if it belonged to a batch."""
    cut_off = says(CHUNKED_SSE_HEAD + chunk(event("pod-a")) + b"fff\r\n" + event("pod-b"))
    batches, failure = stream_of(sidecar, server, cut_off)
    assert batches[0][0] == result("pod-a").decode()
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
    server: ScriptedServer, sidecar: Sidecar, handler: Handler, reason: str | None
) -> None:
    _, failure = stream_of(sidecar, server, handler)
    if reason is None:
        assert failure is None
    else:
        assert failure is not None
        assert reason in failure


def test_a_stream_that_never_begins_is_given_up(server: ScriptedServer, sidecar: Sidecar) -> None:
    server.on_stream = hangs()
    with pytest.raises(ExchangeFailed, match="in time"):
        sidecar.open_stream()


# --- abort ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("head", "_"), FRAMINGS.values(), ids=FRAMINGS)
def test_abort_wakes_a_blocked_stream(
    server: ScriptedServer, sidecar: Sidecar, head: bytes, _: object
) -> None:
    reading, ended = threading.Event(), threading.Event()
    server.on_stream = hangs(head)

    def read() -> None:
        with sidecar.open_stream() as stream:
            reading.set()
            with contextlib.suppress(ExchangeFailed):
                list(stream)
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    assert reading.wait(5)
    sidecar.abort()
    assert ended.wait(5)


def test_a_header_that_is_none_is_not_told_at_every_try(
    server: ScriptedServer, sidecar: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    strange = JSON_HEAD + b"no header\r\n"
    server.on_get = lambda connection: (
        connection.send(answer(result("pod-a"), head=strange)),
        connection.shut(),
    )
    assert sidecar.ask()[0] == "pod-a"
    assert caplog.text == ""


def test_abort_leaves_unread_what_is_still_in_store(
    server: ScriptedServer, sidecar: Sidecar
) -> None:
    sent = threading.Event()
    several = b"".join(chunk(b"data: " + b"x" * 1000 + b"\n\n") for _ in range(60))

    def flood(connection: Connection) -> None:
        connection.send(CHUNKED_SSE_HEAD + several)
        sent.set()
        connection.wait_gone()

    server.on_stream = flood
    got: list[str] = []
    with sidecar.open_stream() as stream:
        assert sent.wait(5)
        sidecar.abort()
        with contextlib.suppress(ExchangeFailed):
            for batch in stream:
                got += batch
    assert len(got) < 60


@pytest.mark.parametrize("exchange", ["ask", "open_stream"])
def test_abort_wakes_a_wait_for_headers_and_refuses_what_follows(
    server: ScriptedServer, exchange: str
) -> None:
    asked, failed = threading.Event(), threading.Event()

    def handler(connection: Connection) -> None:
        asked.set()
        connection.wait_gone()

    server.on_get = server.on_stream = handler
    sidecar = Sidecar(settings_for(server, request_timeout=20.0, grace_period=90.0))

    def wait() -> None:
        with pytest.raises(ExchangeFailed):
            getattr(sidecar, exchange)()
        failed.set()

    threading.Thread(target=wait, daemon=True).start()
    assert asked.wait(5)
    assert not sidecar.aborted
    sidecar.abort()
    assert failed.wait(5), "still blocked"
    assert sidecar.aborted
    with pytest.raises(ExchangeFailed, match="stopped"):
        getattr(sidecar, exchange)()
