"""Each fault, as a client meets it; on one replica, for a time, and over again."""

from __future__ import annotations

import json
import socket

import pytest

from elector_thread.local import FaultError, LocalElector, SidecarServer

from ..polling import until
from .tools import GET, Wire, get, leader_at, stream

Pair = tuple[LocalElector, SidecarServer, SidecarServer]


@pytest.fixture
def pair(local: LocalElector) -> Pair:
    """Two replicas; pod-a leads."""
    a, b = local.add_replica("pod-a"), local.add_replica("pod-b")
    local.elect("pod-a")
    return local, a, b


def refused(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


def test_nothing_is_on_unless_asked_for(pair: Pair) -> None:
    assert pair[0].state()["faults"] == []


def test_mute_loses_events_and_keeps_the_stream(pair: Pair) -> None:
    local, a, b = pair
    with stream(a.port) as deaf, stream(b.port) as hearing:
        assert deaf.event() == hearing.event()
        local.fault("mute", "pod-a")
        local.elect("pod-b")
        assert hearing.event()["name"] == "pod-b"
        assert deaf.is_quiet()
        assert leader_at(a.port) == "pod-b"
        local.clear("mute")
        local.elect("pod-c")
        assert deaf.event()["name"] == "pod-c"


def test_hang_holds_gets_until_it_is_over(pair: Pair) -> None:
    local, a, b = pair
    local.fault("hang", "pod-a")
    with Wire(a.port, GET) as hanging, stream(a.port) as wire:
        assert hanging.is_quiet()
        assert leader_at(b.port) == "pod-a"
        assert wire.event()["name"] == "pod-a"
        local.clear("hang", "pod-a")
        assert hanging.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("kind", "status", "content"),
    [
        ("error", b"HTTP/1.1 500 Internal Server Error", None),
        ("html", b"HTTP/1.1 200 OK", b"Content-Type: text/html; charset=utf-8"),
    ],
)
def test_wrong_answers_to_gets_and_new_streams(
    pair: Pair, kind: str, status: bytes, content: bytes | None
) -> None:
    local, a, b = pair
    local.fault(kind, "pod-a")
    got, headers, _ = get(a.port)
    assert got == status
    assert content is None or content in headers
    with Wire(a.port, b"GET /sse HTTP/1.1\r\nHost: x\r\n\r\n") as wire:
        assert wire.read_until(b"\r\n") == status + b"\r\n"
    assert leader_at(b.port) == "pod-a"


def test_garbage_cannot_be_read(pair: Pair) -> None:
    local, a, _ = pair
    local.fault("garbage", "pod-a")
    status, headers, body = get(a.port)
    assert status == b"HTTP/1.1 200 OK"
    assert b"application/json" in headers
    with pytest.raises(ValueError):
        json.loads(body)


def test_empty_is_as_before_the_first_election(pair: Pair) -> None:
    local, a, _ = pair
    with stream(a.port) as wire:
        wire.event()
        local.fault("empty", "pod-a")
        assert get(a.port)[2] == b"{}"
        local.elect("pod-b")
        assert wire.event() == {}


@pytest.mark.parametrize(("kind", "end"), [("drop", "closed"), ("reset", "reset")])
def test_streams_end(pair: Pair, kind: str, end: str) -> None:
    local, a, b = pair
    with stream(a.port) as hit, stream(b.port) as spared:
        hit.event()
        spared.event()
        local.fault(kind, "pod-a")
        assert hit.end() == end
        assert spared.is_quiet()
    assert local.state()["faults"] == []  # happens once
    with stream(a.port) as again:
        assert again.event()["name"] == "pod-a"


def test_streams_keep_ending_while_it_lasts(pair: Pair) -> None:
    local, a, _ = pair
    local.fault("drop", "pod-a", seconds=30)
    with stream(a.port) as wire:
        assert wire.end() == "closed"


