"""``verify="lease"``: leadership takes the sidecar's word and a Lease that names this pod."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from itertools import cycle, pairwise
from pathlib import Path

import pytest
import trustme

from elector_thread import LeaderChange, Leadership, NotLeaderError, State
from elector_thread._state.clock import now
from elector_thread._state.model import Input, Snapshot
from elector_thread._state.rules import advance

from .conftest import MakeElector
from .forks.children import Child, client_inodes, in_child, own_socket_inodes
from .lease_api import LEASE_PATH, LeaseApi, status
from .polling import until
from .processes import run_python
from .scripted import PATIENCE, Connection, ScriptedServer, answer, result

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


def test_the_api_server_away_does_not_end_leadership_at_once(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    api.elect("pod-a")
    elector = make_elector(**HASTY).start()
    assert elector.wait_until_leader(PATIENCE)
    api.on_lease = lambda c: c.send(status(500))
    requests = api.lease_requests
    until(lambda: api.lease_requests >= requests + 3)
    assert elector.is_leader, "the grace period continues"


def test_the_api_server_away_ends_leadership_after_the_grace_period(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    api.elect("pod-a")
    elector = make_elector(**SHORT_GRACE).start()
    assert elector.wait_until_leader(PATIENCE)
    api.on_lease = lambda c: c.send(status(500))
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
    answers = elector.status().counts.answers
    until(lambda: elector.status().counts.answers >= answers + 2)


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


# --- threads, forks and signals ------------------------------------------------------------------


class Holding:
    """A handler that says when it was asked, and answers when it is let go."""

    def __init__(self, then: Callable[[Connection], object]) -> None:
        self.asked, self.let_go = threading.Event(), threading.Event()
        self._then = then

    def __call__(self, connection: Connection) -> None:
        self.asked.set()
        assert self.let_go.wait(PATIENCE)
        self._then(connection)


class InThread:
    """A call in a thread of its own."""

    def __init__(self, fn: Callable[[], object]) -> None:
        self.done = threading.Event()
        self._fn = fn
        self._found: object = None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        self._found = self._fn()
        self.done.set()

    def result(self) -> object:
        assert self.done.wait(PATIENCE)
        return self._found


def test_nothing_is_announced_before_the_lease_was_read(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    api.elect("pod-a")
    api.on_lease = holding = Holding(api.send_lease)
    elector = make_elector()
    states: list[tuple[State, str | None]] = []
    calls: list[object] = []
    elector.on_elected(lambda leadership: calls.append(leadership.fence))
    elector.on_leader_change(calls.append)

    @elector.while_leader
    def work(leadership: Leadership) -> None:
        calls.append("working")

    @elector.only_on_leader(wait=PATIENCE)
    def guarded() -> str:
        return "done"

    elector.start()
    waiting = [
        InThread(lambda: elector.wait_until_leader(PATIENCE)),
        InThread(lambda: elector.wait_until_known(PATIENCE)),
        InThread(guarded),
    ]
    assert holding.asked.wait(PATIENCE)
    server.wait_streams()
    server.push("pod-a", "pod-a")
    states.append((elector.state, elector.leader))
    assert not elector.wait_until_known(0.2)
    assert states == [(State.UNKNOWN, None)]
    assert calls == []
    assert not any(thread.done.is_set() for thread in waiting)
    holding.let_go.set()
    assert [thread.result() for thread in waiting] == [True, True, "done"]
    until(lambda: len(calls) == 3)
    assert [call for call in calls if call != "working"] == [1010, LeaderChange(None, "pod-a")]


def test_stop_is_prompt_while_the_lease_is_read(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    gone = threading.Event()
    api.on_lease = lambda c: (c.wait_gone(), gone.set())
    elector = make_elector(request_timeout=25.0, grace_period=60.0).start()
    until(lambda: api.lease_requests)
    workers = elector._runtime.workers
    assert elector.stop()
    assert gone.wait(PATIENCE)
    until(lambda: not any(worker.thread.is_alive() for worker in workers))


def test_a_stop_in_the_midst_of_a_reading_is_no_failure(
    server: ScriptedServer,
    api: LeaseApi,
    make_elector: MakeElector,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.leader = "pod-a"
    api.on_lease = Connection.wait_gone
    elector = make_elector(request_timeout=20.0, grace_period=60.0).start()
    until(lambda: api.lease_requests)
    elector.stop()
    until(lambda: not any(worker.thread.is_alive() for worker in elector._runtime.workers))
    assert [r.getMessage() for r in caplog.records] == []
    assert elector.status().last_error is None


def test_a_restart_reads_the_lease_again(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    api.elect("pod-a")
    elector = make_elector().start()
    assert elector.wait_until_leader(PATIENCE)
    assert elector.stop()
    verification = elector.status().verification
    assert verification is not None
    assert (verification.holder, verification.age) == (None, None)
    api.on_lease = holding = Holding(api.send_lease)
    elector.start()
    assert holding.asked.wait(PATIENCE)
    assert not elector.is_leader, "the reading of the run before does not count"
    holding.let_go.set()
    assert elector.wait_until_leader(PATIENCE)


@pytest.mark.parametrize("lease", ["ours", "another", "hang", "gone"])
@pytest.mark.parametrize("running", [True, False])
def test_refresh_reads_both_and_returns_what_follows(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector, lease: str, running: bool
) -> None:
    server.leader = "pod-a"
    request_timeout = 1.0 if lease == "hang" else 4.0
    elector = make_elector(
        poll_interval=20.0, reconcile_interval=20.0, request_timeout=request_timeout
    )
    api.elect("pod-b")
    if running:
        elector.start()
        assert elector.wait_until_known(PATIENCE)
    else:
        elector.start()
        elector.stop()
    api.elect(None if lease == "gone" else "pod-a" if lease == "ours" else "pod-b")
    api.on_lease = Connection.wait_gone if lease == "hang" else None
    status = elector.refresh()
    assert status.is_leader is (lease == "ours")
    assert status.verification is not None
    assert (status.verification.problem is None) is (lease == "ours")


def test_a_stop_in_a_signal_handler_knows_that_it_interrupts_a_refresh(
    server: ScriptedServer,
    api: LeaseApi,
    make_elector: MakeElector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it would wait for the dispatch thread, which may wait for the store's lock."""
    server.leader = "pod-a"
    api.elect("pod-a")
    elector = make_elector()
    known: list[bool] = []

    def look(snapshot: Snapshot, given: Input) -> object:
        known.append(elector._runtime.is_interrupted_here())
        return advance(snapshot, given)

    monkeypatch.setattr("elector_thread._state.store.advance", look)
    elector.refresh()
    assert known == [True, True], "for the sidecar's answer, and for the Lease's"


