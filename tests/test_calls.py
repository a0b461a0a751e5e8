"""The calls to the sidecar: its answers, what is sent, and failures in words."""

from __future__ import annotations

import gzip
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from elector_thread._sidecar.calls import SidecarClient
from elector_thread._sidecar.failures import ExchangeFailed
from elector_thread._state.clock import now
from elector_thread.settings import resolve

from .handlers import floods, says
from .scripted import (
    JSON_HEAD,
    PATIENCE,
    Connection,
    Handler,
    ScriptedServer,
    answer,
    result,
)

TIMEOUT = 1.0


MakeClient = Callable[..., SidecarClient]


@pytest.fixture
def make_client(server: ScriptedServer) -> Iterator[MakeClient]:
    """Clients of `server`, closed at the end."""
    made: list[SidecarClient] = []

    def make(**settings: Any) -> SidecarClient:
        urls = {"get_url": server.get_url, "sse_url": server.sse_url}
        values = {"identity": "pod-a", "request_timeout": TIMEOUT, **urls, **settings}
        made.append(SidecarClient(resolve({}, **values)))
        return made[-1]

    yield make
    for client in made:
        client.cancel()
        client.close()


@pytest.fixture
def client(make_client: MakeClient) -> SidecarClient:
    return make_client()


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
    "endless redirect": (
        floods(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", b"x"),
        "HTTP 302",
    ),
    "cut short": (says(JSON_HEAD + b"Content-Length: 99\r\n\r\n{"), "cut short"),
}  # fmt: skip


@pytest.mark.parametrize(("handler", "reason"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_a_bad_answer_is_an_error_in_words_and_the_next_one_counts(
    server: ScriptedServer, client: SidecarClient, handler: Handler, reason: str
) -> None:
    good, server.on_get = server.on_get, handler
    began = now()
    with pytest.raises(ExchangeFailed) as caught:
        client.ask()
    assert reason in str(caught.value)
    assert now() - began < PATIENCE
    server.on_get, server.leader = good, "pod-b"
    assert client.ask().leader == "pod-b"


def test_an_answer_is_the_leader_and_the_instant_of_the_question(
    server: ScriptedServer, client: SidecarClient
) -> None:
    asked: list[float] = []
    server.leader = "pod-b"
    server.on_get = lambda c: (asked.append(now()), c.send(answer(result("pod-b"))))
    before = now()
    leader, asked_at = client.ask()
    assert leader == "pod-b"
    assert before <= asked_at <= asked[0]


def test_an_answer_without_a_name_names_no_leader(client: SidecarClient) -> None:
    assert client.ask().leader is None


def test_nobody_listens(server: ScriptedServer, client: SidecarClient) -> None:
    server.close()
    for call in (client.ask, client.open_stream):
        with pytest.raises(ExchangeFailed, match="connection refused"):
            call()


@pytest.mark.parametrize("farewell", [b"", b"Connection: close\r\n"], ids=["silently", "politely"])
def test_a_server_that_closes_after_each_answer_is_no_failure(
    server: ScriptedServer, client: SidecarClient, farewell: bytes
) -> None:
    server.on_get = says(answer(result("pod-b"), JSON_HEAD + farewell))
    assert [client.ask().leader for _ in range(20)] == ["pod-b"] * 20


def test_a_kept_connection_that_is_dropped_is_asked_again_once(
    server: ScriptedServer, client: SidecarClient
) -> None:
    assert client.ask().leader is None
    server.on_get = Connection.reset
    with pytest.raises(ExchangeFailed, match="connection lost"):
        client.ask()
    assert server.connections == 2


def test_a_new_connection_that_is_dropped_is_not_asked_again(
    server: ScriptedServer, client: SidecarClient
) -> None:
    server.on_get = Connection.reset
    with pytest.raises(ExchangeFailed, match="connection lost"):
        client.ask()
    assert server.connections == 1


def test_no_answer_is_left_over_for_the_next_question(
    server: ScriptedServer, client: SidecarClient
) -> None:
    """An answer and a half: what follows the first must not be taken for the second."""
    stale = b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(result("pod-stale"))
    server.on_get = lambda connection: connection.send(stale)
    with pytest.raises(ExchangeFailed, match="HTTP 103"):
        client.ask()
    server.on_get = lambda connection: connection.send(answer(result("pod-b")))
    assert client.ask().leader == "pod-b"


def test_what_is_sent(server: ScriptedServer, client: SidecarClient) -> None:
    client.ask()
    with client.open_stream():
        pass
    get, stream = (head.lower() for head in server.heads)
    for head in (get, stream):
        assert "user-agent: elector-thread/" in head
        assert "accept-encoding: identity" in head
        assert "cookie" not in head
        assert "authorization" not in head
    assert "accept: application/json" in get
    assert "accept: text/event-stream" in stream


def test_credentials_are_sent_and_never_shown(
    server: ScriptedServer, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"http://user:secret@127.0.0.1:{server.port}/"
    query = "?token=secret"
    client = make_client(get_url=url + query, sse_url=url + "sse" + query)
    client.ask()
    assert query in server.heads[0]
    assert "Authorization: Basic" in server.heads[0]
    server.on_get = Connection.reset
    errors = []
    for exchange in (client.ask, client.ask):
        with pytest.raises(ExchangeFailed) as caught:
            exchange()
        errors.append(caught.value)
    server.close()
    with pytest.raises(ExchangeFailed) as caught:
        client.open_stream()
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
    server: ScriptedServer, client: SidecarClient, header: bytes, seconds: float | None
) -> None:
    server.on_get = says(
        b"HTTP/1.1 503 Busy\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n" % header
    )
    with pytest.raises(ExchangeFailed) as caught:
        client.ask()
    assert caught.value.retry_after == seconds


# --- cancel ----------------------------------------------------------------------------------


@pytest.mark.parametrize("exchange", ["ask", "open_stream"])
def test_cancel_wakes_a_wait_for_headers_and_refuses_what_follows(
    server: ScriptedServer, make_client: MakeClient, exchange: str
) -> None:
    asked, failed = threading.Event(), threading.Event()

    def handler(connection: Connection) -> None:
        asked.set()
        connection.wait_gone()

    server.on_get = server.on_stream = handler
    client = make_client(request_timeout=20.0, grace_period=90.0)

    def wait() -> None:
        with pytest.raises(ExchangeFailed):
            getattr(client, exchange)()
        failed.set()

    threading.Thread(target=wait, daemon=True).start()
    assert asked.wait(PATIENCE)
    assert not client.cancelled
    client.cancel()
    assert failed.wait(PATIENCE), "still blocked"
    assert client.cancelled
    with pytest.raises(ExchangeFailed, match="stopped"):
        getattr(client, exchange)()