def test_refuse_ends_all_and_takes_nobody(pair: Pair) -> None:
    local, a, b = pair
    with stream(a.port) as wire:
        wire.event()
        local.fault("refuse", "pod-a")
        assert wire.end() == "reset"
    assert refused(a.port)
    assert not refused(b.port)
    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind(("127.0.0.1", a.port))  # the port stays ours
    local.clear("refuse")
    assert leader_at(a.port) == "pod-a"


def test_restart_is_refused_then_empty_then_a_name(pair: Pair) -> None:
    local, a, _ = pair
    local.fault("restart", "pod-a", seconds=1.2)
    seen: list[object] = []

    def look() -> bool:
        now = "refused" if refused(a.port) else leader_at(a.port)
        if now not in seen[-1:]:
            seen.append(now)
        return now == "pod-a"

    until(look, "the name again")
    assert seen == ["refused", None, "pod-a"]


def test_who_connects_to_a_restarting_sidecar_hears_the_name(pair: Pair) -> None:
    local, a, _ = pair
    local.fault("restart", "pod-a", seconds=1.2)
    until(lambda: not refused(a.port), "the second half")
    with stream(a.port) as wire:
        assert wire.event() == {}
        assert wire.event()["name"] == "pod-a"


def test_everywhere_means_the_plain_sidecar_too(pair: Pair) -> None:
    local, a, b = pair
    local.fault("empty")
    assert [get(port)[2] for port in (local.port, a.port, b.port)] == [b"{}"] * 3


def test_a_fault_ends_by_itself(pair: Pair) -> None:
    local, a, _ = pair
    fault = local.fault("empty", "pod-a", seconds=1.0)
    assert fault["seconds"] == 1.0
    assert get(a.port)[2] == b"{}"
    until(lambda: local.state()["faults"] == [], "the fault's end")
    assert leader_at(a.port) == "pod-a"


def test_two_faults_on_one_sidecar_end_one_by_one(pair: Pair) -> None:
    local, a, _ = pair
    local.fault("hang", "pod-a")
    local.fault("empty")
    assert local.clear("hang") == 1
    assert get(a.port)[2] == b"{}"
    assert local.clear() == 1
    assert leader_at(a.port) == "pod-a"


def test_split_brain_when_the_leader_is_isolated(pair: Pair) -> None:
    local, a, b = pair
    with stream(a.port) as isolated:
        assert isolated.event()["name"] == "pod-a"
        local.fault("split", "pod-a")
        assert local.state()["leader"] == "pod-b"
        assert (leader_at(a.port), leader_at(b.port)) == ("pod-a", "pod-b")
        assert isolated.is_quiet()
        local.clear("split")
        assert isolated.event()["name"] == "pod-b"


def test_an_isolated_follower_is_told_the_former_leader(pair: Pair) -> None:
    local, a, b = pair
    local.elect("pod-b")
    local.fault("split", "pod-a")
    assert leader_at(a.port) == "pod-a"
    local.elect("pod-c")
    assert (leader_at(a.port), leader_at(b.port)) == ("pod-a", "pod-c")


@pytest.fixture
def processes(pair: Pair) -> list[tuple[str, str]]:
    """What was done to processes."""
    done: list[tuple[str, str]] = []
    local = pair[0]

    def kill(name: str) -> None:
        done.append(("kill", name))
        local.remove_replica(name)  # as a supervisor does, from the hook itself

    local.set_process_hooks(
        freeze=lambda name: done.append(("freeze", name)),
        thaw=lambda name: done.append(("thaw", name)),
        kill=kill,
    )
    return done


def test_freeze_stops_a_process_until_it_is_over(
    pair: Pair, processes: list[tuple[str, str]]
) -> None:
    local = pair[0]
    local.fault("freeze", "pod-b", seconds=1.0)
    assert local.state()["replicas"][1]["frozen"]
    until(lambda: ("thaw", "pod-b") in processes, "the thaw")
    assert processes == [("freeze", "pod-b"), ("thaw", "pod-b")]
    assert not local.state()["replicas"][1]["frozen"]