@pytest.mark.parametrize("name", ["refresh", "refresh beside the threads"])
def test_a_stop_in_a_signal_handler_ends_wherever_it_strikes(
    server: ScriptedServer, api: LeaseApi, name: str
) -> None:
    server.leader = "pod-a"
    api.elect("pod-a")
    run = "import sys; from tests.forks.interrupted import main; main(*sys.argv[1:])"
    ended = run_python(run, name, server.get_url, server.sse_url, within=60.0)
    assert ended.exit_code == 0, ended.err
    assert api.lease_requests > 5


def test_a_child_that_is_forked_while_the_lease_is_read(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    api.elect("pod-a")
    elector = make_elector(**HASTY).start()
    assert elector.wait_until_leader(PATIENCE)
    api.on_lease = holding = Holding(api.send_lease)
    assert holding.asked.wait(PATIENCE)
    inherited = client_inodes(server.port)

    def look() -> tuple[set[str], State, bool]:
        shared = own_socket_inodes() & inherited
        return shared, elector.state, elector.wait_until_leader(PATIENCE)

    child = Child(look)
    until(lambda: api.lease_requests >= 3, "the child reads the Lease itself")
    holding.let_go.set()
    assert child.result() == (set(), State.UNKNOWN, True)
    until(lambda: elector.is_leader)
    assert elector.status().counts.elected == 1, "the parent never lost it"


def test_a_child_that_is_forked_during_the_handshake_with_the_api_server(
    server: ScriptedServer,
    make_elector: MakeElector,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    (tmp_path / "token").write_text("token")
    server.leader = "pod-a"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        url = f"https://127.0.0.1:{port}{LEASE_PATH}"
        monkeypatch.setenv("ELECTOR_THREAD_LEASE_URL", url)
        monkeypatch.setenv("ELECTOR_THREAD_SERVICE_ACCOUNT", str(tmp_path))
        elector = make_elector(verify="lease", request_timeout=20.0, grace_period=60.0).start()
        with listener.accept()[0] as peer:
            assert peer.recv(1), "the client's hello"
            inherited = client_inodes(port)
            assert inherited & own_socket_inodes()
            assert in_child(lambda: own_socket_inodes() & inherited) == set()
            elector.stop()


def test_one_process_of_the_pod_that_the_lease_names(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector, tmp_path: Path
) -> None:
    server.leader = "pod-a"
    scope = {"scope": "process", "lock_path": tmp_path / "pod.lock", **HASTY}
    elector = make_elector(**scope).start()
    until(lambda: api.lease_requests >= 2)
    assert (elector.state, elector.status().holds_lock) == (State.UNKNOWN, False)
    api.elect("pod-a")
    assert elector.wait_until_leader(PATIENCE)
    api.elect("pod-b")
    until(lambda: elector.state is State.FOLLOWER)
    assert elector.leader == "pod-b"
    api.elect("pod-a")
    assert elector.wait_until_leader(PATIENCE)
    leadership = elector._runtime.store.leadership
    assert leadership is not None
    assert api.lease is not None
    assert str(leadership.fence) == api.lease["metadata"]["resourceVersion"]


# --- when it is read -----------------------------------------------------------------------------


def test_a_leader_reads_once_in_a_reconcile_interval_over_one_connection(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    api.elect("pod-a")
    instants: list[float] = []
    api.on_lease = lambda c: (instants.append(now()), api.send_lease(c))
    began = now()
    make_elector(poll_interval=0.05, reconcile_interval=0.3).start()
    until(lambda: len(instants) >= 6)
    assert now() - began > 5 * 0.25, instants
    assert server.connections == 3, "one for GET, one for the stream, one for the Lease"


def test_at_most_two_readings_in_a_poll_interval_however_often_the_name_changes(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-b"
    api.elect("pod-b")
    instants: list[float] = []
    api.on_lease = lambda c: (instants.append(now()), api.send_lease(c))
    elector = make_elector(poll_interval=0.4, reconcile_interval=0.4).start()
    server.wait_streams()
    until(lambda: elector.leader == "pod-b")
    names = cycle(["pod-a", "pod-b"])
    began = now()
    until(lambda: server.push(next(names)) or len(instants) >= 5)
    assert now() - began > 2 * 0.3, instants
    assert not elector.is_leader


@pytest.mark.parametrize("least_pause", [0.0, 60.0], ids=["GET is due", "GET is not due"])
def test_an_event_that_names_us_has_the_lease_read_before_the_next_get(
    server: ScriptedServer,
    api: LeaseApi,
    make_elector: MakeElector,
    monkeypatch: pytest.MonkeyPatch,
    least_pause: float,
) -> None:
    monkeypatch.setattr("elector_thread._runtime.poll.LEAST_PAUSE", least_pause)
    server.leader = "pod-b"
    api.elect("pod-a")
    elector = make_elector(
        poll_interval=30, reconcile_interval=30, request_timeout=20.0, grace_period=80
    ).start()
    until(lambda: elector.status().counts.events == 1)
    elector.refresh()  # so that no GET is under way, neither the first nor for that event
    api.on_get = Connection.wait_gone
    server.push("pod-a")
    assert elector.wait_until_leader(PATIENCE), "without waiting for the GET"


def test_an_event_that_names_us_soon_after_another_event_has_the_lease_read_at_once(
    server: ScriptedServer,
    api: LeaseApi,
    make_elector: MakeElector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("elector_thread._runtime.poll.LEAST_PAUSE", 60.0)
    server.leader = "pod-b"
    api.elect("pod-a")
    elector = make_elector(poll_interval=30, reconcile_interval=30, grace_period=60).start()
    until(lambda: elector.status().counts.events == 1 and elector.status().counts.answers)
    server.push("pod-b")  # a GET is to follow, but not yet
    until(lambda: elector.status().counts.events == 2)
    server.push("pod-a")
    assert elector.wait_until_leader(PATIENCE), "without waiting for the GET"


def test_a_get_that_hangs_delays_the_lease_by_no_more_than_its_timeout(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-b"
    api.elect("pod-a")
    elector = make_elector(request_timeout=1.0, poll_interval=0.2, reconcile_interval=0.2).start()
    server.wait_streams()
    until(lambda: elector.leader == "pod-b")
    asked: list[str] = []
    hanging = threading.Event()
    api.on_get = lambda c: (asked.append("elector"), hanging.set(), c.wait_gone())
    api.on_lease = lambda c: (asked.append("Lease"), api.send_lease(c))
    assert hanging.wait(PATIENCE)
    before = len(asked)
    server.push("pod-a")
    assert elector.wait_until_leader(PATIENCE)
    assert asked[before:].index("Lease") <= 1, "a GET may have begun just before the event"


def test_a_lease_that_hangs_delays_a_get_by_no_more_than_its_timeout(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    asked: list[str] = []
    api.on_get = lambda c: (asked.append("elector"), c.send(answer(result("pod-a"))))
    api.on_lease = lambda c: (asked.append("Lease"), c.wait_gone())
    elector = make_elector(
        get_url=server.get_url, request_timeout=1.0, poll_interval=0.2, reconcile_interval=0.2
    ).start()
    until(lambda: asked.count("elector") >= 4)
    assert elector.state is State.UNKNOWN
    assert ("Lease", "Lease") not in list(pairwise(asked))


def test_a_word_that_changed_while_the_lease_was_read_is_not_contradicted(
    server: ScriptedServer,
    api: LeaseApi,
    make_elector: MakeElector,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An ordinary election: the Lease knows of it a moment before the sidecar."""
    caplog.set_level(logging.INFO, "elector_thread")
    server.leader = "pod-a"
    api.elect("pod-a")
    elector = make_elector(**HASTY).start()
    assert elector.wait_until_leader(PATIENCE)
    server.wait_streams()
    api.elect("pod-b")
    api.on_lease = holding = Holding(api.send_lease)
    assert holding.asked.wait(PATIENCE)
    server.elect("pod-b")
    until(lambda: elector.leader == "pod-b")
    holding.let_go.set()
    gets = elector.status().counts.answers
    until(lambda: elector.status().counts.answers >= gets + 2)
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == []
    verification = elector.status().verification
    assert verification is not None
    assert verification.problem is None


def test_the_status_says_what_was_found_and_when_after_the_grace_period(
    server: ScriptedServer, api: LeaseApi, make_elector: MakeElector
) -> None:
    server.leader = "pod-a"
    api.elect("pod-a")
    elector = make_elector(**SHORT_GRACE).start()
    assert elector.wait_until_leader(PATIENCE)
    api.on_lease = lambda c: c.send(status(503))
    until(lambda: elector.state is State.UNKNOWN)
    until(lambda: elector.status().verification.problem == "HTTP 503 from the API server")
    verification = elector.status().verification
    assert verification is not None
    assert (verification.holder, verification.ours) == ("pod-a", True)
    assert verification.age is not None
    assert verification.age >= 1.5
