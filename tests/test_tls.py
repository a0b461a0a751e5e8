"""The same over TLS, for electors that are not on localhost."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from elector_thread import Elector, ElectorUnavailableError
from elector_thread._sidecar.calls import SidecarClient
from elector_thread._sidecar.events import READ_SIZE
from elector_thread._sidecar.failures import ExchangeFailed
from elector_thread.settings import resolve

from .polling import until
from .scripted import (
    PATIENCE,
    SSE_HEAD,
    Connection,
    ScriptedServer,
    event,
    result,
)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_server(authority: trustme.CA) -> Iterator[ScriptedServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    with ScriptedServer("pod-a", tls=context) as server:
        yield server


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(bundle))
    monkeypatch.setattr(
        "requests.adapters._preloaded_ssl_context",
        ssl.create_default_context(cafile=str(bundle)),
        raising=False,
    )


@pytest.mark.usefixtures("trusted")
def test_stream_and_get_and_a_prompt_stop(tls_server: ScriptedServer) -> None:
    elector = Elector(get_url=tls_server.get_url, sse_url=tls_server.sse_url, identity="pod-a")
    with elector:
        workers = elector._runtime.workers
        tls_server.wait_streams()
        began, ended = threading.Event(), threading.Event()
        elector.on_elected(began.set)
        elector.on_demoted(ended.set)
        assert began.wait(PATIENCE)
        tls_server.push("pod-b")
        assert ended.wait(PATIENCE)
        assert elector.stop()
        until(lambda: not any(worker.thread.is_alive() for worker in workers))


@pytest.mark.usefixtures("trusted")
def test_a_silent_server_is_given_up_over_tls(tls_server: ScriptedServer) -> None:
    tls_server.on_get = Connection.wait_gone
    elector = Elector(get_url=tls_server.get_url, request_timeout=0.5)
    with pytest.raises(ElectorUnavailableError, match="in time"):
        elector.refresh()


def test_nobody_listens_over_tls(tls_server: ScriptedServer) -> None:
    tls_server.close()
    with pytest.raises(ElectorUnavailableError, match="connection refused"):
        Elector(get_url=tls_server.get_url).refresh()


def test_an_unknown_authority_is_refused(tls_server: ScriptedServer) -> None:
    elector = Elector(get_url=tls_server.get_url)
    with pytest.raises(ElectorUnavailableError, match="certificate"):
        elector.refresh()


def test_stop_is_prompt_during_the_handshake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        elector = Elector(get_url=url, sse_url=url, request_timeout=40.0, grace_period=60.0)
        elector.start()
        workers = elector._runtime.workers
        with listener.accept()[0] as one, listener.accept()[0] as other:
            assert one.recv(1), "the client's hello"
            assert other.recv(1)
            assert elector.stop()
            until(lambda: not any(worker.thread.is_alive() for worker in workers))


@pytest.mark.usefixtures("trusted")
def test_events_of_one_tls_record_are_equally_old(tls_server: ScriptedServer) -> None:
    """The first one fills a read exactly. TLS holds the second one, decrypted, meanwhile."""
    first_event = b"data: " + b"x" * (READ_SIZE - 8) + b"\n\n"
    tls_server.on_stream = lambda connection: (
        connection.send(SSE_HEAD + b"\r\n"),
        tls_server.keep_stream(connection),
    )
    settings = resolve({}, get_url=tls_server.get_url, sse_url=tls_server.sse_url, identity="pod-a")
    client = SidecarClient(settings)
    with client.open_stream() as stream:
        events = iter(stream)
        tls_server.wait_streams()
        tls_server.send_to_streams(first_event + event("pod-c"))
        first = next(events)
        client.ask()  # notes that the socket is empty
        assert next(events) == (result("pod-c").decode(), first.received_after)
    client.close()


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_cancel_wakes_a_stream_over_tls(tls_server: ScriptedServer, version: bytes) -> None:
    tls_server.on_stream = lambda connection: (
        connection.send(
            b"HTTP/%s 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" % version + event("x")
        ),
        connection.wait_gone(),
    )
    settings = resolve({}, get_url=tls_server.get_url, sse_url=tls_server.sse_url, identity="pod-a")
    client = SidecarClient(settings)
    reading, ended = threading.Event(), threading.Event()

    def read() -> None:
        with client.open_stream() as stream, suppress(ExchangeFailed):
            for _ in stream:
                reading.set()
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    assert reading.wait(PATIENCE)
    client.cancel()
    assert ended.wait(PATIENCE)
