"""``verify="lease"``: leadership takes the sidecar's word and a Lease that names this pod."""

from __future__ import annotations

import logging
import threading

import pytest

from elector_thread import LeaderChange, Leadership, NotLeaderError, State
from elector_thread._state.clock import now

from .conftest import MakeElector
from .lease_api import LeaseApi, status
from .polling import until
from .scripted import PATIENCE, Connection, ScriptedServer, answer

HASTY = {"poll_interval": 0.1, "reconcile_interval": 0.2}
SHORT_GRACE = {**HASTY, "grace_period": 1.5, "request_timeout": 0.5}


@pytest.fixture
def api(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> LeaseApi:
    lease_api = LeaseApi(server)
    for name, value in lease_api.environ.items():
        monkeypatch.setenv(name, value)
    return lease_api


def test_named_and_verified_is_leader(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    api.elect("pod-a")
    elector = make_elector()
    seen: list[Leadership] = []
    elector.on_elected(seen.append)
    elector.start()
    assert elector.wait_until_leader(PATIENCE)
    until(lambda: seen)
    assert seen[0].fence == 1010
    seen[0].check()
    verification = elector.status().verification
    assert verification is not None
    assert (verification.holder, verification.ours, verification.problem) == ("pod-a", True, None)
    assert elector.status().as_dict()["verification"]["holder"] == "pod-a"
    elector.stop()
    with pytest.raises(NotLeaderError, match="leadership 1 is over"):
        seen[0].check()


def test_without_verification_nothing_of_it_is_contacted(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    elector = make_elector(verify="none").start()
    assert elector.wait_until_leader(PATIENCE)
    server.wait_gets(3)
    assert api.lease_requests == 0
    assert elector.status().verification is None


def test_named_but_not_verified_is_unknown(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    api.on_lease = lambda c: c.send(status(503))
    elector = make_elector(**HASTY).start()
    until(lambda: elector.status().verification.problem)
    assert elector.state is State.UNKNOWN
    assert not elector.wait_until_known(0.3)
    api.on_lease = None
    api.elect("pod-a")
    assert elector.wait_until_leader(PATIENCE)


def test_a_follower_never_reads_the_lease(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-b"
    api.elect("pod-b")
    elector = make_elector(**HASTY).start()
    assert elector.wait_until_known(PATIENCE)
    server.wait_gets(5)
    assert (elector.state, api.lease_requests) == (State.FOLLOWER, 0)


@pytest.mark.parametrize("found", ["another holder", "another pod of that name", "no Lease"])
def test_a_lease_that_does_not_name_us_ends_leadership_when_it_is_read(
    server: ScriptedServer,
    api: LeaseApi,
    make_elector: MakeElector,
    caplog: pytest.LogCaptureFixture,
    found: str,
) -> None:
    """A sidecar that is cut off goes on naming us."""
    caplog.set_level(logging.INFO, "elector_thread")
    server.leader = "pod-a"
    api.elect("pod-a")
    elector = make_elector(**HASTY)
    calls: list[str] = []
    elector.on_elected(lambda: calls.append("elected"))
    elector.on_demoted(lambda: calls.append("demoted"))
    elector.start()
    assert elector.wait_until_leader(PATIENCE)
    until(lambda: calls == ["elected"])
    if found == "another holder":
        api.elect("pod-b")
    elif found == "no Lease":
        api.elect(None)
    else:
        api.elect("pod-a", uid="uid-of-its-successor")
    until(lambda: not elector.is_leader)
    requests = api.lease_requests
    until(lambda: api.lease_requests > requests + 3, "more readings")
    assert not elector.is_leader
    assert elector.leader == ("pod-b" if found == "another holder" else None)
    assert elector.state is (State.FOLLOWER if found == "another holder" else State.UNKNOWN)
    until(lambda: calls == ["elected", "demoted"])
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 1, warnings
    assert "but the sidecar names this pod (pod-a)" in warnings[0]
    api.elect("pod-a")
    until(lambda: calls == ["elected", "demoted", "elected"])


def test_the_api_server_away_ends_leadership_after_the_grace_period(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    api.elect("pod-a")
    elector = make_elector(**SHORT_GRACE).start()
    assert elector.wait_until_leader(PATIENCE)
    api.on_lease = lambda c: c.send(status(500))
    requests = api.lease_requests
    until(lambda: api.lease_requests >= requests + 2)
    assert elector.is_leader, "the grace period continues"
    until(lambda: elector.state is State.UNKNOWN)
    api.on_lease = None
    assert elector.wait_until_leader(PATIENCE)


def test_a_new_term_that_names_us_is_a_new_leadership(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    api.elect("pod-a")
    elector = make_elector(**HASTY)
    fences: list[int | None] = []
    elector.on_elected(lambda leadership: fences.append(leadership.fence))
    elector.start()
    until(lambda: len(fences) == 1)
    api.elect("pod-a")
    until(lambda: len(fences) == 2)
    assert fences == [1010, 1020]
    assert elector.status().leadership == 2


def test_an_annotation_does_not_change_the_fence_of_a_term(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    api.elect("pod-a")
    assert api.lease is not None
    api.lease["metadata"]["uid"] = "annotated-term"
    elector = make_elector(**HASTY)
    fences: list[int | None] = []
    elector.on_elected(lambda leadership: fences.append(leadership.fence))
    elector.start()
    until(lambda: fences == [1010])
    api.lease["metadata"]["resourceVersion"] = "5000"
    assert elector.stop()
    elector.start()
    until(lambda: len(fences) == 2)
    assert fences == [1010, 1010]


def test_us_then_another_then_us_takes_a_new_reading(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    api.elect("pod-a")
    elector = make_elector(poll_interval=0.1, reconcile_interval=20.0)
    changes: list[LeaderChange] = []
    elector.on_leader_change(changes.append)
    elector.start()
    assert elector.wait_until_leader(PATIENCE)
    server.wait_streams()
    server.elect("pod-b")
    until(lambda: elector.leader == "pod-b")
    asked, release = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        asked.set()
        release.wait(PATIENCE)
        connection.send(status(503))

    api.on_lease = hold
    server.elect("pod-a")
    assert asked.wait(PATIENCE)
    assert not elector.is_leader
    release.set()
    api.on_lease = None
    api.elect("pod-a")
    assert elector.wait_until_leader(PATIENCE)


def test_forbidden_is_one_error_that_says_what_to_do_and_is_retried(
    server: ScriptedServer,
    api: LeaseApi,
    make_elector: MakeElector,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.leader = "pod-a"
    api.on_lease = lambda c: c.send(status(403))
    elector = make_elector(**HASTY).start()
    until(lambda: api.lease_requests >= 4)
    errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert len(errors) == 1
    assert "spec.leaderElection: true" in errors[0]
    assert elector.state is State.UNKNOWN
    api.on_lease = None  # the RoleBinding came late
    api.elect("pod-a")
    assert elector.wait_until_leader(PATIENCE)


@pytest.mark.parametrize(
    "bad",
    [
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        answer(b"<html>"),
        answer(b"[]"),
        answer(b"{}"),
        answer(b'{"spec": {"holderIdentity": "pod-a"}}'),
        answer(b"[" * 60_000),
        answer(b'{"metadata": {"uid": "u"}, "spec": {"holderIdentity": 3}}'),
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 30000000\r\n\r\n"
        + b" " * 2_000_000,
        status(429),
        status(401),
    ],
    ids=["redirect", "html", "list", "empty", "no uid", "nested", "number", "30 MB", "429", "401"],
)
def test_a_bad_answer_is_a_failed_reading(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector, bad: bytes
) -> None:
    server.leader = "pod-a"
    api.elect("pod-a")
    elector = make_elector(**HASTY).start()
    assert elector.wait_until_leader(PATIENCE)

    def answer_badly(connection: Connection) -> None:
        connection.send(bad)
        connection.shut()

    api.on_lease = answer_badly
    until(lambda: elector.status().verification.problem)
    assert elector.is_leader, "the grace period continues"


def test_a_version_that_is_not_decimal_yields_no_fence(
    server: ScriptedServer,
    api: LeaseApi,
    make_elector: MakeElector,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.leader = "pod-a"
    api.elect("pod-a")
    assert api.lease is not None
    api.lease["metadata"] |= {"resourceVersion": "0x10", "uid": "odd-term"}
    elector = make_elector(**HASTY)
    fences: list[object] = []
    elector.on_elected(lambda leadership: fences.append(leadership.fence))
    elector.start()
    until(lambda: fences == [None])
    until(lambda: api.lease_requests >= 3)
    assert [r.getMessage() for r in caplog.records if "resourceVersion" in r.getMessage()] == [
        "the Lease's resourceVersion is not a decimal number; leadership.fence is None"
    ]


def test_refresh_reads_both(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    api.elect("pod-a")
    assert make_elector().refresh().is_leader
    api.on_lease = Connection.reset
    status = make_elector().refresh()
    assert not status.is_leader
    assert status.verification is not None
    assert status.verification.problem


def test_a_lease_that_hangs_does_not_delay_the_sidecar_much(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    api.on_lease = Connection.wait_gone
    elector = make_elector(poll_interval=0.1, reconcile_interval=0.1, request_timeout=0.5)
    elector.start()
    until(lambda: api.lease_requests)
    began, answers = now(), elector.status().counts.answers
    until(lambda: elector.status().counts.answers >= answers + 3)
    assert now() - began < PATIENCE


def test_the_pod_is_read_once_a_term(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    api.elect("pod-a")
    elector = make_elector(**HASTY).start()
    assert elector.wait_until_leader(PATIENCE)
    until(lambda: api.lease_requests >= 4)
    assert api.pod_requests == 1
    api.elect("pod-a")
    until(lambda: api.pod_requests == 2)


def test_unconfigured_lead_needs_no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    from elector_thread import Elector

    with Elector(when_unconfigured="lead", verify="lease") as elector:
        assert elector.is_leader
        seen: list[Leadership] = []
        elector.on_elected(seen.append)
        until(lambda: seen)
        assert seen[0].fence is None


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({}, "KUBERNETES_SERVICE_HOST"),
        ({"KUBERNETES_SERVICE_HOST": "::1", "KUBERNETES_SERVICE_PORT": "443"}, "NAIS_APP_NAME"),
        (
            {
                "KUBERNETES_SERVICE_HOST": "::1",
                "KUBERNETES_SERVICE_PORT": "443",
                "NAIS_APP_NAME": "app",
                "NAIS_NAMESPACE": "team",
                "ELECTOR_THREAD_SERVICE_ACCOUNT": "/nowhere",
            },
            "token",
        ),
    ],
)
def test_what_is_missing_is_one_error_at_the_start(
    server: ScriptedServer,
    make_elector: MakeElector,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    environ: dict[str, str],
    problem: str,
) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    server.leader = "pod-a"
    elector = make_elector(verify="lease", **HASTY).start()
    errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert len(errors) == 1
    assert problem in errors[0]
    server.wait_gets(4)
    assert elector.state is State.UNKNOWN
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1
