"""The answers are those that were recorded from the real sidecar, byte for byte."""

from __future__ import annotations

import re

import pytest

from elector_thread.local import LocalElector, cluster

from .golden import ANSWERS, RESULT
from .tools import GET, PATIENCE, SSE, Wire, get, stream

DATE = re.compile(rb"(?<=\r\nDate: )\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT(?=\r\n)")


@pytest.mark.parametrize(("sent", "expected", "end"), ANSWERS, ids=[str(a[0]) for a in ANSWERS])
def test_answers_as_the_sidecar_does(
    local: LocalElector,
    monkeypatch: pytest.MonkeyPatch,
    sent: bytes,
    expected: bytes,
    end: str,
) -> None:
    monkeypatch.setattr(cluster, "election_result", lambda _: RESULT)
    local.elect("pod-b")
    with Wire(local.port, sent) as wire:
        length = len(expected) + len("Mon, 23 Nov 2026 06:44:41 GMT") * expected.count(b"Date: X")
        length -= expected.count(b"Date: X")
        assert DATE.sub(b"X", wire.read_exactly(length)) == expected
        assert wire.end() == "closed" if end == "closed" else wire.is_quiet(0.05)


def test_before_the_first_result_both_say_nothing() -> None:
    with LocalElector() as fresh:
        status, headers, body = get(fresh.port)
        assert (status, body) == (b"HTTP/1.1 200 OK", b"{}")
        assert b"Content-Type: application/json\r\n" in headers
        with stream(fresh.port) as wire:
            assert wire.read_until(b"\n\n\r\n") == b"a\r\ndata: {}\n\n\r\n"


def test_one_event_at_connect_then_one_per_result_and_no_heartbeat(local: LocalElector) -> None:
    local.elect("pod-a")
    with stream(local.port) as wire:
        assert wire.event()["name"] == "pod-a"
        local.elect("pod-a")
        assert wire.event()["name"] == "pod-a"
        local.elect("pod-b")
        assert wire.event()["name"] == "pod-b"
        assert wire.is_quiet()


def test_a_request_in_pieces_is_one_request(local: LocalElector) -> None:
    local.elect("pod-a")
    with Wire(local.port) as wire:
        for at in range(0, len(GET), 7):
            wire.socket.sendall(GET[at : at + 7])
        assert wire.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")


def test_keep_alive_serves_many_requests_then_a_stream(local: LocalElector) -> None:
    local.elect("pod-a")
    with Wire(local.port, GET * 20 + SSE) as wire:
        for _ in range(20):
            wire.read_until(b'"}')
        assert b"text/event-stream" in wire.read_until(b"\r\n\r\n")
        assert wire.event()["name"] == "pod-a"


def test_endless_headers_end_the_connection(local: LocalElector) -> None:
    with Wire(local.port) as wire:
        wire.socket.settimeout(PATIENCE)
        try:
            for _ in range(64):
                wire.socket.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 65536)
        except ConnectionError:
            return
        assert wire.end() in ("closed", "reset")


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"], ids=str)
def test_what_is_not_http_is_refused(local: LocalElector, sent: bytes) -> None:
    with Wire(local.port, sent) as wire:
        assert wire.read_until(b"\r\n").startswith(b"HTTP/1.1 400 ")
        assert wire.end() == "closed"


def test_requests_behind_a_stream_are_never_answered(local: LocalElector) -> None:
    local.elect("pod-a")
    with stream(local.port) as wire:
        wire.event()
        wire.socket.sendall(GET)
        assert wire.is_quiet()
        local.elect("pod-b")
        assert wire.event()["name"] == "pod-b"


def test_only_loopback_listens(local: LocalElector) -> None:
    sidecar = local._cluster.plain
    assert sidecar._http.socket.getsockname()[0] == "127.0.0.1"
    assert sidecar.api._http.socket.getsockname()[0] == "127.0.0.1"
    assert local._admin_socket.getsockname()[0] == "127.0.0.1"
