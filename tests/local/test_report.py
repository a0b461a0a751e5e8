"""What replicas report, and that reporting never disturbs them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import threading
import time
import warnings
from collections.abc import Iterator
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from elector_thread import Elector, State
from elector_thread._runtime.process import Host, electors
from elector_thread._state import health
from elector_thread.local import LocalElector, SidecarServer, reporter
from elector_thread.local.disagreement import disagreement
from elector_thread.local.objects import ObjectStore
from elector_thread.local.replica import Replica
from elector_thread.local.reporter import Reporter, report_address

from ..polling import until
from ..scripted import PATIENCE, Connection, ScriptedServer, answer

FAST = {"poll_interval": 0.2, "reconcile_interval": 0.5, "grace_period": 5.0}


@pytest.fixture(autouse=True)
def reporting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As `import elector_thread` arranges it where ELECTOR_THREAD_REPORT_URL is set.

    The electors of earlier tests, which wait for the garbage collector, are not reported: a
    `FakeElector` among them counts as running.
    """
    earlier = electors()

    def electors_of_this_test() -> list[Host]:
        return [elector for elector in electors() if elector not in earlier]

    monkeypatch.setattr(health, "observers", [Reporter(electors_of_this_test).observe])
    yield
    until(lambda: reporters() == [], "the end of the reporting thread")


def replica(local: LocalElector, name: str) -> dict[str, object]:
    (found,) = (r for r in local.state()["replicas"] if r["name"] == name and r["alive"])
    return found


def reporters() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "elector-report"]


def test_off_unless_asked_for(local: LocalElector) -> None:
    with Elector(get_url=local.get_url, identity="pod-a"):
        assert reporters() == []


def test_every_change_is_reported_at_once(
    local: LocalElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter, "INTERVAL", 60.0)
    sidecar = local.add_replica("pod-a")
    for name, value in sidecar.environ.items():
        monkeypatch.setenv(name, value)
    with Elector(identity="pod-a", **FAST) as elector:
        until(lambda: replica(local, "pod-a")["says_leader"] == "pod-a", "the report: leader")
        local.elect("pod-b")
        until(lambda: replica(local, "pod-a")["says_leader"] == "pod-b", "the report: follower")
        assert len(reporters()) == 1
        assert elector.stop(timeout=PATIENCE)
    health.observers[0]("an event")  # else the thread would look only after its interval
    until(lambda: reporters() == [], "the end of the thread")


def test_its_silence_shows(local: LocalElector, monkeypatch: pytest.MonkeyPatch) -> None:
    sidecar = local.add_replica("pod-a")
    for name, value in sidecar.environ.items():
        monkeypatch.setenv(name, value)
    with Elector(identity="pod-a", **FAST):
        until(lambda: replica(local, "pod-a")["state"] == "leader", "the report")
    until(lambda: replica(local, "pod-a")["state"] == "silent", "silence")


