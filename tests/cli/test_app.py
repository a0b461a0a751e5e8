"""``--app``: what the commands show of a running application."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from elector_thread import ElectorUnavailableError, Status, TaskStatus
from elector_thread.cli import app, main
from elector_thread.integrations import health
from elector_thread.testing import FakeElector
from tests.scripted import JSON_HEAD, Connection, ScriptedServer

WsgiApp = Callable[..., Any]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(application: WsgiApp) -> Iterator[str]:
    """The application on loopback; its address."""
    with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/elector"
        finally:
            server.shutdown()
            thread.join()


def page(body: bytes, content_type: str, status: str = "200 OK") -> WsgiApp:
    def application(_: Any, start_response: Any) -> list[bytes]:
        start_response(status, [("Content-Type", content_type)])
        return [body]

    return application


@pytest.fixture
def experienced() -> FakeElector:
    """It was the leader once, for ten seconds, and is again."""
    fake = FakeElector(leading=True, identity="pod-a")
    fake.advance(10)
    fake.demote()
    fake.elect()
    return fake


def test_status_shows_past_leaderships(
    experienced: FakeElector, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(health.wsgi(experienced)) as url:
        assert main(["status", "--app", url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["state:    leader", "leader:   pod-a (this pod)", "identity: pod-a"]
    first, second = (line for line in lines if line.startswith("history:"))
    assert first.startswith("history:  leadership 1 from 20")
    assert first.endswith("Z, 10 s, replaced")
    assert second.endswith("Z, 0 s, so far")


def test_status_shows_the_json_of_the_application(
    experienced: FakeElector, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(health.wsgi(experienced)) as url:
        assert main(["status", "--json", "--app", url]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [(one["number"], one["reason"]) for one in shown["history"]] == [
        (1, "replaced"),
        (2, None),
    ]


def doctor(url: str, capsys: pytest.CaptureFixture[str]) -> dict[str, list[dict[str, str]]]:
    """What doctor finds about the application, by check."""
    main(["doctor", "--json", "--app", url])
    found: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(capsys.readouterr().out)["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return found


def test_doctor_shows_past_leaderships(
    experienced: FakeElector, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(health.wsgi(experienced)) as url:
        found = doctor(url, capsys)
    assert [one["level"] for one in found["application"]] == ["ok"]
    assert "10 s, replaced" in found["history"][0]["message"]


class Reported:
    """A running application whose status the test says."""

    def __init__(self, **changes: Any) -> None:
        self._status = FakeElector(leading=True).status()._replace(**changes)

    def status(self) -> Status:
        return self._status


def test_doctor_finds_an_application_whose_threads_are_dead(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with served(health.wsgi(Reported(alive=False))) as url:
        [finding] = doctor(url, capsys)["application"]
    assert finding["level"] == "problem"
    assert "died or is stuck" in finding["message"]


FAILING = TaskStatus("poll", "waiting to restart", 3, 1.75e9, "ValueError")


def test_a_task_that_fails_again_and_again_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with served(health.wsgi(Reported(tasks=(FAILING,)))) as url:
        [finding] = doctor(url, capsys)["task"]
        assert main(["status", "--app", url]) == 0
    assert finding["level"] == "problem"
    assert finding["message"] == (
        "while_leader function poll has failed 3 times in this leadership; now: waiting to restart"
    )
    assert (
        "task:     poll: waiting to restart since 2025-06-15 15:06:40Z, failed 3 times, "
        "last with ValueError" in capsys.readouterr().out
    )


WRONG = {
    "another page": page(b"<html>", "text/html"),
    "other JSON": page(b"{}", "application/json"),
    "JSON that resembles it": page(b'{"alive": true, "history": [{}]}', "application/json"),
    "not JSON": page(b"{", "application/json"),
    "an error": page(b"{}", "application/json", "500 Internal Server Error"),
}


@pytest.mark.parametrize("application", WRONG.values(), ids=WRONG)
def test_doctor_says_that_an_address_is_not_the_health_view(
    application: WsgiApp, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(application) as url:
        [finding] = doctor(url, capsys)["application"]
    assert finding["level"] == "problem"
    assert finding["message"].startswith("expected the health view of elector-thread, found ")
    assert "--app" in finding["remedy"]


def test_nothing_listens(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_APP_URL", "http://127.0.0.1:9/elector")
    assert main(["status"]) == 2
    assert capsys.readouterr().err == (
        "elector-thread status: no answer from the application: connection refused\n"
    )


def test_a_wrong_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--app", "localhost:8000"]) == 2
    error = capsys.readouterr().err
    assert "--app: expected the URL of the health view, such as http" in error
    assert "got 'localhost:8000'" in error


def test_an_application_that_answers_byte_by_byte_is_given_up(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drip(connection: Connection) -> None:
        connection.send(JSON_HEAD + b"Content-Length: 100\r\n\r\n")
        for _ in range(100):
            if given_up.wait(0.05) or not connection.send(b" "):
                return

    server.on_get, given_up = drip, threading.Event()
    monkeypatch.setattr(app, "TIMEOUT", 0.1)
    with pytest.raises(
        ElectorUnavailableError, match="no answer from the application: no complete"
    ):
        app.ask_app(server.get_url, verbose=False)
    given_up.set()