def test_who_is_frozen_twice_thaws_once(pair: Pair, processes: list[tuple[str, str]]) -> None:
    local = pair[0]
    local.fault("freeze", "pod-b")
    local.fault("freeze")
    local.clear("freeze", "pod-b")
    assert ("thaw", "pod-b") not in processes
    local.clear("freeze")
    assert processes.count(("thaw", "pod-b")) == 1


def test_kill_hits_the_process_and_the_next_leads(
    pair: Pair, processes: list[tuple[str, str]]
) -> None:
    local = pair[0]
    local.fault("kill", "pod-a")
    assert processes == [("kill", "pod-a")]
    assert local.state()["leader"] == "pod-b"


def test_kill_without_a_process_removes_the_replica(pair: Pair) -> None:
    local, a, _ = pair
    local.fault("kill", "pod-a")
    assert local.state()["leader"] == "pod-b"
    assert refused(a.port)


def test_who_goes_with_another_is_not_hit_again(pair: Pair) -> None:
    local, hit = pair[0], []

    def kill(name: str) -> None:
        hit.append(name)
        for replica in ("pod-a", "pod-b"):
            local.remove_replica(replica)

    local.set_process_hooks(kill=kill)
    local.fault("kill")
    assert hit == ["pod-a"]


def test_who_goes_while_its_faults_end_has_each_of_them_ended_once(pair: Pair) -> None:
    local = pair[0]
    entries: list[dict[str, object]] = []
    local.follow(entries.append)
    local.set_process_hooks(freeze=lambda _: None, thaw=local.remove_replica)
    local.fault("freeze", "pod-b")
    local.fault("mute", "pod-b")
    assert local.clear() == 2
    cleared = [entry["fault"] for entry in entries if entry["what"] == "cleared"]
    assert cleared == ["freeze", "mute"]


def test_a_freeze_ends_even_if_nobody_can_thaw_any_more(pair: Pair) -> None:
    local = pair[0]
    local.set_process_hooks(freeze=lambda _: None, thaw=lambda _: None)
    local.fault("freeze", "pod-b")
    local.set_process_hooks()
    assert local.clear() == 1
    assert not local.state()["replicas"][1]["frozen"]


def test_nobody_lives_to_be_killed(local: LocalElector) -> None:
    with pytest.raises(FaultError, match="replica: expected a replica to kill, but none is alive"):
        local.fault("kill")


def test_a_hook_that_fails_says_so(pair: Pair) -> None:
    local = pair[0]

    def fail(name: str) -> None:
        raise PermissionError("not yours")

    local.set_process_hooks(freeze=fail, thaw=fail)
    with pytest.raises(FaultError, match=r"pod-a could not be reached .*not yours"):
        local.fault("freeze", "pod-a")
    assert not local.state()["replicas"][0]["frozen"]


@pytest.mark.parametrize(
    ("kind", "replica", "seconds", "message"),
    [
        ("melt", None, None, "kind: expected one of freeze, .*; got 'melt'"),
        ("mute", "pod-x", None, r"replica: expected a live replica \(pod-a, pod-b\), got 'pod-x'"),
        ("mute", None, 0, "seconds: expected more than 0"),
        ("mute", None, float("nan"), "seconds: expected more than 0"),
        ("mute", None, True, "seconds: expected a number"),
        ("mute", None, "3", "seconds: expected a number"),
        ("kill", "pod-a", 3, "seconds: kill takes no duration"),
        ("split", None, None, "split applies to one replica only"),
        ("freeze", None, None, "has started none"),
    ],
)
def test_what_cannot_be_is_told(
    pair: Pair, kind: str, replica: str | None, seconds: float | None, message: str
) -> None:
    with pytest.raises(FaultError, match=message):
        pair[0].fault(kind, replica, seconds)
    assert pair[0].state()["faults"] == []