def test_a_dead_address_disturbs_nothing(
    local: LocalElector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        monkeypatch.setenv("ELECTOR_THREAD_REPORT_URL", f"http://localhost:{port}/")
        local.elect("pod-a")
        with Elector(get_url=local.get_url, identity="pod-a", **FAST) as elector:
            assert elector.wait_until_leader(PATIENCE)
            status = elector.status()
            assert (status.counts.failures, status.last_error) == (0, None)
            assert elector.stop(timeout=PATIENCE)
    assert not [record for record in caplog.records if record.levelname != "INFO"]


def test_an_address_where_something_else_answers_disturbs_nothing(
    local: LocalElector,
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_REPORT_URL", server.get_url)
    local.elect("pod-a")
    with Elector(get_url=local.get_url, identity="pod-a", **FAST) as elector:
        server.wait_gets(1)
        local.elect("pod-b")
        server.wait_for(lambda: any("POST" in head for head in server.heads))
        server.wait_gets(1)
        assert elector.status().last_error is None
        assert elector.stop(timeout=PATIENCE)
    assert not [record for record in caplog.records if record.levelname != "INFO"]


def test_an_address_that_never_answers_does_not_hold_up_the_stop(
    local: LocalElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter, "TIMEOUT", 40.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(
            "ELECTOR_THREAD_REPORT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/"
        )
        local.elect("pod-a")
        elector = Elector(get_url=local.get_url, identity="pod-a", **FAST).start()
        assert elector.wait_until_leader(PATIENCE)
        with silent.accept()[0] as report:
            began = time.monotonic()
            assert elector.stop(timeout=None)
            assert time.monotonic() - began < PATIENCE
            report.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_an_expiry_that_a_callback_delays_is_reported(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    posts: list[float] = []

    def count(connection: Connection) -> None:
        posts.append(time.monotonic())
        connection.send(answer(b"{}"))

    with ScriptedServer() as page, LocalElector() as local:
        page.on_get = count
        monkeypatch.setenv("ELECTOR_THREAD_REPORT_URL", page.get_url)
        release = threading.Event()
        elector = Elector(
            get_url=local.get_url, identity="pod-a", poll_interval=0.1, reconcile_interval=0.1,
            grace_period=0.6, request_timeout=0.2,
        )  # fmt: skip
        elector.on_elected(lambda: release.wait(20))
        local.elect("pod-a")
        with elector:
            assert elector.wait_until_leader(PATIENCE)
            local.fault("refuse")
            until(lambda: elector.state is State.UNKNOWN, "the expiry")
            first = len(posts)
            until(lambda: len(posts) >= first + 2, "two more reports")
            release.set()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:4041/admin/report?key=x", ("localhost", 4041, "/admin/report?key=x")),
        ("http://127.0.0.1:1", ("127.0.0.1", 1, "/")),
        ("http://[::1]:1/", ("::1", 1, "/")),
        ("http://localhost/", ("localhost", 80, "/")),
        ("http://example.com/", None),
        ("http://10.0.0.1/x?key=s", None),
        ("https://localhost/", None),
        ("localhost:1", None),
        ("http://localhost:99999/", None),
        ("", None),
    ],
)
def test_reports_stay_on_this_machine(url: str, expected: object) -> None:
    assert report_address(url) == expected


class Running:
    """Stands in for an elector."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.running = True

    def status(self) -> Any:
        return SimpleNamespace(
            identity=self.identity, running=self.running, state=State.FOLLOWER, leader="pod-b"
        )


Page = tuple[ScriptedServer, SimpleQueue[Any]]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A server that takes reports, and the reports that it got."""
    reports: SimpleQueue[Any] = SimpleQueue()

    def take(connection: Connection) -> None:
        length = int(re.findall(r"(?i)content-length: (\d+)", connection.head)[0])
        body = connection.head.partition("\r\n\r\n")[2].encode()
        while len(body) < length:
            body += connection.sock.recv(4096)
        reports.put(json.loads(body))
        connection.send(answer(b""))

    with ScriptedServer() as server:
        server.on_get = take
        monkeypatch.setenv("ELECTOR_THREAD_REPORT_URL", server.get_url + "report?key=x")
        yield server, reports


def test_each_running_elector_is_reported_at_an_event_and_after_each_interval(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter, "INTERVAL", 0.3)
    server, reports = page
    a, b, stopped = Running("a"), Running("b"), Running("c")
    stopped.running = False
    reporting = Reporter(lambda: [a, b, stopped])
    reporting.observe("an event")
    expected = [
        {"identity": name, "state": "follower", "leader": "pod-b", "pid": os.getpid()}
        for name in ("a", "b")
    ]
    assert [reports.get(timeout=20) for _ in range(2)] == expected
    assert [reports.get(timeout=20) for _ in range(2)] == expected, "an interval later"
    assert server.heads[0].startswith("POST /report?key=x HTTP/1.1\r\n")
    assert len(reporters()) == 1
    a.running = b.running = False
    reporting.observe("stopped")
    until(lambda: reporters() == [], "the end of the thread")
    a.running = True
    reporting.observe("started again")
    assert reports.get(timeout=20) == expected[0]
    a.running = False
    until(lambda: reporters() == [], "the end of the thread")


def test_a_forked_child_reports_with_a_thread_of_its_own(
    page: Page,
) -> None:
    _, reports = page
    elector = Running("a")
    reporter = Reporter(lambda: [elector])
    reporter.observe("in the parent")
    reports.get(timeout=20)
    with warnings.catch_warnings():  # that a fork with threads may deadlock: that is the test
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        reporter.observe("in the child")
        time.sleep(60)
        os._exit(0)
    try:
        until(lambda: child in pids(reports), "a report of the child")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        elector.running = False
    until(lambda: reporters() == [], "the end of the thread")


def pids(reports: SimpleQueue[Any]) -> list[int]:
    """The processes that have reported since the last call."""
    return [reports.get()["pid"] for _ in range(reports.qsize())]


def test_without_an_address_no_thread_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ELECTOR_THREAD_REPORT_URL", raising=False)
    Reporter(lambda: [Running("a")]).observe("an event")
    assert reporters() == []


def make_replica() -> Replica:
    return Replica("pod-a", SidecarServer("pod-a", objects=ObjectStore()), "key")


def test_of_several_processes_the_one_that_leads_counts() -> None:
    one = make_replica()
    one.add_report({"state": "follower", "leader": "b", "pid": 1}, 10.0)
    one.add_report({"state": "leader", "leader": "a", "pid": 2}, 10.0)
    assert one.reported(11.0) == ("leader", "a")
    one.add_report({"state": "follower", "leader": "b", "pid": 1}, 14.0)
    assert one.reported(14.0) == ("follower", "b")
    assert one.as_dict(15.0)["last_report_age"] == 1.0
    assert one.reported(20.0) == ("silent", None)
    one.sidecar.close()


@pytest.mark.parametrize(
    ("leader", "claimants", "expected"),
    [
        ("a", [], None),
        ("a", ["a"], None),
        ("a", ["b"], ("b claims to be the leader; the elected leader is a", ["b"])),
        (None, ["b"], ("b claims to be the leader; no leader is elected", ["b"])),
        ("a", ["a", "b"], ("a and b claim to be the leader; the elected leader is a", ["b"])),
    ],
)
def test_disagreement(leader: str | None, claimants: list[str], expected: object) -> None:
    found = disagreement(leader, claimants)
    assert (found and (found["text"], found["replicas"])) == expected


def test_a_lasting_disagreement_is_shown_until_it_ends(local: LocalElector) -> None:
    local.add_replica("pod-a")
    local.add_replica("pod-b")
    cluster = local._cluster
    key = cluster._replicas["pod-b"].key
    view = {"state": "leader", "leader": "pod-b", "pid": 1}
    local._run(lambda: cluster.add_report(key, view))
    assert local.state()["disagreement"] is None  # news may still be on its way
    found = until(lambda: local.state()["disagreement"], "the disagreement")
    assert found == {
        "text": "pod-b claims to be the leader; the elected leader is pod-a",
        "replicas": ["pod-b"],
    }
    local.elect("pod-b")
    until(lambda: local.state()["disagreement"] is None, "its end")
