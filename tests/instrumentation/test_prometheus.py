"""What is scraped from one process: beside a scripted elector, after forks, after a restart."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from elector_thread import Elector, only_on_leader
from elector_thread.instrumentation import (
    Event,
    GetAnswered,
    LeadershipLost,
    _recorder,
    prometheus,
)
from elector_thread.instrumentation._table import METRICS
from tests.conftest import FAST, MakeElector
from tests.forks.children import Held, in_child
from tests.lease_api import LeaseApi
from tests.polling import until
from tests.scripted import PATIENCE, ScriptedServer, answer

from .exposition import CALLS, ENDED, LEADERSHIPS, MASTER, REQUESTS, STATE, fetch, scrape

LEADING = "elector_thread_leading_seconds_total"
CONFIRMED = "elector_thread_confirmed_timestamp_seconds"
VERIFIED = "elector_thread_lease_verified_timestamp_seconds"


@pytest.fixture
def leader(
    registry: CollectorRegistry, make_elector: MakeElector, server: ScriptedServer
) -> Elector:
    server.leader = "pod-a"
    elector = make_elector().start()
    assert elector.wait_until_leader(PATIENCE)
    until(lambda: recorded(registry))
    return elector


def recorded(registry: CollectorRegistry) -> bool:
    """Events come in a moment after the state has changed."""
    found = scrape(registry)
    requests = [found[REQUESTS % (kind, "ok")] for kind in ("get", "stream")]
    return found[LEADERSHIPS] == 1 and all(requests)


def test_before_anything_has_started(registry: CollectorRegistry) -> None:
    found = scrape(registry)
    assert (found[MASTER], found[STATE % "unknown"], found[CONFIRMED]) == (0, 1, 0)
    assert found["elector_thread_alive"] == 1
    assert found[LEADERSHIPS] == found[ENDED % "expired"] == 0


def test_a_leader(
    registry: CollectorRegistry, leader: Elector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAIS_APP_NAME", "reports")
    found = scrape(registry)
    assert found['leader_election_master_status{name="reports"}'] == 1
    assert [found[STATE % state] for state in ("leader", "follower", "unknown")] == [1, 0, 0]
    assert found[REQUESTS % ("stream", "ok")] == 1
    assert found[LEADERSHIPS] == 1
    assert 0 < found[LEADING] < 60
    assert abs(found[CONFIRMED] - time.time()) < 60


def test_a_follower(registry: CollectorRegistry, leader: Elector, server: ScriptedServer) -> None:
    server.elect("pod-b")
    until(lambda: scrape(registry)[ENDED % "replaced"] == 1)
    found = scrape(registry)
    assert (found[MASTER], found[STATE % "follower"], found[ENDED % "replaced"]) == (0, 1, 1)


def test_an_expiry_shows_without_any_event(
    registry: CollectorRegistry,
    make_elector: MakeElector,
    server: ScriptedServer,
    seen: list[Event],
) -> None:
    """The thread that would notice it is busy with a callback."""
    called, let_go = threading.Event(), threading.Event()
    server.leader = "pod-a"
    elector = make_elector(reconcile_interval=0.2, grace_period=1.5, request_timeout=0.5)
    elector.on_elected(lambda: called.set() or let_go.wait(3 * PATIENCE))
    elector.start()
    assert called.wait(PATIENCE)
    server.on_get = server.on_stream = lambda connection: connection.reset()
    server.drop_streams()
    ahead = scrape(registry)
    assert ahead[MASTER] == 1
    until(lambda: scrape(registry)[MASTER] == 0)
    assert not [event for event in seen if isinstance(event, LeadershipLost)]
    assert scrape(registry)[LEADING] >= ahead[LEADING]
    until(lambda: scrape(registry)["elector_thread_alive"] == 0)  # on_demoted is late
    let_go.set()
    until(lambda: scrape(registry)[ENDED % "expired"] == 1)
    until(lambda: scrape(registry)["elector_thread_alive"] == 1)


def test_verification(
    registry: CollectorRegistry,
    make_elector: MakeElector,
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = LeaseApi(server)
    for name, value in api.environ.items():
        monkeypatch.setenv(name, value)
    api.elect("pod-a")
    server.leader = "pod-a"
    elector = make_elector().start()
    assert elector.wait_until_leader(PATIENCE)
    until(lambda: scrape(registry)[REQUESTS % ("lease", "ok")])
    assert abs(scrape(registry)[VERIFIED] - time.time()) < 60
    api.on_lease = lambda connection: connection.send(answer(b"", b"HTTP/1.1 500 No\r\n"))
    until(lambda: scrape(registry)[REQUESTS % ("lease", "error")])
    api.on_lease = None
    api.elect(None)
    until(lambda: scrape(registry)[ENDED % "unverified"] == 1)
    assert scrape(registry)[VERIFIED] == 0


def test_requests_that_fail(
    registry: CollectorRegistry, make_elector: MakeElector, server: ScriptedServer
) -> None:
    server.on_get = lambda connection: connection.reset()
    server.on_stream = lambda connection: connection.send(answer(b"", b"HTTP/1.1 404 No\r\n"))
    make_elector().start()
    until(lambda: scrape(registry)[REQUESTS % ("get", "error")] >= 1)
    until(lambda: scrape(registry)[REQUESTS % ("stream", "absent")] == 1)
    assert scrape(registry)[REQUESTS % ("get", "ok")] == 0


def test_callbacks_and_their_errors(registry: CollectorRegistry, leader: Elector) -> None:
    leader.on_elected(lambda: None)
    leader.on_elected(lambda: 1 / 0)
    until(lambda: scrape(registry)["elector_thread_callback_seconds_count"] == 2)
    found = scrape(registry)
    assert found["elector_thread_callback_errors_total"] == 1
    assert found["elector_thread_callback_seconds_sum"] > 0


def test_guarded_calls_and_jobs(
    registry: CollectorRegistry, leader: Elector, server: ScriptedServer
) -> None:
    def nightly(fails: bool) -> None:
        if fails:
            raise ValueError

    name = f"{__name__}.{test_guarded_calls_and_jobs.__name__}.<locals>.nightly"
    job = leader.only_on_leader(interval=3600)(nightly)
    success = f'elector_thread_job_last_success_timestamp_seconds{{job="{name}"}}'
    found = scrape(registry)
    assert (found[success], found[CALLS % (name, "error")]) == (0, 0)
    assert found[f'elector_thread_job_interval_seconds{{job="{name}"}}'] == 3600
    with pytest.raises(ValueError):
        job(fails=True)
    assert scrape(registry)[success] == 0
    job(fails=False)
    assert abs(scrape(registry)[success] - time.time()) < 60
    server.elect("pod-b")
    until(lambda: not leader.is_leader)
    job(fails=False)
    leader.stop()
    job(fails=False)
    found = scrape(registry)
    outcomes = ("error", "run", "skipped", "unknown")
    assert [found[CALLS % (name, outcome)] for outcome in outcomes] == [1, 1, 1, 1]


def test_a_job_that_was_decorated_before_shows_as_well(own_recorder: None) -> None:
    only_on_leader(interval=60)(len)
    registry = CollectorRegistry()
    prometheus.instrument(registry=registry)
    assert scrape(registry)['elector_thread_job_interval_seconds{job="builtins.len"}'] == 60


def test_a_restart_of_the_elector(registry: CollectorRegistry, leader: Elector) -> None:
    leader.stop()
    between = scrape(registry)
    assert (between[MASTER], between[ENDED % "stopped"], between[CONFIRMED]) == (0, 1, 0)
    assert between["elector_thread_alive"] == 1
    assert leader.start().wait_until_leader(PATIENCE)
    until(lambda: scrape(registry)[LEADERSHIPS] == 2)
    after = scrape(registry)
    assert (after[MASTER], after[ENDED % "stopped"]) == (1, 1)
    assert after[LEADING] >= between[LEADING] > 0


def test_of_two_electors_the_leader_counts(
    registry: CollectorRegistry, leader: Elector, make_elector: MakeElector
) -> None:
    assert make_elector(identity="pod-b").start().wait_until_known(PATIENCE)
    found = scrape(registry)
    assert [found[STATE % state] for state in ("leader", "follower", "unknown")] == [1, 0, 0]


def test_twice_is_harmless(registry: CollectorRegistry, leader: Elector) -> None:
    prometheus.instrument(registry=registry)
    other = CollectorRegistry()
    prometheus.instrument(registry=other)
    assert scrape(registry)[LEADERSHIPS] == scrape(other)[LEADERSHIPS] == 1


def test_no_pod_and_no_leader_is_a_label(registry: CollectorRegistry, leader: Elector) -> None:
    assert "pod-a" not in generate_latest(registry).decode()


def test_what_is_scraped_is_in_the_table(registry: CollectorRegistry, leader: Elector) -> None:
    leader.only_on_leader(interval=1)(print)
    assert {metric.name for metric in registry.collect()} == {metric.name for metric in METRICS}
    assert all(metric.samples for metric in registry.collect())


# --- forks, signal handlers, and nobody who scrapes ---------------------------------------------


def test_a_forked_child_counts_anew(registry: CollectorRegistry, leader: Elector) -> None:
    before = scrape(registry)
    assert before[LEADERSHIPS] == 1

    def look() -> list[float]:
        first = scrape(registry)
        assert leader.wait_until_leader(PATIENCE)
        until(lambda: scrape(registry)[LEADERSHIPS])
        then = scrape(registry)
        return [first[MASTER], first[LEADERSHIPS], first[LEADING], then[MASTER], then[LEADERSHIPS]]

    assert in_child(look) == [0, 0, 0, 1, 1]
    assert scrape(registry)[LEADERSHIPS] == 1


def test_a_fork_while_another_thread_scrapes(registry: CollectorRegistry, leader: Elector) -> None:
    with Held(_recorder.recorder()._totals.lock):
        found = in_child(lambda: leader.wait_until_leader(PATIENCE) and scrape(registry))
    assert found[MASTER] == 1


def test_an_observer_never_waits(registry: CollectorRegistry) -> None:
    """It may run in a signal handler that has interrupted a scrape of the same thread."""
    recorder = _recorder.recorder()
    with recorder._totals.lock:
        for _ in range(_recorder.MOST_PENDING + 10):
            recorder(GetAnswered(0.1))
    assert scrape(registry)[REQUESTS % ("get", "ok")] == _recorder.MOST_PENDING + 10


def test_without_scrapes_nothing_piles_up(registry: CollectorRegistry) -> None:
    recorder = _recorder.recorder()
    for _ in range(5 * _recorder.MOST_PENDING):
        recorder(GetAnswered(0.1))
        assert len(recorder._totals.pending) <= _recorder.MOST_PENDING
    assert scrape(registry)[REQUESTS % ("get", "ok")] == 5 * _recorder.MOST_PENDING


# --- a process of its own, over HTTP ------------------------------------------------------------

PROGRAM = """
import sys
from prometheus_client import start_http_server
from elector_thread import Elector
from elector_thread.instrumentation import prometheus
prometheus.instrument()
with Elector(get_url=sys.argv[1], sse_url=sys.argv[2], identity="pod-a", poll_interval=0.1):
    server, _ = start_http_server(0, "127.0.0.1")
    print(server.server_port, flush=True)
    sys.stdin.read()
"""


def test_a_process_is_scraped_over_http(server: ScriptedServer) -> None:
    server.leader = "pod-a"
    command = [sys.executable, "-W", "error", "-c", PROGRAM, server.get_url, server.sse_url]
    with subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}/metrics"
        until(lambda: fetch(url)[MASTER] == 1)
        server.elect("pod-b")
        until(lambda: fetch(url)[ENDED % "replaced"] == 1)
        assert fetch(url)[STATE % "follower"] == 1
        process.stdin.close()
    assert process.returncode == 0


assert FAST["grace_period"] > PATIENCE  # a leadership outlasts each wait
