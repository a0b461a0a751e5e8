"""The truth: the oldest live replica leads for life; calls from any thread."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from elector_thread.local import LocalElector
from elector_thread.local.http_server import bind_socket

from ..polling import until
from .tools import leader_at, stream


def test_the_oldest_leads_until_it_is_gone(local: LocalElector) -> None:
    sidecars = {name: local.add_replica(name) for name in ("pod-a", "pod-b", "pod-c")}
    assert {leader_at(sidecar.port) for sidecar in sidecars.values()} == {"pod-a"}
    local.remove_replica("pod-b")
    assert leader_at(local.port) == "pod-a"
    local.remove_replica("pod-a")
    assert leader_at(sidecars["pod-c"].port) == "pod-c"


def test_who_comes_later_does_not_lead(local: LocalElector) -> None:
    local.add_replica("pod-b")
    late = local.add_replica("pod-a")
    assert leader_at(late.port) == "pod-b"


def test_each_replica_has_a_sidecar_of_its_own(local: LocalElector) -> None:
    a, b = local.add_replica("pod-a"), local.add_replica("pod-b")
    assert len({a.port, b.port, local.port, local.admin_port}) == 4
    assert a.environ["ELECTOR_GET_URL"] == f"http://localhost:{a.port}/"
    assert a.environ["ELECTOR_SSE_URL"] == f"http://localhost:{a.port}/sse"
    assert a.environ["ELECTOR_PATH"] == f"localhost:{a.port}"
    assert a.environ["ELECTOR_THREAD_REPORT_URL"] != b.environ["ELECTOR_THREAD_REPORT_URL"]
    assert local.token not in str(a.environ)
    assert "ELECTOR_THREAD_REPORT_URL" not in local.environ


def test_the_last_name_is_remembered_when_nobody_is_left(local: LocalElector) -> None:
    local.add_replica("pod-a")
    local.remove_replica("pod-a")
    assert local.state()["leader"] is None
    assert leader_at(local.port) == "pod-a"  # as a sidecar, which only hears of elections
    local.add_replica("pod-b")
    assert leader_at(local.port) == "pod-b"


def test_a_failover_may_take_its_time() -> None:
    with LocalElector(failover_delay=0.3) as slow:
        slow.add_replica("pod-a")
        sidecar = slow.add_replica("pod-b")
        with stream(sidecar.port) as wire:
            wire.event()
            began = monotonic()
            slow.remove_replica("pod-a")
            assert wire.event()["name"] == "pod-b"
            assert monotonic() - began >= 0.3
        assert slow.state()["leader"] == "pod-b"


def test_there_is_no_leader_before_the_failover() -> None:
    with LocalElector(failover_delay=600) as slow:
        slow.add_replica("pod-a")
        sidecar = slow.add_replica("pod-b")
        slow.remove_replica("pod-a")
        assert slow.state()["leader"] is None
        assert leader_at(sidecar.port) == "pod-a"


def test_an_election_by_hand_is_the_last_one() -> None:
    with LocalElector(failover_delay=0.2) as slow:
        slow.add_replica("pod-a")
        slow.add_replica("pod-b")
        slow.remove_replica("pod-a")
        slow.elect("pod-c")
        slow.fault("mute", seconds=0.4)
        until(lambda: slow.state()["faults"] == [], "the delay to be over")
        assert slow.state()["leader"] == "pod-c"


def test_it_ends_without_the_election_that_would_come_next() -> None:
    with LocalElector(failover_delay=600) as slow:
        slow.add_replica("pod-a")
        slow.remove_replica("pod-a")
        assert slow.state()["leader"] is None
    with pytest.raises(RuntimeError, match="not running"):
        slow.state()
    slow.stop()


def test_who_is_gone_takes_its_faults_along_and_no_others(local: LocalElector) -> None:
    local.add_replica("pod-a")
    local.add_replica("pod-b")
    local.fault("empty", "pod-a")
    local.fault("hang", "pod-b", seconds=600)
    local.fault("empty", "pod-b")
    local.remove_replica("pod-b")
    assert [fault["replica"] for fault in local.state()["faults"]] == ["pod-a"]
    sidecar = local.add_replica("pod-b")
    assert leader_at(sidecar.port) == "pod-a"


def test_removing_is_idempotent_and_adding_is_not(local: LocalElector) -> None:
    local.add_replica("pod-a")
    with pytest.raises(ValueError, match="pod-a already exists"):
        local.add_replica("pod-a")
    local.remove_replica("pod-a")
    local.remove_replica("pod-a")
    local.remove_replica("never")


def test_a_name_may_come_back(local: LocalElector) -> None:
    local.add_replica("pod-a")
    local.remove_replica("pod-a")
    local.add_replica("pod-a")
    assert [r["alive"] for r in local.state()["replicas"] if r["name"] == "pod-a"] == [True]


def test_many_threads_at_once(local: LocalElector) -> None:
    names = [f"pod-{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        ports = [sidecar.port for sidecar in pool.map(local.add_replica, names)]
        assert len(set(ports)) == len(names)
        list(pool.map(local.elect, names))
        list(pool.map(local.remove_replica, names))
    assert all(not replica["alive"] for replica in local.state()["replicas"])


def test_who_follows_is_told_of_everything(local: LocalElector) -> None:
    seen: list[str] = []
    local.follow(lambda entry: seen.append(entry["what"]))
    local.add_replica("pod-a")
    local.fault("mute")
    local.clear()
    local.remove_replica("pod-a")
    assert seen == ["joined", "truth", "fault", "cleared", "gone", "truth"]


@pytest.mark.parametrize("kind", ["kill", "drop", "reset", "lease-401"])
def test_what_happens_once_begins_and_does_not_end(local: LocalElector, kind: str) -> None:
    local.add_replica("pod-a")
    entries: list[dict[str, object]] = []
    local.follow(entries.append)
    local.fault(kind, "pod-a")
    assert [entry["once"] for entry in entries if entry["what"] == "fault"] == [True]
    assert "cleared" not in [entry["what"] for entry in entries]
    assert local.state()["faults"] == []


def test_an_election_names_the_leader_before_it_if_that_still_runs(local: LocalElector) -> None:
    entries: list[dict[str, object]] = []
    local.follow(entries.append)
    for name in ("pod-a", "pod-b", "pod-c"):
        local.add_replica(name)
    local.elect("pod-b")
    local.remove_replica("pod-b")
    local.fault("split", "pod-a")
    elections = [entry for entry in entries if entry["what"] == "truth"]
    assert [(one["leader"], one["outgoing"], one["isolated"]) for one in elections] == [
        ("pod-a", None, False),
        ("pod-b", "pod-a", False),
        ("pod-a", None, False),
        ("pod-c", "pod-a", True),
    ]


def test_the_state_counts(local: LocalElector) -> None:
    sidecar = local.add_replica("pod-a")
    leader_at(sidecar.port)
    leader_at(sidecar.port)
    with stream(sidecar.port):
        (replica,) = (r for r in local.state()["replicas"] if r["alive"])
        assert (replica["gets"], replica["streams"]) == (2, 1)
    until(lambda: local.state()["streams"] == 0, "the stream's end")


def test_not_running_is_told() -> None:
    elector = LocalElector()
    with pytest.raises(RuntimeError, match="not running"):
        elector.elect("pod-a")
    elector.stop()


def test_a_taken_port_is_told(local: LocalElector) -> None:
    with pytest.raises(OSError, match="in use"):
        LocalElector(local.port)


def test_a_port_that_somebody_took_before_the_start_is_told() -> None:
    elector = LocalElector()
    with bind_socket(elector.port) as somebody:  # possible as long as neither listens
        somebody.listen()
        with pytest.raises(OSError, match="in use"):
            elector.start()
    for port in (elector.port, elector.admin_port):
        bind_socket(port).close()
    elector.stop()


ENDING = """
import socket, time
from elector_thread.local import LocalElector
local = LocalElector(public=False).start()
local.elect("pod-a")
open_ones = []
for port, path in ((local.port, "/sse"), (local.port, "/"),
                   (local.admin_port, "/admin/events?token=" + local.token)):
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(f"GET {path} HTTP/1.1\\r\\nHost: localhost:{port}\\r\\n\\r\\n".encode())
    assert sock.recv(100).startswith(b"HTTP/1.1 200 OK")
    open_ones.append(sock)
local.fault("hang")
open_ones[1].sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
began = time.monotonic()
local.stop()
print(time.monotonic() - began)
for sock in open_ones:
    sock.close()
"""


def test_stop_is_quick_and_quiet_with_everything_open() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ENDING],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert float(done.stdout) < 10
