"""One HTTP exchange at a time: bounded, cancellable, and with nothing but what is configured."""

from __future__ import annotations

import base64
import errno
import logging
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pytest

from elector_thread._sidecar import transport as transport_module
from elector_thread._sidecar.failures import ExchangeFailed
from elector_thread._sidecar.http import HttpClient
from elector_thread._state.clock import now

from .handlers import drips, floods, hangs, says
from .scripted import (
    CHUNKED_SSE_HEAD,
    JSON_HEAD,
    PATIENCE,
    SSE_HEAD,
    Connection,
    Handler,
    ScriptedServer,
    answer,
    chunk,
)

TIMEOUT = 1.0
LIMIT = 65536
LOOK_UP = "elector_thread._sidecar.transport.socket.getaddrinfo"


class MakeClient(Protocol):
    def __call__(self, url: str = ..., timeout: float = ...) -> HttpClient: ...


@pytest.fixture
def make_client(server: ScriptedServer) -> Iterator[MakeClient]:
    """Clients of `server`, closed at the end."""
    made: list[HttpClient] = []

    def make(url: str = server.get_url, timeout: float = TIMEOUT) -> HttpClient:
        made.append(HttpClient(url, "application/json", timeout))
        return made[-1]

    yield make
    for client in made:
        client.cancel()
        client.close()


@pytest.fixture
def client(make_client: MakeClient) -> HttpClient:
    return make_client()


def fetch(client: HttpClient) -> bytes:
    """One whole exchange; its body."""
    with client.get() as exchange:
        return exchange.read(LIMIT)


# --- connecting ------------------------------------------------------------------------------


