"""What replicas report, and that reporting never disturbs them."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from elector_thread.sidecar import Sidecar

from elector_thread import ConfigurationError, Elector
from elector_thread.local import LocalElector
from elector_thread.local.views import Discord, ReportError, Views, discord

from ..polling import until
from ..scripted import ScriptedServer

FAST = {"poll_interval": 0.2, "reconcile_interval": 0.5, "grace_period": 5.0}


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
    face = local.add_replica("pod-a")
    for name, value in face.environ.items():
        monkeypatch.setenv(name, value)
    with Elector(identity="pod-a", **FAST) as elector:
        until(lambda: replica(local, "pod-a")["state"] == "leader", "the report: leader")
        began = time.monotonic()
        local.elect("pod-b")
        until(lambda: replica(local, "pod-a")["state"] == "follower", "the report: follower")
        assert time.monotonic() - began < 0.6
        assert replica(local, "pod-a")["says_leader"] == "pod-b"
        assert len(reporters()) == 1
        assert elector.stop(timeout=2)
    assert reporters() == []


def test_its_silence_shows(local: LocalElector, monkeypatch: pytest.MonkeyPatch) -> None:
    face = local.add_replica("pod-a")
    for name, value in face.environ.items():
        monkeypatch.setenv(name, value)
    with Elector(identity="pod-a", **FAST):
        until(lambda: replica(local, "pod-a")["state"] == "leader", "the report")
    assert replica(local, "pod-a")["state"] == "leader"
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
            assert elector.wait_until_leader(5)
            status = elector.status()
            assert (status.counts.failures, status.last_error) == (0, None)
            assert elector.stop(timeout=2)
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
        assert elector.stop(timeout=2)
    assert not [record for record in caplog.records if record.levelname != "INFO"]


def test_an_address_that_never_answers_does_not_hold_up_the_stop(
    local: LocalElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(
            "ELECTOR_THREAD_REPORT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/"
        )
        local.elect("pod-a")
        elector = Elector(get_url=local.get_url, identity="pod-a", **FAST).start()
        assert elector.wait_until_leader(5)
        began = time.monotonic()
        assert elector.stop(timeout=2)
        assert time.monotonic() - began < 0.5


def test_an_expiry_that_a_callback_holds_up_is_told_once_not_over_and_over(
    local: LocalElector, monkeypatch: pytest.MonkeyPatch
) -> None:
    face = local.add_replica("pod-a")
    for name, value in face.environ.items():
        monkeypatch.setenv(name, value)
    posts: list[float] = []
    sent = Sidecar.report

    def count(self: Sidecar, told: bytes) -> None:
        posts.append(time.monotonic())
        sent(self, told)

    monkeypatch.setattr(Sidecar, "report", count)
    release = threading.Event()
    elector = Elector(
        identity="pod-a", poll_interval=0.1, reconcile_interval=0.1, grace_period=0.6,
        request_timeout=0.2,
    )  # fmt: skip
    elector.on_elected(lambda: release.wait(20))
    with elector:
        until(lambda: replica(local, "pod-a")["state"] == "leader", "the report: leader")
        local.fault("refuse", "pod-a")
        until(lambda: replica(local, "pod-a")["state"] == "unknown", "the report: unknown")
        told = len(posts)
        until(lambda: len(posts) > told, "the next report")
        assert posts[told] - posts[told - 1] > 0.8
        release.set()


@pytest.mark.parametrize(
    "url", ["http://example.com/", "https://localhost/", "localhost:1", "http://10.0.0.1/x?key=s"]
)
def test_reports_stay_on_this_machine(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("ELECTOR_THREAD_REPORT_URL", url)
    with pytest.raises(ConfigurationError, match="ELECTOR_THREAD_REPORT_URL: expected") as told:
        Elector(get_url="http://localhost:1/", identity="pod-a")
    assert "key" not in str(told.value)


def test_of_several_processes_the_one_that_leads_counts() -> None:
    views = Views()
    views.take({"state": "follower", "leader": "b", "pid": 1}, 10.0)
    views.take({"state": "leader", "leader": "a", "pid": 2}, 10.0)
    assert views.at(11.0) == ("leader", "a")
    views.take({"state": "follower", "leader": "b", "pid": 1}, 14.0)
    assert views.at(14.0) == ("follower", "b")
    assert views.age(15.0) == 1.0
    assert views.at(20.0) == ("silent", None)


def test_a_process_that_is_long_silent_is_forgotten() -> None:
    report = {"state": "follower", "leader": "b"}
    views, fresh = Views(), Views()
    views.take({**report, "pid": 1}, 10.0)
    for all_of_them in (views, fresh):
        all_of_them.take({**report, "pid": 2}, 40.5)
    assert views == fresh


@pytest.mark.parametrize("report", [[], None, "leader", 3])
def test_a_report_is_an_object(report: object) -> None:
    with pytest.raises(ReportError, match="expected a JSON object"):
        Views().take(report, 1.0)


def test_who_never_reported_is_no_liar() -> None:
    assert (Views().at(5.0), Views().age(5.0)) == ((None, None), None)


@pytest.mark.parametrize(
    ("truth", "claimants", "expected"),
    [
        ("a", [], None),
        ("a", ["a"], None),
        ("a", ["b"], Discord("b claims to lead; a was elected", ("b",))),
        (None, ["b"], Discord("b claims to lead; nobody is elected", ("b",))),
        ("a", ["a", "b"], Discord("2 claim to lead: a, b; a was elected", ("b",))),
    ],
)
def test_discord(truth: str | None, claimants: list[str], expected: Discord | None) -> None:
    assert discord(truth, claimants) == expected


def test_lasting_discord_is_told_and_its_end_too(local: LocalElector) -> None:
    local.add_replica("pod-a")
    local.add_replica("pod-b")
    cluster = local._cluster
    key = cluster._replicas["pod-b"].key
    view = {"state": "leader", "leader": "pod-b", "pid": 1}
    local._run(lambda: cluster.report(key, view))
    assert local.state()["discord"] is None  # news may still be on its way
    found = until(lambda: local.state()["discord"], "the discord")
    assert found == {"text": "pod-b claims to lead; pod-a was elected", "replicas": ["pod-b"]}
    local.elect("pod-b")
    until(lambda: local.state()["discord"] is None, "its end")
