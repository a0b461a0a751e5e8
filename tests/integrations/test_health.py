"""The health endpoints: their code depends on threads, never on leadership."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from elector_thread import Elector, Status
from elector_thread.integrations import health
from elector_thread.integrations._text import describe


class Reported:
    """Has the status that the test says."""

    def __init__(self, **changes: Any) -> None:
        elector = Elector(when_unconfigured="follow", identity="pod-a")
        self._status = elector.status()._replace(**changes)

    def status(self) -> Status:
        return self._status


def ask_wsgi(reported: Reported) -> tuple[int, dict[str, str], Any]:
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    started: list[Any] = []
    body = b"".join(health.wsgi(reported)(environ, lambda *args: started.extend(args)))
    return int(started[0].split()[0]), dict(started[1]), json.loads(body)


def ask_asgi(reported: Reported) -> tuple[int, dict[str, str], Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing to receive")

    asyncio.run(health.asgi(reported)({"type": "http"}, receive, send))
    start, body = sent
    headers = {name.decode().title(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, json.loads(body["body"])


@pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
@pytest.mark.parametrize("is_leader", [True, False])
def test_the_code_does_not_depend_on_leading(ask: Any, is_leader: bool) -> None:
    code, headers, body = ask(Reported(is_leader=is_leader))
    assert code == 200
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"
    assert body["is_leader"] is is_leader
    assert body["identity"] == "pod-a"


@pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
def test_dead_or_stuck_threads_are_503(ask: Any) -> None:
    code, _, body = ask(Reported(alive=False, is_leader=True))
    assert code == 503
    assert body["alive"] is False


def test_a_status_in_words_has_a_line_for_each_thing_known() -> None:
    known = Reported(leader="pod-a").status()
    assert "leader:   pod-a (this pod)" in describe(known).splitlines()
    assert not any(line.startswith("problem:") for line in describe(known).splitlines())
    unknown = Reported(leader=None, last_error="connection refused").status()
    assert describe(unknown).splitlines()[1:] == [
        "leader:   not known",
        "identity: pod-a",
        "problem:  connection refused",
    ]


def test_it_says_why_a_process_of_the_leader_pod_is_a_follower() -> None:
    line = "lock:     held by another process of this pod, which is the leader"
    for changes, shown in (
        ({"leader": "pod-a", "holds_lock": False}, True),
        ({"leader": "pod-a", "holds_lock": True}, False),
        ({"leader": "pod-b", "holds_lock": False}, False),
    ):
        lines = describe(Reported(**changes).status()).splitlines()
        assert (line in lines) is shown


def test_the_asgi_endpoint_speaks_http_alone() -> None:
    application: Any = health.asgi(Reported())
    with pytest.raises(ValueError, match="supports only http, got websocket"):
        asyncio.run(application({"type": "websocket"}, None, None))