def test_an_address_of_a_family_that_the_host_does_not_have_is_passed_over(
    server: ScriptedServer, client: HttpClient, monkeypatch: pytest.MonkeyPatch
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

    monkeypatch.setattr(LOOK_UP, both)
    monkeypatch.setattr("elector_thread._sidecar.transport.socket.socket", without_ipv6)
    assert fetch(client) == b"{}"


def test_a_name_is_looked_up(
    server: ScriptedServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = socket.getaddrinfo

    def know_it(host: str, port: int, **kwargs: Any) -> list[Any]:
        assert host == "elector.test"
        return look_up("127.0.0.1", port, **kwargs)

    monkeypatch.setattr(LOOK_UP, know_it)
    assert fetch(make_client(f"http://elector.test:{server.port}/")) == b"{}"


def test_a_name_that_resolves_to_nothing(server: ScriptedServer, make_client: MakeClient) -> None:
    with pytest.raises(ExchangeFailed, match="cannot be resolved"):
        fetch(make_client("http://nowhere.invalid:1/"))


def test_a_host_without_an_address(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOOK_UP, lambda *_, **__: [])
    with pytest.raises(ExchangeFailed):
        fetch(client)


def test_a_system_without_settings_for_keep_alive_is_fine(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, _ in transport_module.KEEPALIVE:
        monkeypatch.delattr(socket, name, raising=False)
    assert fetch(client) == b"{}"


def test_nobody_listens(server: ScriptedServer, client: HttpClient) -> None:
    server.close()
    with pytest.raises(ExchangeFailed, match="connection refused"):
        fetch(client)


# --- answers ---------------------------------------------------------------------------------

BAD_ANSWERS: dict[str, tuple[Handler, str]] = {
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
    server: ScriptedServer, client: HttpClient, handler: Handler, reason: str
) -> None:
    good, server.on_get = server.on_get, handler
    began = now()
    with pytest.raises(ExchangeFailed) as caught:
        fetch(client)
    assert reason in str(caught.value)
    assert now() - began < PATIENCE
    server.on_get = good
    assert fetch(client) == b"{}"


def test_a_flood_does_not_fill_the_memory(server: ScriptedServer, client: HttpClient) -> None:
    for name in ("30 MB", "endless body", "chunk of 2**40 bytes", "endless 1xx", "long headers"):
        server.on_get = BAD_ANSWERS[name][0]
        tracemalloc.start()
        with pytest.raises(ExchangeFailed):
            fetch(client)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000, name


def test_a_connection_is_kept(server: ScriptedServer, client: HttpClient) -> None:
    assert not client.reused
    for _ in range(20):
        fetch(client)
        assert client.reused
    assert (len(server.heads), server.connections) == (20, 1)


def test_a_connection_whose_body_was_not_read_is_closed(
    server: ScriptedServer, client: HttpClient
) -> None:
    with client.get() as exchange:
        assert exchange.status == 200
    assert not client.reused
    fetch(client)
    assert server.connections == 2


@pytest.mark.parametrize(
    "end", [b"Connection: close\r\n", b"Content-Length: 2\r\nConnection: close\r\n"], ids=repr
)
def test_a_connection_that_ends_with_its_answer_is_closed_by_us(
    server: ScriptedServer, client: HttpClient, end: bytes
) -> None:
    """The server waits for our end: a duplicate of the socket must not keep it open."""
    closed = threading.Event()

    def handle(connection: Connection) -> None:
        connection.send(JSON_HEAD + end + b"\r\n{}")
        connection.sock.shutdown(socket.SHUT_WR)
        connection.wait_gone()
        closed.set()

    server.on_get = handle
    assert fetch(client) == b"{}"
    assert closed.wait(PATIENCE)
    assert not client.reused


# --- what is sent, and where -------------------------------------------------------------------


def test_what_is_sent(server: ScriptedServer, client: HttpClient) -> None:
    fetch(client)
    head = server.heads[0].lower()
    assert head.startswith("get / http/1.1")
    assert "user-agent: elector-thread/" in head
    assert "accept: application/json" in head
    assert "accept-encoding: identity" in head
    assert "cookie" not in head
    assert "authorization" not in head


def test_only_what_is_configured_is_contacted(
    server: ScriptedServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Proxies, netrc and cookies: requests would heed them all."""
    with ScriptedServer() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login me password secret\n")
        monkeypatch.setenv("NETRC", str(netrc))
        client = make_client()
        server.on_get = lambda c: c.send(answer(b"{}", JSON_HEAD + b"Set-Cookie: a=b\r\n"))
        fetch(client)
        fetch(client)
        assert proxy.connections == 0
    assert "secret" not in "".join(server.heads)
    assert not any(word in head for head in server.heads for word in ("Cookie", "Authorization"))


def test_a_redirect_is_not_followed(server: ScriptedServer, client: HttpClient) -> None:
    with ScriptedServer("pod-evil") as elsewhere:
        server.on_get = says(
            b"HTTP/1.1 307 Away\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"
            % elsewhere.get_url.encode()
        )
        with client.get() as exchange:
            assert exchange.status == 307
        assert elsewhere.connections == 0


@pytest.mark.parametrize(
    ("user", "sent"),
    [
        ("user:secret", "user:secret"),
        ("u:s3cr%E2%82%ACt", "u:s3cr\u20act"),
        ("u:p%40ss", "u:p@ss"),
        ("token", "token:"),
        ("u:\u20ac", "u:\u20ac"),
    ],
)
def test_credentials_are_sent_as_utf8(
    server: ScriptedServer, make_client: MakeClient, user: str, sent: str
) -> None:
    fetch(make_client(f"http://{user}@127.0.0.1:{server.port}/"))
    encoded = base64.b64encode(sent.encode()).decode()
    assert f"Authorization: Basic {encoded}" in server.heads[0]


def test_urllib3_logs_nothing_of_our_exchanges(
    server: ScriptedServer, client: HttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Not the path with its query, and not a strange header at each attempt."""
    caplog.set_level(logging.DEBUG)
    server.on_get = says(answer(b"{}", JSON_HEAD + b"no header\r\n"))
    fetch(client)
    assert caplog.text == ""


def test_urllib3_still_logs_the_exchanges_of_others(
    server: ScriptedServer, client: HttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    fetch(client)
    logging.getLogger("urllib3.connectionpool").debug("somebody else's")
    assert "somebody else's" in caplog.text


# --- cancel ----------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [b"", JSON_HEAD, JSON_HEAD + b"Content-Length: 9\r\n\r\n"])
def test_cancel_wakes_a_blocked_read_and_refuses_later_exchanges(
    server: ScriptedServer, make_client: MakeClient, head: bytes
) -> None:
    asked = threading.Event()

    def handle(connection: Connection) -> None:
        asked.set()
        hangs(head)(connection)

    def read() -> None:
        with suppress(ExchangeFailed):  # a head that was cut off looks like a whole one
            fetch(client)

    server.on_get = handle
    client = make_client(timeout=60.0)
    thread = threading.Thread(target=read)
    thread.start()
    assert asked.wait(PATIENCE)
    assert not client.cancelled
    client.cancel()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "still blocked"
    assert client.cancelled
    client.cancel()
    with pytest.raises(ExchangeFailed, match="stopped"):
        fetch(client)


STREAMS = {
    "chunked": CHUNKED_SSE_HEAD,
    "close-delimited": SSE_HEAD + b"\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
}


@pytest.mark.parametrize("head", STREAMS.values(), ids=STREAMS)
def test_cancel_wakes_the_read_of_a_stream(
    server: ScriptedServer, make_client: MakeClient, head: bytes
) -> None:
    server.on_get = hangs(head + (chunk(b"x") if head == CHUNKED_SSE_HEAD else b"x"))
    reading, ended = threading.Event(), threading.Event()

    def read() -> None:
        with client.get() as exchange:
            exchange.keep_open()
            assert exchange.read1(10) == b"x"
            reading.set()
            with suppress(ExchangeFailed):
                exchange.read1(10)
        ended.set()

    client = make_client()
    threading.Thread(target=read, daemon=True).start()
    assert reading.wait(PATIENCE)
    client.cancel()
    assert ended.wait(PATIENCE)


def test_a_forked_child_closes_its_copies_and_leaves_the_connection_alone(
    server: ScriptedServer,
    make_client: MakeClient,
) -> None:
    client = make_client()
    fetch(client)
    sock = client.transport._socket
    switch = client.transport._switches[0]
    assert sock is not None
    copy = socket.socket(fileno=socket.dup(sock.fileno()))
    with copy:
        copy.settimeout(PATIENCE)
        client.transport.abandon()
        assert (sock.fileno(), switch.fileno()) == (-1, -1)
        copy.send(b"GET / HTTP/1.1\r\n\r\n")
        assert copy.recv(100), "the connection is still there"
    assert client.cancelled
